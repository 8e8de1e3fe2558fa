"""The latency tables of a run: given ones are copied into its folder, missing ones measured."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.drift.conformal import append_validation, read_validation
from hwnas.latency.lut.reliability import require_reliable, unreliable
from hwnas.latency.profile.missing_heads import MissingHeads
from hwnas.latency.profile.plan import ProfilePlan
from hwnas.latency.profile.profiler import profile
from hwnas.latency.table.files import load_table, store
from hwnas.latency.table.table import LatencyTable
from hwnas.pipeline.problem import Problem
from hwnas.search.records import stage_event
from hwnas.space.catalogue import load_space

logger = logging.getLogger(__name__)


def prepare_tables(problem: Problem, cache: ConversionCache, *, seed: int) -> None:
    """Put every target's table into the run folder; profile the targets that have none."""
    folder = problem.folder
    if all(folder.table(number).exists() for number in range(len(problem.targets))):
        _require_reliable(problem)
        return
    start = time.perf_counter()
    for number, target in enumerate(problem.targets):
        path = folder.table(number)
        if path.exists():
            continue
        if target.table is not None:
            given = Path(target.table)
            store(_with_heads(problem, number, given, cache), path.parent, path.stem)
            append_validation(folder.table(number), read_validation(given))
        else:
            plan = ProfilePlan(
                problem.space, problem.target(number), target.calibrate, target.validate_, seed
            )
            profile(plan, path, resume=True, cache=cache)
    wall_s = time.perf_counter() - start
    with folder.journal() as journal:
        journal.append(stage_event("profile", wall_s, {"device_s": round(wall_s, 3)}).to_json())
    _require_reliable(problem)


def _require_reliable(problem: Problem) -> None:
    """Refuse a given table that errs by too much for a search; warn of one measured for this run.

    Of the latter the run goes on: its winner is measured at the end, on the device.
    """
    for number, target in enumerate(problem.targets):
        own, space = problem.folder.table(number), problem.space.name
        if target.force:
            continue
        if target.table is not None:
            require_reliable(load_table(own), space, f"table {target.table}")
            continue
        for part in load_table(own).scopes:
            if (found := unreliable(part, space)) is not None:
                logger.warning(
                    f"{own}: {found}. Next: if the winner misses its budget, stop what else runs "
                    "on the device and begin the run anew"
                )


def missing_heads(problem: Problem, number: int) -> MissingHeads | None:
    """Return what a given table lacks because the data have other classes; None: nothing."""
    given, like = problem.targets[number].table, load_space(problem.data.space_name).name
    if given is None or problem.space.name == like:
        return None
    found = MissingHeads(problem.space, like, load_table(Path(given)), problem.target(number))
    return found if found.heads else None


def _with_heads(problem: Problem, number: int, path: Path, cache: ConversionCache) -> LatencyTable:
    """Return a target's given tables, with the heads of the data's classes measured."""
    missing = missing_heads(problem, number)
    if missing is None:
        return load_table(path)
    logger.info(
        f"the table of {missing.tables.header.device} has no row for the head of "
        f"{problem.space.num_classes} classes: measuring {len(missing.heads)} on it now"
    )
    samples = problem.folder.file(f"{problem.folder.table(number).stem}.heads.samples.jsonl")
    return missing.measured(samples, cache)

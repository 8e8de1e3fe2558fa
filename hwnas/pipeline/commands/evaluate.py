"""Architectures scored as a run's search scores them: ``hwnas evaluate``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from hwnas.arch import Arch
from hwnas.errors import InputError, UsageError
from hwnas.executor.local import TaskError
from hwnas.io.progress import report
from hwnas.pipeline.opening import reopen
from hwnas.pipeline.stages.evaluators import saved_evaluator
from hwnas.protocols import Evaluation
from hwnas.space.archfile import read_archs
from hwnas.space.catalogue import load_space
from hwnas.train.engine import DivergedError


def evaluate_run(path: Path, archs: Path) -> list[dict[str, Any]]:
    """Score architectures as a run's search scores them; return a record per line of the file.

    A run that searched by a supernet scores by its shared weights (of several budgets, by the first
    one's), one by a table's or predictor's file by the run folder's copy of it, another by training
    each network from scratch with the search's recipe. Lines may be of
    the same space at another width or number of classes. A line that is no architecture, or whose
    evaluation fails, gets a record with ``error``.
    """
    run = reopen(path)
    listed = read_archs(archs, run.space, names=_spellings(archs, run.space.name))
    by_supernet = run.config.search.evaluator.entry.trains == "supernet"
    if by_supernet and not run.folder.file("result.json").is_file():
        raise UsageError(
            f"{path} has no finished search yet. Next: hwnas search (as the run was "
            f"begun) --resume --out {path}"
        )
    records: list[dict[str, Any]] = [{} for _ in range(listed.num_lines)]
    for row, problem in listed.errors.items():
        records[row] = {"error": problem}
    if not len(listed.codes):
        return records
    evaluator = saved_evaluator(run)
    lines = archs.read_bytes().splitlines()
    scored = run.space.decode(listed.codes)
    untrained = (
        {(r.choice, r.option) for r in run.predictors[0].restricted if not r.beside}
        if (run.config.search.trains_gates)
        else set()
    )
    for arch, row in zip(scored, listed.rows.tolist(), strict=True):
        given = orjson.loads(lines[row])
        records[row] = {"arch_id": Arch.make(given["space"], given["choices"]).arch_id}
        if untrained & set(arch.items):
            records[row] = {
                "error": "uses an option without a row in the run's table, which its "
                "search never trained"
            }
    wanted = [
        place for place, row in enumerate(listed.rows.tolist()) if "error" not in records[row]
    ]
    try:
        for done, (place, found) in enumerate(evaluator.evaluate([scored[p] for p in wanted]), 1):
            records[int(listed.rows[wanted[place]])] |= _scored(found)
            report("evaluating", done, len(wanted))
    except (TaskError, DivergedError) as error:  # the lines that are done are not lost
        for place in wanted:
            record = records[int(listed.rows[place])]
            if not {"top1", "error"} & set(record):
                record["error"] = str(error)
    return records


def _scored(found: Evaluation) -> dict[str, Any]:
    """Return what ``hwnas evaluate`` prints of an evaluation beside the id."""
    if found.error is not None:
        return {"error": found.error}
    objectives = found.objectives
    loss = {"loss": objectives["loss"].value} if "loss" in objectives else {}
    return {"top1": objectives["top1"].value, **loss, "source": objectives["top1"].source}


def _spellings(archs: Path, name: str) -> list[str]:
    """Return the spaces that the lines name and that are ``name`` but for its parameters."""
    found = set()
    own, _, digest = name.partition("@")  # a user's own space; its digest changes with the classes
    base = own.partition(":")[0]
    for line in archs.read_bytes().splitlines() if archs.is_file() else ():
        try:
            given = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        space = given.get("space") if isinstance(given, dict) else None
        if not isinstance(space, str) or space in found:
            continue
        if digest and space.partition("@")[0] == own:
            found.add(space)
        elif not digest and space.partition(":")[0] == base:
            with suppress(InputError):  # parameters it does not have: the line will be told so
                found.add(load_space(space).name)
    return sorted(found)

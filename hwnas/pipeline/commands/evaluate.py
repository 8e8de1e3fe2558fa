"""Architectures scored as a run's search scores them: ``hwnas evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from hwnas.arch import Arch, Option
from hwnas.artifacts.answers import LineScore
from hwnas.artifacts.search import ResultFile
from hwnas.errors import InputError, UsageError
from hwnas.executor.local import TaskError
from hwnas.io.progress import report
from hwnas.io.suggest import command
from hwnas.pipeline.opening import reopen
from hwnas.pipeline.problem import Problem
from hwnas.protocols import Evaluation, Evaluator
from hwnas.space.archfile import read_archs
from hwnas.space.catalogue import load_space


def evaluate_run(path: Path, archs: Path) -> list[LineScore]:
    """Score architectures as a run's search scores them; return a score for each line of the file.

    A run that searched by a supernet scores by its shared weights (of several budgets, by the first
    one's), one by a table's or predictor's file by the run folder's copy of it, another by training
    each network from scratch with the search's recipe. Lines may be of
    the same space at another width or number of classes. A line that is no architecture, or whose
    evaluation fails, gets an ``error``.
    """
    context, config = reopen(path)
    space, settings = context.space, config.search
    listed = read_archs(archs, space, names=_spellings(archs, space.name))
    by_supernet = settings.evaluator.entry.trains == "supernet"
    if by_supernet and not ResultFile.path(path).is_file():
        raise UsageError(
            f"{path} has no finished search yet",
            next_step=command("search", resume=True, out=str(path)),
        )
    scores = {row: LineScore(error=problem) for row, problem in listed.errors.items()}
    if len(listed.codes):
        # (num_archs,) line numbers of the architectures, and their ids at their own width
        rows: list[int] = listed.rows.tolist()
        from hwnas.pipeline.stages.search.evaluators import saved_evaluator  # loads torch

        evaluator = saved_evaluator(context, settings)
        decoded = dict(zip(rows, space.decode(listed.codes), strict=True))
        untrained = _untrained(context.problem) if settings.trains_gates else frozenset()
        for row, arch in decoded.items():
            if untrained & set(arch.items):
                scores[row] = LineScore(
                    error="uses an option without a row in the run's table, which its search "
                    "never trained"
                )
        wanted = {row: arch for row, arch in decoded.items() if row not in scores}
        scores |= _scored(evaluator, wanted, _ids(archs, rows))
    return [scores[row] for row in range(listed.num_lines)]


def _untrained(problem: Problem) -> frozenset[tuple[str, Option]]:
    """Return the (choice, option) pairs that a search by gates leaves out."""
    restricted = problem.predictors[0].restricted
    return frozenset((one.choice, one.option) for one in restricted if not one.beside)


def _ids(archs: Path, rows: Sequence[int]) -> dict[int, str]:
    """Return the arch_id of each of these lines, in the space that the line names."""
    lines = archs.read_bytes().splitlines()
    given = {row: orjson.loads(lines[row]) for row in rows}
    return {row: Arch.make(one["space"], one["choices"]).arch_id for row, one in given.items()}


def _scored(
    evaluator: Evaluator, wanted: Mapping[int, Arch], ids: Mapping[int, str]
) -> dict[int, LineScore]:
    """Return the scores of ``wanted`` by line; those that an error leaves out hold its text."""
    from hwnas.train.engine import DivergedError  # loads torch

    rows, found = list(wanted), dict[int, LineScore]()
    try:
        for place, evaluation in evaluator.evaluate(list(wanted.values())):
            found[rows[place]] = _line_score(ids[rows[place]], evaluation)
            report("evaluating", len(found), len(wanted))
    except (TaskError, DivergedError) as error:  # the lines that are done are not lost
        failed = {row: LineScore(arch_id=ids[row], error=str(error)) for row in rows}
        return failed | found
    return found


def _line_score(arch_id: str, evaluation: Evaluation) -> LineScore:
    if evaluation.error is not None:
        return LineScore(arch_id=arch_id, error=evaluation.error)
    top1, loss = evaluation.objectives["top1"], evaluation.objectives.get("loss")
    score = LineScore(arch_id=arch_id, top1=top1.value, source=top1.source)
    return score if loss is None else score.model_copy(update={"loss": loss.value})


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

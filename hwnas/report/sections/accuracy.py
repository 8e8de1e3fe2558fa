"""Accuracy against latency: the points of the figure, and a row for each network in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from hwnas.artifacts.events import EvaluationEvent
from hwnas.artifacts.networks import ArchPart
from hwnas.artifacts.training import TrainedNetwork
from hwnas.artifacts.winner import WinnerFile
from hwnas.io.suggest import command
from hwnas.report.figures.pareto import pareto
from hwnas.report.figures.svg import Drawing, draw
from hwnas.report.figures.values import FrontLine, Point, Series
from hwnas.report.model import RunFacts, choices_text, interval95, top1
from hwnas.report.sections.answer import sorted_baselines
from hwnas.report.sections.blocks import (
    Block,
    Cell,
    Figure,
    Folded,
    Missing,
    Row,
    Table,
    Text,
    table,
)
from hwnas.report.sections.verdict import init_words
from hwnas.report.text import ms, percent, plain

MAX_ROWS = 300
"""Evaluated networks with a row of their own; the others have a tooltip only."""


def accuracy_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """Return the figure of everything the run evaluated, trained or measured, and its rows."""
    if not (facts.evaluations or facts.retrained or facts.winner):
        return (Missing("journal.jsonl", command("search", resume=True, out=str(facts.run))),)
    blocks: list[Block] = [Figure(accuracy_latency(facts))]
    if facts.front is None:
        blocks.append(Missing("front.json", command("search", resume=True, out=str(facts.run))))
    if facts.retrained is None:
        blocks.append(Missing("retrained.json", command("retrain", run=str(facts.run))))
    blocks += _supernet_start(facts)
    if facts.retrained and facts.retrained.random:
        blocks.append(Folded("Random networks, trained like the finalists", (_random(facts),)))
    if facts.evaluations:
        blocks.append(_evaluated_rows(facts))
    return tuple(blocks)


def _supernet_start(facts: RunFacts) -> list[Block]:
    start = facts.setting("search", "supernet", "init")
    if start is None:
        return []
    model = facts.setting("search", "supernet", "init_arch")
    of = f", weights of {plain(model)}" if model else ""
    trained = facts.setting("search", "supernet", "train")
    after = "was trained from there" if trained else "stayed as it was"
    return [
        Text(
            f"The supernet began with {PurePath(str(start)).name}{of}, and {after}; "
            "supernet-start.json lists what the file filled."
        )
    ]


def accuracy_latency(facts: RunFacts) -> Drawing:
    """Draw the evaluated networks, the front, what training made of the finalists, and rivals.

    Accuracies are top-1: the search's own estimate for evaluated points, the ``val`` split after
    training for finalists, random networks, winner and baselines.
    """
    series = pareto_series(facts)
    points = facts.front.points if facts.front else ()
    steps = tuple((point.latency_ms, point.top1) for point in points if point.on_front)
    fronts = [FrontLine("front of the search", steps)] if steps else []
    counts = "; ".join(f"{one.label}: {len(one.points)}" for one in series if one.points)
    budgets = ", ".join(ms(budget) for budget in facts.budgets_ms) or "none"
    return draw(
        "accuracy-latency",
        "Accuracy against latency",
        lambda form: pareto(series, fronts, facts.budgets_ms, form=form),
        description=(
            f"Scatter plot of top-1 accuracy against latency. {counts}. Budget: {budgets}."
        ),
        caption=(
            f"n = {len(facts.evaluations)} evaluated architectures. Latency in ms at batch 1: "
            "predicted for what the search evaluated, for finalists and for random networks, "
            "measured on the device for the winner and the baselines. A vertical line is the 95 % "
            "interval of an accuracy. Estimates of the search and accuracies after training are "
            "different quantities; compare like with like. Hover over a point for its network, "
            "click to go to its row."
        ),
        points=[point for one in series for point in one.points],
    )


def pareto_series(facts: RunFacts) -> list[Series]:
    """Return the points of a run by kind: evaluated, random, finalists, baselines, winner."""
    return [
        *_searched(facts),
        *_by_source("random networks", facts.random, ["muted"], "v", 18, {}),
        *_trained(facts),
        *_measured(facts),
    ]


def _searched(facts: RunFacts) -> list[Series]:
    anchors = {id(one): f"evaluation-{one.index}" for one in rows_shown(facts)}
    colors = ["sky", "purple", "muted"]
    return _by_source("evaluated", facts.evaluations, colors, "o", 22, anchors)


def _by_source(
    name: str,
    evaluations: Iterable[EvaluationEvent],
    colors: Sequence[str],
    marker: str,
    size: float,
    anchors: dict[int, str],
) -> list[Series]:
    """Return one series per pair of sources, so that the legend says where numbers are from."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for one in evaluations:
        score = top1(one.objectives)
        if score is None:
            continue
        point = Point(
            one.latency_ms,
            score[0],
            lines=_lines(
                f"{name}: {one.arch_id}",
                one.arch,
                f"predicted {ms(one.latency_ms)} ({one.latency_source})",
                f"{percent(score[0])}, estimated by {score[1]}",
            ),
            anchor=anchors.get(id(one), ""),
        )
        groups.setdefault((one.latency_source, score[1]), []).append(point)
    return [
        Series(
            f"{name} (ms: {latency_source}, top-1: {source})",
            tuple(points),
            colors[number % len(colors)],
            marker,
            size,
        )
        for number, ((latency_source, source), points) in enumerate(groups.items())
    ]


def _lines(title: str, arch: ArchPart | None, latency: str, accuracy: str) -> tuple[str, ...]:
    """Return the lines of a tooltip."""
    choices = (choices_text(arch),) if arch is not None else ()
    return (title, *choices, f"latency: {latency}", f"top-1: {accuracy}")


def _trained(facts: RunFacts) -> list[Series]:
    retrained = facts.retrained
    if retrained is None:
        return []
    source = "scratch" if retrained.init is None else "published weights"
    return [
        Series(
            f"random networks (ms: predicted, top-1: {source}, val)",
            tuple(
                _trained_point(facts, one, "random network", f"random-{number}")
                for number, one in enumerate(retrained.random)
            ),
            "purple",
            "v",
            34,
        ),
        Series(
            f"finalists (ms: predicted, top-1: {source}, val)",
            tuple(
                _trained_point(facts, one, "finalist", f"finalist-{one.searched_network_id}")
                for one in retrained.finalists
            ),
            "orange",
            "s",
            38,
        ),
    ]


def _trained_point(facts: RunFacts, one: TrainedNetwork, kind: str, anchor: str) -> Point:
    drawn = facts.winner.random_baseline if facts.winner else None
    is_best_random = kind != "finalist" and drawn is not None and drawn.arch_id == one.arch_id
    interval = interval95(one.val.top1, one.val.num_images)
    row = facts.measured(one.arch_id)
    measured = f", measured {ms(row.measurement.latency_ms)}" if row else ""
    known = _finalist_ids(facts)
    has_row = kind != "finalist" or one.searched_network_id in known
    return Point(
        one.latency_ms,
        one.val.top1,
        interval,
        name="best random" if is_best_random else "",
        lines=_lines(
            f"{kind}: {one.arch_id}",
            one.arch,
            f"predicted {ms(one.latency_ms)}{measured}",
            f"{_with_interval(one.val.top1, interval)} on val, {one.val.source}{_folds(one)}",
        ),
        anchor=anchor if has_row else "",
    )


def _finalist_ids(facts: RunFacts) -> set[str]:
    answers = facts.finalists.answers if facts.finalists else ()
    return {one.network_id for answer in answers for one in answer.finalists}


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return percent(value)
    return f"{percent(value)} (95 % interval {percent(interval[0])} to {percent(interval[1])})"


def _measured(facts: RunFacts) -> list[Series]:
    winner = facts.winner
    if winner is None:
        return []
    series = [
        Series(
            "baselines (ms: measured, top-1: scratch, val)",
            tuple(_baseline_points(winner, _num_val(facts))),
            "green",
            "^",
            44,
        )
    ]
    if winner.measured_ms is None or winner.val_top1 is None:
        return series
    interval = interval95(winner.val_top1, _num_val(facts))
    test = ""
    if winner.test is not None:
        test = f"; {_with_interval(winner.test.top1, winner.test.ci95)} on test"
    point = Point(
        winner.measured_ms,
        winner.val_top1,
        interval,
        lines=_lines(
            f"winner: {winner.arch_id}",
            winner.arch,
            f"predicted {ms(winner.predicted_ms)}, measured {ms(winner.measured_ms)}",
            f"{_with_interval(winner.val_top1, interval)} on val, {init_words(winner.init)}{test}",
        ),
        anchor="network",
    )
    source = "scratch" if winner.init is None else "published weights"
    label = f"winner (ms: measured, top-1: {source}, val)"
    return [*series, Series(label, (point,), "red", "*", 190)]


def _folds(one: TrainedNetwork) -> str:
    return f", {one.val.folds} folds" if one.val.folds else ""


def _num_val(facts: RunFacts) -> int | None:
    """Return the number of images of the split ``val``, as the finalists were scored on it."""
    every = facts.retrained.finalists if facts.retrained else ()
    return next((one.val.num_images for one in every), None)


def _baseline_points(winner: WinnerFile, num_images: int | None) -> Iterable[Point]:
    for number, model in enumerate(sorted_baselines(winner)):
        interval = interval95(model.val_top1, num_images)
        yield Point(
            model.measured_ms,
            model.val_top1,
            interval,
            name=model.name[:28],
            lines=_lines(
                f"baseline: {model.name}",
                None,
                f"measured {ms(model.measured_ms)}",
                f"{_with_interval(model.val_top1, interval)} on val"
                + (f"; {percent(model.test_top1)} on test" if model.test_top1 is not None else ""),
            ),
            anchor=f"baseline-{number}",
        )


def rows_shown(facts: RunFacts) -> list[EvaluationEvent]:
    """Return the evaluated networks that have a row: the most accurate, one per index."""
    scored = {one.index: one for one in facts.evaluations if top1(one.objectives) is not None}
    ranked = sorted(scored.values(), key=lambda one: -(top1(one.objectives) or (0.0, ""))[0])
    return ranked[:MAX_ROWS]


def _evaluated_rows(facts: RunFacts) -> Folded:
    shown = rows_shown(facts)
    front = {p.arch_id for p in facts.front.points if p.on_front} if facts.front else set()
    rows = []
    for one in shown:
        value, source = top1(one.objectives) or (0.0, "")
        rows.append(
            Row(
                (
                    Cell(one.arch_id, "code"),
                    choices_text(one.arch),
                    ms(one.latency_ms),
                    percent(value),
                    source,
                    "yes" if one.arch_id in front else "",
                ),
                f"evaluation-{one.index}",
            )
        )
    columns = [
        ("architecture", False),
        ("options", False),
        ("predicted", True),
        ("top-1", True),
        ("source", False),
        ("on the front", False),
    ]
    number = len(facts.evaluations)
    title = (
        f"The {len(shown)} evaluated networks"
        if len(shown) == number
        else (f"The {len(shown)} most accurate of {number} evaluated networks")
    )
    return Folded(title, (table(columns, rows),), "evaluated")


def _random(facts: RunFacts) -> Table:
    every = facts.retrained.random if facts.retrained else ()
    rows = [
        Row(
            (
                Cell(one.arch_id, "code"),
                choices_text(one.arch),
                ms(one.latency_ms),
                percent(one.val.top1),
                one.val.source + _folds(one),
            ),
            f"random-{number}",
        )
        for number, one in enumerate(every)
    ]
    columns = [
        ("architecture", False),
        ("options", False),
        ("predicted", True),
        ("top-1, val", True),
        ("source", False),
    ]
    return table(columns, rows)

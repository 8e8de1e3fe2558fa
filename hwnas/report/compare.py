"""Several runs side by side: a page, a table for the terminal, and plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from hwnas.artifacts.base import JsonObject
from hwnas.errors import UsageError
from hwnas.report.cross import Matrix, rows_of
from hwnas.report.figures.pareto import pareto
from hwnas.report.figures.svg import draw
from hwnas.report.figures.values import FrontLine, Point, Series
from hwnas.report.model import RunFacts, ledger, read_run, total_cost
from hwnas.report.page import page_html
from hwnas.report.sections.accuracy import pareto_series
from hwnas.report.sections.blocks import (
    Bar,
    Bars,
    Block,
    Figure,
    Section,
    Table,
    Text,
    table,
)
from hwnas.report.sections.verdict import verdict
from hwnas.report.text import ABSENT, count, integer, ms, percent, plain, seconds

COLORS = ("blue", "orange", "green", "purple", "red", "sky")
COMPARED = {"finalists": ("s", 38.0), "winner": ("*", 190.0), "random": ("v", 26.0)}
"""Kinds of points of the comparison, by the first word of their label: marker and size."""


@dataclass(frozen=True)
class Summary:
    """One run in figures; None where the run has not come that far. Accuracies are fractions."""

    run: str
    space: str | None
    strategy: str | None
    seed: int | None
    device: str | None
    runtime: str | None
    precision: str | None
    budgets_ms: tuple[float, ...]
    winner: str | None
    predicted_ms: float | None
    measured_ms: float | None
    within_budget: bool | None
    val_top1: float | None
    test_top1: float | None
    test_ci95: tuple[float, float] | None
    random_test_top1: float | None
    baseline_test_top1: float | None
    params: int | None
    macs: int | None
    num_evaluations: int
    wall_s: float
    images_trained: float | None


@dataclass(frozen=True)
class Comparison:
    """Several runs; ``matrix`` has each run's network on each run's device, where they allow it."""

    facts: tuple[RunFacts, ...]
    summaries: tuple[Summary, ...]
    matrix: Matrix | None = None

    def to_json(self) -> JsonObject:
        """Return the object that ``hwnas report RUN RUN --json`` prints."""
        as_plain = TypeAdapter(Summary)
        return {
            "schema": 1,
            "runs": [as_plain.dump_python(one, mode="json") for one in self.summaries],
            "on_devices": self.matrix.to_json()["networks"] if self.matrix else None,
        }


def compare(runs: Sequence[Path], matrix: Matrix | None = None) -> Comparison:
    """Read the runs and return them side by side.

    Raises:
        UsageError: fewer than two runs.
        InputError: one is no run folder, or a file in it is broken.
    """
    if len(runs) < 2:
        raise UsageError(f"a comparison takes two runs or more, got {len(runs)}")
    facts = tuple(read_run(run) for run in runs)
    return Comparison(facts, tuple(summary(one) for one in facts), matrix)


def summary(facts: RunFacts) -> Summary:
    """Return the figures of a run that are compared."""
    winner, result, target = facts.winner, facts.result, facts.target
    test = winner.test if winner else None
    baselines = [
        one.test_top1
        for one in (winner.baselines if winner else ())
        if winner is not None and one.measured_ms <= winner.budget_ms
    ]
    drawn = winner.random_baseline if winner else None
    cost = total_cost([stage.cost for stage in facts.stages])
    measured = winner.measured_ms if winner else None
    return Summary(
        run=str(facts.run),
        space=result.space if result else _text(facts.setting("space")),
        strategy=result.strategy if result else _text(facts.setting("search", "strategy")),
        seed=result.seed if result else None,
        device=target.device,
        runtime=target.runtime,
        precision=target.precision,
        budgets_ms=facts.budgets_ms,
        winner=winner.arch_id if winner else None,
        predicted_ms=winner.predicted_ms if winner else None,
        measured_ms=measured,
        within_budget=measured <= winner.budget_ms if winner and measured else None,
        val_top1=winner.val_top1 if winner else None,
        test_top1=test.top1 if test else None,
        test_ci95=test.ci95 if test else None,
        random_test_top1=drawn.test_top1 if drawn else None,
        baseline_test_top1=max(baselines, default=None),
        params=winner.params if winner else None,
        macs=winner.macs if winner else None,
        num_evaluations=len(facts.evaluations),
        wall_s=sum(one.wall_s for one in ledger(facts.stages)),
        images_trained=cost.get("images_trained"),
    )


def _text(value: JsonValue) -> str | None:
    return None if value is None else plain(value)


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the comparison as text: a heading per run, a row per figure."""
    runs = comparison.summaries

    def interval(one: Summary) -> str:
        if one.test_ci95 is None:
            return ABSENT
        return f"{percent(one.test_ci95[0])} to {percent(one.test_ci95[1])}"

    rows = [
        ["space", *(plain(one.space) for one in runs)],
        ["strategy", *(plain(one.strategy) for one in runs)],
        ["seed", *(plain(one.seed) for one in runs)],
        ["device", *(plain(one.device) for one in runs)],
        ["runtime", *(f"{plain(one.runtime)} {plain(one.precision)}" for one in runs)],
        ["budget", *(", ".join(map(ms, one.budgets_ms)) or ABSENT for one in runs)],
        ["winner", *(one.winner or ABSENT for one in runs)],
        ["predicted", *(ms(one.predicted_ms) for one in runs)],
        ["measured", *(ms(one.measured_ms) for one in runs)],
        ["within the budget", *(plain(one.within_budget) for one in runs)],
        ["test top-1", *(percent(one.test_top1) for one in runs)],
        ["95 % interval", *(interval(one) for one in runs)],
        ["val top-1", *(percent(one.val_top1) for one in runs)],
        ["best random network, test", *(percent(one.random_test_top1) for one in runs)],
        ["best baseline within, test", *(percent(one.baseline_test_top1) for one in runs)],
        ["parameters", *(count(one.params) for one in runs)],
        ["MACs", *(count(one.macs) for one in runs)],
        ["evaluations", *(integer(one.num_evaluations) for one in runs)],
        ["wall time", *(seconds(one.wall_s) for one in runs)],
        ["images trained", *(count(one.images_trained) for one in runs)],
    ]
    return ["", *names_of(comparison)], rows


def names_of(comparison: Comparison) -> list[str]:
    """Return a short name for each run: its folder's, with the parents that set it apart."""
    paths = [one.run.resolve() for one in comparison.facts]
    for length in range(1, 4):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def comparison_page(comparison: Comparison) -> str:
    """Return the comparison as an HTML page that needs no other file."""
    sections = [
        Section("accuracy", "Accuracy against latency", (_figure(comparison),)),
        Section("runs", "Run by run", (_table(comparison), *_verdicts(comparison))),
        Section("cost", "What each cost", (_cost(comparison),)),
    ]
    if comparison.matrix is not None:
        blocks = matrix_blocks(comparison.matrix)
        sections.append(Section("devices", "Each network on each device", blocks))
    return page_html(
        "compare.html.j2",
        title=" against ".join(names_of(comparison)),
        subtitle=f"Comparison of {len(comparison.facts)} runs.",
        sections=sections,
    )


def matrix_page(matrix: Matrix) -> str:
    """Return the networks on the devices of the other runs as an HTML page."""
    return page_html(
        "compare.html.j2",
        title=f"Networks of {matrix.networks[0].space} on the devices of others",
        subtitle=f"{len(matrix.networks)} runs.",
        sections=[Section("devices", "Each network on each device", matrix_blocks(matrix))],
    )


def matrix_blocks(matrix: Matrix) -> tuple[Block, ...]:
    """Return the matrix as a table, with how to read it."""
    titles, rows = rows_of(matrix)
    return (
        Text(
            "Each row is the network of the run for one device; latencies are predicted by each "
            f"device's table, accuracies are of source {matrix.networks[0].source}. Regret is how "
            "much more accurate the device's own network is."
        ),
        table([(titles[0], False), *((title, True) for title in titles[1:])], rows),
    )


def _figure(comparison: Comparison) -> Figure:
    """Draw finalists, random networks, winner and front of each run, a colour a run."""
    series: list[Series] = []
    fronts: list[FrontLine] = []
    names = names_of(comparison)
    for number, (facts, name) in enumerate(zip(comparison.facts, names, strict=True)):
        color = COLORS[number % len(COLORS)]
        for one in pareto_series(facts):
            kind = one.label.split()[0]
            if kind in COMPARED and one.points and "top-1: supernet" not in one.label:
                marker, size = COMPARED[kind]
                points = tuple(_of_run(point, name) for point in one.points)
                series.append(Series(f"{name}: {kind}", points, color, marker, size))
        if facts.front:
            steps = [(p.latency_ms, p.top1) for p in facts.front.points if p.on_front]
            fronts.append(FrontLine(f"{name}: front of the search", tuple(steps), color))
    budgets = sorted({budget for facts in comparison.facts for budget in facts.budgets_ms})
    counts = "; ".join(f"{one.label} {len(one.points)}" for one in series)
    drawing = draw(
        "comparison",
        "Accuracy against latency of all runs",
        lambda form: pareto(series, fronts, budgets, form=form),
        description=f"Scatter plot of top-1 accuracy against latency. {counts}.",
        caption=(
            "Squares: finalists after training; triangles: random networks trained like them; "
            "stars: winners, at their measured latency; vertical lines: 95 % intervals on val. "
            "Lines: the front of each search, by its own estimates of accuracy."
        ),
        points=[point for one in series for point in one.points],
    )
    return Figure(drawing)


def _of_run(point: Point, name: str) -> Point:
    """Return the point with its run in the tooltip; its row is on another page."""
    return Point(point.latency_ms, point.top1, point.interval, lines=(f"run {name}", *point.lines))


def _table(comparison: Comparison) -> Table:
    titles, rows = comparison_rows(comparison)
    return table([(titles[0], False), *((title, True) for title in titles[1:])], rows)


def _verdicts(comparison: Comparison) -> list[Text]:
    names = names_of(comparison)
    return [
        Text(f"{name}: {verdict(facts).headline}")
        for name, facts in zip(names, comparison.facts, strict=True)
    ]


def _cost(comparison: Comparison) -> Bars:
    longest = max(one.wall_s for one in comparison.summaries) or 1.0
    bars = tuple(
        Bar(
            name,
            one.wall_s / longest,
            seconds(one.wall_s),
            note=" · ".join(
                f"{stage.stage} {seconds(stage.wall_s)}" for stage in ledger(facts.stages)
            ),
        )
        for name, one, facts in zip(
            names_of(comparison), comparison.summaries, comparison.facts, strict=True
        )
    )
    words = ", ".join(f"{bar.name} {bar.value}" for bar in bars)
    return Bars(f"wall time by run: {words}", bars)

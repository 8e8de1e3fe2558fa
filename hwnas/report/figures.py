"""The report's charts, drawn with matplotlib's figure objects and returned as SVG text.

Nothing here touches pyplot or the global settings of matplotlib. Every chart carries a title and a
description for readers who do not see it, and a caption that says n, unit and source.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas.report.facts import RunFacts, Slot, network_pairs, top1
from hwnas.report.formats import large, ms, percent, significant
from hwnas.report.markup import element, join
from hwnas.report.outcomes import Init
from hwnas.report.records import Audit, EvaluationRecord
from hwnas.report.theme import light

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Drawing:
    """One figure: ``name`` (of its file), SVG text, its words for the blind, its caption.

    On the page it is between ``min_width`` and ``max_width`` px wide, so that its letters stay
    legible.
    """

    name: str
    svg: str
    description: str
    caption: str
    min_width: int
    max_width: int


@dataclass(frozen=True)
class Series:
    """Points of one kind in a scatter plot: latencies in ms against a second quantity."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    color: str
    marker: str
    size: float
    names: Sequence[str] = ()


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of ``width`` x ``height`` inches in the report's look."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=light("paper"))
    axes = figure.subplots()
    axes.set_facecolor(light("paper"))
    axes.grid(True, color=light("line"), linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=light("muted"), labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(light("line"))
    return figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=light("ink"), fontsize=10)
    axes.set_ylabel(y, color=light("ink"), fontsize=10)


def _legend(figure: Figure, columns: int) -> None:
    legend = figure.legend(
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=light("ink"),
        handletextpad=0.4,
        columnspacing=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # labels hold text of files


def _scatter(axes: Axes, series: Iterable[Series]) -> None:
    shown = [one for one in series if one.x]
    values = [x for one in shown for x in one.x]
    middle = (min(values) + max(values)) / 2 if values else 0.0
    for kind in shown:
        axes.scatter(
            kind.x,
            kind.y,
            s=kind.size,
            c=light(kind.color),
            marker=kind.marker,
            label=kind.label,
            linewidths=0.5,
            edgecolors=light("paper"),
            zorder=3,
        )
        for number, (x, y, name) in enumerate(zip(kind.x, kind.y, kind.names, strict=False)):
            left = x <= middle
            below = -14 - 11 * number  # one under the other: neighbours would overlap
            text = axes.annotate(
                name,
                (x, y),
                xytext=(6 if left else -6, below),
                fontsize=8,
                ha="left" if left else "right",
                textcoords="offset points",
                color=light("ink"),
                parse_math=False,
            )
            text.set_in_layout(False)  # long names must not squeeze the plot


def _drawing(figure: Figure, name: str, title: str, description: str, caption: str) -> Drawing:
    buffer = io.StringIO()
    # real text (small, selectable) and the same ids in every run; undone when the block ends
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # names in other scripts are text here, drawn by the reader's own fonts
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width = figure.get_figwidth()
    return Drawing(
        name,
        accessible(buffer.getvalue(), name, title, description),
        description,
        caption,
        min_width=round(70 * width),
        max_width=round(105 * width),
    )


def accessible(svg: str, name: str, title: str, description: str) -> str:
    """Return an SVG document with a title and description, ids unique by ``name``, no metadata."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, body)
    opening, rest = body.split(">", 1)
    words = join(
        [
            element("title", title, attrs={"id": f"{name}-title"}),
            element("desc", description, attrs={"id": f"{name}-desc"}),
        ]
    )
    labels = f' role="img" aria-labelledby="{name}-title {name}-desc"'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{opening}{labels}>{words}{rest}'


# accuracy against latency ------------------------------------------------------------------------


def accuracy_latency(facts: RunFacts) -> Drawing:
    """Draw the evaluated architectures, the front, what training made of the finalists, and rivals.

    Accuracies are top-1 in percent: the search's own estimate for evaluated points, the ``val``
    split after training from scratch for finalists, winner and shelf models.
    """
    figure, axes = _axes(7.6, 4.6)
    series = [*_searched(facts.evaluations), *_trained(facts)]
    _scatter(axes, series)
    if facts.front:
        front = sorted((p.latency_ms, 100 * p.top1) for p in facts.front.points if p.on_front)
        axes.plot(
            [x for x, _ in front],
            [y for _, y in front],
            color=light("blue"),
            linewidth=1.4,
            label=f"front of the search (n = {len(front)})",
            drawstyle="steps-post",
        )
    _budget_lines(axes, facts.budgets_ms)
    _label(axes, "latency (ms, batch 1)", "top-1 (%)")
    _legend(figure, 2)
    counts = "; ".join(f"{one.label}: {len(one.x)}" for one in series if one.x)
    description = (
        f"Scatter plot of top-1 accuracy against latency. {counts}. "
        f"Budget: {', '.join(ms(budget) for budget in facts.budgets_ms) or 'none'}."
    )
    caption = (
        f"n = {len(facts.evaluations)} evaluated architectures. Latency in ms at batch 1: "
        "predicted for what the search evaluated and for finalists, measured on the device for the "
        "winner and shelf models. Estimates of the search and accuracies after training from "
        "scratch are different quantities; compare like with like."
    )
    return _drawing(figure, "accuracy-latency", "Accuracy against latency", description, caption)


def _searched(evaluations: tuple[EvaluationRecord, ...]) -> list[Series]:
    """Return one series per pair of sources, so that the legend tells where numbers came from."""
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for evaluation in evaluations:
        found = top1(evaluation.objectives)
        if found is not None:
            key = (evaluation.latency_source, found[1])
            groups.setdefault(key, []).append((evaluation.latency_ms, 100 * found[0]))
    return [
        Series(
            f"evaluated (ms: {latency_source}, top-1: {source})",
            [x for x, _ in points],
            [y for _, y in points],
            color,
            "o",
            22,
        )
        for ((latency_source, source), points), color in zip(
            groups.items(), ["sky", "purple", "muted"] * len(groups), strict=False
        )
    ]


def _trained(facts: RunFacts) -> list[Series]:
    series = []
    if facts.retrained:
        finalists, init = facts.retrained.finalists, facts.retrained.init
        series.append(
            Series(
                f"finalists (ms: predicted, top-1: {_source(init)}, val)",
                [one.latency_ms for one in finalists],
                [100 * one.val.top1 for one in finalists],
                "orange",
                "s",
                38,
            )
        )
    winner = facts.winner
    if winner is None:
        return series
    rivals = [
        (model.measured_ms, 100 * model.val_top1, model.name)
        for model in winner.shelf
        if model.measured_ms is not None and model.val_top1 is not None
    ]
    series.append(
        Series(
            "shelf models (ms: measured, top-1: scratch, val)",
            [x for x, _, _ in rivals],
            [y for _, y, _ in rivals],
            "green",
            "^",
            44,
            [name[:28] for _, _, name in rivals],
        )
    )
    if winner.measured_ms is not None and winner.val_top1 is not None:
        series.append(
            Series(
                f"winner (ms: measured, top-1: {_source(winner.init)}, val)",
                [winner.measured_ms],
                [100 * winner.val_top1],
                "red",
                "*",
                190,
            )
        )
    return series


def _source(init: Init | None) -> str:
    return "scratch" if init is None else "published weights"


def _budget_lines(axes: Axes, budgets_ms: Sequence[float]) -> None:
    for number, budget in enumerate(budgets_ms):
        axes.axvline(
            budget,
            color=light("ink"),
            linewidth=1.1,
            linestyle=(0, (5, 3)),
            label="budget" if number == 0 else "_nolegend_",
        )


# predicted against measured ----------------------------------------------------------------------


def predicted_measured(facts: RunFacts) -> Drawing | None:
    """Draw predicted against measured latency of whole networks; None if no pair is known."""
    styles = {
        "validate": ("networks kept for validation", "blue", "o"),
        "winner": ("of these, such as searches find", "green", "s"),
        "calibrate": ("networks the calibration saw", "sky", "D"),
        "sentinel": ("sentinel networks", "purple", "v"),
    }
    pairs: dict[str, list[tuple[float, float]]] = {}
    for pair in network_pairs(facts.table) if facts.table else ():
        pairs.setdefault(pair.role, []).append((pair.measured_ms, pair.predicted_ms))
    rows = facts.bench.rows if facts.bench else ()
    later = [
        (row.measurement.latency_ms, row.predicted_ms)
        for row in rows
        if row.predicted_ms is not None
    ]
    series = [_pairs(*styles[role], found) for role, found in pairs.items()]
    if later:
        series.append(_pairs("finalists and shelf, measured later", "red", "s", later))
    if not series:
        return None
    figure, axes = _axes(6.4, 5.0)
    _scatter(axes, series)
    values = [value for one in series for value in (*one.x, *one.y)]
    ends = [0.95 * min(values), 1.05 * max(values)]
    axes.plot(ends, ends, color=light("ink"), linewidth=1, label="predicted = measured")
    for number, factor in enumerate((0.95, 1.05)):
        axes.plot(
            ends,
            [factor * end for end in ends],
            color=light("muted"),
            linewidth=0.9,
            linestyle=(0, (4, 3)),
            label="± 5 %" if number == 0 else "_nolegend_",
        )
    _label(axes, "measured (ms)", "predicted (ms)")
    _legend(figure, 2)
    counts = "; ".join(f"{one.label}: {len(one.x)}" for one in series)
    description = f"Scatter plot of predicted against measured latency. {counts}."
    caption = (
        f"n = {sum(len(one.x) for one in series)} networks, ms at batch 1. Predicted by the "
        "latency table, measured on the device."
    )
    return _drawing(
        figure, "predicted-measured", "Predicted against measured latency", description, caption
    )


def _pairs(label: str, color: str, marker: str, pairs: list[tuple[float, float]]) -> Series:
    return Series(label, [x for x, _ in pairs], [y for _, y in pairs], color, marker, 34)


# the space ---------------------------------------------------------------------------------------


def space_distribution(audit: Audit, budgets_ms: Sequence[float]) -> Drawing | None:
    """Draw the cumulative distribution of predicted latency over the space's codes.

    The curve joins the audit's percentiles; None if it holds fewer than two.
    """
    points = sorted(audit.percentiles.items())
    ends = [(0.0, audit.fastest_ms), (100.0, audit.slowest_ms)]
    points = sorted(
        points
        + [
            (level, value)
            for level, value in ends
            if value is not None and level not in dict(points)
        ]
    )
    if len(points) < 2:
        return None
    figure, axes = _axes(7.6, 3.2)
    levels, values = [level for level, _ in points], [value for _, value in points]
    axes.plot(
        values,
        levels,
        color=light("blue"),
        linewidth=1.6,
        marker="o",
        markersize=4,
        label="codes of the space",
    )
    axes.fill_between(values, levels, color=light("sky"), alpha=0.18, linewidth=0)
    _budget_lines(axes, budgets_ms)
    axes.set_ylim(0, 103)
    _label(axes, "predicted latency (ms, batch 1)", "codes at most this slow (%)")
    _legend(figure, 2)
    description = (
        f"Cumulative distribution of predicted latency from {ms(values[0])} to {ms(values[-1])}; "
        f"budget {', '.join(ms(budget) for budget in budgets_ms) or 'none'}."
    )
    known = "" if audit.num_codes is None else f" of {large(audit.num_codes)} codes"
    caption = (
        f"Percentiles{known}, predicted by the latency table, ms at batch 1; the ends are "
        "the exact fastest and slowest network."
    )
    return _drawing(figure, "space-distribution", "Latency of the space", description, caption)


# the winner's time -------------------------------------------------------------------------------


def time_per_operation(slots: Sequence[Slot]) -> Drawing | None:
    """Draw the table's time of each of the winner's operations; None if no row is known."""
    timed = [(number, slot) for number, slot in enumerate(slots) if slot.table_ms is not None]
    if not timed:
        return None
    executed = sum(slot.op is not None for slot in slots)
    figure, axes = _axes(7.6, 1.1 + 0.27 * len(timed))
    names = [operation_name(slot) for _, slot in timed]
    times = [slot.table_ms or 0.0 for _, slot in timed]
    total = sum(times)
    bars = axes.barh(range(len(timed)), times, color=light("blue"), height=0.72)
    axes.bar_label(
        bars,
        [f"{significant(t)}  ({percent(t / total, 0)})" for t in times],
        padding=4,
        fontsize=8,
        color=light("ink"),
    )
    axes.set_yticks(range(len(timed)), names, fontsize=8)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1.22 * max(times))
    _label(axes, "table latency (ms, batch 1)", "")
    slowest = max(zip(times, names, strict=True))
    description = (
        f"Bar chart of {len(timed)} operations in order of execution; the slowest is "
        f"{slowest[1]} with {ms(slowest[0])} of {ms(total)} in all."
    )
    caption = (
        f"n = {len(timed)} of {executed} operations with a row in the latency table; ms at "
        f"batch 1, each measured alone, {ms(total)} in all before calibration."
    )
    return _drawing(
        figure, "time-per-operation", "Where the winner's time goes", description, caption
    )


def operation_name(slot: Slot) -> str:
    """Return what a reader calls an operation: the choice behind it, or its kind and width."""
    if slot.op is None:
        return f"{slot.option} (skipped)"
    if slot.option:
        return slot.option
    return f"{slot.op.kind} {slot.op.in_shape[0]}→{slot.op.out_channels}"

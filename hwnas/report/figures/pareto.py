"""Accuracy against latency: every network a point, the front of the search, the budgets."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas.report.figures.style import WIDE, Form, axes_of, budget_lines, label, legend, light
from hwnas.report.figures.values import FrontLine, Point, Series

NAME_POINTS = 8
TO_THE_RIGHT = 0.7
"""Share of the axes up to which a name stands on the right of its point."""


def pareto(
    series: Sequence[Series],
    fronts: Sequence[FrontLine] = (),
    budgets_ms: Sequence[float] = (),
    *,
    form: Form = WIDE,
) -> Figure:
    """Draw top-1 (%) against latency (ms): points by kind, fronts as steps, budgets as lines.

    A vertical bar is the 95 % interval of a point's accuracy. Each point is a link to ``#point-N``,
    N counting the points of all series in order: ``svg.with_tooltips`` gives it its target.
    """
    figure, (axes,) = axes_of(form, 4.9 if form.is_narrow else 4.7)
    number = 0
    for kind in series:
        _scatter(axes, kind, number)
        number += len(kind.points)
    _names(axes, [point for kind in series for point in kind.points])
    for front in fronts:
        steps = sorted(front.points)
        axes.plot(
            [x for x, _ in steps],
            [100 * y for _, y in steps],
            color=light(front.color),
            linewidth=1.4,
            label=f"{front.label} (n = {len(steps)})",
            drawstyle="steps-post",
        )
    budget_lines(axes, budgets_ms)
    label(axes, "latency (ms, batch 1)", "top-1 (%)")
    legend(figure, form)
    return figure


def _scatter(axes: Axes, kind: Series, first: int) -> None:
    if not kind.points:
        return
    x = [point.latency_ms for point in kind.points]
    y = [100 * point.top1 for point in kind.points]
    for point in kind.points:
        if point.interval is not None:
            axes.vlines(
                point.latency_ms,
                100 * point.interval[0],
                100 * point.interval[1],
                color=light(kind.color),
                linewidth=0.9,
                alpha=0.55,
                zorder=2.5,
            )
    markers = axes.scatter(
        x,
        y,
        s=kind.size,
        c=light(kind.color),
        marker=kind.marker,
        label=kind.label,
        linewidths=0.5,
        edgecolors=light("paper"),
        zorder=3,
    )
    markers.set_urls([f"#point-{first + number}" for number in range(len(x))])


def _names(axes: Axes, points: Sequence[Point]) -> None:
    """Write the names of the points that have one, towards the middle, clear of each other."""
    if not points:
        return
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    letter, line = _letter(axes)
    placed: list[tuple[float, float, float]] = []
    for point in (point for point in points if point.name):
        # places as shares of the axes
        x = (point.latency_ms - left) / (right - left)
        y = (100 * point.top1 - low) / (high - low)
        width = letter * len(point.name)
        start, end = (x, x + width) if x <= TO_THE_RIGHT else (x - width, x)
        while any(
            start < other_end and other_start < end and abs(y - above) < line
            for other_start, other_end, above in placed
        ):
            y -= line
        placed.append((start, end, y))
        text = axes.annotate(
            point.name,
            (point.latency_ms, low + y * (high - low)),
            xytext=(7 if x <= TO_THE_RIGHT else -7, -3),
            fontsize=NAME_POINTS,
            ha="left" if x <= TO_THE_RIGHT else "right",
            textcoords="offset points",
            color=light("ink"),
            parse_math=False,
        )
        text.set_in_layout(False)  # long names must not squeeze the plot


def _letter(axes: Axes) -> tuple[float, float]:
    """Return the width of a letter of a name and the height of a line, as shares of the axes."""
    figure, place = axes.get_figure(root=True), axes.get_position()
    assert figure is not None
    width, height = figure.get_size_inches() * 72
    return 0.55 * NAME_POINTS / (width * place.width), 1.35 * NAME_POINTS / (height * place.height)

"""Figures about latency: predicted against measured, the space's distribution, the breakdown."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from hwnas.report.figures.style import (
    WIDE,
    Form,
    axes_of,
    budget_lines,
    label,
    legend,
    light,
)
from hwnas.report.figures.values import NetworkPair
from hwnas.report.text import percent, significant

STYLES = {  # of a network's role: words, colour, marker
    "validate": ("networks kept for validation", "blue", "o"),
    "winner": ("of these, such as searches find", "green", "s"),
    "calibrate": ("networks the calibration saw", "sky", "D"),
    "sentinel": ("anchor networks", "purple", "v"),
    "bench": ("finalists and baselines, measured later", "red", "s"),
}


def calibration(pairs: Sequence[NetworkPair], *, form: Form = WIDE) -> Figure:
    """Draw predicted against measured latency of whole networks, with a band of ± 5 %."""
    figure, (axes,) = axes_of(form, 4.8)
    for role, (words, color, marker) in STYLES.items():
        chosen = [pair for pair in pairs if pair.role == role]
        if chosen:
            axes.scatter(
                [pair.measured_ms for pair in chosen],
                [pair.predicted_ms for pair in chosen],
                s=34,
                c=light(color),
                marker=marker,
                label=words,
                linewidths=0.5,
                edgecolors=light("paper"),
                zorder=3,
            )
    values = [value for pair in pairs for value in (pair.measured_ms, pair.predicted_ms)]
    ends = [0.95 * min(values), 1.05 * max(values)]
    axes.plot(ends, ends, color=light("ink"), linewidth=1, label="predicted = measured")
    axes.fill_between(
        ends,
        [0.95 * end for end in ends],
        [1.05 * end for end in ends],
        color=light("muted"),
        alpha=0.14,
        linewidth=0,
        label="± 5 %",
    )
    label(axes, "measured (ms)", "predicted (ms)")
    legend(figure, form)
    return figure


def space_distribution(
    percentiles: Sequence[tuple[float, float]],
    budgets_ms: Sequence[float] = (),
    *,
    form: Form = WIDE,
) -> Figure:
    """Draw the cumulative distribution of predicted latency over a space.

    ``percentiles`` holds (share of the space in percent, latency in ms), increasing.
    """
    figure, (axes,) = axes_of(form, 3.2)
    levels, values = [level for level, _ in percentiles], [value for _, value in percentiles]
    axes.plot(
        values,
        levels,
        color=light("blue"),
        linewidth=1.6,
        marker="o",
        markersize=4,
        label="architectures of the space",
    )
    axes.fill_between(values, levels, color=light("sky"), alpha=0.18, linewidth=0)
    budget_lines(axes, budgets_ms)
    axes.set_ylim(0, 103)
    label(axes, "predicted latency (ms, batch 1)", "architectures at most this slow (%)")
    legend(figure, form)
    return figure


def breakdown(times: Sequence[tuple[str, float]], *, form: Form = WIDE) -> Figure:
    """Draw one bar per operation, in order of execution; ``times`` holds (name, ms)."""
    figure, (axes,) = axes_of(form, 0.9 + 0.27 * len(times))
    values = [ms for _, ms in times]
    total = sum(values)
    bars = axes.barh(range(len(times)), values, color=light("blue"), height=0.68)
    axes.bar_label(
        bars,
        [f"{significant(ms)}  ({percent(ms / total, 0)})" for ms in values],
        padding=4,
        fontsize=8,
        color=light("ink"),
    )
    axes.set_yticks(range(len(times)), [name for name, _ in times], fontsize=8)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)  # names come from files
        tick.set_color(light("ink"))
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, (1.5 if form.is_narrow else 1.22) * max(values))
    label(axes, "table latency (ms, batch 1)", "")
    return figure

"""How a search by gates went: its curves, and a heat map of its gates at several epochs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwnas.report.figures.style import (
    NARROW,
    WIDE,
    Form,
    axes_of,
    heading,
    label,
    legend,
    light,
)
from hwnas.report.figures.values import Curve

MAX_PANELS = {WIDE.name: 5, NARROW.name: 3}
ROW_IN = 0.21  # inches of height per layer of the heat map


def curves(searches: Sequence[Curve], *, form: Form = WIDE) -> Figure:
    """Draw loss and latency of each search over its epochs, searches in columns side by side.

    On a phone each search's two panels stand one under the other.
    """
    columns, rows = (1, 2 * len(searches)) if form.is_narrow else (len(searches), 2)
    if len(searches) == 1 and not form.is_narrow:
        columns, rows = 2, 1
    figure, every = axes_of(form, 2.4 * rows + 0.5, columns, rows)
    for number, search in enumerate(searches):
        if form.is_narrow or len(searches) == 1:
            upper, lower = every[2 * number], every[2 * number + 1]
        else:
            upper, lower = every[number], every[number + columns]
        _loss(upper, search)
        _latency(lower, search)
        if len(searches) > 1:
            heading(upper, search.name)
    legend(figure, form, columns=5)
    return figure


def _loss(axes: Axes, search: Curve) -> None:
    axes.plot(search.epoch, search.loss, color=light("purple"), linewidth=1.6, label="loss")
    axes.plot(
        search.epoch,
        search.entropy,
        color=light("muted"),
        linewidth=1.3,
        linestyle=(0, (2, 2)),
        label="entropy of a gate (nats)",
    )
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    label(axes, "epoch", "loss, entropy")


def _latency(axes: Axes, search: Curve) -> None:
    axes.axhline(
        search.target_ms, color=light("ink"), linewidth=1.1, linestyle=(0, (5, 3)), label="target"
    )
    axes.plot(
        search.epoch, search.expected_ms, color=light("blue"), linewidth=1.6, label="expected"
    )
    axes.plot(
        search.epoch,
        search.argmax_ms,
        color=light("red"),
        linewidth=1.3,
        drawstyle="steps-mid",
        label="likeliest network",
    )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    label(axes, "epoch", "predicted latency (ms)")


def gate_heatmap(
    search: Curve,
    layers: Sequence[str],
    options: Sequence[Sequence[str]],
    *,
    form: Form = WIDE,
) -> Figure:
    """Draw the probability of each option (x) of each layer (y) at several epochs, side by side.

    ``layers`` names the choices, ``options`` those of each; a cell is darker where the option is
    likelier, absent where the layer has no such option. ``search.gates`` must not be empty.
    """
    columns = list(dict.fromkeys(name for names in options for name in names))
    shown = snapshots(len(search.epoch), MAX_PANELS.get(form.name, 5))
    figure, panels = axes_of(
        form, 1.1 + ROW_IN * len(layers) + 0.05 * max(map(len, columns)), len(shown)
    )
    for panel, (axes, epoch) in enumerate(zip(panels, shown, strict=True)):
        heading(axes, f"epoch {search.epoch[epoch]}")
        _cells(axes, search.gates[epoch], options, columns)
        axes.set_yticks(range(len(layers)), layers if panel == 0 else [""] * len(layers))
        axes.tick_params(labelsize=8)
        for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            tick.set_parse_math(False)
    return figure


def snapshots(num_epochs: int, count: int) -> list[int]:
    """Return at most ``count`` places from 0 to ``num_epochs - 1``, evenly spread, both ends in."""
    if num_epochs <= count:
        return list(range(num_epochs))
    return [round(place * (num_epochs - 1) / (count - 1)) for place in range(count)]


def _cells(
    axes: Axes,
    gates: Sequence[Sequence[float]],
    options: Sequence[Sequence[str]],
    columns: Sequence[str],
) -> None:
    """Draw one square per option of a layer, its opacity the probability."""
    squares, colors = [], []
    for row, (values, names) in enumerate(zip(gates, options, strict=True)):
        for value, name in zip(values, names, strict=True):
            x = columns.index(name)
            squares.append(
                [(x + a, row + b) for a, b in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
            )
            colors.append(to_rgba(light("blue"), min(1.0, max(0.0, value))))
    # the opacity, not the hue, encodes the value: it reads on light and on dark paper
    axes.add_collection(
        PolyCollection(squares, facecolors=colors, edgecolors=light("line"), linewidths=0.5)
    )
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(gates) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)

"""A network drawn as one shape per layer, left to right in order of execution.

The colour is the kernel size, the height the expansion (hidden over input channels), the bands are
the resolution, arcs the residual connections; a dashed outline is a layer that was skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path

from hwnas.ops import Attr, OpSpec
from hwnas.report.figures.style import light
from hwnas.report.figures.values import Slot

COLUMN = 41.0  # pt from one layer to the next
BLOCK = 30.0  # pt, width of a layer
UNIT = 15.0  # pt of height per unit of expansion
TALLEST = 8.0  # expansions above are drawn this high (their number is written below)
MARGIN = 50.0
TOP, MIDDLE_ROOM, BOTTOM = 34.0, 30.0, 106.0
NARROWEST = 640.0  # pt that the legend needs

KERNEL_COLORS: Mapping[int, str] = {1: "muted", 3: "sky", 5: "blue", 7: "red"}
NO_KERNEL = "green"


def network(slots: Sequence[Slot]) -> Figure:
    """Draw the places of a network; the shape of place N has the gid ``layer-N``."""
    bottom = TOP + MIDDLE_ROOM + UNIT * max(_shown_expansion(slot) for slot in slots)
    middle = TOP + (bottom - TOP) / 2 + 8
    end = 2 * MARGIN + COLUMN * len(slots)
    width, height = max(NARROWEST, end), bottom + BOTTOM
    # one data unit is one point, y downwards
    figure = Figure(figsize=(width / 72, height / 72), facecolor=light("paper"))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    _bands(axes, slots, bottom)
    axes.plot(
        [MARGIN - 26, end - MARGIN + 26],
        [middle, middle],
        color=light("muted"),
        linewidth=1.5,
        zorder=1,
    )
    for number, slot in enumerate(slots):
        _layer(axes, slot, number, middle, bottom)
    _text(axes, 20, middle - 8, "image", "muted")
    _text(axes, end - 20, middle - 8, "class", "muted")
    _legend(axes, slots, bottom + 58)
    return figure


def _attr(op: OpSpec, name: str) -> Attr | None:
    return dict(op.attrs).get(name)


def _expansion(op: OpSpec) -> float:
    """Return hidden over input channels; 1 for an operation without a hidden width."""
    hidden = _attr(op, "hidden")
    return int(hidden) / op.in_shape[0] if hidden else 1.0


def _shown_expansion(slot: Slot) -> float:
    return min(TALLEST, max(1.0, _expansion(slot.op))) if slot.op else 1.0


def _color(op: OpSpec) -> str:
    kernel = _attr(op, "kernel")
    return KERNEL_COLORS.get(int(kernel), NO_KERNEL) if kernel is not None else NO_KERNEL


def _layer(axes: Axes, slot: Slot, number: int, middle: float, bottom: float) -> None:
    left = MARGIN + COLUMN * number + (COLUMN - BLOCK) / 2
    tall, center = 8 + UNIT * _shown_expansion(slot), left + BLOCK / 2
    shape = _box(left, middle - tall / 2, BLOCK, tall)
    shape.set_gid(f"layer-{number}")
    axes.add_patch(shape)
    op = slot.op
    if op is None:
        shape.set(facecolor=light("paper"), edgecolor=light("muted"), linestyle=(0, (3, 3)))
        _text(axes, center, bottom + 20, "skip", "muted")
        return
    shape.set(facecolor=light(_color(op)), edgecolor=light("paper"))
    if _attr(op, "residual"):
        axes.add_patch(_arc(left, left + BLOCK, middle - tall / 2))
    hidden = _attr(op, "hidden")
    _text(axes, center, bottom + 20, str(op.out_channels), "ink")
    _text(axes, center, bottom + 34, f"×{_expansion(op):.2g}" if hidden else op.kind, "muted")


def _bands(axes: Axes, slots: Sequence[Slot], bottom: float) -> None:
    """Draw one background band per run of layers that read the same resolution."""
    sizes: list[tuple[int, int]] = []
    for slot in slots:  # a skipped layer reads what the layer before it wrote
        wrote = sizes[-1] if sizes else (0, 0)
        sizes.append(slot.op.in_shape[1:] if slot.op else wrote)
    for number in range(len(sizes) - 1, 0, -1):
        if slots[number - 1].op is None:
            sizes[number - 1] = sizes[number]
    start = 0
    for number, (size, run) in enumerate(groupby(sizes)):
        length = len(list(run))
        x, wide = MARGIN + COLUMN * start, COLUMN * length
        color = light("panel" if number % 2 == 0 else "paper")
        axes.add_patch(
            Rectangle(
                (x, TOP - 24), wide, bottom - TOP + 66, facecolor=color, linewidth=0, zorder=0
            )
        )
        name = f"{size[0]}²" if size[0] == size[1] else f"{size[0]}×{size[1]}"
        _text(axes, x + wide / 2, TOP - 8, name, "muted")
        start += length


def _legend(axes: Axes, slots: Sequence[Slot], y: float) -> None:
    kernels = {_attr(slot.op, "kernel") for slot in slots if slot.op}
    shown = [(f"kernel {k}×{k}", color) for k, color in KERNEL_COLORS.items() if k in kernels]
    shown += [("no kernel (head)", NO_KERNEL)]
    for number, (words, color) in enumerate(shown):
        x = MARGIN + 122 * number
        key = _box(x, y, 13, 13)
        key.set(facecolor=light(color), edgecolor=light("paper"))
        axes.add_patch(key)
        _text(axes, x + 19, y + 11, words, "ink", anchor="left")
    axes.add_patch(_arc(MARGIN, MARGIN + 16, y + 30))
    _text(axes, MARGIN + 22, y + 32, "residual", "ink", anchor="left")
    skipped = _box(MARGIN + 122, y + 21, 13, 13)
    skipped.set(facecolor=light("paper"), edgecolor=light("muted"), linestyle=(0, (3, 3)))
    axes.add_patch(skipped)
    _text(axes, MARGIN + 141, y + 32, "skipped layer", "ink", anchor="left")


def _box(x: float, y: float, width: float, height: float) -> FancyBboxPatch:
    return FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=3", linewidth=1, zorder=2
    )


def _arc(left: float, right: float, y: float) -> PathPatch:
    corners = [(left - 3, y), (left, y - 15), (right, y - 15), (right + 3, y)]
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    return PathPatch(
        Path(corners, codes), fill=False, edgecolor=light("ink"), linewidth=1.4, zorder=3
    )


def _text(
    axes: Axes, x: float, y: float, content: str, color: str, *, anchor: str = "center"
) -> None:
    axes.text(
        x,
        y,
        content,
        color=light(color),
        fontsize=11,
        ha=anchor,
        va="baseline",
        parse_math=False,
        zorder=4,
    )

"""The winner drawn as a network: one shape per layer, left to right in order of execution.

Colour tells the kernel size, height the expansion (hidden over input channels), the bands the
resolution, arcs the residual connections, a dashed outline a layer that the search skipped.
Hovering over a layer tells its operation, MACs, parameters and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from hwnas.ops import Attr, OpSpec
from hwnas.report.facts import Slot
from hwnas.report.figures import FONT, Drawing, accessible
from hwnas.report.formats import count, ms
from hwnas.report.markup import Html, element
from hwnas.report.theme import light

COLUMN = 41.0  # px from one layer to the next
BLOCK = 30.0  # px, width of a layer
UNIT = 15.0  # px of height per unit of expansion
TALLEST = 8.0  # expansions above are drawn this high (their number is written below)
MARGIN = 50.0
TOP, MIDDLE_ROOM, BOTTOM = 34.0, 30.0, 106.0
NARROWEST = 640.0  # px that the legend needs

KERNEL_COLORS: Mapping[int, str] = {1: "muted", 3: "sky", 5: "blue", 7: "red"}
NO_KERNEL = "green"


def network_drawing(slots: Sequence[Slot]) -> Drawing:
    """Return the drawing of a network's places (see :func:`hwnas.report.facts.winner_slots`)."""
    height = TOP + MIDDLE_ROOM + UNIT * max(_shown_expansion(slot) for slot in slots)
    middle = TOP + (height - TOP) / 2 + 8
    width = max(NARROWEST, 2 * MARGIN + COLUMN * len(slots))
    end = 2 * MARGIN + COLUMN * len(slots)
    parts: list[Html] = [
        *_bands(slots, height),
        _line(MARGIN - 26, middle, end - MARGIN + 26, middle),
    ]
    for number, slot in enumerate(slots):
        parts.append(_layer(slot, MARGIN + COLUMN * number, middle, height))
    parts += [
        _text(20, middle - 8, "image", "muted"),
        _text(end - 20, middle - 8, "class", "muted"),
        *_legend(slots, height + 62),
    ]
    total = height + BOTTOM
    svg = element(
        "svg",
        *parts,
        attrs={
            "xmlns": "http://www.w3.org/2000/svg",
            "width": f"{width:g}",
            "height": f"{total:g}",
            "viewBox": f"0 0 {width:g} {total:g}",
            "style": f"background: {light('paper')}",
        },
    )
    executed = [slot.op for slot in slots if slot.op is not None]
    description = _in_words(executed, len(slots) - len(executed))
    caption = (
        f"n = {len(executed)} operations, {count(sum(op.macs for op in executed), 'MACs')}, "
        f"{count(sum(op.params for op in executed))} parameters. On top the "
        "resolution in px, below each layer its output channels and its expansion (×, hidden over "
        "input channels), which is also its height. Hover over a layer for its time in "
        "the latency table."
    )
    name = "network"
    return Drawing(
        name,
        accessible(svg, name, "The winning network", description),
        description,
        caption,
        min_width=round(0.72 * width),
        max_width=round(1.3 * width),
    )


def _in_words(ops: Sequence[OpSpec], num_skipped: int) -> str:
    listed = "; ".join(str(op) for op in ops)
    skipped = f" {num_skipped} layer(s) were skipped." if num_skipped else ""
    return f"{len(ops)} operations in order: {listed}.{skipped}"


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


def _layer(slot: Slot, x: float, middle: float, bottom: float) -> Html:
    """Return one place with its hover title, letters and residual arc; ``x`` is its left edge."""
    left, tall = x + (COLUMN - BLOCK) / 2, 8 + UNIT * _shown_expansion(slot)
    center = x + COLUMN / 2
    if slot.op is None:
        style = (
            f"fill: {light('paper')}; stroke: {light('muted')}; stroke-width: 1.2; "
            "stroke-dasharray: 3 3"
        )
        return element(
            "g",
            element("title", f"{slot.option}: skipped"),
            _rect(left, middle - tall / 2, BLOCK, tall, style),
            _text(center, bottom + 20, "skip", "muted"),
        )
    op = slot.op
    style = f"fill: {light(_color(op))}; stroke: {light('paper')}; stroke-width: 1"
    parts = [element("title", _hover(slot, op)), _rect(left, middle - tall / 2, BLOCK, tall, style)]
    if _attr(op, "residual"):
        parts.append(_arc(left, left + BLOCK, middle - tall / 2))
    hidden = _attr(op, "hidden")
    parts += [
        _text(center, bottom + 20, str(op.out_channels), "ink"),
        _text(center, bottom + 34, f"×{_expansion(op):.2g}" if hidden else op.kind, "muted"),
    ]
    return element("g", *parts)


def _hover(slot: Slot, op: OpSpec) -> str:
    lines = [
        *([slot.option] if slot.option else []),
        str(op),
        f"{count(op.macs, 'MACs')}, {count(op.params)} parameters",
        "no row in the latency table"
        if slot.table_ms is None
        else f"{ms(slot.table_ms)} in the latency table",
    ]
    return "\n".join(lines)


def _bands(slots: Sequence[Slot], bottom: float) -> list[Html]:
    """Return one background band per run of layers that read the same resolution."""
    sizes: list[tuple[int, int]] = []
    for slot in slots:  # a skipped layer reads what the layer before it wrote
        wrote = sizes[-1] if sizes else (0, 0)
        sizes.append(slot.op.in_shape[1:] if slot.op else wrote)
    for number in range(len(sizes) - 1, 0, -1):
        if slots[number - 1].op is None:
            sizes[number - 1] = sizes[number]
    bands, start = [], 0
    for number, (size, run) in enumerate(groupby(sizes)):
        length = len(list(run))
        x = MARGIN + COLUMN * start
        fill = "panel" if number % 2 == 0 else "paper"
        bands.append(
            element(
                "g",
                _rect(
                    x,
                    TOP - 24,
                    COLUMN * length,
                    bottom - TOP + 66,
                    f"fill: {light(fill)}; stroke: none",
                ),
                _text(
                    x + COLUMN * length / 2,
                    TOP - 8,
                    f"{size[0]}²" if size[0] == size[1] else f"{size[0]}×{size[1]}",
                    "muted",
                ),
            )
        )
        start += length
    return bands


def _legend(slots: Sequence[Slot], y: float) -> list[Html]:
    kernels = {_attr(slot.op, "kernel") for slot in slots if slot.op}
    shown = [(f"kernel {k}×{k}", color) for k, color in KERNEL_COLORS.items() if k in kernels]
    shown += [("no kernel (head)", NO_KERNEL)]
    parts: list[Html] = []
    for number, (label, color) in enumerate(shown):
        x = MARGIN + 122 * number
        parts += [
            _rect(x, y, 13, 13, f"fill: {light(color)}"),
            _text(x + 19, y + 11, label, "ink", anchor="start"),
        ]
    x = MARGIN
    parts += [_arc(x, x + 16, y + 30), _text(x + 22, y + 32, "residual", "ink", anchor="start")]
    x += 122
    parts += [
        _rect(
            x,
            y + 21,
            13,
            13,
            f"fill: {light('paper')}; stroke: {light('muted')}; stroke-dasharray: 3 3",
        ),
        _text(x + 19, y + 32, "skipped layer", "ink", anchor="start"),
    ]
    return parts


def _rect(x: float, y: float, width: float, height: float, style: str) -> Html:
    return element(
        "rect",
        attrs={
            "x": f"{x:g}",
            "y": f"{y:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "rx": "3",
            "style": style,
        },
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> Html:
    return element(
        "line",
        attrs={
            "x1": f"{x1:g}",
            "y1": f"{y1:g}",
            "x2": f"{x2:g}",
            "y2": f"{y2:g}",
            "style": f"stroke: {light('muted')}; stroke-width: 1.5",
        },
    )


def _arc(left: float, right: float, y: float) -> Html:
    path = f"M {left - 3:g} {y:g} C {left:g} {y - 15:g} {right:g} {y - 15:g} {right + 3:g} {y:g}"
    return element(
        "path", attrs={"d": path, "style": f"fill: none; stroke: {light('ink')}; stroke-width: 1.4"}
    )


def _text(x: float, y: float, content: str, color: str, *, anchor: str = "middle") -> Html:
    style = f"font: 12px {FONT}; fill: {light(color)}; text-anchor: {anchor}"
    return element("text", content, attrs={"x": f"{x:g}", "y": f"{y:g}", "style": style})

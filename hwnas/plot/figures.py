"""The figures of ``hwnas.plot``, drawn by the functions that draw the report's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas.api.latency import LatencyModel
from hwnas.api.results import SearchResult, cost_of
from hwnas.api.runs import Run
from hwnas.api.spaces import Space, SpaceLike, as_space
from hwnas.api.tables import Table, TableLike, as_table
from hwnas.arch import Arch
from hwnas.errors import UsageError
from hwnas.latency.lut.breakdown import breakdown as time_breakdown
from hwnas.ops import OpSpec
from hwnas.report.figures import latency as latency_figures
from hwnas.report.figures import network as network_figures
from hwnas.report.figures.style import WIDE, axes_of, budget_lines, label, legend, light
from hwnas.report.figures.values import Slot
from hwnas.report.model import network_pairs

COLORS = ("blue", "orange", "green", "purple", "red", "sky")
HEIGHT = 4.7  # inches, of the figure of a front
SHOWN = 20  # parts that a breakdown shows

Points = list[tuple[float, float]]
"""Pairs of latency (or MACs) and score."""


class NotebookFigure(Figure):
    """A matplotlib figure that notebooks show although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()


def _for_notebooks(figure: Figure) -> Figure:
    figure.__class__ = NotebookFigure
    return figure


def pareto(*results: SearchResult | Run, names: Sequence[str] = ()) -> Figure:
    """Draw score against latency: every evaluated network, the fronts, the budgets.

    Several results are drawn side by side in one figure, called ``names`` in the legend. Latency is
    that of the first device, in ms at batch 1; where none is limited, multiply-accumulates.

    Raises:
        UsageError: no result, results with and without latencies, or too few names.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> latency = hwnas.latency_model(space, "table.json")
        >>> result = hwnas.search(space, {"latency_ms": (latency, 0.08)}, evaluations=20,
        ...                       evaluate=lambda arch: float(space.macs([arch])[0]))
        >>> hwnas.plot.pareto(result).axes[0].get_xlabel()
        'latency (ms, batch 1)'
    """
    if not results or (names and len(names) != len(results)):
        raise UsageError(
            f"pareto draws one result or more, each with a name or all without; got "
            f"{len(results)} results and {len(names)} names"
        )
    units = {_x_label(result) for result in results}
    if len(units) > 1:
        raise UsageError("results with a latency and without are not drawn in one figure")
    figure, (axes,) = axes_of(WIDE, HEIGHT)
    for number, result in enumerate(results):
        name = names[number] if names else _name(result)
        _draw_front(axes, *_points(result), name, COLORS[number % len(COLORS)])
    budget_lines(axes, sorted({ms for result in results for ms in _budgets_ms(result)}))
    label(axes, units.pop(), "top-1" if all(isinstance(r, Run) for r in results) else "score")
    legend(figure, WIDE)
    return _for_notebooks(figure)


def _draw_front(axes: Axes, points: Points, front: Points, name: str, color: str) -> None:
    axes.scatter(
        [x for x, _ in points],
        [y for _, y in points],
        s=22,
        c=light(color),
        alpha=0.45,
        linewidths=0,
        label=f"{name} (n = {len(points)})",
    )
    axes.plot(
        [x for x, _ in front],
        [y for _, y in front],
        color=light(color),
        linewidth=1.4,
        marker="o",
        markersize=4,
        drawstyle="steps-post",
        label=f"front of {name} (n = {len(front)})",
    )


def _x_label(result: SearchResult | Run) -> str:
    has_latency = isinstance(result, Run) or bool(result.budgets_ms)
    return "latency (ms, batch 1)" if has_latency else "multiply-accumulates"


def _name(result: SearchResult | Run) -> str:
    return result.path.name if isinstance(result, Run) else result.strategy


def _budgets_ms(result: SearchResult | Run) -> tuple[float, ...]:
    """Return the budgets of the first device."""
    if isinstance(result, Run):
        return tuple(answer.limits[0].max for answer in result.result.answers)
    return result.budgets_ms[:1]


def _points(result: SearchResult | Run) -> tuple[Points, Points]:
    """Return all evaluated networks, and those on the front by increasing latency."""
    if isinstance(result, Run):
        points = result.front.points
        every = [(point.latency_ms, point.top1) for point in points]
        return every, sorted((point.latency_ms, point.top1) for point in points if point.on_front)
    every = [(cost_of(trial), trial.score or 0.0) for trial in result.finalists]
    return every, [(cost_of(trial), trial.score or 0.0) for trial in result.front]


def network(space: SpaceLike, arch: Arch, table: TableLike | None = None) -> Figure:
    """Draw a network as a row of layers: kernel sizes by colour, expansions by height.

    Bands are resolutions, arcs residual connections. With a ``table`` each layer has its time.

    Raises:
        InputError: ``arch`` is of another space.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> figure = hwnas.plot.network(space, space.sample(1)[0], "table.json")
    """
    found = as_space(space)
    found.check([arch])
    slots = _slots(found, arch, None if table is None else as_table(table))
    return _for_notebooks(network_figures.network(slots))


def _slots(space: Space, arch: Arch, table: Table | None) -> list[Slot]:
    """Return the places of a network, skipped layers of a chain among them."""
    definition = space.definition
    code = space.encode([arch])[0].tolist()
    slots = []
    for factor in definition.factors():
        op: OpSpec | None = factor.ops[tuple(code[index] for index in factor.choices)]
        chosen = (definition.choices[index].name for index in factor.choices)
        option = ", ".join(f"{name} = {arch.choices.get(name, 'absent')}" for name in chosen)
        if op is not None or definition.wiring(arch) is None:
            slots.append(Slot(option, op, _row_ms(op, arch, table)))
    return slots


def _row_ms(op: OpSpec | None, arch: Arch, table: Table | None) -> float | None:
    """Return the time of an operation's row in the table of the network's scope."""
    if op is None or table is None:
        return None
    part = table.of(arch)
    return part.rows[op].latency_ms if part is not None and op in part.rows else None


def calibration(table: TableLike) -> Figure:
    """Draw predicted against measured latency of the whole networks measured with a table.

    Raises:
        UsageError: no whole network was measured.

    Example:
        >>> import hwnas
        >>> table = hwnas.profile("tiny", "desk.yaml", runtime="onnxruntime", calibrate=2)
        >>> hwnas.plot.calibration(table).axes[0].get_ylabel()
        'predicted (ms)'
    """
    used = as_table(table)
    pairs = network_pairs(used.tables)
    if not pairs:
        raise UsageError(
            f"no whole network was measured with the table of {used.name}. Next: profile with "
            "calibrate=16, and validate=16 for networks that the calibration has not seen"
        )
    return _for_notebooks(latency_figures.calibration(pairs))


def breakdown(
    latency: LatencyModel,
    archs: Sequence[Arch] | None = None,
    *,
    by: Literal["kinds", "operations", "sizes", "options"] = "kinds",
) -> Figure:
    """Draw where networks spend their time: bars of mean ms, the longest first.

    ``archs`` None are 200 random networks. ``by`` kind of operation, single operation, size of
    feature maps, or option.

    Raises:
        UsageError: the latency is not of a table.
        MissingRowError: a given network has an operation without a row.

    Example:
        >>> import hwnas
        >>> latency = hwnas.latency_model("tiny", "table.json")
        >>> figure = hwnas.plot.breakdown(latency, by="options")
    """
    if latency.table is None:
        raise UsageError(
            f"a breakdown needs the rows of a table, which a latency of source {latency.source} "
            "has not. Next: hwnas.latency_model(space, table)"
        )
    found = time_breakdown(latency.space.definition, latency.table.tables, archs)
    parts = {
        "kinds": found.kinds,
        "operations": found.rows,
        "sizes": found.sizes,
        "options": found.options,
    }
    if by not in parts:
        raise UsageError(f"by must be one of {', '.join(parts)}, got {by!r}")
    times = [(part.name, part.mean_ms) for part in parts[by][:SHOWN]]
    figure = latency_figures.breakdown(times)
    label(figure.axes[0], f"mean latency of {found.num_networks} network(s) (ms, batch 1)", "")
    return _for_notebooks(figure)

"""The look that all figures share: colours, forms, axes and legends.

The hues are those of Okabe and Ito, "Color Universal Design" (2008), which colour-blind readers
tell apart. Figures are drawn in the light colours, so that a file in ``figures/`` stands alone;
``svg.themed`` turns each colour into the CSS variable that the dark page redefines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Shade:
    """One colour in the light and in the dark page, as ``#rrggbb``."""

    light: str
    dark: str


SHADES: Mapping[str, Shade] = {
    "paper": Shade("#ffffff", "#12161b"),
    "panel": Shade("#f4f6f8", "#1b2128"),
    "ink": Shade("#1a2128", "#e6eaee"),
    "muted": Shade("#56616b", "#a3adb7"),
    "line": Shade("#d8dee4", "#353e48"),
    "blue": Shade("#0072b2", "#5fb0e8"),
    "sky": Shade("#56b4e9", "#9bd3f5"),
    "green": Shade("#007a59", "#2cc499"),
    "orange": Shade("#e69f00", "#f2b736"),
    "red": Shade("#d55e00", "#ff8a4a"),
    "purple": Shade("#b0588d", "#dd9cc4"),
}


def light(name: str) -> str:
    """Return the colour ``name`` of the light page."""
    return SHADES[name].light


@dataclass(frozen=True)
class Form:
    """The size a figure is drawn for; ``width`` in inches, ``columns`` of its legend.

    A page shows the wide form, and on a phone the narrow one, so that letters stay legible.
    """

    name: str
    width: float
    columns: int

    @property
    def is_narrow(self) -> bool:
        """Whether the figure is for a phone."""
        return self.width < 6


WIDE = Form("wide", 8.2, 2)
NARROW = Form("narrow", 4.3, 1)


def axes_of(
    form: Form, height: float, columns: int = 1, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of ``form.width`` x ``height`` inches and its axes, row by row."""
    figure = Figure(figsize=(form.width, height), layout="constrained", facecolor=light("paper"))
    grid = figure.subplots(rows, columns, squeeze=False)
    every = [axes for row in grid for axes in row]
    for axes in every:
        dress(axes)
    return figure, every


def dress(axes: Axes) -> None:
    """Give axes the report's grid, ticks and two spines."""
    axes.set_facecolor(light("paper"))
    axes.grid(True, color=light("line"), linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=light("muted"), labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(light("line"))


def label(axes: Axes, x: str, y: str) -> None:
    """Name both axes."""
    axes.set_xlabel(x, color=light("ink"), fontsize=10)
    axes.set_ylabel(y, color=light("ink"), fontsize=10)


def heading(axes: Axes, text: str) -> None:
    """Set a small title at the left; ``text`` may come from a file."""
    axes.set_title(text, loc="left", color=light("ink"), fontsize=10, parse_math=False)


def legend(figure: Figure, form: Form, columns: int | None = None) -> None:
    """Set one legend of all axes below the figure; ``columns`` (None: the form's) if it is wide."""
    shown: dict[str, Artist] = {}
    for one in figure.axes:
        handles, labels = one.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    if not shown:
        return
    made = figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower left",
        ncols=form.columns if columns is None or form.is_narrow else columns,
        frameon=False,
        fontsize=9,
        labelcolor=light("ink"),
        handletextpad=0.4,
        columnspacing=1.4,
    )
    for text in made.get_texts():
        text.set_parse_math(False)  # labels hold text of files


def budget_lines(axes: Axes, budgets_ms: Sequence[float]) -> None:
    """Draw one dashed vertical line per budget, in ms; several are named with their value."""
    for number, budget in enumerate(budgets_ms):
        axes.axvline(
            budget,
            color=light("ink"),
            linewidth=1.1,
            linestyle=(0, (5, 3)),
            label="budget" if number == 0 else "_nolegend_",
        )
        if len(budgets_ms) > 1:
            axes.annotate(
                f"{budget:.4g} ms",
                (budget, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, -9),
                textcoords="offset points",
                fontsize=8,
                color=light("muted"),
            )

"""The report's colours, defined once: CSS variables of the page and of every drawing in it.

Drawings are made in the light colours, so that a file in ``figures/`` stands alone; inside the page
:func:`themed` turns each colour into its variable, which dark mode redefines. The hues are those of
Okabe and Ito, "Color Universal Design" (2008), told apart by colour-blind readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.report.markup import Html


@dataclass(frozen=True)
class Shade:
    """One colour of the report in the light and in the dark page, as ``#rrggbb``."""

    light: str
    dark: str


SHADES: Mapping[str, Shade] = {
    "paper": Shade("#ffffff", "#14181d"),
    "panel": Shade("#f5f7f9", "#1d232a"),
    "ink": Shade("#1c2329", "#e6eaee"),
    "muted": Shade("#57626c", "#a3adb7"),
    "line": Shade("#d5dbe1", "#39424c"),
    "blue": Shade("#0072b2", "#5fb0e8"),
    "sky": Shade("#56b4e9", "#9bd3f5"),
    "green": Shade("#007a59", "#2cc499"),
    "orange": Shade("#e69f00", "#f2b736"),
    "red": Shade("#d55e00", "#ff8a4a"),
    "purple": Shade("#b0588d", "#dd9cc4"),
}

_BY_LIGHT = {shade.light: name for name, shade in SHADES.items()}


def light(name: str) -> str:
    """Return the colour ``name`` of the light page."""
    return SHADES[name].light


def css_variables() -> str:
    """Return the CSS rules that define every colour, for the light and the dark page."""
    bright = "".join(f"--{name}:{shade.light};" for name, shade in SHADES.items())
    dark = "".join(f"--{name}:{shade.dark};" for name, shade in SHADES.items())
    return (
        f":root{{color-scheme:light dark;{bright}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )


def themed(svg: str) -> Html:
    """Return ``svg`` for the page: its colours are variables and it has no fixed size.

    Colours must stand in ``style`` attributes, where CSS variables are read.
    """
    start = svg.index("<svg")
    inline = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda match: f"var(--{_BY_LIGHT[match[0]]})" if match[0] in _BY_LIGHT else match[0],
        svg[start:],
    )
    return Html(re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", inline, count=1))

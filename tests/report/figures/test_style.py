from __future__ import annotations

import re

from hwnas.report.figures.style import SHADES
from hwnas.report.figures.svg import themed


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_colours_meet_wcag_aa_on_their_paper_in_both_modes() -> None:
    for mode in ("light", "dark"):
        for ground in ("paper", "panel"):
            for name in ("ink", "muted", "blue", "green"):
                ratio = contrast(getattr(SHADES[name], mode), getattr(SHADES[ground], mode))
                assert ratio >= 4.5, (mode, ground, name, ratio)


def test_every_colour_is_distinct_so_that_a_drawing_can_be_recoloured() -> None:
    assert len({shade.light for shade in SHADES.values()}) == len(SHADES)


def test_a_drawing_gets_variables_of_the_shades_and_loses_its_size() -> None:
    svg = (
        '<?xml version="1.0"?>\n<svg xmlns="x" width="4pt" height="5pt" viewBox="0 0 4 5">'
        f'<path style="fill: {SHADES["red"].light}; stroke: #123456"/></svg>'
    )
    page = themed(svg)
    assert page == (
        '<svg xmlns="x" viewBox="0 0 4 5"><path style="fill: var(--red); stroke: #123456"/></svg>'
    )
    assert set(re.findall(r"var\(--(\w+)\)", page)) <= set(SHADES)

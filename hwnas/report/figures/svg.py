"""From a matplotlib figure to SVG text: as a file of its own, and as a part of the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from hwnas.report.figures.style import FONT, NARROW, SHADES, WIDE, Form
from hwnas.report.figures.values import Point
from hwnas.report.text import printable

_BY_LIGHT = {shade.light: name for name, shade in SHADES.items()}


@dataclass(frozen=True)
class Drawing:
    """One figure of the page.

    ``name`` is that of its file, ``svg`` the file's text, ``wide`` and ``narrow`` the markup for
    the page (``narrow`` is empty where one form serves both). ``min_width`` (px) keeps letters
    legible: the figure scrolls where the page is narrower.
    """

    name: str
    svg: str
    wide: Markup
    narrow: Markup
    description: str
    caption: str
    min_width: int
    max_width: int


def draw(
    name: str,
    title: str,
    make: Callable[[Form], Figure],
    *,
    description: str,
    caption: str,
    points: Sequence[Point] = (),
) -> Drawing:
    """Return the drawing of a figure that ``make`` draws in each form."""
    wide = make(WIDE)
    text, width = svg_of(wide, name, title, description), wide.get_figwidth()
    narrow = svg_of(make(NARROW), f"{name}-narrow", title, description)
    return Drawing(
        name,
        without_links(text),
        with_tooltips(themed(text), points),
        with_tooltips(themed(narrow), points),
        description,
        caption,
        min_width=round(62 * width),
        max_width=round(105 * width),
    )


def draw_wide(
    name: str, title: str, figure: Figure, titles: Sequence[str], *, description: str, caption: str
) -> Drawing:
    """Return the drawing of a figure of one form, which scrolls on a phone.

    ``titles[N]`` becomes the tooltip of the artist with the gid ``layer-N``.
    """
    text = svg_of(figure, name, title, description)
    for number, words in enumerate(titles):
        opening = f'<g id="{name}-layer-{number}">'
        text = text.replace(opening, f"{opening}<title>{escape(printable(words))}</title>")
    points = 72 * figure.get_figwidth()
    return Drawing(
        name,
        text,
        themed(text),
        Markup(),
        description,
        caption,
        min_width=round(0.85 * points),
        max_width=round(1.25 * points),
    )


def svg_of(figure: Figure, name: str, title: str, description: str) -> str:
    """Return ``figure`` as an SVG document whose ids begin with ``name``."""
    buffer = io.StringIO()
    # real text (small, selectable) and the same ids in every run; undone when the block ends
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # names in other scripts are text here, drawn by the reader's own fonts
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return accessible(printable(buffer.getvalue()), name, title, description)


def accessible(svg: str, name: str, title: str, description: str) -> str:
    """Return an SVG document with a title and description, ids unique by ``name``, no metadata."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#(?!point-)', rf"\g<1>#{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, body)
    opening, rest = body.split(">", 1)
    words = (
        f'<title id="{name}-title">{escape(printable(title))}</title>'
        f'<desc id="{name}-desc">{escape(printable(description))}</desc>'
    )
    labels = f' role="img" aria-labelledby="{name}-title {name}-desc"'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{opening}{labels}>{words}{rest}'


def themed(svg: str) -> Markup:
    """Return ``svg`` for the page: its colours are CSS variables and it has no fixed size.

    Colours must stand in ``style`` attributes, where CSS variables are read.
    """
    start = svg.index("<svg")
    inline = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda match: f"var(--{_BY_LIGHT[match[0]]})" if match[0] in _BY_LIGHT else match[0],
        svg[start:],
    )
    return Markup(re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", inline, count=1))


_LINK = re.compile(r'<a xlink:href="#point-(\d+)"[^>]*>(.*?)</a>', re.DOTALL)


def with_tooltips(svg: Markup, points: Sequence[Point]) -> Markup:
    """Turn the links to ``#point-N`` into links to the points' anchors, with their tooltips.

    A point without an anchor becomes a group with a tooltip. The ``<title>`` serves readers without
    scripts; the page's script shows ``data-tip`` instead.
    """

    def link(match: re.Match[str]) -> str:
        point = points[int(match[1])]
        words = escape(printable("\n".join(point.lines)))
        inner = f"<title>{words}</title>{match[2]}"
        if not point.anchor:
            return f'<g class="point" data-tip="{words}">{inner}</g>'
        label = escape(printable(", ".join(point.lines)))
        return (
            f'<a class="point" href="#{escape(point.anchor)}" aria-label="{label}" '
            f'data-tip="{words}">{inner}</a>'
        )

    # an image has no parts for a screen reader; a figure with links has
    if not points:
        return Markup(without_links(str(svg)))
    return Markup(_LINK.sub(link, str(svg).replace(' role="img"', ' role="group"', 1)))


def without_links(svg: str) -> str:
    """Return ``svg`` for a file of its own, where links to the page's rows lead nowhere."""
    return _LINK.sub(r"\2", svg)

"""HTML and SVG elements from plain values: text is escaped unless it is already markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


class Html(str):
    """Text that is markup and must not be escaped again; made only by this room's functions."""

    __slots__ = ()


_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Return ``text`` with the replacement character for every character that XML forbids."""
    return _UNPRINTABLE.sub("\ufffd", text)


def escaped(content: str) -> Html:
    """Return ``content`` as markup: :class:`Html` as it is, any other text escaped."""
    return content if isinstance(content, Html) else Html(html.escape(printable(content)))


def join(parts: Iterable[str], separator: str = "") -> Html:
    """Return the parts as one piece of markup, each escaped unless it is markup."""
    return Html(separator.join(escaped(part) for part in parts))


def element(name: str, *children: str, attrs: Mapping[str, str] | None = None) -> Html:
    """Return ``<name attrs>children</name>``; attribute values and plain children are escaped."""
    written = "".join(f' {key}="{escaped(value)}"' for key, value in (attrs or {}).items())
    return Html(f"<{name}{written}>{join(children)}</{name}>")


@dataclass(frozen=True)
class Column:
    """A table's column; ``numeric`` ones are set flush right in figures of one width."""

    title: str
    numeric: bool = True


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], caption: str = "") -> Html:
    """Return a table that scrolls sideways on a narrow page; each row has a cell per column."""
    head = element(
        "tr",
        *(
            element("th", column.title, attrs=_cell(column) | {"scope": "col"})
            for column in columns
        ),
    )
    body = (
        element(
            "tr",
            *(
                element("td", cell, attrs=_cell(column))
                for column, cell in zip(columns, row, strict=True)
            ),
        )
        for row in rows
    )
    label = {"aria-label": caption} if caption else {}
    whole = element("table", element("thead", head), element("tbody", *body), attrs=label)
    scroll = element("div", whole, attrs={"class": "scroll", "tabindex": "0"})
    # not a <caption>: that would scroll away with the table
    return join([element("p", caption, attrs={"class": "caption"}), scroll]) if caption else scroll


def _cell(column: Column) -> dict[str, str]:
    return {"class": "num"} if column.numeric else {}


def definitions(pairs: Sequence[tuple[str, str]]) -> Html:
    """Return a list of names with their values."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs)
    )

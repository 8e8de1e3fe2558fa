"""HTML of the objects that notebooks show; every value is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

CELL = "text-align:left;padding:2px 12px 2px 0"


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """Return a title and a table of two columns: names and values."""
    rows = "".join(
        f'<tr><th style="{CELL}">{escape(name)}</th>'
        f'<td style="{CELL}">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"


def rows_html(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a title and a table with a header; rows hold a value for each of its columns."""
    head = "".join(f'<th style="{CELL}">{escape(name)}</th>' for name in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escape(str(value))}</td>' for value in row) + "</tr>"
        for row in rows
    )
    return (
        f"<div><strong>{escape(title)}</strong>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )

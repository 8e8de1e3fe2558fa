from __future__ import annotations

import html.parser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.report.page import page_html
from hwnas.report.sections.blocks import (
    Bar,
    Bars,
    Card,
    Cards,
    Cell,
    Definitions,
    Folded,
    Heading,
    Missing,
    Pre,
    Row,
    Section,
    Side,
    Text,
    table,
)

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))


class TextOf(html.parser.HTMLParser):
    """The text and the tags of the part of a page that is in <main>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.attrs = "", [], []
        self.feed(page[page.index("<main>") : page.index("</main>")])
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attrs += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*blocks) -> TextOf:
    section = Section("one", "One", blocks)
    return TextOf(page_html("compare.html.j2", title="T", subtitle="S", sections=[section]))


def every_block(text: str) -> list:
    """One block of each kind with ``text`` wherever a text may stand."""
    cells = (text, Cell(text, "code", text), Cell(text, "badge"), Cell(text, "strong"))
    return [
        Text(text, code=text, after=text, href=text),
        Missing(text, text),
        Heading(text, text),
        Definitions(((text, text),)),
        Cards((Card(text, text, text),)),
        Bars(text, (Bar(text, 0.5, text, text, text),)),
        Pre(text),
        table([(text, False)] * 4, [Row(cells, text)], text),
        Folded(text, (Pre(text),), text),
        Side(((Text(text),),)),
    ]


@settings(max_examples=30, deadline=None)  # each example renders a page twice
@given(TEXTS)
def test_any_text_in_any_block_comes_back_from_a_parser_and_makes_no_tag(text: str) -> None:
    page, plain = page_of(*every_block(text)), page_of(*every_block("x"))
    if text.strip():
        assert page.tags == plain.tags
        assert [name for name, _ in page.attrs] == [name for name, _ in plain.attrs]
    assert page.text.count(text) >= 20 or not text.strip()


def test_a_row_needs_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="1 cells in a table of 2 columns"):
        table([("a", True), ("b", True)], [["1"]])

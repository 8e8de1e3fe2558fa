from __future__ import annotations

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.report.markup import Column, Html, element, join, table


class TextOf(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags, self.attrs = "", [], []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attrs += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")))
def test_any_text_comes_back_from_a_parser_as_it_was_and_makes_no_tag(text: str) -> None:
    parser = TextOf()
    parser.feed(element("p", text, attrs={"title": text}))
    parser.close()
    assert parser.text == text
    assert parser.tags == ["p"]
    assert parser.attrs == [("title", text)]


def test_markup_is_not_escaped_twice() -> None:
    assert element("p", element("b", "<")) == "<p><b>&lt;</b></p>"
    assert join([Html("<hr>"), "<hr>"]) == "<hr>&lt;hr&gt;"


def test_a_row_needs_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="zip"):
        table([Column("a"), Column("b")], [["1"]])

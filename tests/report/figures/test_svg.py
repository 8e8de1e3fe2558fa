from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import unescape

import matplotlib as mpl
import pytest
from markupsafe import Markup

from hwnas.report.figures.pareto import pareto
from hwnas.report.figures.svg import Drawing, draw
from hwnas.report.figures.values import Point, Series

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\"'&$\\frac$]]>\x00"
POINTS = (
    Point(1.0, 0.5, lines=("first", HOSTILE), anchor="row-1"),
    Point(2.0, 0.6, (0.5, 0.7), name=HOSTILE, lines=("second",)),
)


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    series = [Series("some", POINTS, "blue", "o", 20)]
    return draw(
        "accuracy",
        "A title",
        lambda form: pareto(series, budgets_ms=[1.5], form=form),
        description=f"A description {HOSTILE}",
        caption="A caption",
        points=POINTS,
    )


def test_a_drawing_is_the_same_text_each_time_and_leaves_matplotlib_as_it_was() -> None:
    settings = dict(mpl.rcParams)
    series = [Series("some", POINTS, "blue", "o", 20)]
    first, second = (
        draw("n", "t", lambda form: pareto(series, form=form), description="d", caption="c")
        for _ in range(2)
    )
    assert first == second
    assert dict(mpl.rcParams) == settings


def test_a_drawing_has_words_for_those_who_do_not_see_it_and_ids_of_its_own(
    drawing: Drawing,
) -> None:
    root = ET.fromstring(drawing.svg)
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert (root[1].text or "").startswith("A description <script>")
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert all(str(name).startswith("accuracy-") for name in ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', drawing.svg)) <= set(ids)
    narrow = set(re.findall(r'\bid="([^"]+)"', drawing.narrow))
    assert not narrow & set(ids)


def test_points_become_links_with_tooltips_on_the_page_and_not_in_the_file(
    drawing: Drawing,
) -> None:
    assert "<a " not in drawing.svg
    for page in (drawing.wide, drawing.narrow):
        ET.fromstring(page)
        links = re.findall(r'<a class="point" href="([^"]*)"', page)
        assert links == ["#row-1"]
        tips = [unescape(tip) for tip in re.findall(r'data-tip="([^"]*)"', page)]
        assert tips == ["first\n" + HOSTILE.replace("\x00", "\ufffd"), "second"]
        assert 'role="group"' in page


def test_hostile_texts_stay_texts(drawing: Drawing) -> None:
    for page in (Markup(drawing.svg), drawing.wide, drawing.narrow):
        assert "<script" not in page
        assert "\x00" not in page


def test_a_drawing_for_the_page_has_variables_for_colours(drawing: Drawing) -> None:
    assert "var(" not in drawing.svg
    assert "var(--blue)" in drawing.wide
    assert not re.search(r'<svg[^>]* width="', drawing.wide)

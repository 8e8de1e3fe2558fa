from __future__ import annotations

import itertools

import pytest

from hwnas.report.figures.pareto import pareto
from hwnas.report.figures.style import NARROW, WIDE
from hwnas.report.figures.values import FrontLine, Point, Series

POINTS = (Point(1.0, 0.50), Point(2.0, 0.61, (0.55, 0.66)), Point(3.0, 0.62))


def test_points_are_at_their_latency_and_accuracy_in_percent() -> None:
    figure = pareto([Series("some", POINTS, "blue", "o", 20)])
    (axes,) = figure.axes
    markers = [one for one in axes.collections if one.get_label() == "some"]
    offsets = [tuple(one) for one in markers[0].get_offsets()]
    assert offsets == [pytest.approx((p.latency_ms, 100 * p.top1)) for p in POINTS]
    assert axes.get_xlabel() == "latency (ms, batch 1)"


def test_an_interval_is_a_vertical_line() -> None:
    (axes,) = pareto([Series("some", POINTS, "blue", "o", 20)]).axes
    (line,) = [one for one in axes.collections if one.get_label() != "some"]
    ends = [tuple(end) for end in line.get_paths()[0].vertices]
    assert ends == [pytest.approx((2.0, 55.0)), pytest.approx((2.0, 66.0))]


def test_fronts_are_steps_and_budgets_lines() -> None:
    fronts = [FrontLine("front", ((3.0, 0.62), (1.0, 0.5)))]
    (axes,) = pareto([], fronts, [1.5, 2.5]).axes
    front, *budgets = axes.lines
    assert list(front.get_xdata()) == [1.0, 3.0]
    assert front.get_label() == "front (n = 2)"
    assert [line.get_xdata()[0] for line in budgets] == [1.5, 2.5]
    assert [text.get_text() for text in axes.texts] == ["1.5 ms", "2.5 ms"]


def test_names_of_neighbours_do_not_overlap() -> None:
    named = tuple(Point(1.0, 0.5 + 0.001 * n, name=f"n{n}") for n in range(3))
    (axes,) = pareto([Series("some", (*named, Point(2.0, 0.8)), "blue", "o", 20)]).axes
    heights = sorted(text.xy[1] for text in axes.texts)
    low, high = axes.get_ylim()
    assert min(b - a for a, b in itertools.pairwise(heights)) > 0.03 * (high - low)


@pytest.mark.parametrize("form", [WIDE, NARROW])
def test_both_forms_have_their_width(form) -> None:
    assert pareto([], form=form).get_figwidth() == form.width


@pytest.mark.parametrize("form", [WIDE, NARROW])
def test_names_as_drawn_do_not_overlap(form) -> None:
    names = (
        "winner",
        "mobilenet_v3_small x0.65",
        "mobilenet_v2 x0.45",
        "best of 3 random networks",
    )
    points = tuple(
        Point(1.7 + 0.08 * n, 0.9 + 0.004 * n, name=name) for n, name in enumerate(names)
    )
    figure = pareto([Series("some", (Point(1.0, 0.5), *points), "blue", "o", 20)], form=form)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(names)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)

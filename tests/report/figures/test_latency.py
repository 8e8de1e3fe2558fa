from __future__ import annotations

import pytest

from hwnas.report.figures.latency import breakdown, calibration, space_distribution
from hwnas.report.figures.values import NetworkPair


def test_the_bars_of_a_breakdown_are_the_times_with_their_shares() -> None:
    (axes,) = breakdown([("a", 1.0), ("$b$", 3.0)]).axes
    assert [bar.get_width() for bar in axes.patches] == [1.0, 3.0]
    assert [text.get_text() for text in axes.texts] == ["1.00  (25\u00a0%)", "3.00  (75\u00a0%)"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "$b$"]


def test_pairs_are_drawn_by_role_with_the_line_they_should_be_on() -> None:
    pairs = [NetworkPair("validate", 1.0, 1.1), NetworkPair("bench", 2.0, 1.9)]
    (axes,) = calibration(pairs).axes
    marked = {
        one.get_label(): [tuple(place) for place in one.get_offsets()] for one in axes.collections
    }
    assert marked["networks kept for validation"] == [(1.0, 1.1)]
    assert marked["finalists and baselines, measured later"] == [(2.0, 1.9)]
    (line,) = axes.lines
    assert list(line.get_xdata()) == list(line.get_ydata()) == pytest.approx([0.95, 2.1])


def test_the_distribution_joins_the_percentiles() -> None:
    (axes,) = space_distribution([(0.0, 1.0), (50.0, 2.0), (100.0, 4.0)], [3.0]).axes
    curve, budget = axes.lines
    assert list(curve.get_xdata()) == [1.0, 2.0, 4.0]
    assert list(curve.get_ydata()) == [0.0, 50.0, 100.0]
    assert list(budget.get_xdata()) == [3.0, 3.0]

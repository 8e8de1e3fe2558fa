from __future__ import annotations

import pytest
from matplotlib.collections import PolyCollection

from hwnas.report.figures.search import curves, gate_heatmap, snapshots
from hwnas.report.figures.style import NARROW, WIDE
from hwnas.report.figures.values import Curve

OPTIONS = (("skip", "k3"), ("k3", "k5", "k7"))
GATES = [((1 - e, e), (e, 0.25, 0.75 - e)) for e in (0.0, 0.1, 0.2, 0.5)]
CURVE = Curve(
    "one",
    (1, 2, 3, 4),
    (2.0, 1.5, 1.2, 1.0),
    (1.0, 0.8, 0.5, 0.1),
    (9.0, 8.0, 7.0, 6.0),
    (8.0, 8.0, 6.0, 6.0),
    6.5,
    GATES,
)


def test_the_curves_are_those_of_the_epochs() -> None:
    loss, latency = curves([CURVE]).axes
    lines = {line.get_label(): list(line.get_ydata()) for line in (*loss.lines, *latency.lines)}
    assert lines == {
        "loss": list(CURVE.loss),
        "entropy of a gate (nats)": list(CURVE.entropy),
        "target": [6.5, 6.5],
        "expected": list(CURVE.expected_ms),
        "likeliest network": list(CURVE.argmax_ms),
    }


@pytest.mark.parametrize("form", [WIDE, NARROW])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_search_has_two_panels_in_either_form(number: int, form) -> None:
    figure = curves([CURVE] * number, form=form)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 2 * number
    assert sum(axes.get_ylabel() == "loss, entropy" for axes in panels) == number


def test_the_opacity_of_a_cell_is_the_probability_of_its_option() -> None:
    figure = gate_heatmap(CURVE, ("layer1", "layer2"), OPTIONS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"epoch {number}" for number in CURVE.epoch
    ]
    names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert names == ["skip", "k3", "k5", "k7"]
    for axes, gates in zip(figure.axes, GATES, strict=True):
        (cells,) = [one for one in axes.collections if isinstance(one, PolyCollection)]
        assert [color[3] for color in cells.get_facecolors()] == pytest.approx(
            [value for row in gates for value in row]
        )
        places = [tuple(path.vertices[:4].mean(axis=0)) for path in cells.get_paths()]
        assert places == [(0, 0), (1, 0), (1, 1), (2, 1), (3, 1)]


def test_snapshots_are_spread_evenly_with_both_ends() -> None:
    assert snapshots(3, 5) == [0, 1, 2]
    assert snapshots(101, 5) == [0, 25, 50, 75, 100]

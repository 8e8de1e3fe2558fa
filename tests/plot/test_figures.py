from __future__ import annotations

import subprocess
import sys

import pytest
from matplotlib.figure import Figure

import hwnas
from hwnas.api.results import cost_of
from hwnas.device.measurement import Measurement
from hwnas.latency.table.schemas import Calibration, MeasurementSchema, NetworkRecord, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.space.codes import distinct_ops

HEADER = TableHeader(
    device="desk",
    runtime="onnxruntime",
    runtime_version="made up",
    precision="fp32",
    threads=1,
    affinity=None,
    layout="nchw",
    protocol=None,
    host={},
    date="2025-01-01",
)


@pytest.fixture(scope="module")
def space() -> hwnas.Space:
    return hwnas.load_space("tiny")


@pytest.fixture(scope="module")
def table(space) -> hwnas.Table:
    """A table with five whole networks, each measured 3 % above its sum."""
    rows = {
        op: Measurement.published(0.005 + 2e-8 * op.macs, 1)
        for op in distinct_ops(space.definition)
    }
    fit = Calibration(
        scale=1.0,
        per_op_ms=0.0,
        constant_ms=0.0,
        num_networks=5,
        mean_abs_rel_error=0.03,
        max_abs_rel_error=0.03,
    )
    bare = LatencyTable(HEADER, rows, {"tiny": fit})
    archs = space.sample(5, seed=2, distinct=True)
    records = [
        NetworkRecord(
            space="tiny",
            role="calibrate",
            is_sentinel=False,
            arch=arch.to_json(),
            measurement=MeasurementSchema(latency_ms=1.03 * ms, num_rounds=0, num_runs=1),
        )
        for arch, ms in zip(archs, hwnas.latency_model(space, bare).predict(archs), strict=True)
    ]
    return hwnas.Table(LatencyTable(HEADER, rows, {"tiny": fit}, networks=tuple(records)))


@pytest.fixture(scope="module")
def latency(space, table) -> hwnas.LatencyModel:
    return hwnas.latency_model(space, table)


def search(space, limits, **options) -> hwnas.SearchResult:
    score = {"evaluate": lambda arch: float(space.macs([arch])[0]) % 97, "evaluations": 30}
    return hwnas.search(space, limits, strategy="random", **score, **options)


def test_a_front_has_every_network_its_steps_and_the_budget(space, latency):
    result = search(space, {"latency_ms": (latency, 0.08)})
    figure = hwnas.plot.pareto(result)
    [axes] = figure.axes
    [points] = axes.collections
    assert len(points.get_offsets()) == len(result.finalists)
    front, budget = axes.lines
    assert front.get_xdata().tolist() == [cost_of(trial) for trial in result.front]
    assert list(budget.get_xdata()) == [0.08, 0.08]
    assert axes.get_ylabel() == "score"


def test_several_results_are_told_apart_by_name(space, latency):
    limits: hwnas.Limits = {"latency_ms": (latency, 0.08)}
    two = [search(space, limits, seed=seed) for seed in (0, 1)]
    figure = hwnas.plot.pareto(*two, names=["first", "second"])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split(" (")[0] for text in texts] == [
        "first",
        "front of first",
        "second",
        "front of second",
        "budget",
    ]
    with pytest.raises(hwnas.UsageError, match="2 results and 1 names"):
        hwnas.plot.pareto(*two, names=["first"])
    with pytest.raises(hwnas.UsageError, match="are not drawn in one figure"):
        hwnas.plot.pareto(two[0], search(space, {}))


def test_without_a_latency_a_front_is_over_macs(space):
    figure = hwnas.plot.pareto(search(space, {"params": 40_000}))
    assert figure.axes[0].get_xlabel() == "multiply-accumulates"


@pytest.mark.parametrize("name", ["tiny", "nasbench201", "ofa-mbv3"])
def test_networks_of_any_space_are_drawn(name):
    space = hwnas.load_space(name)
    figure = hwnas.plot.network(space, space.sample(1)[0])
    assert len(figure.axes[0].patches) >= len(space.layers(space.sample(1)[0])) // 2


def test_calibration_shows_every_network(table, space):
    figure = hwnas.plot.calibration(table)
    [points, _] = figure.axes[0].collections
    measured, predicted = points.get_offsets().T.tolist()
    assert len(measured) == 5
    assert measured == pytest.approx([1.03 * ms for ms in predicted])
    bare = hwnas.Table(LatencyTable(HEADER, table.rows))
    with pytest.raises(hwnas.UsageError, match="profile with calibrate=16"):
        hwnas.plot.calibration(bare)


def test_breakdown_bars_are_the_mean_time_of_a_network(latency, space):
    archs = space.sample(10)
    figure = hwnas.plot.breakdown(latency, archs, by="kinds")
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert sum(widths) == pytest.approx(latency.predict(archs).mean())
    assert widths == sorted(widths, reverse=True)
    with pytest.raises(hwnas.UsageError, match="by must be one of kinds, operations"):
        hwnas.plot.breakdown(latency, archs, by="colour")
    few = hwnas.latency_model(space, measured=[(arch, 1.0) for arch in archs])
    with pytest.raises(hwnas.UsageError, match="needs the rows of a table"):
        hwnas.plot.breakdown(few)


def test_figures_show_in_notebooks_and_pyplot_is_not_loaded(latency):
    figure = hwnas.plot.breakdown(latency)
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    code = "import sys, hwnas; hwnas.plot; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import hwnas
from hwnas.cli import app


def write_archs(path, archs):
    path.write_text("".join(f"{json.dumps(arch.to_json())}\n" for arch in archs))


def cli(*arguments: object) -> list[dict]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_predictions_are_those_of_the_command_line(space, shop):
    archs = space.sample(20, seed=5)
    write_archs(shop / "archs.jsonl", archs)
    lines = cli(
        "predict", "--space", "tiny", "--lut", "table.json", "--archs", "archs.jsonl", "--json"
    )
    predicted = hwnas.latency_model("tiny", "table.json").predict(archs)
    assert predicted == pytest.approx([line["latency_ms"] for line in lines], abs=1e-12)


def test_few_shot_predictions_are_those_of_the_command_line(space, shop, latency):
    timed = space.sample(12, seed=1, distinct=True)
    others = space.sample(60, seed=2, distinct=True)
    times = (3 * latency.predict(timed)).round(6).tolist()
    pairs = [(arch, float(ms)) for arch, ms in zip(others, space.macs(others) / 1e7, strict=True)]
    lines = [
        json.dumps({"arch": arch.to_json(), "latency_ms": ms})
        for arch, ms in zip(timed, times, strict=True)
    ]
    (shop / "measured.jsonl").write_text("\n".join(lines))
    source = [{"arch": a.to_json(), "latency_ms": ms, "device": "old"} for a, ms in pairs]
    (shop / "source.jsonl").write_text("\n".join(map(json.dumps, source)))
    archs = space.sample(10, seed=3)
    write_archs(shop / "archs.jsonl", archs)
    found = cli(
        "predict", "--space", "tiny", "--measured", "measured.jsonl", "--sources", "source.jsonl",
        "--archs", "archs.jsonl", "--json",
    )  # fmt: skip
    model = hwnas.latency_model(
        space, measured=list(zip(timed, times, strict=True)), sources={"old": pairs}
    )
    files = hwnas.latency_model(space, measured="measured.jsonl", sources=["source.jsonl"])
    expected, deviations = model.predict_with_std(archs)
    assert expected == pytest.approx([line["latency_ms"] for line in found], abs=1e-5)
    assert deviations == pytest.approx([line["std_ms"] for line in found], abs=1e-5)
    assert files.predict(archs) == pytest.approx(expected)


def test_op_predictors_fill_the_rows_that_a_table_lacks(space, shop):
    content = json.loads((shop / "table.json").read_text())
    kept = [row for row in content["entries"] if row["op"]["kind"] != "mbconv"]
    blocks = [row for row in content["entries"] if row["op"]["kind"] == "mbconv"]
    content["entries"] = kept + blocks[:-2]
    (shop / "partial.json").write_text(json.dumps(content))
    everything = space.sample(1000, distinct=True)
    lut = hwnas.latency_model(space, "partial.json")
    missing = np.isnan(lut.predict(everything, missing="nan"))
    assert 0 < missing.sum() < len(everything)
    with pytest.raises(hwnas.MissingRowError, match="no row"):
        lut.predict(everything)
    op = hwnas.latency_model(space, "partial.json", predictor="op-predictor")
    assert np.isfinite(op.predict(everything)).all()
    assert op.source != lut.source
    assert op.notes


def test_range_and_quantiles_are_exact(space, latency):
    every = latency.predict(space.sample(2000, distinct=True))
    assert latency.range_ms() == pytest.approx((every.min(), every.max()))
    assert latency.quantiles([0.5])[0] == pytest.approx(np.sort(every)[len(every) // 2 - 1])
    assert latency.audit(0.08).share == pytest.approx((every <= 0.08).mean())


def test_a_model_is_made_of_a_table_or_of_timings(space, shop):
    with pytest.raises(hwnas.UsageError, match="give one of table and measured"):
        hwnas.latency_model(space)
    with pytest.raises(hwnas.InputError, match="5 to 400 networks are needed, got 1"):
        hwnas.latency_model(space, measured=[(space.sample(1)[0], 1.0)])
    with pytest.raises(hwnas.UsageError, match="must be finite and above 0"):
        hwnas.latency_model(space, measured=[(arch, -1.0) for arch in space.sample(6)])
    with pytest.raises(hwnas.InputError, match="galaxy-note10"):
        hwnas.latency_model(space, "galaxy-note1")


def test_limits_on_few_timings_hold_too(space, latency):
    timed = space.sample(30, seed=1, distinct=True)
    pairs = list(zip(timed, latency.predict(timed).tolist(), strict=True))
    few = hwnas.latency_model(space, measured=pairs)
    archs = space.sample(50, latency=few, max_ms=0.08, seed=0)
    assert few.predict(archs).max() <= 0.08
    result = hwnas.search(
        space,
        {"latency_ms": (few, 0.08), "params": 40_000},
        evaluate=lambda arch: float(space.macs([arch])[0]),
        evaluations=20,
    )
    assert result.best.latency_ms <= 0.08
    with pytest.raises(hwnas.InfeasibleError, match="is predicted to meet"):
        hwnas.Study(space, {"latency_ms": (few, 1e-4)})
    with pytest.raises(hwnas.UsageError, match="exact answers need"):
        few.range_ms()


def test_what_cannot_be_said_of_a_model_is_an_error(space, latency):
    with pytest.raises(hwnas.UsageError, match="'magic' is not there; allowed: lut, op-predictor"):
        hwnas.latency_model(space, latency.table, predictor="magic")
    with pytest.raises(hwnas.UsageError, match="has no standard deviations"):
        latency.predict_with_std(space.sample(1))


def test_models_and_tables_print_what_they_are_of(latency):
    assert repr(latency) == "LatencyModel(tiny on host-onnxruntime-fp32-t1, source lut)"
    assert "0.0" in latency._repr_html_()
    assert "made up" in latency.table._repr_html_()

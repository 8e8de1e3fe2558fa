"""From a configuration to space, budgets and limits; what cannot be is told before any work."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from hwnas.errors import InfeasibleError, InputError, UsageError
from hwnas.latency.drift.conformal import (
    SESSION_STD,
    ValidationSchema,
    across_sessions,
    append_validation,
)
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.schemas import FormError
from hwnas.pipeline.config.run import with_confidence
from hwnas.pipeline.tables import prepare_tables
from hwnas.space.catalogue import load_space


@pytest.fixture
def every_ms(table):
    """The predicted latency of every code of ``tiny``, by the plain sum over its layers."""
    space, rows = load_space("tiny"), load_table(table).entries
    options = [choice.options for choice in space.choices]
    names = [choice.name for choice in space.choices]
    return {
        combination: sum(
            rows[op].latency_ms
            for op in space.layers(space.arch(dict(zip(names, combination, strict=True))))
        )
        for combination in itertools.product(*options)
    }


def target(table, **changes):
    return {
        "device": "host",
        "runtime": "onnxruntime",
        "table": str(table),
        "budget_ms": 0.25,
        **changes,
    }


def test_the_space_takes_the_number_of_classes_from_the_data(
    images, make_config, open_run, said, tmp_path
):
    run = open_run(make_config(data=str(images)), tmp_path / "run")
    assert run.space.name == "tiny:num_classes=3"
    assert run.space.num_classes == run.data.dataset.num_classes == 3
    assert said == [f"{images} has 3 classes: the space is tiny:num_classes=3"]


def test_a_space_of_the_right_size_is_left_alone_without_a_word(
    make_config, open_run, said, tmp_path
):
    assert open_run(make_config(), tmp_path / "run").space.name == "tiny"
    assert said == []


@pytest.mark.parametrize("percentile", [5.0, 35.0, 80.0])
def test_a_budget_percentile_is_that_of_all_codes(
    every_ms, table, make_config, open_run, tmp_path, percentile
):
    config = make_config(targets=[target(table, budget_ms=None, budget_percentile=percentile)])
    (budget_ms,) = open_run(config, tmp_path / "run").problem.budgets_ms
    times = np.array(list(every_ms.values()))
    at_most = (times <= budget_ms + 1e-6).mean()
    below = (times < budget_ms - 1e-6).mean()
    assert below <= percentile / 100 <= at_most + 1 / len(times)


def validation_block(mean_error):
    """A validation block as profile writes it, with this mean error."""
    line = {
        "mean_abs_rel_error": 0.1,
        "max_abs_rel_error": 0.2,
        "within_5_percent": 0.3,
        "bias": 0.0,
        "kendall_tau": 0.8,
    }
    return {
        **line,
        "mean_abs_rel_error": mean_error,
        "num_networks": 4,
        "fastest_ms": 1.0,
        "slowest_ms": 2.0,
        "repeatability_mean": 0.01,
        "repeatability_max": 0.02,
        "lines_fitted_on": "calibration networks",
        "macs_line": line,
        "op_count_line": line,
    }


def test_headroom_is_asked_for_or_twice_the_tables_error_within_bounds(
    table, make_config, open_run, tmp_path
):
    def headroom(asked, validation, calibration, left_out=None):
        loaded = load_table(table)
        errors = (
            {}
            if left_out is None
            else {
                "scale": FormError(
                    rms_rel_error=left_out,
                    mean_abs_rel_error=left_out,
                    max_abs_rel_error=left_out,
                )
            }
        )
        fitted = loaded.calibration["tiny"].model_copy(
            update={
                "mean_abs_rel_error": calibration or 0.0,
                "form": "scale",
                "left_out": errors,
            }
        )
        changed = type(loaded)(
            loaded.header,
            loaded.entries,
            {} if calibration is None else {"tiny": fitted},
            {} if validation is None else {"tiny": validation_block(validation)},
        )
        path = tmp_path / "changed.json"
        save_table(changed, path)
        config = make_config(targets=[target(path, headroom=asked)])
        return open_run(config, tmp_path / "run").problem.headroom(0)

    assert headroom(0.2, 0.01, 0.01) == 0.2
    assert headroom(0.0, 0.01, 0.01) == 0.0
    assert headroom(None, 0.02, 0.001) == 0.04  # validation counts before calibration
    assert headroom(None, None, 0.02) == 0.04
    assert headroom(None, None, 0.001, 0.02) == 0.04  # a fit's own error flatters it
    assert headroom(None, 0.0001, None) == 0.01
    assert headroom(None, 0.4, None) == 0.05
    assert headroom(None, None, None) == 0.0


def test_search_keeps_budgets_less_headroom_and_other_limits_as_they_are(
    table, make_config, open_run, tmp_path
):
    config = make_config(
        targets=[target(table, headroom=0.1), target(table, headroom=0.2)], limits={"params": 3e4}
    )
    run = open_run(config, tmp_path / "run")
    asked = run.problem.limits(0.25)
    assert [(limit.metric, limit.maximum, limit.table) for limit in asked] == [
        ("latency_ms", 0.25, "table.json"),
        ("latency_ms", 0.25, "table-2.json"),
        ("params", 3e4, None),
    ]
    kept = run.problem.searched(asked).limits
    assert [limit.maximum for limit in kept] == pytest.approx([0.225, 0.2, 3e4])


def test_a_confidence_shrinks_budgets_by_the_guard_of_searched_networks(
    table, make_config, open_run, said, tmp_path
):
    lines = [
        ValidationSchema(
            space="tiny",
            arch={"n": n},
            predicted_ms=1.0,
            measured_ms=1.0 + n / 1000,
            date="2026-01-01",
            run="r",
        )
        for n in range(19)
    ]
    given = tmp_path / "given.json"
    given.write_bytes(table.read_bytes())
    append_validation(given, lines)
    config = make_config(targets=[target(given)], confidence=0.95)
    run = open_run(config, tmp_path / "run")
    ratio = across_sessions(1.018, 1.009, 0.95, SESSION_STD)
    assert ratio > 1.018
    assert run.problem.headroom(0) == pytest.approx(1 - 1 / ratio)
    (kept,) = run.problem.searched(run.problem.limits(0.25)).limits
    assert kept.maximum == pytest.approx(0.25 / ratio)
    assert any("19 searched networks" in text for text in said)
    prepare_tables(run.problem, run.cache, seed=0)
    append_validation(given, [lines[0].model_copy(update={"measured_ms": 2.0})])
    # a run that is resumed keeps what it began with
    assert open_run(config, tmp_path / "run").problem.headroom(0) == pytest.approx(1 - 1 / ratio)
    other = make_config(targets=[target(given)], confidence=0.95)
    ratio = across_sessions(2.0, 1.0095, 0.95, SESSION_STD)
    assert open_run(other, tmp_path / "later").problem.headroom(0) == pytest.approx(1 - 1 / ratio)


def test_a_confidence_without_any_measured_network_is_refused(
    table, make_config, open_run, tmp_path
):
    bare = tmp_path / "bare.json"
    loaded = load_table(table)
    save_table(type(loaded)(loaded.header, loaded.entries), bare)
    run = open_run(make_config(targets=[target(bare)], confidence=0.9), tmp_path / "run")
    with pytest.raises(UsageError, match=r"needs measured networks of tiny.*--validate 18"):
        run.problem.headroom(0)


def test_confidence_and_headroom_exclude_each_other(table, make_config):
    with pytest.raises((InputError, ValueError), match="give either of them"):
        make_config(targets=[target(table, headroom=0.1)], confidence=0.9)
    config = make_config(targets=[target(table, headroom=0.1)])
    changed = with_confidence(config, 0.9)
    assert (changed.confidence, changed.targets[0].headroom) == (0.9, None)


def test_a_budget_nothing_meets_names_the_fastest_network_and_its_latency(
    every_ms, table, make_config, open_run, tmp_path
):
    fastest = min(every_ms, key=every_ms.get)
    config = make_config(targets=[target(table, budget_ms=0.01)])
    with pytest.raises(InfeasibleError) as caught:
        open_run(config, tmp_path / "run").problem.check_limits()
    message = str(caught.value)
    assert "no network of tiny meets latency_ms <= 0.01" in message
    assert f"{every_ms[fastest]:.6g}" in message
    assert ", ".join(f"layer{i + 1}={option}" for i, option in enumerate(fastest)) in message


def test_a_budget_that_only_the_headroom_spoils_says_so(
    every_ms, table, make_config, open_run, tmp_path
):
    just = min(every_ms.values()) * 1.01
    config = make_config(targets=[target(table, budget_ms=just, headroom=0.1)])
    with pytest.raises(InfeasibleError, match=r"search leaves 10.00% of each latency budget free"):
        open_run(config, tmp_path / "run").problem.check_limits()
    open_run(
        make_config(targets=[target(table, budget_ms=just, headroom=0.0)]), tmp_path / "run"
    ).problem.check_limits()


def test_every_budget_of_several_must_be_possible(table, make_config, open_run, tmp_path):
    config = make_config(targets=[target(table, budget_ms=[0.25, 0.01])])
    with pytest.raises(InfeasibleError, match=r"latency_ms <= 0.01"):
        open_run(config, tmp_path / "run").problem.check_limits()


def test_the_tables_warning_is_said(make_table, make_config, open_run, said, tmp_path):
    path = make_table(tmp_path / "t.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "calibration": {}}))
    run = open_run(make_config(targets=[target(path)]), tmp_path / "run")
    assert run.problem.predictors[0].source == "lut-uncalibrated"
    assert len(said) == 1
    assert said[0].startswith("the table of host is not calibrated for tiny")


def test_tables_are_read_from_the_run_folder_once_they_are_there(
    table, make_table, make_config, open_run, tmp_path
):
    run = open_run(make_config(), tmp_path / "run")
    prepare_tables(run.problem, run.cache, seed=0)
    make_table(tmp_path / "run" / "table.json", factor=3.0)
    twice = open_run(make_config(), tmp_path / "run")
    prepare_tables(twice.problem, twice.cache, seed=0)  # what is there stays
    space = load_space("tiny")
    arch = space.decode(np.zeros((1, 5), dtype=np.int16))[0]
    assert twice.problem.predictors[0].predict_arch_ms(arch) == pytest.approx(
        3 * LutPredictor(space, load_table(table)).predict_arch_ms(arch), abs=1e-5
    )

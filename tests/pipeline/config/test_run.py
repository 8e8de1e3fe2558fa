"""The configuration of a run: what is wrong is told at once, and what differs by its place."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from hwnas.errors import InputError, UsageError
from hwnas.pipeline.config.run import (
    PRESETS,
    RunConfig,
    load_config,
    preset,
    require_same,
)
from hwnas.pipeline.config.search import SupernetConfig
from hwnas.search.settings import GatesConfig

SMALL: dict[str, Any] = {
    "space": "tiny",
    "data": "digits",
    "targets": [{"device": "host", "budget_ms": 3.5}],
}


def write(path, content):
    path.write_text(yaml.safe_dump(content))
    return path


def problems_of(tmp_path, **changes):
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path / "run.yaml", {**SMALL, **changes}))
    assert "hwnas run --schema" in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    "content",
    [
        SMALL,
        {
            **SMALL,
            "targets": [{"budget_ms": [3, 4.5]}, {"budget_percentile": 20}],
            "limits": {"params": 4e6, "size_mb": 8},
            "formats": ["onnx"],
            "seed": 7,
            "retrain": {"top": 2, "recipe": {"epochs": 3}},
            "bench": {"baselines": []},
        },
        *PRESETS.values(),
    ],
)
def test_a_configuration_reads_back_from_what_it_writes(tmp_path, content):
    config = load_config(write(tmp_path / "given.yaml", content))
    (tmp_path / "written.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "written.yaml") == config
    require_same(tmp_path / "written.yaml", config)


def test_a_budget_may_be_one_number_or_several():
    one = RunConfig.model_validate_json(json.dumps(SMALL))
    several = copy.deepcopy(SMALL)
    several["targets"][0]["budget_ms"] = [20, 30.5]
    two = RunConfig.model_validate_json(json.dumps(several))
    assert (one.targets[0].budgets_ms, two.targets[0].budgets_ms) == ((3.5,), (20, 30.5))


def test_all_problems_of_a_file_are_told_at_once_with_what_was_meant(tmp_path):
    found = problems_of(
        tmp_path,
        targets=[{"runtme": "litert", "budget_ms": -1, "calibrate": "x"}, {"runtime": "onnx"}],
        limits={"param": 3},
        search={"strategy": "randm", "recipe": {"epoch": 3}},
        retrain={"top": 0, "recipe": {"epochs": 0}},
        formats=["onx"],
        limit={},
    )
    expected = {
        "targets.0.runtme": "unknown key; did you mean 'runtime'?",
        "targets.0.budget_ms": "must be a number of ms above 0, or a list of such numbers, got -1",
        "targets.0.calibrate": "must be a valid integer, got 'x'",
        "targets.1.runtime": "must be 'litert' or 'onnxruntime', got 'onnx'",
        "limits.param": "unknown key; known: 'params', 'macs' or 'size_mb'; did you mean 'params'?",
        "search.strategy": "must be 'random', 'proxyless', 'proxyless-rl', 'evolution', 'nsga2', "
        "'rl', 'local', 'exhaustive' or 'combined-moves', got 'randm'; did "
        "you mean 'random'?",
        "search.recipe.epoch": "unknown key; did you mean 'epochs'?",
        "retrain.top": "must be greater than or equal to 1, got 0",
        "retrain.recipe": "epochs must be at least 1, got 0; warmup_epochs must be from 0 to "
        "epochs, got 1.0",
        "formats.0": "must be 'onnx' or 'tflite', got 'onx'; did you mean 'onnx'?",
        "limit": "unknown key; did you mean 'limits'?",
    }
    assert sorted(found) == sorted(f"{place}: {text}" for place, text in expected.items())


@pytest.mark.parametrize(
    "budget", [-1, 0, math.nan, math.inf, [], [3, -1], [3, None], "3", True, [[3]], {"ms": 3}]
)
def test_a_budget_that_is_no_time_is_refused_in_one_sentence(tmp_path, budget):
    found = problems_of(tmp_path, targets=[{"budget_ms": budget}])
    assert len(found) == 1
    assert found[0].startswith("targets.0.budget_ms: must be a number of ms above 0")


@pytest.mark.parametrize("target", [{}, {"budget_ms": 3, "budget_percentile": 20}])
def test_a_target_has_exactly_one_kind_of_budget(tmp_path, target):
    assert problems_of(tmp_path, targets=[target]) == (
        "targets.0: needs either budget_ms or budget_percentile",
    )


def test_only_the_first_target_has_several_budgets(tmp_path):
    found = problems_of(tmp_path, targets=[{"budget_ms": 3}, {"budget_ms": [3, 4]}])
    assert found == ("the file: only the first target may have several budgets",)


@pytest.mark.parametrize("changes", [{"targets": []}, {"formats": []}])
def test_an_empty_list_of_what_is_needed_is_refused(tmp_path, changes):
    (name,) = changes
    assert [problem.split(":")[0] for problem in problems_of(tmp_path, **changes)] == [name]


def test_an_infinite_limit_is_refused(tmp_path):
    (found,) = problems_of(tmp_path, limits={"params": math.inf})
    assert found.startswith("limits.params: must be a finite number")


def test_an_unknown_preset_is_told_with_the_known_ones():
    with pytest.raises(UsageError, match="no preset 'dmo'; presets: demo; did you mean 'demo'"):
        preset("dmo")


def test_another_configuration_is_told_by_the_values_that_differ(tmp_path):
    recorded = write(tmp_path / "config.yaml", SMALL)
    changed = {
        **SMALL,
        "seed": 3,
        "search": {"recipe": {"epochs": 5}},
        "targets": [{"device": "host", "budget_ms": 4}],
    }
    with pytest.raises(InputError) as caught:
        require_same(recorded, RunConfig.model_validate_json(json.dumps(changed)))
    assert caught.value.problems == (
        "targets.0.budget_ms: the run was begun with 3.5, now it is 4.0",
        "search.recipe.epochs: the run was begun with 8, now it is 5",
        "seed: the run was begun with 0, now it is 3",
    )


def test_another_number_of_targets_is_told_as_a_whole(tmp_path):
    recorded = write(tmp_path / "config.yaml", SMALL)
    more = {**SMALL, "targets": [*SMALL["targets"], {"budget_ms": 9}]}
    with pytest.raises(InputError) as caught:
        require_same(recorded, RunConfig.model_validate_json(json.dumps(more)))
    (found,) = caught.value.problems
    assert found.startswith("targets: the run was begun with [{")


def test_sharing_both_alternates_over_the_copies_and_needs_two() -> None:
    both = SupernetConfig.model_validate({"copies": 3, "sharing": "both"})
    assert [both.sharing_of(copy) for copy in range(3)] == ["nested", "own", "nested"]
    assert SupernetConfig().sharing_of(0) == "own"
    with pytest.raises(ValidationError, match=r"needs supernet\.copies of 2 or more, got 1"):
        SupernetConfig.model_validate({"sharing": "both"})


def test_a_reward_weight_left_open_in_a_saved_run_is_read_and_means_the_default() -> None:
    assert GatesConfig.model_validate({"reward_weight": None}).reward_weight is None
    assert (
        GatesConfig().model_dump()
        == GatesConfig.model_validate({"reward_weight": None}).model_dump()
    )

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.artifacts.events import StageEvent
from hwnas.artifacts.networks import ObjectivePart
from hwnas.errors import InputError
from hwnas.report.model import (
    RunTarget,
    choices_text,
    cleaned,
    gate_names,
    interval95,
    ledger,
    network_pairs,
    read_run,
    slots_of,
    top1,
    winner_slots,
)
from hwnas.space.catalogue import load_space

WriteRun = Callable[..., Path]


def edited(run: Path, copy: Path, name: str, **changes: object) -> Path:
    """Return a copy of the run in which keys of one JSON file are replaced."""
    shutil.copytree(run, copy)
    value = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps({**value, **changes}))
    return copy


def test_a_whole_run_is_read_and_unknown_events_are_ignored(whole_run: Path) -> None:
    facts = read_run(whole_run)
    assert len(facts.evaluations) == 60
    assert [stage.stage for stage in facts.stages] == [
        "profile",
        "search",
        "retrain",
        "export",
        "bench",
    ]
    assert facts.num_resumes == 1
    assert facts.winner is not None
    assert facts.exports[facts.winner.arch_id].formats["onnx"].bytes == 261_400
    assert facts.budgets_ms == (facts.winner.budget_ms,)
    assert facts.target == RunTarget("host", "litert", "fp32", "1", "2.1.0")
    row = facts.measured(facts.winner.arch_id)
    assert row is not None
    assert row.measurement.latency_ms == facts.winner.measured_ms


def test_files_that_are_not_there_yet_are_none(write_run: WriteRun, tmp_path: Path) -> None:
    facts = read_run(write_run(tmp_path / "run", until="profile"))
    assert facts.table is not None
    assert (facts.env, facts.result, facts.front, facts.winner, facts.bench) == (None,) * 5
    assert facts.target.device == "host"  # from the table's header


@pytest.mark.parametrize("make", ["nothing", "empty"])
def test_a_folder_without_a_run_is_an_error_that_names_the_next_step(
    make: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    if make == "empty":
        folder.mkdir()
    with pytest.raises(InputError, match="hwnas run"):
        read_run(folder)


def test_a_broken_file_is_an_error_that_names_file_and_key(whole_run: Path, tmp_path: Path) -> None:
    run = edited(whole_run, tmp_path / "run", "retrained.json", finalists=[{"arch_id": "a"}])
    with pytest.raises(InputError, match=r"(?s)retrained\.json.*finalists.*val"):
        read_run(run)


def test_a_journal_torn_by_a_kill_is_read_up_to_the_tear(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    with open(run / "journal.jsonl", "a") as stream:
        stream.write('{"event": "stage", "sta')
    assert len(read_run(run).stages) == 5


def test_the_session_of_the_runs_own_target_is_chosen_among_several(
    whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    other = json.loads((run / "bench" / "host-litert-fp32.json").read_text())
    (run / "bench" / "a-first.json").write_text(json.dumps({**other, "device": "a-phone"}))
    facts = read_run(run)
    assert [bench.device for bench in facts.benches] == ["a-phone", "host"]
    assert facts.bench is not None
    assert facts.bench.device == "host"


def test_top1_is_a_fraction_whatever_unit_the_evaluator_used() -> None:
    def scored(value: float, unit: str) -> dict[str, ObjectivePart]:
        return {"top1": ObjectivePart(value=value, unit=unit, direction="max", source="table")}

    assert top1(scored(93.5, "%")) == (0.935, "table")
    assert top1(scored(0.935, "fraction")) == (0.935, "table")
    assert top1({}) is None


def test_the_ledger_sums_a_stage_that_ran_twice_and_keeps_missing_costs_absent() -> None:
    stages = (
        StageEvent(stage="search", wall_s=10.0, cost={"images_trained": 5}),
        StageEvent(stage="bench", wall_s=2.0, cost={"device_s": 1.5}),
        StageEvent(stage="search", wall_s=4.0, cost={"images_trained": 7, "core_s": 3.0}),
    )
    first, second = ledger(stages)
    assert (first.stage, first.num_times, first.wall_s) == ("search", 2, 14.0)
    assert first.cost == {"images_trained": 12, "core_s": 3.0}
    assert second.cost == {"device_s": 1.5}


def test_characters_that_html_forbids_are_replaced_and_infinite_numbers_left_out() -> None:
    value = {"a\x00": ["b\x1b[0m", "tab\tline\n", "\ud800", float("inf")], "c": float("nan")}
    assert cleaned(value) == {"a\ufffd": ["b\ufffd[0m", "tab\tline\n", "\ufffd", None]}


def test_the_interval_of_an_accuracy_is_clopper_pearsons() -> None:
    # no success among n: the upper bound solves (1 - p)^n = 0.025
    assert interval95(0.0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    assert interval95(1.0, 10) == pytest.approx((0.025 ** (1 / 10), 1.0))
    assert interval95(0.5, None) is None
    assert interval95(0.5, 0) is None


def test_gates_are_named_by_the_space_and_not_at_all_without_it(whole_run: Path) -> None:
    facts = read_run(whole_run)
    layers, options = gate_names(facts)
    assert layers == tuple(choice.name for choice in load_space("tiny").choices)
    assert options[0] == ("identity", "mb3_k3", "mb3_k5", "mb6_k3")
    assert facts.result is not None
    result = facts.result.model_copy(update={"space": "mine@12345678"})
    assert gate_names(dataclasses.replace(facts, result=result)) == ((), ())


def test_the_options_of_an_architecture_are_cut_where_they_are_too_long(whole_run: Path) -> None:
    winner = read_run(whole_run).winner
    assert winner is not None
    whole = choices_text(winner.arch)
    assert whole == " · ".join(map(str, winner.arch.choices.values()))
    assert choices_text(winner.arch, 12) == whole[:11] + "…"


def test_any_architecture_has_slots_like_the_winner(whole_run: Path) -> None:
    facts = read_run(whole_run)
    assert facts.winner is not None
    assert slots_of(facts.winner.arch, facts.table) == winner_slots(facts.winner, facts.table)
    unknown = facts.winner.arch.model_copy(update={"space": "mine@12345678"})
    assert slots_of(unknown, facts.table) == ()


def test_the_winners_slots_are_its_layers_with_skips_options_and_table_times(
    whole_run: Path,
) -> None:
    facts = read_run(whole_run)
    assert facts.winner is not None
    slots = winner_slots(facts.winner, facts.table)
    space = load_space("tiny")
    arch = space.arch(facts.winner.arch.choices)
    assert tuple(slot.op for slot in slots if slot.op) == space.layers(arch)
    options = [slot.option for slot in slots if slot.option]
    assert options == [f"{name} = {option}" for name, option in arch.choices.items()]
    skipped = [slot.option for slot in slots if slot.op is None]
    assert skipped == [
        f"{name} = identity" for name in ("layer2", "layer4") if arch.choices[name] == "identity"
    ]
    for slot in slots:
        assert slot.op is None or slot.table_ms == pytest.approx(0.02 + 4e-6 * slot.op.macs)


def test_a_winner_of_an_unknown_space_keeps_its_layers(whole_run: Path, tmp_path: Path) -> None:
    arch = {"schema": 1, "space": "mine@12345678", "choices": {}}
    run = edited(whole_run, tmp_path / "run", "winner.json", arch=arch)
    facts = read_run(run)
    assert facts.winner is not None
    slots = winner_slots(facts.winner, None)
    assert len(slots) == len(facts.winner.layers)
    assert all(slot.op is not None and slot.table_ms is None for slot in slots)


def test_an_unknown_operation_of_the_winner_is_an_error(whole_run: Path, tmp_path: Path) -> None:
    layer = {"kind": "warp", "in_shape": [3, 8, 8], "out_channels": 4, "attrs": {}}
    run = edited(whole_run, tmp_path / "run", "winner.json", layers=[layer])
    facts = read_run(run)
    assert facts.winner is not None
    with pytest.raises(InputError, match="warp"):
        winner_slots(facts.winner, facts.table)


def test_a_tables_networks_are_predicted_by_the_table_itself(whole_run: Path) -> None:
    table = read_run(whole_run).table
    assert table is not None
    pairs = network_pairs(table)
    assert [pair.role for pair in pairs] == ["calibrate"] * 8 + ["validate"] * 24
    space = load_space("tiny")
    for pair, record in zip(pairs, table.networks, strict=True):
        ops = space.layers(space.arch(record.arch["choices"]))
        expected = 0.94 * sum(0.02 + 4e-6 * op.macs for op in ops) + 0.01
        assert pair.predicted_ms == pytest.approx(expected, rel=1e-5)
        assert pair.measured_ms == record.measurement.latency_ms


def test_an_uncalibrated_table_predicts_raw_sums_without_a_warning(whole_run: Path) -> None:
    table = read_run(whole_run).table
    assert table is not None
    calibrated = network_pairs(table)
    raw = network_pairs(dataclasses.replace(table, calibration={}))
    for before, after in zip(calibrated, raw, strict=True):
        assert before.predicted_ms == pytest.approx(0.94 * after.predicted_ms + 0.01)


def test_networks_that_cannot_be_predicted_here_are_left_out(whole_run: Path) -> None:
    table = read_run(whole_run).table
    assert table is not None
    unknown = [record.model_copy(update={"space": "mine@12345678"}) for record in table.networks]
    assert network_pairs(dataclasses.replace(table, networks=tuple(unknown))) == ()
    assert network_pairs(dataclasses.replace(table, entries={})) == ()


def test_a_configuration_tells_target_and_budgets_before_anything_ran(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "space: tiny\ntargets:\n- {device: pixel, runtime: litert, budget_ms: [20, 10.5]}\n"
    )
    facts = read_run(tmp_path)
    assert facts.target.device == "pixel"
    assert facts.target.threads is None
    assert facts.budgets_ms == (10.5, 20.0)

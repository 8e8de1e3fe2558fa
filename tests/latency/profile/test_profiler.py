"""Profiles of ``tiny`` on this machine, from plan to table, through kills and full disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import hwnas.io.journal as journal_module
import hwnas.latency.profile.profiler as profiler_module
from hwnas.device.device import load_device
from hwnas.device.local import LocalRunner
from hwnas.device.measurement import summarise
from hwnas.device.rounds import replicas_of
from hwnas.device.runner import make_target
from hwnas.errors import InputError, StorageError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.io.journal import Journal
from hwnas.io.progress import reporting
from hwnas.latency.drift.check import arch_of
from hwnas.latency.lut.accuracy import errors
from hwnas.latency.lut.calibration import fit_calibration
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.plan import ProfilePlan, network_model_id, op_id
from hwnas.latency.profile.profiler import CALIBRATING_REPLICAS, PILOT_ROUND, VALIDATING, profile
from hwnas.latency.table.files import load_table
from hwnas.latency.table.scope import ops_in_scope
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

CALIBRATE, VALIDATE = 6, 4
COMMAND = [sys.executable, "-c", "from hwnas.cli import main; main()"]


def _samples(out: Path) -> Path:
    return Path(f"{out}.samples.jsonl")


def _visits(out: Path) -> Counter[tuple[str, int]]:
    records = Journal(_samples(out)).records()
    return Counter((r["model"], r["round"]) for r in records if r["event"] == "repetition")


def _plan(space, target, **numbers):
    return ProfilePlan(space, target, **numbers)


def _append(path, record):
    with path.open("a") as stream_:
        stream_.write(json.dumps(record) + "\n")


def _expected_visits(plan, table):
    """Every operation in the pilot round, every model in every round, some in copies."""
    ops = [op_id(op) for op in plan.ops]
    networks = [
        copy
        for n in table.networks
        if n.space == plan.space.name
        for copy in replicas_of(
            network_model_id(plan.space, arch_of(n)),
            1 if n.role in VALIDATING else CALIBRATING_REPLICAS,
        )
    ]
    rounds = range(plan.target.device.protocol.rounds)
    pilot = [(name, PILOT_ROUND) for name in ops] if plan.validate else []
    return Counter([*pilot, *((name, r) for name in (*ops, *networks) for r in rounds)])


def _assert_rows_are_those_of_the_samples(out, rounds):
    runs: dict[str, dict[int, list[float]]] = {}
    for record in Journal(_samples(out)).records():
        if record["event"] == "repetition":
            runs.setdefault(record["model"], {})[record["round"]] = record["runs_ms"]
    table = load_table(out)
    for op, measured in table.entries.items():
        of_op = [runs[op_id(op)][number] for number in range(rounds)]
        assert measured.to_json() == summarise(of_op).to_json()


@pytest.fixture(scope="module")
def plan(tiny, target):
    return _plan(tiny, target, calibrate=CALIBRATE, validate=VALIDATE)


@pytest.fixture(scope="module")
def profiled(plan, cache, tmp_path_factory):
    """One unbroken profile: its table as returned, its file, and the progress it reported."""
    out = tmp_path_factory.mktemp("profile") / "t.json"
    seen: list[tuple[str, int, int]] = []
    with reporting(lambda *args: seen.append(args)):
        table = profile(plan, out, cache=cache)
    return table, out, seen


def test_the_rows_are_the_distinct_operations_of_the_space(plan, profiled, tiny):
    table, _, _ = profiled
    walked = {
        op
        for number in range(4)
        for op in tiny.layers(
            tiny.arch({choice.name: choice.options[number] for choice in tiny.choices})
        )
    }
    assert set(table.entries) == set(plan.ops) == walked
    assert len(plan.ops) == len(walked)
    for measured in table.entries.values():
        assert measured.num_rounds == plan.target.device.protocol.rounds
        assert measured.latency_ms > 0


def test_the_table_is_written_as_it_is_returned(profiled):
    table, out, _ = profiled
    written = load_table(out)
    assert written.header == table.header
    assert set(written.entries) == set(table.entries)
    for op, measured in table.entries.items():
        assert written.entries[op].to_json() == measured.to_json()
    assert written.calibration == table.calibration
    assert written.networks == table.networks


def test_the_header_says_where_the_numbers_are_from(plan, profiled):
    header = profiled[0].header
    assert (header.device, header.runtime, header.layout) == ("desk", "onnxruntime", "nchw")
    assert header.runtime_version.startswith("onnxruntime 1.")
    assert header.protocol == plan.target.device.protocol
    assert header.host["cpus"] == sorted(os.sched_getaffinity(0))


def test_every_model_is_visited_once_a_round_and_never_while_converting(plan, profiled):
    table, out, seen = profiled
    assert _visits(out) == _expected_visits(plan, table)
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages == ["converting", "pilot round", "timing"]
    num_models = len(plan.ops) + VALIDATE + CALIBRATE * CALIBRATING_REPLICAS
    assert seen[-1] == ("timing", num_models * 4, num_models * 4)
    timing = next(i for i, (stage, _, _) in enumerate(seen) if stage == "timing")
    assert all(stage == "timing" for stage, _, _ in seen[timing:])


def test_operations_and_no_networks_are_timed_with_flushed_caches(
    tiny, device, cache, tmp_path, monkeypatch
):
    asked = {}

    class Recorded(LocalRunner):
        def time_ms(self, model_id, *, flush_mb=0.0, **options):
            asked.setdefault(model_id.partition("-")[0], set()).add(flush_mb)
            return super().time_ms(model_id, flush_mb=flush_mb, **options)

    monkeypatch.setattr(profiler_module, "open_runner", Recorded)
    protocol = device.protocol.model_copy(update={"rounds": 2, "flush_mb": 0.5})
    target = make_target(device.model_copy(update={"protocol": protocol}), "onnxruntime")
    table = profile(_plan(tiny, target, calibrate=2, validate=2), tmp_path / "t.json", cache=cache)
    assert asked == {"op": {0.5}, "net": {0.0}}
    assert table.header.protocol.flush_mb == 0.5
    assert load_table(tmp_path / "t.json").header.protocol == protocol


def test_five_sentinels_are_among_the_calibration_networks_from_end_to_end(profiled, tiny):
    networks = profiled[0].networks
    assert Counter(n.role for n in networks) == {
        "calibrate": CALIBRATE,
        "validate": VALIDATE // 2,
        "winner": VALIDATE // 2,
    }
    sentinels = [n for n in networks if n.is_sentinel]
    calibrating = [n for n in networks if n.role == "calibrate"]
    assert len(sentinels) == 5
    assert all(n.role == "calibrate" for n in sentinels)
    assert sentinels[0] == calibrating[0]
    assert sentinels[-1] == calibrating[-1]
    assert len({tiny.network_id(arch_of(n)) for n in networks}) == len(networks)


def test_the_calibration_fits_the_networks_of_its_role(profiled, tiny):
    table = profiled[0]
    used = [n for n in table.networks if n.role == "calibrate"]
    times_ms = np.array([n.measurement.latency_ms for n in used])
    again = fit_calibration(tiny, table, [arch_of(n) for n in used], times_ms)
    found = table.calibration["tiny"]
    assert found.num_networks == CALIBRATE
    assert found.scale == pytest.approx(again.scale, rel=1e-3)
    assert found.mean_abs_rel_error == pytest.approx(again.mean_abs_rel_error, rel=1e-2, abs=1e-5)


def test_the_validation_judges_the_predictor_on_networks_it_has_not_seen(profiled, tiny):
    table = profiled[0]
    used = [n for n in table.networks if n.role in ("validate", "winner")]
    measured = np.array([n.measurement.latency_ms for n in used])
    predicted = LutPredictor(tiny, table).predict_ms(tiny.encode([arch_of(n) for n in used]))
    block = table.validation["tiny"]
    assert block["num_networks"] == VALIDATE
    assert block["winners"]["num_networks"] == VALIDATE // 2
    assert block["lines_fitted_on"] == "calibration networks"
    for name, value in errors(predicted, measured).items():
        assert block[name] == pytest.approx(value, rel=1e-2, abs=1e-4)
    assert block["repeatability_max"] == pytest.approx(
        max(n.measurement.repeatability for n in used), abs=1e-6
    )


def test_without_networks_asked_for_there_are_five_sentinels_alone(tiny, target, cache, tmp_path):
    table = profile(_plan(tiny, target), tmp_path / "t.json", cache=cache)
    assert [(n.role, n.is_sentinel) for n in table.networks] == [("sentinel", True)] * 5
    assert (table.calibration, table.validation) == ({}, {})
    assert not any(number == PILOT_ROUND for _, number in _visits(tmp_path / "t.json"))


def test_sentinels_stand_beside_few_calibration_networks(tiny, target, cache, tmp_path):
    plan = _plan(tiny, target, calibrate=2)
    table = profile(plan, tmp_path / "t.json", cache=cache)
    assert Counter(n.role for n in table.networks) == {"calibrate": 2, "sentinel": 5}
    assert len({tiny.network_id(arch_of(n)) for n in table.networks}) == 7
    assert table.calibration["tiny"].num_networks == 2


def test_what_exists_is_not_written_over(plan, profiled, cache):
    _, out, _ = profiled
    before = out.read_bytes(), _samples(out).read_bytes()
    with pytest.raises(UsageError, match=r"t.json exists. Next: add --resume"):
        profile(plan, out, cache=cache)
    lone = out.with_name("lone.json")
    _samples(lone).write_bytes(before[1])
    with pytest.raises(UsageError, match=r"lone.json.samples.jsonl exists. Next: add --resume"):
        profile(plan, lone, cache=cache)
    assert (out.read_bytes(), _samples(out).read_bytes()) == before


def test_resuming_what_is_done_measures_nothing_and_changes_nothing(plan, profiled, cache):
    table, out, _ = profiled
    samples = _samples(out).read_bytes()
    again = profile(plan, out, cache=cache, resume=True)
    assert _samples(out).read_bytes() == samples
    assert again.entries == table.entries
    assert again.calibration == table.calibration
    assert again.networks == table.networks


def test_networks_that_are_not_asked_for_anew_stay_with_what_they_say(
    profiled, tiny, target, cache, tmp_path
):
    table, out, _ = profiled
    copy = tmp_path / "copy.json"
    copy.write_bytes(out.read_bytes())
    _samples(copy).write_bytes(_samples(out).read_bytes())
    again = profile(_plan(tiny, target), copy, cache=cache, resume=True)
    assert again.networks == table.networks
    assert again.calibration == table.calibration
    assert again.validation == table.validation
    assert _visits(copy) == _visits(out)


def test_a_network_calibrated_on_is_summarised_from_all_its_copies(plan, profiled):
    table, out, _ = profiled
    runs: dict[str, dict[int, list[float]]] = {}
    for record in Journal(_samples(out)).records():
        if record["event"] == "repetition":
            runs.setdefault(record["model"], {})[record["round"]] = record["runs_ms"]
    calibrated = [n for n in table.networks if n.role == "calibrate"]
    assert len(calibrated) == CALIBRATE
    for network in calibrated:
        name = network_model_id(load_space("tiny"), arch_of(network))
        visits = [
            runs[copy][number]
            for copy in replicas_of(name, CALIBRATING_REPLICAS)
            for number in range(4)
        ]
        loads = CALIBRATING_REPLICAS * plan.target.device.protocol.reloads
        found = network.measurement.model_dump(exclude={"source"})
        assert found == summarise(visits, loads).to_json()
        assert network.measurement.num_rounds == 4 * CALIBRATING_REPLICAS


def test_samples_with_one_visit_a_round_get_no_more_on_another_day(plan, profiled, cache, tmp_path):
    table, out, _ = profiled
    old = tmp_path / "old.json"
    for record in Journal(_samples(out)).records():
        if " " not in record.get("model", ""):
            _append(_samples(old), record)
    again = profile(plan, old, cache=cache, resume=True)
    assert again.entries == table.entries
    assert all(n.measurement.num_rounds == 4 for n in again.networks)
    assert not any(" " in model for model, _ in _visits(old))


def test_a_lost_table_is_rebuilt_from_its_samples(plan, profiled, cache, tmp_path):
    table, out, _ = profiled
    copy = tmp_path / "copy.json"
    _samples(copy).write_bytes(_samples(out).read_bytes())
    again = profile(plan, copy, cache=cache, resume=True)
    assert again.entries == table.entries
    assert _visits(copy) == _visits(out)


def test_a_second_space_joins_the_table_and_shares_its_rows(
    plan, profiled, target, cache, tmp_path
):
    first, out, _ = profiled
    both = tmp_path / "both.json"
    both.write_bytes(out.read_bytes())
    _samples(both).write_bytes(_samples(out).read_bytes())
    second = _plan(load_space("tiny:num_classes=7"), target, calibrate=3)
    table = profile(second, both, cache=cache, resume=True)
    assert set(table.entries) == set(plan.ops) | set(second.ops)
    assert len(table.entries) == len(first.entries) + 1  # the head alone differs
    # rows and networks that were there are read back in the file's resolution
    written = load_table(out)
    assert all(table.entries[op].to_json() == row.to_json() for op, row in written.entries.items())
    assert table.calibration["tiny"] == written.calibration["tiny"]
    assert table.validation == written.validation
    assert [n for n in table.networks if n.space == "tiny"] == list(first.networks)
    assert table.calibration[second.space.name].num_networks == 3
    assert max(_visits(both).values()) == 1
    assert _visits(both) == _visits(out) | _expected_visits(second, table)


@pytest.mark.parametrize("with_samples", [True, False])
def test_another_target_does_not_join_a_table(
    tiny, device, profiled, cache, tmp_path, with_samples
):
    _, out, _ = profiled
    copy = tmp_path / "copy.json"
    copy.write_bytes(out.read_bytes())
    if with_samples:
        _samples(copy).write_bytes(_samples(out).read_bytes())
    two_threads = make_target(device, "onnxruntime", threads=2)
    with pytest.raises(InputError, match="threads is 2, but 1 in the table"):
        profile(_plan(tiny, two_threads), copy, cache=cache, resume=True)
    assert copy.read_bytes() == out.read_bytes()
    assert _samples(copy).exists() == with_samples
    copy.unlink()
    if with_samples:
        with pytest.raises(InputError, match="threads was 1, now it is 2"):
            profile(_plan(tiny, two_threads), copy, cache=cache, resume=True)


@pytest.fixture(scope="module")
def slow_file(device_file, tmp_path_factory):
    """A device that rests after every round, which leaves time for a kill before the end."""
    path = tmp_path_factory.mktemp("slow") / "desk.yaml"
    path.write_text(device_file.read_text().replace("cooldown_s: 0.0", "cooldown_s: 0.25"))
    return path


def _start(device_file, cache, out, *options):
    environment = {**os.environ, "HWNAS_CACHE": str(cache.root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [
            *COMMAND,
            "profile",
            "--device",
            str(device_file),
            "--runtime",
            "onnxruntime",
            "--space",
            "tiny",
            "--calibrate",
            str(CALIBRATE),
            "--validate",
            str(VALIDATE),
            "--out",
            str(out),
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _kill_after(process: subprocess.Popen[str], samples: Path, num_bytes: int) -> None:
    deadline = time.monotonic() + 60
    while not samples.exists() or samples.stat().st_size < num_bytes:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("trial", range(2))
def test_a_profile_killed_twice_loses_and_repeats_no_visit(
    tiny, profiled, slow_file, cache, tmp_path, trial
):
    target = make_target(load_device(str(slow_file)), "onnxruntime")
    plan = _plan(tiny, target, calibrate=CALIBRATE, validate=VALIDATE)
    out = tmp_path / "t.json"
    size = _samples(profiled[1]).stat().st_size
    first, second = np.sort(stream(trial, "kill").uniform(0.02, 0.6, 2))
    for share, options in ((first, ()), (second, ("--resume",))):
        process = _start(slow_file, cache, out, *options)
        _kill_after(process, _samples(out), int(size * share))
        assert not out.exists()
    on_record = Journal(_samples(out)).records()
    finished = _start(slow_file, cache, out, "--resume", "--json")
    stdout, stderr = finished.communicate(timeout=120)
    assert finished.returncode == 0, stderr
    assert json.loads(stdout)["num_ops"] == len(plan.ops)
    table = load_table(out)
    assert _visits(out) == _expected_visits(plan, table)
    assert Journal(_samples(out)).records()[: len(on_record)] == on_record
    _assert_rows_are_those_of_the_samples(out, plan.target.device.protocol.rounds)
    # an unbroken profile with these samples would have written this very table
    copy = tmp_path / "copy.json"
    _samples(copy).write_bytes(_samples(out).read_bytes())
    profile(plan, copy, cache=cache, resume=True)
    assert _without_date(copy) == _without_date(out)


def _without_date(table: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(table.read_text())
    del content["header"]["date"]  # type: ignore[attr-defined]
    return content


def test_a_disk_that_fills_up_is_an_error_and_keeps_the_visits_before(
    tiny, target, cache, tmp_path, monkeypatch
):
    out, plan = tmp_path / "t.json", _plan(tiny, target)
    real, written = journal_module._write_all, []

    def fill_up(stream_, data):
        written.append(data)
        if len(written) == 40:
            real(stream_, data[: len(data) // 2])  # a torn line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(stream_, data)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_write_all", fill_up)
        with pytest.raises(StorageError, match=r"samples.jsonl: No space left.*--resume"):
            profile(plan, out, cache=cache)
    assert not out.exists()
    kept = Journal(_samples(out)).records()
    assert kept == [json.loads(line) for line in written[:39]]
    table = profile(plan, out, cache=cache, resume=True)
    assert _visits(out) == _expected_visits(plan, table)
    assert Journal(_samples(out)).records()[:39] == kept


def test_a_small_disk_that_is_enlarged_lets_the_profile_go_on(tiny, target, cache, disk):
    out, plan = disk.path / "t.json", _plan(tiny, target)
    with pytest.raises(StorageError, match="No space left"):
        profile(plan, out, cache=cache)
    kept = _visits(out)
    assert sum(kept.values()) > 20
    disk.remount("size=1m")
    table = profile(plan, out, cache=cache, resume=True)
    assert _visits(out) == _expected_visits(plan, table)
    assert load_table(out).networks == table.networks


def test_a_folder_that_is_read_only_is_an_error_before_any_visit(tiny, target, cache, disk):
    disk.remount("ro")
    with pytest.raises(StorageError, match="Read-only file system"):
        profile(_plan(tiny, target), disk.path / "t.json", cache=cache)
    assert list(disk.path.iterdir()) == []


def test_a_folder_that_is_a_file_is_an_error(tiny, target, tmp_path):
    (tmp_path / "taken").write_text("")
    unused = ConversionCache(tmp_path / "cache")
    with pytest.raises(StorageError, match="taken"):
        profile(_plan(tiny, target), tmp_path / "taken" / "t.json", cache=unused)
    assert not unused.root.exists()  # nothing was converted in vain


def test_a_scope_leaves_out_other_networks_and_their_operations(target, cache, tmp_path):
    space = load_space("ofa-mbv3:num_classes=10,width_mult=0.1")
    scope = {"resolution": 128}
    plan = ProfilePlan(space, target, calibrate=3, validate=2, scope=scope)
    table = profile(plan, tmp_path / "t.json", cache=cache)
    assert table.header.scope == scope
    assert set(table.entries) == set(plan.ops) == set(ops_in_scope(space, scope))
    assert {n.role for n in table.networks} == {"calibrate", "sentinel", "validate", "winner"}
    assert {n.arch["choices"]["resolution"] for n in table.networks} == {128}


def test_some_operations_are_chosen_and_a_second_run_measures_nothing(tmp_path, target, cache):
    space = load_space("proxyless:input_size=32,num_classes=10")
    plan = _plan(space, target, most_ops=40, calibrate=3, validate=2)
    out = tmp_path / "t.json"
    table = profile(plan, out, cache=cache)
    assert plan.is_partial
    assert len(table.entries) <= 40 < len(plan.ops)
    assert set(table.entries) < set(plan.ops)
    assert table.calibration[space.name].num_networks >= 2
    assert table.validation[space.name]["num_networks"] > 0
    visits = _visits(out)
    assert set(visits.values()) == {1}
    again = profile(plan, out, resume=True, cache=cache)
    assert again.entries == table.entries
    assert _visits(out) == visits


def test_likes_of_other_widths_are_measured_beside_all_operations(
    tmp_path, target, tiny, cache, monkeypatch
):
    monkeypatch.setattr("hwnas.latency.op_predictor.selection.MIN_OF_KIND", 4)
    plan = _plan(tiny, target, augment_ops=24)
    table = profile(plan, tmp_path / "t.json", cache=cache)
    assert set(plan.ops) < set(table.entries)
    assert len(table.entries) <= len(plan.ops) + 24


def test_too_few_operations_to_choose_are_refused(tmp_path, target, cache):
    plan = _plan(load_space("proxyless:input_size=32,num_classes=10"), target, most_ops=6)
    with pytest.raises(UsageError, match=r"at least \d+ are needed.*raise --ops"):
        profile(plan, tmp_path / "t.json", cache=cache)

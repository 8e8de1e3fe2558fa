"""Interleaved rounds: each visit once, in an order of its own, through any interruption."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from hwnas.device import rounds as visits
from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import summarise
from hwnas.device.rounds import SampleLog, record_in_rounds, replicas_of, time_in_rounds
from hwnas.errors import DeviceError, InputError
from hwnas.io.journal import Journal
from hwnas.io.progress import reporting

HEADER = {"device": "desk", "threads": 1, "protocol": {"rounds": 3, "min_visit_ms": 0.5}}
PROTOCOL = TimingProtocol(rounds=3, min_runs=2, min_visit_ms=0.5, cooldown_s=0.0)
MODELS = {name: Path(f"{name}.onnx") for name in ("alpha", "beta", "gamma", "delta", "eps")}


def _visit(
    path,
    runner,
    *,
    models=MODELS,
    rounds=range(3),
    seed=0,
    header=HEADER,
    protocol=PROTOCOL,
    **options,
):
    log = SampleLog(path, header)
    try:
        record_in_rounds(
            runner, models, rounds, protocol, log, seed=seed, stage="timing", **options
        )
    finally:
        log.close()
    return log


def _visits(path):
    records = Journal(path).records()  # does not see a torn last line
    return [(r["model"], r["round"]) for r in records if r["event"] == "repetition"]


def test_every_model_is_visited_once_a_round_round_after_round(tmp_path, fake_runner):
    runner = fake_runner()
    _visit(tmp_path / "s.jsonl", runner)
    visits = _visits(tmp_path / "s.jsonl")
    assert [number for _, number in visits] == [0] * 5 + [1] * 5 + [2] * 5
    assert [name for name, _ in visits] == runner.calls
    for number in range(3):
        assert {name for name, r in visits if r == number} == set(MODELS)
    assert runner.ever_loaded == MODELS
    assert runner.loaded == {}


def test_a_file_from_before_a_setting_existed_means_its_default(tmp_path):
    path = tmp_path / "s.jsonl"
    now = PROTOCOL.model_dump()
    before = {key: value for key, value in now.items() if key != "flush_mb"}
    SampleLog(path, {"protocol": before}).close()
    SampleLog(path, {"protocol": now}).close()
    with pytest.raises(InputError, match="protocol was"):
        SampleLog(path, {"protocol": {**now, "flush_mb": 16.0}})


def test_those_named_are_loaded_in_copies_each_visited_once_a_round(tmp_path, fake_runner):
    runner = fake_runner()
    log = _visit(tmp_path / "s.jsonl", runner, replicas={"beta": 3})
    copies = replicas_of("beta", 3)
    assert copies[0] == "beta"
    assert len(set(copies)) == 3
    for number in range(3):
        assert Counter(runner.calls[number * 7 : number * 7 + 7]) == Counter([*MODELS, *copies[1:]])
    assert runner.ever_loaded == {**MODELS, **dict.fromkeys(copies, MODELS["beta"])}
    # copy by copy, so that loads are told apart
    assert log.repetitions("beta", PROTOCOL, 3) == [
        [float(place), 1.0]
        for copy in copies
        for place, name in enumerate(runner.calls, 1)
        if name == copy
    ]


def test_a_place_in_memory_of_one_copy_does_not_move_what_copies_measure(tmp_path, fake_runner):
    slow = "beta 2"
    log = _visit(
        tmp_path / "s.jsonl",
        replicas={"beta": 3},
        runner=fake_runner(lambda name, _: [1.5 if name == slow else 1.0]),
    )
    assert log.measurement("beta", PROTOCOL, 3).latency_ms == 1.0
    assert log.measurement("beta", PROTOCOL, 3).num_rounds == 9
    assert log.measurement("beta", PROTOCOL, 3).p95_ms == 1.5


def test_only_those_named_are_timed_with_flushed_caches(tmp_path, fake_runner):
    runner = fake_runner()
    _visit(
        tmp_path / "s.jsonl",
        runner,
        flushed=["beta", "eps"],
        protocol=PROTOCOL.model_copy(update={"flush_mb": 16.0}),
    )
    assert runner.flushed == {"alpha": 0.0, "beta": 16.0, "gamma": 0.0, "delta": 0.0, "eps": 16.0}


def test_the_order_is_another_each_round_and_the_same_each_time(tmp_path, fake_runner):
    def order(name, **options):
        runner = fake_runner()
        _visit(tmp_path / name, runner, **options)
        return runner.calls

    calls = order("a", rounds=range(8))
    rounds = [tuple(calls[i : i + 5]) for i in range(0, 40, 5)]
    assert len(set(rounds)) > 5
    assert len({one[0] for one in rounds}) > 2
    assert order("b", rounds=range(8)) == calls
    assert order("c", rounds=range(3, 8)) == calls[15:]  # a round's order is its own
    assert order("d", rounds=range(8), seed=1) != calls
    assert order("e", models=dict(reversed(MODELS.items())), rounds=range(8)) == calls


def test_what_is_written_is_what_was_timed(tmp_path, fake_runner):
    runner = fake_runner(lambda name, call: [call + 1 / 3, call + 2 / 3])
    log = _visit(tmp_path / "s.jsonl", runner)
    for place, (name, number) in enumerate(_visits(tmp_path / "s.jsonl"), start=1):
        assert log.rounds(name)[number] == [round(place + 1 / 3, 6), round(place + 2 / 3, 6)]
        assert log.has(name, number)
    again = SampleLog(tmp_path / "s.jsonl", HEADER)
    assert again.rounds("beta") == log.rounds("beta")
    assert again.states == log.states
    assert again.measurement("beta", PROTOCOL) == summarise(
        [log.rounds("beta")[number] for number in range(3)]
    )
    assert not again.has("beta", 3)
    assert not again.has("omega", 0)


def test_the_state_is_recorded_before_the_first_and_after_every_round(tmp_path, fake_runner):
    log = _visit(tmp_path / "s.jsonl", fake_runner())
    assert log.states == [{"load_1min": calls / 10} for calls in (0, 5, 10, 15)]


def test_progress_counts_what_was_on_record(tmp_path, fake_runner):
    seen = []
    _visit(tmp_path / "s.jsonl", fake_runner(), rounds=[0])
    with reporting(lambda *args: seen.append(args)):
        _visit(tmp_path / "s.jsonl", fake_runner())
    assert seen == [("timing", done, 15) for done in range(6, 16)]


def test_nothing_is_loaded_or_written_when_all_is_on_record(tmp_path, fake_runner):
    _visit(tmp_path / "s.jsonl", fake_runner())
    before = (tmp_path / "s.jsonl").read_bytes()
    runner = fake_runner()
    _visit(tmp_path / "s.jsonl", runner)
    assert (runner.calls, runner.ever_loaded) == ([], {})
    assert (tmp_path / "s.jsonl").read_bytes() == before


def test_only_models_with_a_missing_visit_are_loaded(tmp_path, fake_runner):
    old = {name: MODELS[name] for name in ("alpha", "beta")}
    _visit(tmp_path / "s.jsonl", fake_runner(), models=old)
    runner = fake_runner()
    _visit(tmp_path / "s.jsonl", runner)
    assert set(runner.ever_loaded) == set(MODELS) - set(old)
    assert Counter(runner.calls) == dict.fromkeys(("gamma", "delta", "eps"), 3)


def test_resuming_after_any_prefix_repeats_and_loses_nothing(tmp_path, fake_runner):
    models = {name: MODELS[name] for name in ("alpha", "beta")}
    whole = tmp_path / "whole.jsonl"
    unbroken = fake_runner()
    _visit(whole, unbroken, models=models, rounds=range(2))
    payload, expected = whole.read_bytes(), _visits(whole)
    ends = [i + 1 for i, byte in enumerate(payload) if byte == ord("\n")]
    cuts = {*range(0, len(payload), 5), *ends, *(end - 1 for end in ends)}
    for cut in sorted(cuts):
        path = tmp_path / f"cut-{cut}.jsonl"
        path.write_bytes(payload[:cut])
        kept = payload[: max([0, *(end for end in ends if end <= cut)])]
        num_kept = kept.count(b'"event":"repetition"')
        runner = fake_runner()
        _visit(path, runner, models=models, rounds=range(2))
        assert _visits(path) == expected, cut
        assert path.read_bytes().startswith(kept), cut
        assert runner.calls == [name for name, _ in expected[num_kept:]], cut


def test_a_target_that_fails_keeps_the_visits_before(tmp_path, fake_runner):
    path = tmp_path / "s.jsonl"
    with pytest.raises(DeviceError, match="fell off the desk"):
        _visit(path, fake_runner(fail_at=7))
    assert len(_visits(path)) == 7
    runner = fake_runner()
    _visit(path, runner)
    assert len(runner.calls) == 8
    assert Counter(_visits(path)) == Counter((name, r) for name in MODELS for r in range(3))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"threads": 2}, "threads was 1, now it is 2"),
        ({"protocol": {"rounds": 3, "min_visit_ms": 4.0}}, "protocol was {'rounds': 3, "),
        ({"seed": 5}, "seed was None, now it is 5"),
    ],
)
def test_visits_of_another_target_are_refused_by_name_of_the_key(
    tmp_path, fake_runner, change, problem
):
    path = tmp_path / "s.jsonl"
    _visit(path, fake_runner(), rounds=[0])
    before = path.read_bytes()
    with pytest.raises(InputError, match="measure into another file") as caught:
        SampleLog(path, {**HEADER, **change})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
    assert path.read_bytes() == before


def test_files_with_the_old_names_are_read(tmp_path):
    path = tmp_path / "s.jsonl"
    now = PROTOCOL.model_dump()
    old = {("loads" if key == "reloads" else key): value for key, value in now.items()}
    with Journal(path) as journal:
        journal.append({"event": "header", "header": {"protocol": old}})
        journal.append({"event": "visit", "model": "alpha", "round": 1, "runs_ms": [1.0]})
    log = SampleLog(path, {"protocol": now})
    assert log.rounds("alpha") == {1: [1.0]}


def test_only_those_flushed_in_memory_are_timed_with_flushed_caches(fake_runner):
    runner = fake_runner()
    protocol = PROTOCOL.model_copy(update={"flush_mb": 3.0})
    time_in_rounds(runner, MODELS, 3, protocol, stage="s", flushed=["alpha"])
    assert runner.flushed == {**dict.fromkeys(MODELS, 0.0), "alpha": 3.0}


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text('{"event": "stage"}\n{"event": "visit"}\n')
    with pytest.raises(InputError, match="does not begin with the header"):
        SampleLog(path, HEADER)
    path.write_text('{"event": "header"}\n')
    with pytest.raises(InputError, match="does not begin with the header"):
        SampleLog(path, HEADER)


class _Loads:
    """A fake runner's history: what was loaded when, and in which order."""

    def __init__(self, runner):
        self.orders = []
        load, time_ms = runner.load, runner.time_ms
        self._timed = True

        def on_load(name, path):
            assert name not in runner.loaded  # freed before it is loaded again
            if self._timed:
                self.orders.append([])
            self._timed = False
            self.orders[-1].append(name)
            load(name, path)

        def on_time(name, **options):
            self._timed = True
            return time_ms(name, **options)

        runner.load, runner.time_ms = on_load, on_time


RELOADS = TimingProtocol(rounds=6, reloads=3, min_runs=2, min_visit_ms=0.5)


def test_models_are_loaded_again_between_loads_in_another_order(tmp_path, fake_runner):
    runner = fake_runner()
    history = _Loads(runner)
    log = _visit(tmp_path / "s.jsonl", runner, rounds=range(6), protocol=RELOADS)
    assert [sorted(order) for order in history.orders] == [sorted(MODELS)] * 3
    assert len({tuple(order) for order in history.orders}) == 3
    assert log.measurement("beta", RELOADS) == summarise(
        [log.rounds("beta")[number] for number in range(6)], 3
    )


def test_resuming_within_a_load_loads_what_is_missing_of_it(tmp_path, fake_runner):
    path = tmp_path / "s.jsonl"
    with pytest.raises(DeviceError):
        _visit(path, fake_runner(fail_at=19), rounds=range(6), protocol=RELOADS)
    runner = fake_runner()
    history = _Loads(runner)
    _visit(path, runner, rounds=range(6), protocol=RELOADS)
    assert [len(order) for order in history.orders] == [1, 5]  # one visit of load 1 was missing
    assert len(runner.calls) == 30 - 19


def test_timing_in_memory_shares_its_rounds_among_the_loads_and_frees_all(fake_runner):
    runner = fake_runner()
    history = _Loads(runner)
    seen = []
    with reporting(lambda *args: seen.append(args)):
        runs = time_in_rounds(runner, MODELS, 4, RELOADS, stage="s")
    assert [sorted(order) for order in history.orders] == [sorted(MODELS)] * 3
    assert runner.loaded == {}
    assert seen == [("s", done, 20) for done in range(1, 21)]
    rounds = [tuple(runner.calls[i : i + 5]) for i in range(0, 20, 5)]
    assert all(sorted(one) == sorted(MODELS) for one in rounds)
    assert len(set(rounds)) > 2
    for name in MODELS:
        places = [place for place, called in enumerate(runner.calls, 1) if called == name]
        assert runs[name] == [[float(place), 1.0] for place in places]


class _Clock:
    """A clock that only sleeping and visits move, and when each visit of a model began."""

    def __init__(self, monkeypatch, runner, *, visit_s):
        self.now = 1000.0
        self.visits = []
        time_ms = runner.time_ms
        monkeypatch.setattr(visits.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(visits.time, "sleep", self.advance)

        def on_time(name, **options):
            self.visits.append((name, self.now))
            self.advance(visit_s)
            return time_ms(name, **options)

        runner.time_ms = on_time

    def advance(self, seconds):
        self.now += seconds


def test_rounds_go_on_for_the_time_asked_for_as_many_in_each_load(monkeypatch, fake_runner):
    runner = fake_runner()
    history = _Loads(runner)
    clock = _Clock(monkeypatch, runner, visit_s=0.5)
    runs = time_in_rounds(runner, MODELS, 6, RELOADS.over(60), stage="s")
    # a load's share is 20 s: eight rounds of five visits of half a second
    assert {name: len(rounds) for name, rounds in runs.items()} == dict.fromkeys(MODELS, 24)
    assert clock.now == pytest.approx(1060.0)
    assert len(history.orders) == 3
    assert all(
        begin_b - begin_a == pytest.approx(0.5)  # nothing waits
        for (_, begin_a), (_, begin_b) in itertools.pairwise(clock.visits)
    )


def test_rounds_that_take_longer_than_asked_for_are_no_more(monkeypatch, fake_runner):
    runner = fake_runner()
    clock = _Clock(monkeypatch, runner, visit_s=0.5)
    time_in_rounds(runner, MODELS, 6, RELOADS.over(15.0), stage="s")
    assert len(clock.visits) == 30
    assert clock.now == pytest.approx(1015.0)


def test_fewer_rounds_than_the_protocols_go_on_for_as_much_less(monkeypatch, fake_runner):
    runner = fake_runner()
    clock = _Clock(monkeypatch, runner, visit_s=0.1)
    time_in_rounds(runner, MODELS, 3, RELOADS.over(60), stage="s")
    assert clock.now == pytest.approx(1030.0, abs=1.5)

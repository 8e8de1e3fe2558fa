from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import hwnas
from hwnas.io.journal import Journal

STRATEGIES = ("random", "evolution", "nsga2", "rl", "local")


def drive(study: hwnas.Study, scores: dict[str, float], until: int) -> None:
    while study.num_evaluated < until:
        arch = study.ask()
        study.tell(arch, scores[arch.arch_id])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_resumed_study_is_the_unbroken_one(space, latency, scores, tmp_path, strategy):
    limits: hwnas.Limits = {"latency_ms": (latency, 0.08)}
    options = {"strategy": strategy, "evaluations": 40, "seed": 3}
    whole = hwnas.Study(space, limits, **options)
    drive(whole, scores, 40)
    for stop in (17, 40):
        study = hwnas.Study(space, limits, path=tmp_path / "study.jsonl", **options)
        drive(study, scores, stop)
        study.close()
    assert study.trials == whole.trials
    assert study.best == whole.best
    assert all(trial.latency_ms <= 0.08 for trial in study.trials)


def test_open_proposals_come_again_first_and_in_order(space, latency, scores, tmp_path):
    path = tmp_path / "study.jsonl"
    limits: hwnas.Limits = {"latency_ms": (latency, 0.08)}
    study = hwnas.Study(space, limits, path=path)
    batch, single = study.ask_batch(5), study.ask()
    for arch in (batch[3], batch[0]):
        study.tell(arch, scores[arch.arch_id])
    study.close()
    again = hwnas.Study(space, limits, path=path)
    assert again.ask_batch(100) == [batch[1], batch[2], batch[4], single]
    new = again.ask()
    assert new not in [*batch, single]


def test_parallel_evaluations_may_end_in_any_order(space, latency, scores):
    study = hwnas.Study(space, {"latency_ms": (latency, 0.08)}, evaluations=40)
    rng = np.random.default_rng(0)
    pending = [study.ask() for _ in range(4)]
    for _ in range(36):
        arch = pending.pop(int(rng.integers(4)))
        study.tell(arch, scores[arch.arch_id])
        pending.append(study.ask())
    assert study.num_evaluated == 36
    assert len({trial.network_id for trial in study.trials}) == 36


def test_known_results_can_be_told(space, latency, scores):
    study = hwnas.Study(space, {"latency_ms": (latency, 0.08)})
    known = space.sample(10, latency=latency, max_ms=0.08, distinct=True)
    for arch in known:
        study.tell(arch, scores[arch.arch_id])
    drive(study, scores, 30)
    assert len({trial.network_id for trial in study.trials}) == 30


def test_wrong_uses_of_tell_say_what_to_do(space, latency):
    study = hwnas.Study(space, {"latency_ms": (latency, 0.08)})
    arch = study.ask()
    with pytest.raises(hwnas.UsageError, match="needs the key 'score', got top1"):
        study.tell(arch, {"top1": 0.5})
    with pytest.raises(hwnas.UsageError, match="are numbers"):
        study.tell(arch, "good")
    study.tell(arch, 0.5)
    with pytest.raises(hwnas.UsageError, match="was told before"):
        study.tell(arch, 0.5)
    slowest = max(space.sample(1000, distinct=True), key=lambda a: latency.predict([a])[0])
    with pytest.raises(hwnas.UsageError, match="breaks a limit"):
        study.tell(slowest, 0.5)
    with pytest.raises(hwnas.HwnasError, match="no best network"):
        hwnas.Study(space, {}).best  # noqa: B018 - the access is what is tested


def test_failures_are_trials_without_a_score(space):
    study = hwnas.Study(space, {})
    for value in (None, float("nan"), {"score": float("inf")}, {"score": None}):
        study.tell(study.ask(), value)
    study.tell(study.ask(), 0.3, error="out of memory")
    assert [trial.error for trial in study.trials] == [
        "the evaluation returned None",
        "the evaluation returned score=nan",
        "the evaluation returned score=inf",
        "the evaluation returned score=None",
        "out of memory",
    ]
    assert all(trial.is_failed for trial in study.trials)


def test_a_study_ends_when_no_network_is_left(space, latency):
    study = hwnas.Study(space, {"latency_ms": (latency, latency.range_ms()[0])})
    study.tell(study.ask(), 1.0)
    with pytest.raises(hwnas.UsageError, match="every network of tiny within the limits was asked"):
        study.ask()


def test_another_study_is_refused_with_what_differs(space, latency, scores, tmp_path):
    path = tmp_path / "study.jsonl"
    drive(hwnas.Study(space, {"latency_ms": (latency, 0.08)}, path=path), scores, 3)
    with pytest.raises(hwnas.InputError) as error:
        hwnas.Study(space, {"latency_ms": (latency, 0.09)}, strategy="rl", seed=1, path=path)
    assert "4 problems" in str(error.value)
    assert "strategy: the study was begun with 'evolution', now it is 'rl'" in str(error.value)


def test_a_journal_with_other_proposals_is_refused(space, latency, scores, tmp_path):
    path = tmp_path / "study.jsonl"
    drive(hwnas.Study(space, {"latency_ms": (latency, 0.08)}, path=path), scores, 3)
    lines = path.read_text().splitlines()
    event = json.loads(lines[1])
    event["archs"][0]["layer1"] = "mb6_k3" if event["archs"][0]["layer1"] != "mb6_k3" else "mb3_k3"
    path.write_text("\n".join([lines[0], json.dumps(event), *lines[2:]]) + "\n")
    with pytest.raises(hwnas.InputError, match="asks for other architectures"):
        hwnas.Study(space, {"latency_ms": (latency, 0.08)}, path=path)
    path.write_text('{"event":"party"}\n')
    with pytest.raises(hwnas.InputError, match="event must be one of study, ask, tell"):
        hwnas.Study(space, {}, path=path)


def test_a_killed_search_goes_on_where_it_was(space, latency, scores, shop):
    script = shop / "script.py"
    script.write_text(
        textwrap.dedent("""
            import json, sys, time, hwnas
            space = hwnas.load_space("tiny")
            lines = [json.loads(line) for line in open("scores.jsonl")]
            scores = {space.arch(l["arch"]["choices"]).arch_id: l["top1"] for l in lines}
            def score(arch):
                time.sleep(float(sys.argv[1]))
                print(arch.arch_id, flush=True)
                return scores[arch.arch_id]
            latency = hwnas.latency_model(space, "table.json")
            hwnas.search(space, {"latency_ms": (latency, 0.08)}, evaluate=score, evaluations=30,
                         seed=2, path="search.jsonl")
        """)
    )
    command = [sys.executable, str(script)]
    process = subprocess.Popen([*command, "0.2"], stdout=subprocess.PIPE, text=True)
    while len(Journal(shop / "search.jsonl").records()) < 15 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    first = process.communicate()[0].split()
    done = sum(r["event"] == "tell" for r in Journal(shop / "search.jsonl").records())
    second = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert 5 < done < 30
    assert len(second.stdout.split()) == 30 - done  # nothing on record is repeated
    assert len(first) >= done
    whole = hwnas.search(
        space,
        {"latency_ms": (latency, 0.08)},
        evaluate=lambda arch: scores[arch.arch_id],
        evaluations=30,
        seed=2,
    )
    resumed = hwnas.search(
        space,
        {"latency_ms": (latency, 0.08)},
        evaluate=lambda arch: 1 / 0,
        evaluations=30,
        seed=2,
        path="search.jsonl",
    )
    assert [t.arch for t in resumed.trials] == [t.arch for t in whole.trials]
    assert resumed.best.arch == whole.best.arch

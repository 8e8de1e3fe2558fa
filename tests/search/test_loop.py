"""The loop: all on record before it is told; a cut run goes on as if it had not been cut."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import pytest

from hwnas.errors import InputError
from hwnas.executor.local import TaskError
from hwnas.io.journal import Journal
from hwnas.io.progress import reporting
from hwnas.search.loop import SearchLoop
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.population import ArchSearcher
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
NUM_EVALUATIONS, BATCH = 7, 3


@pytest.fixture(scope="module")
def predictor(make_predictor):
    return make_predictor(TINY)


def _searcher(predictor, seed=0, budget_ms=1e3):
    limited = LimitedSpace(TINY, (Limit("latency_ms", budget_ms, "t"),), {"t": predictor})
    return ArchSearcher(TINY, RandomSearch(AdditiveFeasible(limited), seed))


@pytest.fixture
def run(predictor, fake_evaluator, tmp_path):
    """Run a search on a journal; returns its records and the evaluator."""

    def run(path="journal.jsonl", *, seed=0, num=NUM_EVALUATIONS, batch=BATCH, first_index=0):
        evaluator = fake_evaluator(TINY)
        with Journal(tmp_path / path) as journal:
            loop = SearchLoop(TINY, predictor, evaluator, journal)
            events = loop.run(_searcher(predictor, seed), num, batch=batch, first_index=first_index)
        return [event.to_json() for event in events], evaluator

    return run


def _timeless(records):
    return [{key: value for key, value in record.items() if key != "time"} for record in records]


def test_records_are_in_the_order_of_asking_and_all_in_the_journal(run, predictor, tmp_path):
    records, evaluator = run()
    asked = _searcher(predictor).ask(NUM_EVALUATIONS)
    assert [record["arch"] for record in records] == [arch.to_json() for arch in asked]
    assert [record["index"] for record in records] == list(range(NUM_EVALUATIONS))
    assert len(evaluator.asked) == NUM_EVALUATIONS
    written = Journal(tmp_path / "journal.jsonl").records()
    # the evaluator finished each batch backwards, and that is how it was written down
    assert [record["index"] for record in written] == [2, 1, 0, 5, 4, 3, 6]
    assert sorted(written, key=lambda record: record["index"]) == records


def test_a_record_says_what_was_evaluated_predicted_and_spent(run, predictor, fake_evaluator):
    records, _ = run()
    for record, arch in zip(records, _searcher(predictor).ask(NUM_EVALUATIONS), strict=True):
        ((_, evaluation),) = fake_evaluator(TINY).evaluate([arch])
        assert record["event"] == "evaluation"
        assert record["arch_id"] == arch.arch_id
        assert record["network_id"] == TINY.network_id(arch)
        assert record["latency_ms"] == predictor.predict_arch_ms(arch)
        assert record["latency_source"] == "lut"
        assert record["objectives"] == {
            name: asdict(objective) for name, objective in evaluation.objectives.items()
        }
        assert record["cost"] == evaluation.cost


def test_a_journal_cut_after_any_record_is_carried_on_to_the_same_records(run, tmp_path):
    records, _ = run("whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(NUM_EVALUATIONS + 1):
        path = tmp_path / f"cut{kept}.jsonl"
        torn = lines[kept][:40] if kept < len(lines) else b""
        path.write_bytes(b"".join(lines[:kept]) + torn)
        resumed, evaluator = run(path.name)
        assert _timeless(resumed) == _timeless(records)
        on_record = {json.loads(line)["arch_id"] for line in lines[:kept]}
        evaluated = {arch.arch_id for arch in evaluator.asked}
        assert evaluated == {record["arch_id"] for record in records} - on_record
        assert len(evaluator.asked) == NUM_EVALUATIONS - kept
        again = Journal(path).records()
        assert _timeless(sorted(again, key=lambda r: r["index"])) == _timeless(records)


def test_other_events_in_the_journal_are_not_evaluations(run, tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"event": "stage", "stage": "profile", "wall_s": 1.0})
    records, evaluator = run()
    assert len(records) == len(evaluator.asked) == NUM_EVALUATIONS


def test_two_searches_share_a_journal_by_their_indices(run, tmp_path):
    first, _ = run()
    second, evaluator = run(seed=1, first_index=NUM_EVALUATIONS)
    assert [record["index"] for record in second] == list(range(7, 14))
    assert len(evaluator.asked) == NUM_EVALUATIONS
    for seed, start, expected in ((0, 0, first), (1, NUM_EVALUATIONS, second)):
        resumed, evaluator = run(seed=seed, first_index=start)
        assert resumed == expected
        assert evaluator.asked == []
    assert len(Journal(tmp_path / "journal.jsonl").records()) == 14


def test_the_journal_of_another_search_is_an_error_before_anything_is_evaluated(
    run, predictor, tmp_path
):
    run(num=2)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with pytest.raises(InputError) as caught:
        run(seed=1)
    theirs, ours = (_searcher(predictor, seed).ask(1)[0].arch_id for seed in (0, 1))
    assert caught.value.what == str(tmp_path / "journal.jsonl")
    assert caught.value.problems == (
        f"evaluation 0 is of {theirs}, but this search asks for {ours}",
    )
    assert "resume with the table, seed and options of the run" in caught.value.next_step
    assert (tmp_path / "journal.jsonl").read_bytes() == before


@dataclass
class Recorder:
    """A searcher of a few networks that notes what it is asked and told."""

    archs: list
    journal: Journal
    calls: list = field(default_factory=list)

    def ask(self, count):
        asked, self.archs = self.archs[:count], self.archs[count:]
        self.calls.append(("ask", count))
        return asked

    def tell(self, evaluations):
        written = {record["arch_id"] for record in self.journal.records()}
        assert {evaluation.arch.arch_id for evaluation in evaluations} <= written
        self.calls.append(("tell", [evaluation.arch for evaluation in evaluations]))


def _record(predictor, fake_evaluator, path, num_archs, num_evaluations, **kwargs):
    archs = _searcher(predictor).ask(num_archs)
    with Journal(path) as journal:
        recorder = Recorder(archs, journal)
        progress = []
        loop = SearchLoop(
            TINY,
            predictor,
            fake_evaluator(TINY),
            journal,
            "scoring",
        )
        with reporting(lambda *args: progress.append(args)):
            events = loop.run(recorder, num_evaluations, **kwargs)
    return archs, recorder.calls, [event.to_json() for event in events], progress


def test_a_searcher_is_asked_for_batches_and_told_in_order_of_what_is_on_record(
    predictor, fake_evaluator, tmp_path
):
    archs, calls, records, _ = _record(
        predictor, fake_evaluator, tmp_path / "j.jsonl", 20, 7, batch=3
    )
    assert calls == [
        ("ask", 3),
        ("tell", archs[:3]),
        ("ask", 3),
        ("tell", archs[3:6]),
        ("ask", 1),
        ("tell", archs[6:7]),
    ]
    assert len(records) == 7


@pytest.mark.parametrize("num_archs", [0, 4])
def test_a_searcher_with_fewer_networks_ends_the_search_early(
    predictor, fake_evaluator, tmp_path, num_archs
):
    archs, calls, records, _ = _record(
        predictor, fake_evaluator, tmp_path / "j.jsonl", num_archs, 7, batch=3
    )
    assert [record["arch_id"] for record in records] == [arch.arch_id for arch in archs]
    assert calls[-1] == ("ask", 7 - num_archs if num_archs else 3)


def test_progress_counts_from_none_to_all_of_this_run_wherever_its_indices_begin(
    predictor, fake_evaluator, tmp_path
):
    for first_index in (0, 12):
        _, _, _, progress = _record(
            predictor, fake_evaluator, tmp_path / "j.jsonl", 5, 5, batch=3, first_index=first_index
        )
        assert progress == [("scoring", done, 5) for done in (0, 1, 2, 3, 3, 4, 5)]
    # on record already
    _, _, _, progress = _record(predictor, fake_evaluator, tmp_path / "j.jsonl", 5, 5, batch=3)
    assert progress == [("scoring", 3, 5), ("scoring", 5, 5)]


def test_what_was_evaluated_before_a_failure_is_kept(predictor, fake_evaluator, tmp_path):
    class Failing:
        def __init__(self):
            self.inner = fake_evaluator(TINY)

        def evaluate(self, archs):
            yield from list(self.inner.evaluate(archs))[:-1]
            raise TaskError("1 task(s) failed")

    journal = Journal(tmp_path / "j.jsonl")
    with pytest.raises(TaskError):
        SearchLoop(TINY, predictor, Failing(), journal).run(_searcher(predictor), 4, batch=4)
    assert [record["index"] for record in journal.records()] == [3, 2, 1]
    evaluator = fake_evaluator(TINY)
    records = SearchLoop(TINY, predictor, evaluator, journal).run(_searcher(predictor), 4, batch=4)
    assert len(records) == 4
    assert len(evaluator.asked) == 1
    journal.close()

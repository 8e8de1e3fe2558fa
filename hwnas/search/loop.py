"""The one loop of all ask/tell strategies: ask, evaluate, journal, tell.

Every evaluation is in the journal before the searcher learns of it. To resume is to run the same
loop again: the searcher, deterministic in its seed, asks for the same architectures, and those on
record are told from the journal instead of being evaluated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hwnas.arch import Arch
from hwnas.artifacts.events import EvaluationEvent, read_events
from hwnas.errors import InputError
from hwnas.io.journal import Journal
from hwnas.io.progress import report
from hwnas.protocols import Evaluation, Evaluator, LatencyModel, Searcher, SearchSpace
from hwnas.search.records import evaluation_event

SYNC_S = 0.2  # a loss of power may cost the evaluations of this long, a kill none


@runtime_checkable
class Comparing(Protocol):
    """An evaluator whose results depend on which networks come in one call (halving).

    A call that was cut off is repeated with all its networks, those on record included.
    """

    compares_within_call: bool


def to_repeat(evaluator: Evaluator, count: int, missing: list[int]) -> list[int]:
    """Return which places of a call of ``count`` to evaluate when ``missing`` have no record."""
    together = isinstance(evaluator, Comparing) and evaluator.compares_within_call
    return list(range(count)) if missing and together else missing


@dataclass(frozen=True)
class SearchLoop:
    """Runs a searcher against an evaluator and reports its progress as ``stage``."""

    space: SearchSpace
    predictor: LatencyModel
    evaluator: Evaluator
    journal: Journal
    stage: str = "evaluating"

    def run(
        self, searcher: Searcher, num_evaluations: int, *, batch: int, first_index: int = 0
    ) -> list[EvaluationEvent]:
        """Return the journal's events of up to ``num_evaluations`` evaluations, in order.

        ``batch`` architectures are asked for at a time; fewer evaluations come back when the
        searcher has no more to ask for. The journal numbers them from ``first_index``.

        Raises:
            InputError: the journal holds other architectures than the searcher asks for.
        """
        recorded = read_events(self.journal.records(), EvaluationEvent, self.journal.path)
        known = {event.index: event for event in recorded}
        events: list[EvaluationEvent] = []

        def on_done(done: int) -> None:
            report(self.stage, len(events) + done, num_evaluations)

        while len(events) < num_evaluations:
            archs = searcher.ask(min(batch, num_evaluations - len(events)))
            if not archs:
                break
            start = first_index + len(events)
            found = self._evaluate(archs, start, known, on_done)
            searcher.tell([event.evaluation for event in found])
            events += found
        return events

    def _evaluate(
        self,
        archs: Sequence[Arch],
        start: int,
        known: Mapping[int, EvaluationEvent],
        on_done: Callable[[int], None],
    ) -> list[EvaluationEvent]:
        found: dict[int, EvaluationEvent] = {}
        missing: list[int] = []
        for place, arch in enumerate(archs):
            event = known.get(start + place)
            if event is None:
                missing.append(place)
            elif event.arch_id != arch.arch_id:
                raise InputError(
                    str(self.journal.path),
                    [
                        f"evaluation {start + place} is of {event.arch_id}, but this search "
                        f"asks for {arch.arch_id}"
                    ],
                    "resume with the table, seed and options of the run, or begin another",
                )
            else:
                found[place] = event
        on_done(len(found))
        synced = time.monotonic()
        asked = to_repeat(self.evaluator, len(archs), missing)
        for position, evaluation in self.evaluator.evaluate([archs[place] for place in asked]):
            place = asked[position]
            if place in found:
                continue
            found[place] = self._event(start + place, evaluation)
            is_due = time.monotonic() - synced > SYNC_S or len(found) == len(archs)
            self.journal.append(found[place].to_json(), sync=is_due)
            synced = time.monotonic() if is_due else synced
            on_done(len(found))
        return [found[place] for place in range(len(archs))]

    def _event(self, index: int, evaluation: Evaluation) -> EvaluationEvent:
        latency_ms = self.predictor.predict_arch_ms(evaluation.arch)
        return evaluation_event(index, self.space, evaluation, latency_ms, self.predictor.source)

"""Successive halving: many networks trained briefly, the better ones longer.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016, Algorithm 1; the geometry of rungs as in Hyperband (Li et al., JMLR 2018, §2).
Departures: the networks of one call are halved among themselves, whatever searcher asked for them;
and a promoted network is trained from the start by the whole recipe of its rung, because a rung's
learning rate ends at zero and a network cannot be continued from there. All rungs together
therefore cost about eta / (eta - 1) times what continuing would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hwnas.arch import Arch
from hwnas.artifacts.events import BaselineEvent, EvaluationEvent, RungEvent, read_events
from hwnas.io.journal import Journal
from hwnas.protocols import Evaluation, Evaluator, Objective, SearchSpace
from hwnas.search.evaluators.memo import positions
from hwnas.search.records import rung_event
from hwnas.search.result import rank_key


def rungs(epochs: int, eta: int, least_epochs: int) -> tuple[int, ...]:
    """Return the epochs of each rung, increasing: ``epochs / eta**k``, rounded, down to the least.

    >>> rungs(27, 3, 1)
    (1, 3, 9, 27)
    """
    if eta < 2 or not 1 <= least_epochs <= epochs:
        raise ValueError(
            f"successive halving needs eta >= 2 and 1 <= least_epochs <= epochs, got "
            f"eta {eta}, least_epochs {least_epochs}, epochs {epochs}"
        )
    found = [epochs]
    while (shorter := round(epochs / eta ** len(found))) >= least_epochs and shorter < found[-1]:
        found.append(shorter)
    return tuple(reversed(found))


@dataclass
class HalvingEvaluator:
    """Evaluates networks by successive halving among those of one call.

    ``make(epochs)`` returns the evaluator of a rung. Every result carries the objective ``epochs``
    of the last rung it reached; :func:`hwnas.search.result.rank_key` compares that first. Results
    of rungs are in the journal before they decide anything, so a search that was killed trains
    nothing twice and promotes the same networks. Implements ``protocols.Evaluator``.
    """

    space: SearchSpace
    make: Callable[[int], Evaluator]
    epochs: tuple[int, ...]
    eta: int
    journal: Journal
    compares_within_call = True
    _known: dict[tuple[str, int], Evaluation] = field(init=False, repr=False)
    _counted: dict[str, float] = field(init=False, repr=False)
    """The epochs of the last rung whose cost an evaluation on record holds, by network_id."""

    def __post_init__(self) -> None:
        self._known, self._counted = {}, {}
        records, path = self.journal.records(), self.journal.path
        for rung in read_events(records, RungEvent, path):
            self._known[rung.network_id, rung.epochs] = rung.evaluation
        for kind in (EvaluationEvent, BaselineEvent):
            for event in read_events(records, kind, path):
                self._count(event.network_id, event.evaluation)

    def _count(self, network_id: str, found: Evaluation) -> None:
        epochs = found.objectives["epochs"].value if found.objectives else math.inf
        self._counted[network_id] = max(epochs, self._counted.get(network_id, 0.0))

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)`` when all rungs have ended: top1, loss, epochs, cost.

        ``cost`` is that of all its rungs, each of which counts once: 0 for a network that stands
        twice in ``archs``, and for what an earlier call trained.
        """
        places = positions(archs, self.space.network_id)
        alive, reached = list(places), dict[str, list[Evaluation]]()
        for epochs in self.epochs:
            for network_id, found in self._rung(epochs, alive, archs, places):
                reached.setdefault(network_id, []).append(found)
            best_first = sorted(
                (n for n in alive if reached[n][-1].objectives),
                key=lambda n: rank_key(_Reached(n, reached[n][-1].objectives)),
            )
            alive = best_first[: math.ceil(len(alive) / self.eta)]
        for network_id, results in reached.items():
            for place in places[network_id]:
                counted = self._counted.get(network_id, 0.0)
                new = [epochs > counted for epochs, _ in zip(self.epochs, results, strict=False)]
                found = _joined(archs[place], results, new)
                self._count(network_id, found)
                yield place, found

    def _rung(
        self,
        epochs: int,
        wanted: Sequence[str],
        archs: Sequence[Arch],
        places: dict[str, list[int]],
    ) -> Iterator[tuple[str, Evaluation]]:
        missing = [n for n in wanted if (n, epochs) not in self._known]
        asked = [archs[places[n][0]] for n in missing]
        for place, found in self.make(epochs).evaluate(asked) if missing else ():
            full = Evaluation(found.arch, _with_epochs(found, epochs), found.cost, found.error)
            self.journal.append(rung_event(self.space, full, epochs).to_json())
            self._known[missing[place], epochs] = full
        for network_id in wanted:
            yield network_id, self._known[network_id, epochs]


def _with_epochs(found: Evaluation, epochs: int) -> dict[str, Objective]:
    if not found.objectives:
        return {}
    source = found.objectives["top1"].source
    return {**found.objectives, "epochs": Objective(float(epochs), "epochs", "max", source)}


@dataclass(frozen=True)
class _Reached:
    """A network with its scores on the last rung it reached."""

    network_id: str
    objectives: Mapping[str, Objective]


def _joined(arch: Arch, results: Sequence[Evaluation], is_new: Sequence[bool]) -> Evaluation:
    """Return the last result of a network with the costs of those that are new."""
    names = dict.fromkeys(name for result in results for name in result.cost)
    cost = {
        name: sum(
            (r.cost.get(name, 0.0) for r, new in zip(results, is_new, strict=True) if new), 0.0
        )
        for name in names
    }
    return Evaluation(arch, results[-1].objectives, cost, results[-1].error)

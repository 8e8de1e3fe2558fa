"""The one memory of evaluators: what was evaluated is not evaluated again and costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from hwnas.arch import Arch
from hwnas.protocols import Evaluation


@runtime_checkable
class Remembers(Protocol):
    """An evaluator that takes evaluations of an earlier session as known."""

    def recall(self, evaluations: Iterable[Evaluation]) -> None:
        """Take ``evaluations`` as known: their architectures are not evaluated again."""


def positions(archs: Sequence[Arch], key: Callable[[Arch], str]) -> dict[str, list[int]]:
    """Return the positions in ``archs`` of each key, in the order of their first."""
    found: dict[str, list[int]] = {}
    for place, arch in enumerate(archs):
        found.setdefault(key(arch), []).append(place)
    return found


@dataclass
class Memo:
    """Evaluations by ``key(arch)``: an arch_id, or a network_id where codes build one network."""

    key: Callable[[Arch], str]
    _known: dict[str, Evaluation] = field(init=False, repr=False, default_factory=dict)

    def recall(self, evaluations: Iterable[Evaluation]) -> None:
        """Take evaluations of an earlier session as known; the first of a key counts."""
        for evaluation in evaluations:
            self._known.setdefault(self.key(evaluation.arch), evaluation)

    def evaluate(
        self,
        archs: Sequence[Arch],
        evaluate_new: Callable[[Mapping[str, Arch]], Iterator[tuple[str, Evaluation]]],
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)`` of ``archs``; those that are known come first.

        ``evaluate_new`` gets the architectures without an evaluation by key and yields theirs as
        they are ready. The first position of a key has the evaluation's cost, the others cost 0.
        """
        places = positions(archs, self.key)
        new: dict[str, Arch] = {}
        for key, same in places.items():
            if key in self._known:
                yield from self._repeated(key, archs, same)
            else:
                new[key] = archs[same[0]]
        for key, evaluation in evaluate_new(new):
            self._known[key] = evaluation
            first, *others = places[key]
            yield first, evaluation
            yield from self._repeated(key, archs, others)

    def _repeated(
        self, key: str, archs: Sequence[Arch], same: Sequence[int]
    ) -> Iterator[tuple[int, Evaluation]]:
        known = self._known[key]
        for place in same:
            yield place, replace(known, arch=archs[place], cost=dict.fromkeys(known.cost, 0.0))

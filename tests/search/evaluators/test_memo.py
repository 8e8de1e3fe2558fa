"""What was evaluated is not evaluated again, and costs nothing the second time."""

from __future__ import annotations

import numpy as np

from hwnas.protocols import Evaluation, Objective
from hwnas.search.evaluators.memo import Memo, positions
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
ARCHS = TINY.decode(np.arange(20).reshape(4, 5).astype(np.int16) % 4)


def _scored(arch, value: float) -> Evaluation:
    return Evaluation(arch, {"top1": Objective(value, "fraction", "max", "table")}, {"core_s": 2.0})


def test_positions_are_grouped_in_the_order_of_the_first() -> None:
    one, two = ARCHS[0], ARCHS[1]
    assert list(positions([two, one, two], lambda a: a.arch_id).values()) == [[0, 2], [1]]


def test_repeats_and_what_is_recalled_are_not_evaluated_and_cost_nothing() -> None:
    asked: list[str] = []

    def evaluate_new(new):
        for key, arch in new.items():
            asked.append(key)
            yield key, _scored(arch, 0.5)

    memo = Memo(lambda arch: arch.arch_id)
    memo.recall([_scored(ARCHS[0], 0.9), _scored(ARCHS[0], 0.1)])
    archs = [ARCHS[1], ARCHS[0], ARCHS[1], ARCHS[0]]
    found = dict(memo.evaluate(archs, evaluate_new))
    assert asked == [ARCHS[1].arch_id]
    assert [found[n].objectives["top1"].value for n in range(4)] == [0.5, 0.9, 0.5, 0.9]
    assert [found[n].cost["core_s"] for n in range(4)] == [2.0, 0.0, 0.0, 0.0]
    assert [found[n].arch for n in range(4)] == archs
    again = dict(memo.evaluate(archs[:1], evaluate_new))
    assert again[0].cost["core_s"] == 0.0
    assert len(asked) == 1

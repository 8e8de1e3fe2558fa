"""PredictorEvaluator: what a predictor (or a table) of codes says, as an evaluator."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwnas.arch import Arch
from hwnas.interfaces import CodeEvaluator, Evaluation, Objective, SearchSpace


@dataclass(frozen=True)
class PredictorEvaluator:
    """Scores architectures by a :class:`~hwnas.interfaces.CodeEvaluator`, all in one call.

    Implements ``interfaces.Evaluator``.
    """

    space: SearchSpace
    predictor: CodeEvaluator

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)``: ``top1`` (fraction); ``cost``: ``core_s``.

        Where the predictor has no score (NaN) the evaluation has an ``error`` instead.
        """
        if not archs:
            return
        start = time.process_time()
        scores = self.predictor.score(self.space.encode(archs))
        cost = {"core_s": (time.process_time() - start) / len(archs)}
        for place, (arch, score) in enumerate(zip(archs, scores.tolist(), strict=True)):
            if score != score:
                yield place, Evaluation(arch, {}, cost, f"the {self.predictor.source} has no score "
                                                        f"of {arch.arch_id}")
                continue
            top1 = Objective(score, "fraction", "max", self.predictor.source)
            yield place, Evaluation(arch, {"top1": top1}, cost)

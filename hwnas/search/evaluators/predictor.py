"""PredictorEvaluator: what a predictor (or a table) of codes says, as an evaluator."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.protocols import CodeEvaluator, Codes, Evaluation, Objective, SearchSpace
from hwnas.search.evaluators.registry import EvaluatorContext
from hwnas.search.predictors.fitted import load_fitted_predictor
from hwnas.search.predictors.ofa import load_ofa_predictor

logger = logging.getLogger(__name__)


@runtime_checkable
class Uncertain(Protocol):
    """A predictor that knows how sure it is."""

    def predict(self, codes: Codes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(num_archs,)`` means and standard deviations of top-1."""


@dataclass(frozen=True)
class PredictorEvaluator:
    """Scores architectures by a :class:`~hwnas.protocols.CodeEvaluator`, all in one call.

    Implements ``protocols.Evaluator``.
    """

    space: SearchSpace
    predictor: CodeEvaluator

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)``: ``top1`` (fraction); ``cost``: ``core_s``.

        A predictor that knows its uncertainty adds ``top1_std``, a standard deviation.
        Where the predictor has no score (NaN, infinite) the evaluation has an ``error`` instead.
        """
        if not archs:
            return
        start = time.process_time()
        codes = self.space.encode(archs)
        deviations = None
        if isinstance(self.predictor, Uncertain):
            scores, deviations = self.predictor.predict(codes)
        else:
            scores = self.predictor.score(codes)
        cost = {"core_s": (time.process_time() - start) / len(archs)}
        for place, (arch, score) in enumerate(zip(archs, scores.tolist(), strict=True)):
            if not math.isfinite(score):
                yield (
                    place,
                    Evaluation(
                        arch,
                        {},
                        cost,
                        f"the {self.predictor.source} has no score of {arch.arch_id}",
                    ),
                )
                continue
            top1 = Objective(score, "fraction", "max", self.predictor.source)
            objectives = {"top1": top1}
            if deviations is not None:
                objectives["top1_std"] = Objective(
                    float(deviations[place]), "fraction", "min", self.predictor.source
                )
            yield place, Evaluation(arch, objectives, cost)


def build(context: EvaluatorContext) -> CodeEvaluator:
    """Return the predictor of a run's file: fitted by a search (.json), or Once-for-All's."""
    assert context.file is not None  # the entry takes a file
    if context.file.suffix == ".json":
        fitted = load_fitted_predictor(context.file, context.space)
        logger.info(
            "%s: fitted to %d networks, Kendall tau %.2f by cross-validation",
            context.file.name,
            len(fitted.codes),
            fitted.kendall_tau,
        )
        return fitted
    return load_ofa_predictor(context.file, context.space)

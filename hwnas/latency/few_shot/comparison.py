"""Cross-validated comparison of the few-shot predictor with simpler ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.few_shot.feature_space import FeatureMatrix, FeatureSpace, best_view, fit_ridge
from hwnas.latency.few_shot.features import MACS, NUM_OPS
from hwnas.latency.few_shot.process import MIN_NETWORKS, FewShotProcess

Floats = NDArray[np.float64]

CEILING_FROM = 100  # networks; below, a regression on them alone is no ceiling
CEILING = "many-sample ceiling"
MAX_FOLDS = 20


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of predictions: Spearman's rho, RMSPE, shares within 5 and 10 % of measurements."""

    spearman: float
    rmspe: float
    within_5_percent: float
    within_10_percent: float

    def cells(self) -> list[str]:
        """Return the figures as text."""
        return [
            f"{self.spearman:.3f}",
            f"{self.rmspe:.1%}",
            f"{self.within_5_percent:.0%}",
            f"{self.within_10_percent:.0%}",
        ]


def accuracy_of(predicted_ms: Floats, measured_ms: Floats) -> Accuracy:
    """Return the accuracy of ``(n,)`` predictions; rho is 0 where predictions are all equal."""
    from scipy.stats import rankdata  # slow to import, and only reports need it

    relative = np.abs(predicted_ms / measured_ms - 1)
    ranks = rankdata(predicted_ms), rankdata(measured_ms)
    constant = min(float(np.ptp(rank)) for rank in ranks) == 0
    rho = 0.0 if constant else float(np.corrcoef(*ranks)[0, 1])
    return Accuracy(
        rho,
        float(np.sqrt((relative**2).mean())),
        float((relative <= 0.05).mean()),
        float((relative <= 0.1).mean()),
    )


def baselines(timed: FeatureMatrix, timed_ms: Floats, asked: FeatureMatrix) -> dict[str, Floats]:
    """Return ``(n,)`` ms of ``asked`` by simpler predictors, fitted to the same timed networks."""

    def by_ridge(block: str) -> Floats:
        return fit_ridge(timed.components[block], timed_ms)(asked.components[block])

    totals = timed.structure.blocks["totals"], asked.structure.blocks["totals"]
    found = {
        "line through MACs": _line(totals[0][:, MACS], timed_ms, totals[1][:, MACS]),
        "line through number of ops": _line(totals[0][:, NUM_OPS], timed_ms, totals[1][:, NUM_OPS]),
        "counts in the code, ridge": by_ridge("options"),
        "counts executed, ridge": by_ridge("classes"),
    }
    if timed.sources.shape[1]:
        misfits = [_misfit(column, timed_ms) for column in timed.sources.T]
        best = int(np.argmin(misfits))
        found["best single source, line"] = _line(
            timed.sources[:, best], timed_ms, asked.sources[:, best]
        )
        found["source ridge"] = fit_ridge(timed.sources, timed_ms)(asked.sources)
        extended = [
            np.concatenate([pool.sources, pool.components["totals"]], axis=1)
            for pool in (timed, asked)
        ]
        found["source ridge with totals"] = fit_ridge(extended[0], timed_ms)(extended[1])
    return found


def ceiling(
    basis: FeatureSpace, timed: FeatureMatrix, timed_ms: Floats, asked: FeatureMatrix
) -> Floats:
    """Return ``(n,)`` ms of ``asked`` by the best ridge on all features, fitted to many timings."""
    feature_set, model = best_view(basis.designs(timed.structure), timed_ms)
    return model(basis.standard(asked.structure, feature_set))


def compare(basis: FeatureSpace, timed: FeatureMatrix, timed_ms: Floats) -> dict[str, Accuracy]:
    """Return the cross-validated accuracy of each predictor on the timed networks.

    One network is left out at a time, or a twentieth of them where there are more than 20. The
    ceiling is there from CEILING_FROM networks on. Empty below MIN_NETWORKS + 1 networks.
    """
    num_timed = len(timed)
    if num_timed <= MIN_NETWORKS:
        return {}
    predicted: dict[str, Floats] = {}
    folds = np.arange(num_timed) % MAX_FOLDS
    for fold in np.unique(folds):
        out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        kept, asked = timed.take(rest), timed.take(out)
        found = {
            "transfer": FewShotProcess(kept, timed_ms[rest]).predict_ms(asked),
            **baselines(kept, timed_ms[rest], asked),
        }
        if num_timed >= CEILING_FROM:
            found[CEILING] = ceiling(basis, kept, timed_ms[rest], asked)
        for name, values in found.items():
            predicted.setdefault(name, np.empty(num_timed))[out] = values
    return {name: accuracy_of(values, timed_ms) for name, values in predicted.items()}


def _line(feature: Floats, timed_ms: Floats, asked: Floats) -> Floats:
    slope, constant = _line_fit(feature, timed_ms)
    return np.asarray(slope * asked + constant)


def _line_fit(feature: Floats, timed_ms: Floats) -> Floats:
    columns = np.stack(
        [feature / max(float(np.abs(feature).max()), 1e-12), np.ones_like(feature)], axis=1
    )
    slope, constant = np.linalg.lstsq(columns, timed_ms, rcond=None)[0]
    return np.array([slope / max(float(np.abs(feature).max()), 1e-12), constant])


def _misfit(feature: Floats, timed_ms: Floats) -> float:
    return float(((_line(feature, timed_ms, feature) - timed_ms) ** 2).sum())

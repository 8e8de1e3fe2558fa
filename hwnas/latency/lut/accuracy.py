"""Errors of predictions, next to the noise of the device and the errors of a straight line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.latency.lut.calibration import relative_fit
from hwnas.protocols import SearchSpace

Floats = NDArray[np.float64]


def errors(predicted_ms: Floats, measured_ms: Floats) -> dict[str, float]:
    """Return mean and largest relative error, shares within 5 and 10 %, bias, Kendall's tau-b."""
    from scipy.stats import kendalltau  # half a second to import, and only validation needs it

    relative = (predicted_ms - measured_ms) / measured_ms
    absolute = np.abs(relative)
    tau = float(kendalltau(predicted_ms, measured_ms).statistic) if len(measured_ms) > 1 else 0.0
    return {
        "mean_abs_rel_error": float(absolute.mean()),
        "max_abs_rel_error": float(absolute.max()),
        "within_5_percent": float((absolute <= 0.05).mean()),
        "within_10_percent": float((absolute <= 0.10).mean()),
        "bias": float(relative.mean()),
        "kendall_tau": 0.0 if np.isnan(tau) else tau,
    }


def line_errors(
    feature: Floats, measured_ms: Floats, fit_on: tuple[Floats, Floats] | None
) -> dict[str, float]:
    """Return the errors of a straight line through ``feature``.

    ``fit_on`` are the features and milliseconds of other networks to fit the line on; without
    them it is fitted on the networks it is judged by, the best a line can do.
    """
    fit_feature, fit_ms = fit_on or (feature, measured_ms)
    slope, constant = relative_fit(np.stack([fit_feature, np.ones_like(fit_feature)], 1), fit_ms)
    return errors(slope * feature + constant, measured_ms)


def validation_report(
    space: SearchSpace,
    archs: Sequence[Arch],
    predicted_ms: Floats,
    measured_ms: Floats,
    repeatability: Floats,
    calibration_set: tuple[Sequence[Arch], Floats] | None,
    is_winner: Sequence[bool],
) -> dict[str, Any]:
    """Return the validation block of a table: the predictor beside noise, MACs and op count.

    ``repeatability`` is each network's own difference between two halves of the rounds. The lines
    are fitted on the networks the predictor was calibrated on. ``winners`` are the errors on the
    networks that a search would find, by ``is_winner``: searches pick what is predicted too fast.
    """
    block: dict[str, Any] = {
        "num_networks": len(archs),
        "fastest_ms": float(measured_ms.min()),
        "slowest_ms": float(measured_ms.max()),
        **errors(predicted_ms, measured_ms),
        "repeatability_mean": float(repeatability.mean()),
        "repeatability_max": float(repeatability.max()),
        "lines_fitted_on": "calibration networks" if calibration_set else "these networks",
    }
    winners = np.array(is_winner, dtype=bool)
    if winners.any():
        block["winners"] = {
            "num_networks": int(winners.sum()),
            **errors(predicted_ms[winners], measured_ms[winners]),
        }
    for name, of in (("macs_line", _macs), ("op_count_line", _num_ops)):
        fit_on = None
        if calibration_set is not None:
            fit_on = of(space, calibration_set[0]), calibration_set[1]
        block[name] = line_errors(of(space, archs), measured_ms, fit_on)
    return block


def _macs(space: SearchSpace, archs: Sequence[Arch]) -> Floats:
    return np.array([float(sum(op.macs for op in space.layers(arch))) for arch in archs])


def _num_ops(space: SearchSpace, archs: Sequence[Arch]) -> Floats:
    return np.array([float(len(space.layers(arch))) for arch in archs])

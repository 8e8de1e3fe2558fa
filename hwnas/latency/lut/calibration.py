"""From rows of a table to the latency of a network: calibration forms, chosen by cross-validation.

The sum of the rows over- or underestimates systematically: each row was timed with a call of its
own, which a network pays once, and, without ``flush_mb``, with its weights in the cache. The
correction must stay a sum over operations, so that limits stay exact:

    latency = constant + sum over operations of
        row x (scale + corrections of the operation's groups)
        + per_op + per_mparam x parameters
        + per_cold_mparam x min(parameters, CACHED_PARAMS)
        + per_mvalue x values in and out

The forms, simplest first (FORMS):

- ``sum`` fits nothing, ``scale`` the scale, ``affine`` scale and constant;
- ``affine+ops`` adds the term per operation (the runtime's call), ``affine+params`` the one per
  parameter (weights that come from memory), ``affine+ops+params`` both;
- ``weight_traffic`` fits scale, the term per parameter up to CACHED_PARAMS an operation (weights
  that a row timed alone finds in the cache, where larger ones do not fit either) and the one per
  value in and out (which only a row timed alone may have to bring into the runtime's layout and
  back); ``weight_traffic+ops`` adds the term per operation;
- ``groups`` adds corrections by kind, kernel, squeeze-and-excite and input height
  (``op_groups.groups_of``), shrunk to 0 by a ridge with prior deviation PRIORS; ``scale+groups``
  has them without constant and terms. Some operations then take in a network what their row says
  (one that the runtime has no fast code for), the others a few percent more.

The causes in brackets are hypotheses; the errors of held-out networks choose. Every fit minimises
squared relative errors. The error of a form is that of leaving one network out in turn, and the
simplest form is chosen whose root mean square error is within MODEL_TOLERANCE of the best. (The
one-standard-error rule of Breiman et al., "Classification and Regression Trees", 1984, §3.4.3, is
too timid here: with 16 networks, one that all simple forms miss makes the standard error larger
than the gain of a better form.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.errors import MissingRowError
from hwnas.latency.lut.op_groups import groups_of
from hwnas.latency.table.schemas import Calibration, FormError
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace

Floats = NDArray[np.float64]

BASE = ("scale", "constant", "ops", "mparams", "cold_mparams", "mvalues")
CACHED_PARAMS = 2**19  # of an operation: 2 MB of fp32, what a core's cache keeps between two runs
PRIORS = {"groups 2 %": 0.02, "groups 5 %": 0.05}  # relative deviation a correction may be expected
NOISE = 0.01  # relative, of a network's measurement; with the prior it sets the ridge
MAX_CORRECTION = 0.15  # of the scale: networks unlike those calibrated on must not run away
MIN_SCALE = 0.2
MODEL_TOLERANCE = 0.15  # relative, of rms errors of held-out networks
EXACT = 1e-9  # errors this small are rounding: none is better than another


@dataclass(frozen=True)
class CalibrationModel:
    """A form of calibration: the columns of BASE it fits, and the prior of group corrections."""

    name: str
    columns: tuple[int, ...]
    prior: float | None = None

    @property
    def min_networks(self) -> int:
        """The number of networks needed to fit the form with one network left out."""
        return len(self.columns) + (1 if len(self.columns) > 1 else 0) + (4 if self.prior else 0)


FORMS = (
    CalibrationModel("sum", ()),
    CalibrationModel("scale", (0,)),
    CalibrationModel("affine", (0, 1)),
    CalibrationModel("affine+ops", (0, 1, 2)),
    CalibrationModel("affine+params", (0, 1, 3)),
    CalibrationModel("weight_traffic", (0, 4, 5)),
    CalibrationModel("affine+ops+params", (0, 1, 2, 3)),
    CalibrationModel("weight_traffic+ops", (0, 2, 4, 5)),
    *(CalibrationModel(f"scale+{name}", (0,), prior) for name, prior in PRIORS.items()),
    *(CalibrationModel(name, (0, 1, 2, 3), prior) for name, prior in PRIORS.items()),
)


@dataclass(frozen=True)
class Features:
    """What the forms are fitted on, a row a network.

    ``base`` (num_networks, 6): sum of rows in ms, one, operations, millions of parameters, of
    parameters up to CACHED_PARAMS an operation, and of values in and out.
    ``groups`` (num_networks, num_groups): the part of the sum that is in each of ``names``.
    """

    base: Floats
    groups: Floats
    names: tuple[str, ...]

    def without(self, index: int) -> Features:
        """Return the features of all networks but one."""
        return Features(
            np.delete(self.base, index, 0), np.delete(self.groups, index, 0), self.names
        )


def row_value(
    table: LatencyTable, calibration: Calibration | None
) -> Callable[[OpSpec | None], float]:
    """Return the function from an operation to its calibrated ms, NaN where there is no row."""

    def value(op: OpSpec | None) -> float:
        if op is None:
            return 0.0
        row = table.entries.get(op)
        if row is None:
            return float("nan")
        if calibration is None:
            return row.latency_ms
        factor = calibration.scale
        if calibration.corrections:
            factor += sum(calibration.corrections.get(group, 0.0) for group in groups_of(op))
        mparams, cold_mparams, mvalues = _millions(op)
        return (
            factor * row.latency_ms
            + calibration.per_op_ms
            + calibration.per_mparam_ms * mparams
            + calibration.per_cold_mparam_ms * cold_mparams
            + calibration.per_mvalue_ms * mvalues
        )

    return value


def _millions(op: OpSpec) -> tuple[float, float, float]:
    """Return an operation's millions of parameters, of cached parameters, of values in and out."""
    values = op.num_inputs * math.prod(op.in_shape) + math.prod(op.out_shape)
    return op.params / 1e6, min(op.params, CACHED_PARAMS) / 1e6, values / 1e6


def features(space: SearchSpace, table: LatencyTable, archs: Sequence[Arch]) -> Features:
    """Return the features of networks.

    Raises:
        MissingRowError: an operation has no row.
    """
    layers = [space.layers(arch) for arch in archs]
    names = sorted({group for ops in layers for op in set(ops) for group in groups_of(op)})
    place = {name: number for number, name in enumerate(names)}
    base, groups = np.empty((len(archs), len(BASE))), np.zeros((len(archs), len(names)))
    for number, ops in enumerate(layers):
        rows = [table.row_ms(op) for op in ops]
        millions = np.array([_millions(op) for op in ops]).sum(axis=0)
        base[number] = sum(rows), 1.0, len(ops), *millions
        for op, row_ms in zip(ops, rows, strict=True):
            for group in groups_of(op):
                groups[number, place[group]] += row_ms
    return Features(base, groups, tuple(names))


def predicted_ms(
    space: SearchSpace, table: LatencyTable, calibration: Calibration | None, archs: Sequence[Arch]
) -> Floats:
    """Return ``(num_archs,)`` predictions, operation by operation.

    Raises:
        MissingRowError: an operation has no row.
    """
    value = row_value(table, calibration)
    constant_ms = calibration.constant_ms if calibration else 0.0
    found = np.array([constant_ms + sum(value(op) for op in space.layers(arch)) for arch in archs])
    if np.isnan(found).any():
        arch = archs[int(np.flatnonzero(np.isnan(found))[0])]
        raise _missing(space, table, arch)
    return found


def _missing(space: SearchSpace, table: LatencyTable, arch: Arch) -> MissingRowError:
    return table.missing([op for op in space.layers(arch) if op not in table.entries], space.name)


def fit(form: CalibrationModel, x: Features, measured_ms: Floats) -> tuple[Floats, Floats]:
    """Return the coefficients of BASE (6,) and the corrections (num_groups,) of a form."""
    coefficients, corrections = np.eye(len(BASE))[0], np.zeros(len(x.names))
    if not form.columns:
        return coefficients, corrections
    columns = list(form.columns)
    if form.prior is None:
        coefficients[:] = 0.0
        coefficients[columns] = relative_fit(x.base[:, columns], measured_ms)
        return coefficients, corrections
    from scipy.optimize import lsq_linear  # half a second to import; only fitting groups needs it

    base = x.base[:, columns] / measured_ms[:, None]
    ridge = np.eye(len(x.names)) * (NOISE / form.prior)
    left = np.block(
        [[base, x.groups / measured_ms[:, None]], [np.zeros((len(x.names), len(columns))), ridge]]
    )
    right = np.concatenate([np.ones(len(base)), np.zeros(len(x.names))])
    lower = np.r_[
        MIN_SCALE, np.full(len(columns) - 1, -np.inf), np.full(len(x.names), -MAX_CORRECTION)
    ]
    upper = np.r_[np.full(len(columns), np.inf), np.full(len(x.names), MAX_CORRECTION)]
    # columns of one size: the solver's tolerance is absolute
    size = np.maximum(np.linalg.norm(left, axis=0), 1e-12)
    solution = lsq_linear(left / size, right, (lower * size, upper * size), tol=1e-12).x / size
    coefficients[:] = 0.0
    coefficients[columns] = solution[: len(columns)]
    return coefficients, solution[len(columns) :]


def relative_fit(x: Floats, measured_ms: Floats) -> Floats:
    """Return the coefficients minimising the squared *relative* errors of ``x @ coefficients``."""
    weighted = x / measured_ms[:, None]
    solution = np.linalg.lstsq(weighted, np.ones(len(measured_ms)), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def evaluate(x: Features, coefficients: Floats, corrections: Floats) -> Floats:
    """Return ``(num_networks,)`` ms."""
    found: Floats = x.base @ coefficients + x.groups @ corrections
    return found


def left_out_errors(form: CalibrationModel, x: Features, measured_ms: Floats) -> Floats:
    """Return each network's relative error, predicted from a fit on all others."""
    errors = np.empty(len(measured_ms))
    for index in range(len(measured_ms)):
        fitted = fit(form, x.without(index), np.delete(measured_ms, index))
        one = Features(x.base[index : index + 1], x.groups[index : index + 1], x.names)
        errors[index] = float(evaluate(one, *fitted)[0]) / measured_ms[index] - 1
    return errors


def choose(errors: Sequence[Floats]) -> int:
    """Return the index of the simplest form that is as good as the best (see the module's head).

    ``errors`` are each form's relative errors on the same networks, simplest form first.
    """
    rms = np.array([np.sqrt((e**2).mean()) for e in errors])
    return int(np.argmax(rms <= rms.min() * (1 + MODEL_TOLERANCE) + EXACT))


def fit_calibration(
    space: SearchSpace,
    table: LatencyTable,
    archs: Sequence[Arch],
    measured_ms: Floats,
) -> Calibration:
    """Return the calibration of the form that cross-validation chooses, fitted on all networks.

    With one or two networks nothing can be left out: the scale alone is fitted.
    """
    x = features(space, table, archs)
    forms = [form for form in FORMS if len(archs) > form.min_networks]
    compared: dict[str, FormError] = {}
    if len(archs) < 3:
        chosen, margin = FORMS[1], None
    else:
        errors = [left_out_errors(form, x, measured_ms) for form in forms]
        chosen = forms[choose(errors)]
        compared = {form.name: _form_error(e) for form, e in zip(forms, errors, strict=True)}
        mine = compared[chosen.name].rms_rel_error
        others = [error.rms_rel_error for name, error in compared.items() if name != chosen.name]
        margin = min(others) - mine
    coefficients, corrections = fit(chosen, x, measured_ms)
    absolute = np.abs(evaluate(x, coefficients, corrections) / measured_ms - 1)
    return Calibration(
        scale=float(coefficients[0]),
        constant_ms=float(coefficients[1]),
        per_op_ms=float(coefficients[2]),
        per_mparam_ms=float(coefficients[3]),
        per_cold_mparam_ms=float(coefficients[4]),
        per_mvalue_ms=float(coefficients[5]),
        corrections={name: float(c) for name, c in zip(x.names, corrections, strict=True) if c},
        num_networks=len(archs),
        mean_abs_rel_error=float(absolute.mean()),
        max_abs_rel_error=float(absolute.max()),
        form=chosen.name,
        left_out=compared,
        margin=margin,
    )


def _form_error(errors: Floats) -> FormError:
    return FormError(
        rms_rel_error=float(np.sqrt((errors**2).mean())),
        mean_abs_rel_error=float(np.abs(errors).mean()),
        max_abs_rel_error=float(np.abs(errors).max()),
    )


def describe(calibration: Calibration) -> str:
    """Return the formula and how it was chosen, in one line."""
    c = calibration
    terms = [f"{c.scale:.4f} x sum"]
    if c.per_op_ms:
        terms.append(f"{c.per_op_ms * 1e3:.3g} us x ops")
    if c.per_mparam_ms:
        terms.append(f"{c.per_mparam_ms * 1e3:.3g} us x M params")
    if c.per_cold_mparam_ms:
        capped = f"at most {CACHED_PARAMS / 1e6:.2g} an op"
        terms.append(f"{c.per_cold_mparam_ms * 1e3:.3g} us x M params, {capped}")
    if c.per_mvalue_ms:
        terms.append(f"{c.per_mvalue_ms * 1e3:.3g} us x M values in and out")
    if c.corrections:
        terms.append(
            f"{len(c.corrections)} group corrections (largest "
            f"{max(map(abs, c.corrections.values())):.1%})"
        )
    if c.constant_ms:
        terms.append(f"{c.constant_ms * 1e3:.3g} us")
    text = (
        " + ".join(terms) + f" ({c.num_networks} networks, mean error {c.mean_abs_rel_error:.2%})"
    )
    if c.form is None:
        return text
    if not c.left_out or c.margin is None:
        return f"{text}; form {c.form}, too few networks to compare forms"
    errors = ", ".join(f"{name} {error.rms_rel_error:.2%}" for name, error in c.left_out.items())
    return (
        f"{text}; form {c.form}, the simplest within {MODEL_TOLERANCE:.0%} of the best; "
        f"next best {c.margin:+.2%}; rms error left out: {errors}"
    )

"""The columns of the few-shot predictor: source devices and structure, all in the same units.

A source device is a ridge regression of its latencies on the features of networks; the block set
(all, code only, executed only) and the strength are chosen by leave-one-out error. Every component
is scaled to a mean square of one over a random population of the space, so that the weights of
components are comparable between spaces; latencies are in units of their mean.

The ridge is our own rather than ``sklearn.linear_model.RidgeCV``: one decomposition serves all
devices timed on the same networks, and importing scikit-learn takes longer than all fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.few_shot.features import MACS, FeatureReader, Features
from hwnas.protocols import Codes, SearchSpace
from hwnas.rng import stream

Floats = NDArray[np.float64]

POPULATION = 1000
STRUCTURE = ("totals", "classes", "alike", "options", "code", "network")
VIEWS = (STRUCTURE, ("options", "code"), ("totals", "classes", "alike", "network"))
"""All that is known of a network, its code alone, and what it executes alone."""

ONE_SCALE = ("alike",)  # blocks whose columns' spreads mean something: one divisor for all of them

STRENGTHS = np.logspace(-4, 4, 17)
MIN_SHARE = 0.05
"""The size of a network is at least this share of its mean: noise may be in proportion to it."""


@dataclass(frozen=True)
class Measured:
    """Networks timed on one device: ``codes`` ``(n, num_choices)`` and ``latency_ms`` ``(n,)``."""

    device: str
    codes: Codes
    latency_ms: Floats


@dataclass(frozen=True)
class FeatureMatrix:
    """Networks in the columns of a basis: ``components`` by name ``(n, columns)``, and symbols.

    ``size`` is ``(n,)``: the mean over the sources, or MACs without any; positive, mean about 1.
    """

    components: dict[str, Floats]
    sources: Floats
    structure: Features
    size: Floats

    def __len__(self) -> int:
        return len(self.structure)

    def take(self, rows: NDArray[np.intp]) -> FeatureMatrix:
        """Return these rows."""
        return FeatureMatrix(
            {name: block[rows] for name, block in self.components.items()},
            self.sources[rows],
            self.structure.take(rows),
            self.size[rows],
        )


@dataclass(frozen=True)
class Ridge:
    """A linear model ``x @ coefficients + constant``; ``loo`` is its squared error left out."""

    coefficients: Floats
    constant: float
    loo: float

    def __call__(self, x: Floats) -> Floats:
        """Return the predictions for ``(n, columns)``."""
        return np.asarray(x @ self.coefficients + self.constant)


class RidgeDesign:
    """Columns ``x`` ``(n, columns)`` made ready for ridge regressions of several devices on them.

    Columns are taken as they are (scaled by the caller) and centred here.
    """

    def __init__(self, x: Floats) -> None:
        self.centre = x.mean(axis=0)
        self._left, self._singular, self._right = np.linalg.svd(
            x - self.centre, full_matrices=False
        )

    def fit(self, y: Floats, strengths: Sequence[float] | Floats = STRENGTHS) -> Ridge:
        """Return the regression of ``y``, its strength of least leave-one-out error."""
        mean, singular = float(y.mean()), self._singular
        projected = self._left.T @ (y - mean)
        best: Ridge | None = None
        # leave-one-out residual: r_i / (1 - h_i), h the diagonal of U S (S + strength)^-1 U' + 1/n
        for strength in strengths:
            shrunk = singular**2 / (singular**2 + strength)
            residual = (y - mean) - self._left @ (shrunk * projected)
            leverage = np.minimum((self._left**2) @ shrunk + 1 / len(y), 0.999)
            loo = float(np.mean((residual / (1 - leverage)) ** 2))
            if best is None or loo < best.loo:
                coefficients = self._right.T @ (singular / (singular**2 + strength) * projected)
                best = Ridge(coefficients, mean - float(self.centre @ coefficients), loo)
        assert best is not None
        return best


def fit_ridge(x: Floats, y: Floats, strengths: Sequence[float] | Floats = STRENGTHS) -> Ridge:
    """Return the ridge regression of ``y`` on ``x``: see :class:`RidgeDesign`."""
    return RidgeDesign(x).fit(y, strengths)


class FeatureSpace:
    """The components for ``space``, given ``sources`` (device name to timed networks)."""

    def __init__(self, space: SearchSpace, sources: Mapping[str, Measured]) -> None:
        self.space = space
        self.devices = tuple(sources)
        sizes = [len(choice.options) for choice in space.choices]
        drawn = stream(0, "transfer population").integers(0, sizes, (POPULATION, len(sizes)))
        self._read = FeatureReader(space)
        self._population = self._read(space.repair(drawn.astype(np.int16)))
        self._source_models = self._fit_sources(list(sources.values()))
        scores = self._raw_sources(self._population)
        self._source_mean = np.maximum(scores.mean(axis=0), 1e-12)
        relative = scores / self._source_mean
        self._deviation_centre = (relative - relative.mean(axis=1, keepdims=True)).mean(axis=0)
        deviations = relative - relative.mean(axis=1, keepdims=True) - self._deviation_centre
        self._deviation_scale = _root_mean_square(deviations)

    @cached_property
    def _scales(self) -> dict[str, tuple[Floats, Floats]]:
        """Return centre and divisor of each structural block's columns; divisor 0: constant."""
        found = {}
        for name, block in self._population.blocks.items():
            spread = block.std(axis=0)
            varying = spread > 1e-9 * np.maximum(np.abs(block).max(axis=0), 1e-12)
            divisor = (
                _root_mean_square(block - block.mean(axis=0))
                if name in ONE_SCALE
                else spread * max(int(varying.sum()), 1) ** 0.5
            )
            found[name] = block.mean(axis=0), np.where(varying, divisor, 0.0)
        return found

    def standard(self, what: Features, blocks: Sequence[str]) -> Floats:
        """Return these blocks side by side ``(n, columns)``, each of mean square 1."""
        parts = []
        for name in blocks:
            if name in what.blocks:
                centre, divisor = self._scales[name]
                varying = divisor > 0
                parts.append((what.blocks[name][:, varying] - centre[varying]) / divisor[varying])
        return np.concatenate(parts, axis=1)

    def _fit_sources(self, sources: Sequence[Measured]) -> list[tuple[tuple[str, ...], Ridge]]:
        """Return feature set and fit of each source; sources of equal networks share columns."""
        known: dict[bytes, dict[tuple[str, ...], RidgeDesign]] = {}
        fits = []
        for source in sources:
            key = source.codes.tobytes()
            if key not in known:
                known[key] = self.designs(self._read(source.codes))
            fits.append(best_view(known[key], source.latency_ms))
        return fits

    def designs(self, what: Features) -> dict[tuple[str, ...], RidgeDesign]:
        """Return the columns of each feature_set of these networks."""
        return {feature_set: RidgeDesign(self.standard(what, feature_set)) for feature_set in VIEWS}

    def _raw_sources(self, what: Features) -> Floats:
        if not self._source_models:
            macs = what.blocks["totals"][:, [MACS]]
            return np.asarray(macs)
        designs = {
            feature_set: self.standard(what, feature_set) for feature_set, _ in self._source_models
        }
        return np.stack(
            [model(designs[feature_set]) for feature_set, model in self._source_models], axis=1
        )

    def pool(self, codes: Codes) -> FeatureMatrix:
        """Return ``(num_archs, num_choices)`` codes in the columns of this basis."""
        what = self._read(codes)
        relative = self._raw_sources(what) / self._source_mean
        common = relative.mean(axis=1, keepdims=True)
        components = {"constant": np.ones((len(codes), 1))}
        if self.devices:
            components["common"] = common
        if len(self.devices) > 1:
            deviations = relative - common - self._deviation_centre
            components["deviations"] = deviations / self._deviation_scale
        for name in STRUCTURE:
            if name in what.blocks:
                components[name] = self.standard(what, [name])
        return FeatureMatrix(
            components,
            relative if self.devices else relative[:, :0],
            what,
            np.maximum(common[:, 0], MIN_SHARE),
        )


def best_view(
    designs: Mapping[tuple[str, ...], RidgeDesign], latency_ms: Floats
) -> tuple[tuple[str, ...], Ridge]:
    """Return the feature_set that predicts these latencies best, left one out, and its fit."""
    fits = {feature_set: design.fit(latency_ms) for feature_set, design in designs.items()}
    best = min(fits, key=lambda feature_set: fits[feature_set].loo)
    return best, fits[best]


def _root_mean_square(block: Floats) -> float:
    return max(float(np.sqrt((block**2).sum(axis=1).mean())), 1e-9)

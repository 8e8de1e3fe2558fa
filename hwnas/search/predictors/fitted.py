"""An accuracy predictor fitted to evaluated architectures, in a file of its own.

A Gaussian process over codes and network keys (``gaussian_process.py``), as predictor-based search
uses one (White et al., "How powerful are performance predictors in neural architecture search?",
NeurIPS 2021, §2). Its Kendall tau is that of cross-validation: every network is predicted by a
process fitted without it (the kernel is chosen on all). The file is JSON and holds the evaluations
and the kernel; the process is fitted again when it is read, which takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.stats import kendalltau

from hwnas.arch import Arch, Option
from hwnas.errors import InputError, UsageError
from hwnas.io.journal import read_json, write_json
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.protocols import Codes, SearchSpace
from hwnas.rng import stream
from hwnas.search.predictors.gaussian_process import GaussianProcess, Kernel
from hwnas.stats.gp import Floats

MIN_NETWORKS = 20
MAX_NETWORKS = 2000  # a process of more takes minutes; they are then a random part
MAX_SELECTING = 400  # networks by which the kernel is chosen
FOLDS = 5
CHUNK = 20_000  # codes that are scored at once


class KernelSchema(FileSchema):
    """A kernel in a file."""

    length: float = Field(ge=1e-3, le=1e3, allow_inf_nan=False)
    share: float = Field(ge=0, le=1)
    noise: float = Field(ge=1e-4, le=1e4, allow_inf_nan=False)  # less is no matrix to factorise


class NetworkSchema(FileSchema):
    """An evaluated network in a file."""

    choices: dict[str, str | int]
    top1: float = Field(ge=0, le=1, allow_inf_nan=False)


class PredictorSchema(FileSchema):
    """The file of a fitted predictor."""

    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["hwnas-accuracy-predictor"]
    space: str
    kernel: KernelSchema
    kendall_tau: float = Field(ge=-1, le=1)
    networks: list[NetworkSchema] = Field(min_length=MIN_NETWORKS, max_length=MAX_NETWORKS)


@dataclass(frozen=True)
class FittedPredictor:
    """Predicts top-1 of the networks of ``space``. Implements ``protocols.CodeEvaluator``.

    ``codes`` (num_networks, num_choices) are distinct networks, ``values`` their top-1 as
    fractions, ``kendall_tau`` the rank correlation of cross-validation.
    """

    space: SearchSpace
    codes: Codes
    values: Floats
    kernel: Kernel
    kendall_tau: float
    source = "predictor"

    @cached_property
    def _process(self) -> GaussianProcess:
        return GaussianProcess(
            self.codes, self.space.network_keys(self.codes), self.values, self.kernel
        )

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Return ``(num_archs,)`` means, held within 0..1, and standard deviations of top-1."""
        parts = [codes[first : first + CHUNK] for first in range(0, max(len(codes), 1), CHUNK)]
        found = [self._process.predict(part, self.space.network_keys(part)) for part in parts]
        means, deviations = (np.concatenate(column) for column in zip(*found, strict=True))
        return np.clip(means, 0.0, 1.0), deviations

    def score(self, codes: Codes) -> Floats:
        """Return ``(num_archs,)`` predicted top-1 as fractions."""
        return self.predict(codes)[0]

    def save(self, path: Path) -> None:
        """Write the predictor's file, whole."""
        networks = [
            {"choices": arch.choices, "top1": value}
            for arch, value in zip(self.space.decode(self.codes), self.values.tolist(), strict=True)
        ]
        write_json(
            path,
            {
                "schema": 1,
                "kind": "hwnas-accuracy-predictor",
                "space": self.space.name,
                "kernel": asdict(self.kernel),
                "kendall_tau": self.kendall_tau,
                "networks": networks,
            },
        )


def fit_predictor(
    space: SearchSpace, archs: Sequence[Arch], top1: Floats, *, seed: int = 0
) -> FittedPredictor:
    """Return a predictor fitted to ``(num_archs,)`` top-1 accuracies.

    Codes of one network count once, with their mean.

    Raises:
        UsageError: fewer than 20 networks, or all of one accuracy.
    """
    codes = space.encode(archs)
    _, first, place = np.unique(
        space.network_keys(codes), axis=0, return_index=True, return_inverse=True
    )
    values = np.bincount(place.ravel(), weights=top1) / np.bincount(place.ravel())
    codes = codes[first]
    if len(codes) < MIN_NETWORKS or np.ptp(values) == 0:
        raise UsageError(
            f"a predictor needs {MIN_NETWORKS} networks or more of different "
            f"accuracies, got {len(codes)}. Next: evaluate more"
        )
    order = stream(seed, "fitted predictor").permutation(len(codes))[:MAX_NETWORKS]
    codes, values = codes[order], values[order]
    keys = space.network_keys(codes)
    part = slice(MAX_SELECTING)
    kernel = GaussianProcess(codes[part], keys[part], values[part]).kernel
    return FittedPredictor(
        space, codes, values, kernel, _cross_validated(codes, keys, values, kernel)
    )


def _cross_validated(codes: Codes, keys: Codes, values: Floats, kernel: Kernel) -> float:
    """Return Kendall's tau of predictions of each fold by the others (they are in random order)."""
    fold = np.arange(len(codes)) % FOLDS
    predicted = np.empty(len(codes))
    for number in range(FOLDS):
        rest, own = fold != number, fold == number
        process = GaussianProcess(codes[rest], keys[rest], values[rest], kernel)
        predicted[own] = process.predict(codes[own], keys[own])[0]
    tau = float(kendalltau(predicted, values).statistic)
    return 0.0 if np.isnan(tau) else tau


def load_fitted_predictor(path: Path, space: SearchSpace) -> FittedPredictor:
    """Read the file of a fitted predictor for ``space`` (its other widths and classes are alike).

    Raises:
        InputError: no such file, or all that is wrong with it: keys, values, impossible choices.
        UsageError: it is of another space.
    """
    content = read_json(path)
    model = parse_model(
        PredictorSchema,
        content,
        what=str(path),
        next_step="hwnas search writes such a file as predictor.json",
    )
    if _base(model.space) != _base(space.name):
        raise UsageError(
            f"{path} predicts networks of {model.space}, not of {space.name}. Next: "
            f"search {model.space} with it, or give one fitted to {space.name}, as a "
            "search of 20 networks leaves in predictor.json"
        )
    archs, problems = [], []
    for number, network in enumerate(model.networks):
        choices: Mapping[str, Option] = network.choices
        try:
            archs.append(space.arch(choices))
        except InputError as error:
            problems += [f"networks.{number}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(str(path), problems)
    values = np.array([network.top1 for network in model.networks])
    return FittedPredictor(
        space, space.encode(archs), values, Kernel(**model.kernel.model_dump()), model.kendall_tau
    )


def _base(name: str) -> str:
    return name.partition(":")[0] if "@" not in name else name.partition("@")[0]

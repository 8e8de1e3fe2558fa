"""Once-for-All's published accuracy predictor: a small MLP from an architecture to its top-1.

Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (ICLR
2020), §3.4: the accuracy of sub-networks of the supernet is learnt from a few thousand of them, and
the search asks the predictor only. The published file (``acc_predictor.pth``) holds a network
128-400-400-400-1 with ReLU. Its input is the one-hot kernel size of the 20 blocks, then the one-hot
expansion of the 20 blocks, zeros for blocks beyond a stage's depth, then the one-hot resolution
112..224. Departure: numpy, for whole arrays of codes at once.

The first layer is a product with one-hot rows: on one core that is four times as fast as adding
the rows of the weight matrix which the codes name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Choice, Option
from hwnas.errors import InputError, UsageError
from hwnas.protocols import Codes, SearchSpace

Floats32 = NDArray[np.float32]
Floats = NDArray[np.float64]

STAGES, BLOCKS = 5, 4
KERNELS, EXPANDS = (3, 5, 7), (3, 4, 6)
RESOLUTIONS = tuple(range(112, 225, 16))
NUM_INPUTS = STAGES * BLOCKS * (len(KERNELS) + len(EXPANDS)) + len(RESOLUTIONS)
WIDTHS = (NUM_INPUTS, 400, 400, 400, 1)
LAYERS = (0, 2, 4, 6)
"""The places of the linear layers in the file's ``nn.Sequential``; ReLUs are between them."""

_BLOCK = re.compile(r"stage([1-5])\.block([1-4])\.(kernel_size|expand_ratio)")
_DEPTH = re.compile(r"stage[1-5]\.depth")

ROWS = 64
"""Codes are scored in groups of this size, filled up: a score is the same in any company."""

CHUNK = 256 * ROWS
"""Codes that are scored at once; a million of them would need gigabytes."""


@dataclass(frozen=True)
class MlpWeights:
    """Weights ``(inputs, outputs)`` and biases ``(outputs,)`` of the layers in order, float32."""

    weights: tuple[Floats32, ...]
    biases: tuple[Floats32, ...]

    def __call__(self, x: Floats32) -> NDArray[np.float64]:
        """Return ``(num_rows,)`` outputs of ``x`` (num_rows, inputs), rounded to float32.

        Computed in float64: on some processors float32 products depend in their last digit on the
        place of a row in the matrix.
        """
        groups = -(-len(x) // ROWS)
        filled = np.zeros((groups * ROWS, x.shape[1]), dtype=np.float64)
        filled[: len(x)] = x
        h: Floats = filled.reshape(groups, ROWS, x.shape[1])  # (groups, ROWS, inputs)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = h @ weight.astype(np.float64)
            h += bias
            np.maximum(h, 0, out=h)
        out: Floats = (h * self.weights[-1][:, 0]).sum(axis=-1) + self.biases[-1]
        return out.reshape(-1)[: len(x)].astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class OfaPredictor:
    """The predictor for one space, whose choices are found by their names.

    Implements ``protocols.CodeEvaluator``.

    Raises:
        UsageError: the predictor's input cannot express the space.
    """

    space: SearchSpace
    network: MlpWeights

    def __post_init__(self) -> None:
        problems = [p for choice in self.space.choices if (p := _problem(choice)) is not None]
        missing = _needed() - {choice.name for choice in self.space.choices}
        problems += [f"it has no choice {name!r}" for name in sorted(missing)]
        if problems:
            shown = "; ".join(problems[:4]) + ("; ..." if len(problems) > 4 else "")
            raise UsageError(
                f"space {self.space.name} cannot be scored by a Once-for-All accuracy "
                f"predictor: {shown}. Spaces it can score: ofa-mbv3. Next: search "
                "ofa-mbv3, or fit a predictor of this space from evaluated networks"
            )

    @property
    def source(self) -> str:
        """Scores are predictions."""
        return "predictor"

    @cached_property
    def _inputs(self) -> NDArray[np.int64]:
        """The input that is 1, by column and option; NUM_INPUTS where none is (absent, depths)."""
        width = max(len(choice.options) for choice in self.space.choices) + 1
        inputs = np.full((len(self.space.choices), width), NUM_INPUTS)
        for column, choice in enumerate(self.space.choices):
            if _DEPTH.fullmatch(choice.name) is None:
                inputs[column, : len(choice.options)] = [
                    _input(choice.name, option) for option in choice.options
                ]
        return inputs

    def score(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` predicted ImageNet top-1 accuracies as fractions."""
        parts = [codes[start : start + CHUNK] for start in range(0, len(codes), CHUNK)]
        return np.concatenate([np.empty(0), *(self._score(part) for part in parts)])

    def _score(self, codes: Codes) -> NDArray[np.float64]:
        hot = np.zeros((len(codes), NUM_INPUTS + 1), dtype=np.float32)
        places = self._inputs[np.arange(codes.shape[1]), codes]  # -1 (absent) is the last option
        hot[np.arange(len(codes))[:, None], places] = 1.0
        return self.network(hot[:, :NUM_INPUTS])


def _input(name: str, option: Option) -> int:
    """Return which input stands for this option."""
    if name == "resolution":
        return NUM_INPUTS - len(RESOLUTIONS) + RESOLUTIONS.index(int(option))
    match = _BLOCK.fullmatch(name)
    assert match is not None
    block = (int(match[1]) - 1) * BLOCKS + int(match[2]) - 1
    if match[3] == "kernel_size":
        return block * len(KERNELS) + KERNELS.index(int(option))
    return STAGES * BLOCKS * len(KERNELS) + block * len(EXPANDS) + EXPANDS.index(int(option))


def _needed() -> set[str]:
    blocks = {
        f"stage{s}.block{b}.{kind}"
        for s in range(1, STAGES + 1)
        for b in range(1, BLOCKS + 1)
        for kind in ("kernel_size", "expand_ratio")
    }
    return {"resolution", *blocks, *(f"stage{s}.depth" for s in range(1, STAGES + 1))}


def _problem(choice: Choice) -> str | None:
    """Return why the predictor has no input for a choice or one of its options."""
    if _DEPTH.fullmatch(choice.name):
        return None
    match = _BLOCK.fullmatch(choice.name)
    if choice.name != "resolution" and match is None:
        return f"there is no input for choice {choice.name!r}"
    known: tuple[int, ...] = RESOLUTIONS
    if match is not None:
        known = KERNELS if match[3] == "kernel_size" else EXPANDS
    unknown = [option for option in choice.options if option not in known]
    return f"there is no input for {choice.name} {unknown}, only {list(known)}" if unknown else None


def load_ofa_predictor(path: Path, space: SearchSpace) -> OfaPredictor:
    """Read Once-for-All's accuracy predictor for ``space``; nothing in the file is executed.

    Raises:
        InputError: no such file, not a torch file of tensors, or keys, shapes or values are wrong:
            all of them are listed.
        UsageError: the predictor cannot express the space.
    """
    from hwnas.train.checkpoint import read_tensors  # torch is imported only where it is needed

    state = read_tensors(path)
    problems = []
    for number, layer in enumerate(LAYERS):
        expected = {
            f"{layer}.weight": (WIDTHS[number + 1], WIDTHS[number]),
            f"{layer}.bias": (WIDTHS[number + 1],),
        }
        problems += [
            p
            for name, shape in expected.items()
            if (p := _wrong(name, state.get(name), shape)) is not None
        ]
    known = {f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")}
    problems += [f"{name}: unexpected" for name in sorted(set(state) - known)]
    if problems:
        raise InputError(
            str(path),
            problems,
            "give the published acc_predictor.pth of Once-for-All's MobileNetV3 "
            "space, an MLP " + "-".join(str(width) for width in WIDTHS),
        )
    arrays = {name: value.float().numpy() for name, value in state.items()}
    return OfaPredictor(
        space,
        MlpWeights(
            tuple(np.ascontiguousarray(arrays[f"{layer}.weight"].T) for layer in LAYERS),
            tuple(arrays[f"{layer}.bias"] for layer in LAYERS),
        ),
    )


def _wrong(name: str, value: Any, shape: tuple[int, ...]) -> str | None:
    if value is None:
        return f"{name}: missing"
    if not value.is_floating_point():
        return f"{name}: not of floating point numbers, but {value.dtype}"
    if tuple(value.shape) != shape:
        return f"{name}: must have the shape {shape}, got {tuple(value.shape)}"
    bad = int((~value.isfinite()).sum())
    return f"{name}: {bad} of {value.numel()} values are NaN or infinite" if bad else None

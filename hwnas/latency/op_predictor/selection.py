"""Which operations to measure, where a space has more than one can time.

First operations that lie as far from each other as they can (Gonzalez, 1985), then more of those
whose likes are predicted worst: adaptive sampling as in nn-Meter (Zhang et al., MobiSys 2021,
section 5.3), with a table's own operations, or ones like them of other widths, as candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.op_predictor.costs import features
from hwnas.latency.op_predictor.predictor import OpModel, by_kind
from hwnas.ops import OpSpec, make_divisible
from hwnas.rng import stream

Floats = NDArray[np.float64]

MIN_OF_KIND = 12  # to fit and cross-validate a kind; kinds with fewer are measured whole
NEIGHBOURS = 4  # measured operations whose held-out errors tell that of one between them
OCTAVES = (-0.6, 0.6)  # how far likes' channels are from an operation's: 0.66 to 1.52 times
STEM_OCTAVES = (-1.2, 1.2)  # a stem has few channels, of which there are only multiples of 8
IMAGE_CHANNELS = 4  # at most
TRIES = 200  # draws for each like that is wanted, before drawing stops


def spread_ops(candidates: Sequence[OpSpec], count: int) -> list[OpSpec]:
    """Return up to ``count`` of ``candidates``, far from each other, of every kind.

    Small kinds are taken whole; the others share the rest by the root of their number.

    Raises:
        ValueError: ``count`` is too small for MIN_OF_KIND of each kind.
    """
    kinds = by_kind(candidates)
    wanted = shares({kind: len(ops) for kind, ops in kinds.items()}, count)
    return [
        ops[index]
        for kind, ops in kinds.items()
        for index in _farthest(features(ops), np.ones(len(ops)), wanted[kind])
    ]


def shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Return how many of each kind to take, ``count`` in all where there are as many.

    Raises:
        ValueError: ``count`` is below MIN_OF_KIND of each kind, or all of a smaller one.
    """
    wanted = {kind: min(size, MIN_OF_KIND) for kind, size in sizes.items()}
    if sum(wanted.values()) > count:
        raise ValueError(
            f"{count} operations are too few for the kinds {', '.join(sizes)}: at "
            f"least {sum(wanted.values())} are needed"
        )
    while (left := count - sum(wanted.values())) > 0:
        growing = {kind: size**0.5 for kind, size in sizes.items() if wanted[kind] < size}
        if not growing:
            break
        for kind, weight in growing.items():
            share = max(1, int(left * weight / sum(growing.values())))
            wanted[kind] += min(share, sizes[kind] - wanted[kind], count - sum(wanted.values()))
    return wanted


def _standard(x: Floats) -> Floats:
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0))


def _farthest(x: Floats, weights: Floats, count: int, taken: Sequence[int] = ()) -> list[int]:
    """Return ``count`` rows more, each with the largest weight x distance to those before."""
    x = _standard(x)
    found = list(taken) or [int(np.argmin((x**2).sum(axis=1)))]
    distance = np.full(len(x), np.inf)
    for index in found:
        distance = np.minimum(distance, ((x - x[index]) ** 2).sum(axis=1))
    while len(found) < len(taken) + count:
        found.append(int(np.argmax(distance * weights**2)))
        distance = np.minimum(distance, ((x - x[found[-1]]) ** 2).sum(axis=1))
    return found[len(taken) :]


def worst_ops(candidates: Sequence[OpSpec], count: int, model: OpModel) -> list[OpSpec]:
    """Return up to ``count`` of ``candidates`` where ``model`` errs most, far from its own rows.

    A candidate's error is the mean held-out error of the nearest rows. Kinds share the count by
    the sum of their candidates' errors; kinds without a model are left out.
    """
    chosen: list[OpSpec] = []
    kinds = {kind: ops for kind, ops in by_kind(candidates).items() if kind in model.kinds}
    expected = {
        kind: _expected_errors(ops, model.kinds[kind].ops, model.kinds[kind].cv_errors)
        for kind, ops in kinds.items()
    }
    total = sum(float(np.sqrt((errors**2).sum())) for errors in expected.values())
    for kind, ops in sorted(kinds.items(), key=lambda item: len(item[1])):
        share = float(np.sqrt((expected[kind] ** 2).sum())) / total
        wanted = min(len(ops), round(count * share), count - len(chosen))
        rows = model.kinds[kind].ops
        x = features([*rows, *ops])
        weights = np.concatenate([np.zeros(len(rows)), expected[kind]])
        found = _farthest(x, weights, wanted, range(len(rows)))
        chosen += [ops[index - len(rows)] for index in found]
    return list(dict.fromkeys(chosen))


def _expected_errors(ops: Sequence[OpSpec], rows: Sequence[OpSpec], errors: Floats) -> Floats:
    """Return ``(num_ops,)`` mean errors of each operation's NEIGHBOURS nearest rows."""
    from scipy.spatial import cKDTree

    x = _standard(features([*rows, *ops]))
    nearest = min(NEIGHBOURS, len(rows))
    _, index = cKDTree(x[: len(rows)]).query(x[len(rows) :], k=nearest)
    return np.asarray(errors[np.reshape(index, (len(ops), nearest))].mean(axis=1)) + 1e-6


def perturbed_widths(
    ops: Sequence[OpSpec], count: int, *, seed: int, avoid: Sequence[OpSpec] = ()
) -> list[OpSpec]:
    """Return up to ``count`` distinct operations like ``ops`` with other numbers of channels.

    Images, kernels and strides stay. Every kind of ``ops`` has the same number of draws; none of
    ``ops`` and ``avoid`` is returned. Images' channels and classes are kept.
    """
    rng, kinds = stream(seed, "operations like these"), by_kind(ops)
    taken: set[OpSpec] = {*ops, *avoid}
    found: list[OpSpec] = []
    for number in range(TRIES * count):
        if len(found) == count:
            break
        some = kinds[list(kinds)[number % len(kinds)]]
        like = _like(some[rng.integers(len(some))], rng)
        if like is not None and like not in taken:
            taken.add(like)
            found.append(like)
    return found


def _like(op: OpSpec, rng: np.random.Generator) -> OpSpec | None:
    """Return ``op`` with other channels; None where its rules allow none drawn."""

    def drawn(channels: float, octaves: tuple[float, float] = OCTAVES) -> int:
        return make_divisible(channels * 2 ** rng.uniform(*octaves))

    attrs, channels = dict(op.attrs), op.in_shape[0]
    is_stem = channels <= IMAGE_CHANNELS
    into = channels if is_stem else drawn(channels)
    out = op.out_channels
    if op.kind != "head":
        out = drawn(out, STEM_OCTAVES if is_stem else OCTAVES)
    if op.out_channels == channels:
        out = into
    hidden = int(attrs.get("hidden", 0))
    if hidden:
        attrs["hidden"] = drawn(hidden / channels * into)
        if attrs.get("expand") is False:
            attrs["hidden"] = into
    for name in ("se_width", "width", "features"):
        if attrs.get(name):
            whole = hidden if name == "se_width" else channels
            now = int(attrs["hidden"]) if name == "se_width" else into
            attrs[name] = make_divisible(int(attrs[name]) / whole * now)
    if int(attrs.get("groups", 1)) == channels > 1:
        attrs["groups"] = into
    try:
        return OpSpec.make(op.kind, (into, *op.in_shape[1:]), out, **attrs)
    except ValueError:
        return None

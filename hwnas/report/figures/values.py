"""The plain values that figures are drawn from; importing them does not import matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.ops import OpSpec


@dataclass(frozen=True)
class Point:
    """One network: latency in ms, top-1 as a fraction, and the 95 % interval of top-1.

    ``name`` is written next to the point, ``lines`` in its tooltip; ``anchor`` is the id of its
    row or drawing on the page.
    """

    latency_ms: float
    top1: float
    interval: tuple[float, float] | None = None
    name: str = ""
    lines: tuple[str, ...] = ()
    anchor: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one kind; ``size`` is matplotlib's marker area in points squared."""

    label: str
    points: tuple[Point, ...]
    color: str
    marker: str
    size: float


@dataclass(frozen=True)
class FrontLine:
    """The front of a search: (latency in ms, top-1 as a fraction) of its points."""

    label: str
    points: tuple[tuple[float, float], ...]
    color: str = "blue"


@dataclass(frozen=True)
class Curve:
    """The epochs of one search by gates, all sequences of one length; latencies predicted, in ms.

    ``gates`` holds per epoch the probabilities, (num_choices, num_options of the choice); it is
    empty where they were not recorded.
    """

    name: str
    epoch: Sequence[int]
    loss: Sequence[float]
    entropy: Sequence[float]
    expected_ms: Sequence[float]
    argmax_ms: Sequence[float]
    target_ms: float
    gates: Sequence[Sequence[Sequence[float]]] = ()


@dataclass(frozen=True)
class NetworkPair:
    """A network measured and predicted, in ms; ``role`` is a key of ``STYLES``."""

    role: str
    measured_ms: float
    predicted_ms: float


@dataclass(frozen=True)
class Slot:
    """A place of a network, in order of execution.

    ``option`` is the choice made there (``layer2 = mb3_k5``; empty where nothing was chosen),
    ``op`` the operation executed (None: the layer was skipped), ``table_ms`` its table row's time.
    """

    option: str
    op: OpSpec | None
    table_ms: float | None = None

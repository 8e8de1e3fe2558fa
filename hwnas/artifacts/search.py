"""What the search stage writes: ``result.json``, ``finalists.json``, ``front.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from hwnas.arch import Option
from hwnas.artifacts.base import Artifact, Cost, Count, Id, Milliseconds, Part
from hwnas.artifacts.networks import Candidate, LimitPart

SEARCH = "hwnas search (as the run was begun) --resume --out"

BigCount = Annotated[int, Field(ge=0, le=10**300)]
"""A number of architectures; of a large space it has many digits, but is a float's at most."""


class RestrictionPart(Part):
    """An option that the latency table has no row for, so that the search does not use it.

    With ``beside`` it is covered, but not together with these options of other choices.
    """

    choice: str
    option: Option
    beside: dict[str, Option] = Field(default_factory=dict)


class RowErrors(Part):
    """Cross-validated errors of predicted rows, as fractions."""

    mean_abs_rel_error: float
    within_10_percent: float


class PredictedKind(Part):
    """The model of one kind of operation: how many rows it was fitted to and predicts.

    ``new_channels`` are errors on rows whose channel numbers the model has not seen, ``new_shapes``
    on rows whose input size it has not seen either.
    """

    num_rows: Count
    num_predicted: Count
    model: str
    new_channels: RowErrors
    new_shapes: RowErrors


class PredictedRows(Part):
    """The rows of a table (of one scope) that were predicted from its measured ones.

    ``too_few_rows`` maps kinds of operations without a model to their number of rows.
    """

    scope: str
    num_measured: Count
    num_predicted: Count
    too_few_rows: dict[str, int] = Field(default_factory=dict)
    kinds: dict[str, PredictedKind] = Field(default_factory=dict)


class MarginPart(Part):
    """By how much a target's budget shrinks so that winners hold it with ``confidence``.

    ``headroom`` is the share of the budget that is left free, ``session`` the relative deviation
    between measuring sessions that it allows for. Without ``is_conformal`` too few networks were
    measured, and it guarantees nothing.
    """

    confidence: float
    headroom: float
    num_networks: Count
    source: str
    is_conformal: bool
    session: float = 0.0


class ChoiceAuditPart(Part):
    """One choice under the budget (see :class:`hwnas.search.problem.audit.ChoiceAudit`)."""

    name: str
    spread_ms: float
    impossible: tuple[Option, ...] = ()
    is_forced: bool = False
    is_negligible: bool = False


class AuditPart(Part):
    """What the first latency limit leaves of the space.

    Of ``num_codes`` architectures between ``num_feasible_low`` and ``num_feasible_high`` are within
    it (equal where the count is exact). ``percentiles`` maps percent of all codes, as text, to ms.
    """

    num_codes: BigCount | None = None
    num_feasible_low: BigCount | None = None
    num_feasible_high: BigCount | None = None
    budget_ms: Milliseconds | None = None
    fastest_ms: float | None = None
    slowest_ms: float | None = None
    percentiles: dict[str, float] = Field(default_factory=dict)
    choices: tuple[ChoiceAuditPart, ...] = ()
    feasible_share: float | None = None


class ChangePart(Part):
    """One choice that differs between two networks; None: the choice does not exist there."""

    choice: str
    before: Option | None = Field(validation_alias="from", serialization_alias="from")
    after: Option | None = Field(validation_alias="to", serialization_alias="to")


class ShadowPricePart(Candidate):
    """The next better network above the budget, and what its accuracy costs in latency.

    ``more_ms`` and ``more_top1`` are its differences to the answer, ``top1_per_ms`` their ratio.
    """

    more_ms: float
    more_top1: float
    top1_per_ms: float
    changes: tuple[ChangePart, ...] = ()


class Answer(Part):
    """The best network under one set of limits; None where no evaluated network meets them."""

    limits: tuple[LimitPart, ...]
    best: Candidate | None = None
    shadow_price: ShadowPricePart | None = None


class ResultFile(Artifact):
    """``result.json``: what the search answers, one answer for each budget of the first target.

    ``predicted_rows`` and ``headroom`` have an item for each target, in order, and so has
    ``margin`` (None where no confidence was asked for). ``wall_s`` is of the session that ended it.
    """

    FILE: ClassVar[str] = "result.json"
    WRITTEN_BY: ClassVar[str] = SEARCH
    RENAMED: ClassVar[Mapping[str, str]] = {"guard": "margin"}

    strategy: str
    space: str
    seed: int
    restricted: tuple[RestrictionPart, ...] = ()
    predicted_rows: tuple[tuple[PredictedRows, ...], ...] = ()
    num_evaluations: Count
    wall_s: float | None = None
    cost: Cost = Field(default_factory=dict)
    headroom: tuple[float, ...] = ()
    margin: tuple[MarginPart | None, ...] = ()
    audit: AuditPart | None = None
    answers: Annotated[tuple[Answer, ...], Field(min_length=1)]


class FinalistAnswer(Part):
    """The distinct best networks under one set of limits, best first.

    ``random`` are as many networks drawn at random within the same limits; empty where the search
    was random itself.
    """

    limits: tuple[LimitPart, ...] = ()
    finalists: tuple[Candidate, ...]
    random: tuple[Candidate, ...] = ()


class FinalistsFile(Artifact):
    """``finalists.json``: what ``hwnas retrain`` trains, by budget of the first target."""

    FILE: ClassVar[str] = "finalists.json"
    WRITTEN_BY: ClassVar[str] = SEARCH

    answers: Annotated[tuple[FinalistAnswer, ...], Field(min_length=1)]


class FrontPoint(Part):
    """An evaluated network; ``on_front``: no other is at least as fast and as accurate."""

    arch_id: Id
    network_id: Id | None = None
    latency_ms: Milliseconds
    top1: float
    on_front: bool


class FrontFile(Artifact):
    """``front.json``: all evaluated networks, fastest first."""

    FILE: ClassVar[str] = "front.json"
    WRITTEN_BY: ClassVar[str] = SEARCH

    points: tuple[FrontPoint, ...]

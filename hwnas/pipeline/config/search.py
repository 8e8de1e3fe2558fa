"""How a run's space is searched, as a part of its configuration: strategy, evaluator, trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hwnas.io.schemas import FileSchema
from hwnas.train.recipe import RecipeSchema

Count = Annotated[int, Field(ge=1, le=100_000)]

SUPERNET_RECIPE: dict[str, Any] = {"epochs": 20, "label_smoothing": 0.0}


def require_init(place: str, init: str | None, init_arch: str | None, *, train: bool) -> None:
    """Raise ValueError where settings of published weights are given without their file."""
    if init is None and (init_arch is not None or not train):
        raise ValueError(
            f"{place}.init_arch and {place}.train false need {place}.init, a file of "
            "published weights"
        )


class SupernetConfig(FileSchema):
    """How shared weights are trained.

    ``fair`` sampling trains every option equally often in each step, ``sandwich`` the smallest and
    the largest twice as often as those between (strategy random; gates sample by their
    probabilities). ``nested`` sharing makes the convolutions of a layer's candidates parts of one
    weight, ``both`` those of every other copy: the two kinds err differently. ``copies`` supernets
    are trained, one a core, and their scores averaged (strategy random, which only scores by them).
    What ``recipe`` does not say is 20 epochs without label smoothing, else as in other recipes.

    ``init`` is a file of published weights that the supernet of an elastic space (``ofa-mbv3``,
    ``mobile``) begins with: Once-for-All's supernet, or those of the known model ``init_arch``.
    With ``train`` false they stay as they are.
    """

    init: str | None = None
    init_arch: str | None = None
    train: bool = True
    recipe: RecipeSchema = RecipeSchema(**SUPERNET_RECIPE)
    sampling: Literal["uniform", "fair", "sandwich"] = "uniform"
    sharing: Literal["own", "nested", "both"] = "own"
    copies: Annotated[int, Field(ge=1, le=16)] = 1
    calibration_images: Annotated[int, Field(ge=32, le=100_000)] = 2000

    def sharing_of(self, copy: int) -> Literal["own", "nested"]:
        """Return how copy number ``copy`` shares its weights."""
        if self.sharing == "both":
            return "own" if copy % 2 else "nested"
        return self.sharing

    @field_validator("recipe", mode="before")
    @classmethod
    def _usual_recipe(cls, value: Any) -> Any:
        return {**SUPERNET_RECIPE, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _possible(self) -> SupernetConfig:
        if self.sharing == "both" and self.copies < 2:
            raise ValueError(
                f"supernet.sharing both needs supernet.copies of 2 or more, got {self.copies}"
            )
        require_init("supernet", self.init, self.init_arch, train=self.train)
        if not self.train and self.copies > 1:
            raise ValueError(f"supernet.copies must be 1 where none is trained, got {self.copies}")
        if self.recipe.compile:
            raise ValueError(
                "recipe.compile must be false: every step of a supernet has another "
                "network, and each would be compiled anew"
            )
        return self


class GatesConfig(FileSchema):
    """How the gates of proxyless and proxyless-rl are trained, beside the supernet's weights.

    ``warmup_epochs`` (null: 40 % of the supernet's epochs) train weights only; then an architecture
    step follows every ``every`` weight steps. ``alpha_lr`` null is chosen by their number.
    ``gradient`` is proxyless', the rest proxyless-rl's: networks scored a step, the reward's form
    and its weight (the exponent of product, the factor of absolute; null: 0.1).
    """

    warmup_epochs: Annotated[int, Field(ge=0)] | None = None
    every: Annotated[int, Field(ge=1, le=10_000)] = 1
    alpha_lr: Annotated[float, Field(gt=0, le=1)] | None = None
    gradient: Literal["two", "full"] = "two"
    samples: Annotated[int, Field(ge=2, le=1000)] = 8
    reward: Literal["absolute", "product"] = "absolute"
    reward_weight: Annotated[float, Field(ge=0, le=100)] | None = None


GATE_STRATEGIES = ("proxyless", "proxyless-rl")
Strategy = Literal[
    "random",
    "proxyless",
    "proxyless-rl",
    "evolution",
    "nsga2",
    "rl",
    "local",
    "exhaustive",
    "combined-moves",
]
MIN_MOVES = 1000
EVALUATORS = "scratch, supernet, table:FILE or predictor:FILE"


class HalvingConfig(FileSchema):
    """Successive halving of scratch evaluations: one in ``eta`` is trained ``eta`` times as long.

    The shortest training has ``least_epochs`` or more, the longest those of ``search.recipe``.
    """

    eta: Annotated[int, Field(ge=2, le=10)] = 3
    least_epochs: Annotated[int, Field(ge=1)] = 1


class ControllerConfig(FileSchema):
    """How the controller of strategy rl learns: ``reinforce``, or ``ppo`` (clipped steps).

    ``reward_weight`` is the exponent of MnasNet's reward accuracy x (budget / latency)^w; 0: the
    accuracy alone, within the hard limits.
    """

    algorithm: Literal["reinforce", "ppo"] = "reinforce"
    reward_weight: Annotated[float, Field(ge=0, le=10)] = 0.0


class SearchConfig(FileSchema):
    """How the space is searched.

    ``evaluations`` networks are scored: by training each (``scratch``, by ``recipe``, with
    ``halving`` most of them briefly), by a supernet's shared weights, from a ``table:FILE`` of
    known accuracies, or by a ``predictor:FILE``; null takes what the strategy needs. ``batch``
    networks are asked for at a time (null: all of random's and exhaustive's, else up to 10).
    ``surrogate`` spends evaluations where a predictor fitted on the way expects most.
    ``seed_archs`` are scored first: ``known`` (human-designed networks of the space), or an arch
    file.
    """

    strategy: Strategy = "random"
    evaluator: str | None = None
    evaluations: Count = 16
    batch: Count | None = None
    surrogate: bool = False
    seed_archs: str | None = None
    halving: HalvingConfig | None = None
    controller: ControllerConfig = ControllerConfig()
    low_share: Annotated[float, Field(ge=0, lt=1)] = 0.75
    recipe: RecipeSchema = RecipeSchema(epochs=8)
    supernet: SupernetConfig = SupernetConfig()
    gates: GatesConfig = GatesConfig()

    @model_validator(mode="before")
    @classmethod
    def _usual_evaluator(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("evaluator") is not None:
            return value
        usual = "supernet" if value.get("strategy") in GATE_STRATEGIES else "scratch"
        return {**value, "evaluator": usual}

    @field_validator("evaluator")
    @classmethod
    def _known_evaluator(cls, value: str | None) -> str | None:
        kind, _, file = (value or "scratch").partition(":")
        if not (
            (kind in ("scratch", "supernet") and ":" not in (value or ""))
            or (kind in ("table", "predictor") and file)
        ):
            raise ValueError(f"must be {EVALUATORS}, got {value!r}")
        return value

    @model_validator(mode="after")
    def _agreeing(self) -> SearchConfig:
        problems = self._gate_problems() if self.trains_gates else []
        if self.halving is not None and self.evaluator != "scratch":
            problems.append(
                f"halving shortens trainings from scratch, but the evaluator is {self.evaluator}"
            )
        if self.halving is not None and self.halving.least_epochs > self.recipe.epochs:
            problems.append(
                f"halving.least_epochs must be at most recipe.epochs "
                f"({self.recipe.epochs}), got {self.halving.least_epochs}"
            )
        if self.surrogate and self.strategy not in ("evolution", "local", "rl"):
            problems.append(
                "surrogate guides a strategy that learns one objective (evolution, "
                f"local, rl), not {self.strategy}"
            )
        if self.seed_archs is not None and self.strategy in (
            "random",
            "exhaustive",
            "combined-moves",
        ):
            problems.append(f"seed_archs begin evolution, local, rl and nsga2, not {self.strategy}")
        if self.strategy == "combined-moves":
            if self.evaluator_file is None:
                problems.append(
                    "strategy combined-moves scores thousands of networks: its "
                    f"evaluator is table:FILE or predictor:FILE, not {self.evaluator}"
                )
            if self.evaluations < MIN_MOVES:
                problems.append(
                    f"strategy combined-moves needs {MIN_MOVES} evaluations or more, "
                    f"got {self.evaluations}; 60000 take seconds"
                )
        if self.supernet.init is not None and self.evaluator != "supernet":
            problems.append(f"supernet.init needs evaluator supernet, not {self.evaluator}")
        problems += self._without_effect()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _without_effect(self) -> list[str]:
        """Return what was changed of settings that this strategy or evaluator does not read."""
        usual = type(self).model_fields
        needs = (
            (
                "recipe",
                self.evaluator == "scratch",
                f"trains networks from scratch, but the evaluator is {self.evaluator}",
            ),
            (
                "supernet",
                self.evaluator == "supernet" or self.supernet.init is not None,
                f"is of evaluator supernet, not of {self.evaluator}",
            ),
            (
                "gates",
                self.trains_gates,
                f"is of strategies {' and '.join(GATE_STRATEGIES)}, not of {self.strategy}",
            ),
            ("controller", self.strategy == "rl", f"is of strategy rl, not of {self.strategy}"),
        )
        return [
            f"{name} {why}: it would have no effect"
            for name, is_read, why in needs
            if not is_read and getattr(self, name) != usual[name].default
        ]

    def _gate_problems(self) -> list[str]:
        problems = []
        if self.evaluator != "supernet":
            problems.append(
                f"strategy {self.strategy} scores by the supernet it trains: its "
                "evaluator is supernet; other evaluators go with other strategies"
            )
        if self.supernet.copies > 1:
            problems.append(
                f"supernet.copies must be 1 for strategy {self.strategy}, whose gates "
                f"are trained with one supernet, got {self.supernet.copies}"
            )
        if self.warmup_epochs >= self.supernet.recipe.epochs:
            problems.append(
                f"gates.warmup_epochs must be below supernet.recipe.epochs "
                f"({self.supernet.recipe.epochs}), got {self.warmup_epochs}"
            )
        if self.supernet.init is not None:
            problems.append(
                f"supernet.init begins supernets that other strategies score by, not "
                f"that of {self.strategy}"
            )
        problems += [
            f"{name} does not go with strategy {self.strategy}, whose gates ask for no "
            "network before the end"
            for name, given in (
                ("surrogate", self.surrogate),
                ("seed_archs", self.seed_archs is not None),
            )
            if given
        ]
        return problems

    @property
    def trains_gates(self) -> bool:
        """Whether the strategy trains a supernet and gates of its own for each budget."""
        return self.strategy in GATE_STRATEGIES

    @property
    def evaluator_kind(self) -> str:
        """What comes before the file's name: scratch, supernet, table or predictor."""
        return str(self.evaluator).partition(":")[0]

    @property
    def evaluator_file(self) -> Path | None:
        """The file of known accuracies or of a predictor, as it was given."""
        name = str(self.evaluator).partition(":")[2]
        return Path(name) if name else None

    @property
    def warmup_epochs(self) -> int:
        """How many epochs train weights only."""
        asked = self.gates.warmup_epochs
        return int(0.4 * self.supernet.recipe.epochs) if asked is None else asked

"""How a run's space is searched, as a part of its configuration: strategy, evaluator, trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from hwnas.errors import InputError
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.plugins.fields import NameOf
from hwnas.search.evaluators.registry import EVALUATORS, EvaluatorSpec, spellings
from hwnas.search.settings import ControllerConfig, GatesConfig, HalvingConfig
from hwnas.search.strategies.registry import (
    OPTIONS,
    PLUGIN_SECTION,
    STRATEGIES,
    StrategyEntry,
    strategies_with,
    takes,
)
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


class SearchConfig(FileSchema):
    """How the space is searched.

    ``strategy`` proposes networks, ``evaluator`` scores ``evaluations`` of them: ``scratch`` trains
    each by ``recipe`` (with ``halving`` most of them briefly), ``supernet`` uses shared weights,
    ``table:FILE`` known accuracies, ``predictor:FILE`` predicted ones; null takes what the strategy
    needs. ``batch`` networks are asked for at a time (null: all of random's and exhaustive's, else
    up to 10).
    ``prior`` macs makes evolution and rl better on few evaluations by the networks'
    multiply-accumulates; with none they are the published algorithms (null: macs).
    ``surrogate`` spends evaluations where a predictor fitted on the way expects most.
    ``seed_archs`` are scored first: ``known`` (human-designed networks of the space), or an arch
    file. ``settings`` are those of a strategy outside the package.
    """

    strategy: Annotated[str, NameOf(STRATEGIES)] = "random"
    evaluator: EvaluatorSpec = Field(
        default=EvaluatorSpec("scratch"), json_schema_extra={"default": None}
    )
    evaluations: Count = 16
    batch: Count | None = None
    prior: Literal["macs", "none"] | None = None
    surrogate: bool = False
    seed_archs: str | None = None
    halving: HalvingConfig | None = None
    controller: ControllerConfig = ControllerConfig()
    low_share: Annotated[float, Field(ge=0, lt=1)] = 0.75
    recipe: RecipeSchema = RecipeSchema(epochs=8)
    supernet: SupernetConfig = SupernetConfig()
    gates: GatesConfig = GatesConfig()
    settings: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _usual_evaluator(cls, value: Any) -> Any:
        """Fill in the evaluator that the strategy needs, ``scratch`` where any will do."""
        if not isinstance(value, dict) or value.get("evaluator") is not None:
            return value
        strategy = value.get("strategy", "random")
        known = isinstance(strategy, str) and strategy in STRATEGIES
        usual = STRATEGIES[strategy].usual_evaluator if known else "scratch"
        return {**value, "evaluator": usual}

    @model_validator(mode="after")
    def _agreeing(self) -> SearchConfig:
        problems = [
            *self._strategy_problems(),
            *self._evaluator_problems(),
            *(self._gate_problems() if self.trains_gates else ()),
            *self._without_effect(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def entry(self) -> StrategyEntry:
        """The strategy's entry in the registry."""
        return STRATEGIES[self.strategy]

    @property
    def trains_gates(self) -> bool:
        """Whether the strategy trains a supernet and gates of its own for each budget."""
        return "supernet" in self.entry.needs

    @property
    def uses_prior(self) -> bool:
        """Whether the strategy is guided by multiply-accumulates."""
        return self._takes("prior") and self.prior != "none"

    @property
    def warmup_epochs(self) -> int:
        """How many epochs train weights only."""
        asked = self.gates.warmup_epochs
        return int(0.4 * self.supernet.recipe.epochs) if asked is None else asked

    def strategy_settings(self) -> FileSchema | None:
        """Return the settings of the strategy, checked by its schema; None where it has none.

        Raises:
            ValueError: lists what is wrong with them.
        """
        schema = self.entry.settings_schema()
        if schema is None:
            return None
        given = getattr(self, self.entry.section)
        if isinstance(given, schema):
            return given
        try:
            return parse_model(schema, given, what=f"{self.entry.section} of {self.strategy}")
        except InputError as error:
            raise ValueError("; ".join(f"settings.{line}" for line in error.problems)) from None

    def _strategy_problems(self) -> list[str]:
        """Return what the strategy needs and is not given, by its entry."""
        entry, evaluator = self.entry, self.evaluator.entry
        problems = []
        if "codes" in entry.needs and not evaluator.at_array_speed:
            able = spellings(lambda other: other.at_array_speed)
            problems.append(
                f"strategy {self.strategy} scores thousands of networks: its evaluator is {able}, "
                f"not {self.evaluator}"
            )
        if "supernet" in entry.needs and evaluator.trains != "supernet":
            able = spellings(lambda other: other.trains == "supernet")
            problems.append(
                f"strategy {self.strategy} scores by the supernet it trains: its evaluator is "
                f"{able}, not {self.evaluator}"
            )
        if self.evaluations < entry.min_evaluations:
            problems.append(
                f"strategy {self.strategy} needs {entry.min_evaluations} evaluations or more, got "
                f"{self.evaluations}"
            )
        try:
            self.strategy_settings()
        except ValueError as error:
            problems.append(str(error))
        return problems

    def _evaluator_problems(self) -> list[str]:
        """Return what is wrong with the settings of the evaluator."""
        problems = []
        if self.halving is not None and self.halving.least_epochs > self.recipe.epochs:
            problems.append(
                f"halving.least_epochs must be at most recipe.epochs "
                f"({self.recipe.epochs}), got {self.halving.least_epochs}"
            )
        return problems

    def _gate_problems(self) -> list[str]:
        """Return what is wrong with the settings of gates and their supernet together."""
        problems = []
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
                "supernet.init goes with strategies that score by a supernet trained before, not "
                f"with {self.strategy}"
            )
        return problems

    def _without_effect(self) -> list[str]:
        """Return what was changed of settings that the strategy or the evaluator does not read."""
        problems = [
            f"{option} goes with strategy {_listed(strategies_with(option))}, not with "
            f"{self.strategy}: it would have no effect"
            for option in OPTIONS
            if self._is_changed(option) and not self._takes(option)
        ]
        sections = [PLUGIN_SECTION, *(entry.section for entry in STRATEGIES.values())]
        for section in dict.fromkeys(sections):
            readers = [e.name for e in STRATEGIES.values() if e.section == section and e.settings]
            if self._is_changed(section) and self.strategy not in readers:
                problems.append(
                    f"{section} goes with strategy {_listed(readers)}, not with "
                    f"{self.strategy}: it would have no effect"
                )
        for section in dict.fromkeys(s for entry in EVALUATORS.values() for s in entry.sections):
            names = [entry.name for entry in EVALUATORS.values() if section in entry.sections]
            if self._is_changed(section) and self.evaluator.name not in names:
                problems.append(
                    f"{section} goes with evaluator {_listed(names)}, not with "
                    f"{self.evaluator}: it would have no effect"
                )
        return problems

    def _takes(self, option: str) -> bool:
        """Return whether the strategy reads one of OPTIONS."""
        return takes(self.entry, option, surrogate=self.surrogate)

    def _is_changed(self, name: str) -> bool:
        """Return whether a setting was given another value than its default."""
        default = type(self).model_fields[name].get_default(call_default_factory=True)
        return bool(getattr(self, name) != default)


def _listed(names: Sequence[str]) -> str:
    """Return names as in ``evolution, rl or local``; ``of a plugin`` where there are none."""
    if not names:
        return "of a plugin"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

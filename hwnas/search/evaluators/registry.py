"""The evaluators of ``search.evaluator``: names, files, needs, and how each is built.

``search.evaluator`` is ``NAME`` or ``NAME:FILE``; :class:`EvaluatorSpec` is its parsed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hwnas.plugins.registry import Entry, Registry, resolved

if TYPE_CHECKING:
    from hwnas.io.journal import Journal
    from hwnas.nn.supernet import Sharing
    from hwnas.protocols import CodeEvaluator, Evaluator, SearchSpace
    from hwnas.search.settings import HalvingConfig
    from hwnas.train.recipe import Recipe
    from hwnas.train.task import DataSource


@dataclass(frozen=True)
class EvaluatorContext:
    """What a run offers to its evaluator.

    ``file`` is what follows the name in ``NAME:FILE``, or the run folder's copy of it. ``source``
    are the images, None where the run has none. ``recipe`` and ``halving`` say how networks are
    trained from scratch, ``supernets`` are the weights of supernets trained before, with how each
    shares its weights and the images that calibrate batch norms. ``journal`` is the run's, None
    where no search is going on.
    """

    space: SearchSpace
    seed: int
    file: Path | None = None
    source: DataSource | None = None
    recipe: Recipe | None = None
    halving: HalvingConfig | None = None
    supernets: tuple[Path, ...] = ()
    sharings: tuple[Sharing, ...] = ()
    calibration_images: int = 2000
    torch_device: str = "cpu"
    workers: int | None = None
    journal: Journal | None = None


@dataclass(frozen=True)
class EvaluatorEntry(Entry):
    """An evaluator of ``search.evaluator``.

    ``file`` says what the FILE of ``NAME:FILE`` holds; empty: it takes none. ``at_array_speed``:
    ``build(context)`` returns a :class:`~hwnas.protocols.CodeEvaluator`, else an
    :class:`~hwnas.protocols.Evaluator`. ``trains`` is what it needs trained: ``networks`` (each
    from scratch), a ``supernet``, or ``nothing``; ``sections`` are the keys of ``search:`` that it
    reads.
    """

    build: Callable[[EvaluatorContext], Any] | str
    file: str = field(default="", kw_only=True)
    at_array_speed: bool = field(default=False, kw_only=True)
    needs_images: bool = field(default=False, kw_only=True)
    trains: Literal["networks", "supernet", "nothing"] = field(default="nothing", kw_only=True)
    sections: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def spelling(self) -> str:
        """How it is written: ``NAME`` or ``NAME:FILE``."""
        return f"{self.name}:FILE" if self.file else self.name

    def evaluator(self, context: EvaluatorContext) -> Evaluator:
        """Return the evaluator of architectures."""
        if self.at_array_speed:
            from hwnas.search.evaluators.predictor import PredictorEvaluator

            return PredictorEvaluator(context.space, self.code_evaluator(context))
        evaluator: Evaluator = resolved(self.build)(context)
        return evaluator

    def code_evaluator(self, context: EvaluatorContext) -> CodeEvaluator:
        """Return the evaluator of codes; only where ``at_array_speed``."""
        assert self.at_array_speed  # asked for by strategies that need it only
        evaluator: CodeEvaluator = resolved(self.build)(context)
        return evaluator


EVALUATORS: Registry[EvaluatorEntry] = Registry("evaluator")


def register_evaluator(
    name: str,
    help: str,
    build: Callable[[EvaluatorContext], Any],
    *,
    file: str = "",
    at_array_speed: bool = False,
    needs_images: bool = False,
) -> EvaluatorEntry:
    """Add an evaluator; ``file`` says what the FILE of ``name:FILE`` holds.

    Raises:
        UsageError: the name is taken.
    """
    return EVALUATORS.register(
        EvaluatorEntry(
            name,
            help,
            build,
            file=file,
            at_array_speed=at_array_speed,
            needs_images=needs_images,
        )
    )


def spellings(which: Callable[[EvaluatorEntry], bool] = lambda entry: True) -> str:
    """Return how evaluators are written, as in ``scratch, supernet or table:FILE``."""
    names = [entry.spelling for entry in EVALUATORS.values() if which(entry)]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@dataclass(frozen=True)
class EvaluatorSpec:
    """The value of ``search.evaluator``: the name of an evaluator and its file, if it takes one."""

    name: str
    file: Path | None = None

    @staticmethod
    def parse(text: str) -> EvaluatorSpec:
        """Read ``NAME`` or ``NAME:FILE``.

        Raises:
            ValueError: no evaluator is written so.
        """
        name, colon, file = text.partition(":")
        takes_file = bool(EVALUATORS[name].file) if name in EVALUATORS else None
        if takes_file != bool(file) or bool(colon) != bool(file):
            raise ValueError(f"must be {spellings()}")
        return EvaluatorSpec(name, Path(file) if file else None)

    @property
    def entry(self) -> EvaluatorEntry:
        """The evaluator's entry."""
        return EVALUATORS[self.name]

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.name}:{self.file}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Read from, and written as, text in a file."""
        from pydantic_core import core_schema

        def read(value: Any) -> EvaluatorSpec:
            if isinstance(value, EvaluatorSpec):
                return value
            if not isinstance(value, str):
                raise ValueError(f"must be {spellings()}")
            return cls.parse(value)

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        """Text, or null for what the strategy needs."""
        return {"anyOf": [{"type": "string"}, {"type": "null"}]}


_BUILTIN = (
    EvaluatorEntry(
        "scratch",
        "Trains each network from scratch.",
        "hwnas.search.evaluators.scratch:build",
        needs_images=True,
        trains="networks",
        sections=("recipe", "halving"),
    ),
    EvaluatorEntry(
        "supernet",
        "Scores networks by the shared weights of a supernet.",
        "hwnas.search.evaluators.supernet:build",
        needs_images=True,
        trains="supernet",
        sections=("supernet",),
    ),
    EvaluatorEntry(
        "table",
        "Looks accuracies up in a file of known ones.",
        "hwnas.search.evaluators.table:build",
        file="JSON lines of architectures with their top-1",
        at_array_speed=True,
    ),
    EvaluatorEntry(
        "predictor",
        "Predicts accuracies from a file.",
        "hwnas.search.evaluators.predictor:build",
        file="predictor.json of a search, or Once-for-All's accuracy predictor",
        at_array_speed=True,
    ),
)
BUILTIN_EVALUATORS = tuple(EVALUATORS.add(entry).spelling for entry in _BUILTIN)

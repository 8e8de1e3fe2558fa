"""What every stage of a run works on, made once from the run's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwnas.export.convert.cache import ConversionCache
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.data import RunData
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.problem import Problem
from hwnas.protocols import SearchSpace


@dataclass(frozen=True)
class Execution:
    """How work is carried out: the seed of all random numbers; ``workers`` None: one a core."""

    seed: int
    torch_device: str
    workers: int | None


@dataclass(frozen=True)
class Context:
    """The files of a run, the images of a stage, the problem that is searched, the machine.

    ``data`` are the images of the search, in later stages those that the finalists are trained on
    (:meth:`on_images`). ``cache`` holds the conversions shared with all runs on this machine.
    """

    folder: RunFolder
    data: RunData
    problem: Problem
    execution: Execution
    cache: ConversionCache = field(default_factory=ConversionCache)

    @property
    def space(self) -> SearchSpace:
        """The space with the number of classes of ``data``."""
        return self.data.space

    def on_images(self, name: str | None, root: str | None) -> Context:
        """Return the context with these images; itself where they are those it has."""
        if (name, root) == (self.data.name, self.data.root):
            return self
        return replace(self, data=replace(self.data, name=name, root=root))


def build_context(folder: RunFolder, config: RunConfig) -> Context:
    """Return the context of the run in ``folder``; nothing is read before it is used."""
    data = RunData(config.data, config.data_root, config.space, folder.path)
    limits = {str(metric): maximum for metric, maximum in config.limits.items()}
    problem = Problem(folder, data, config.targets, limits, config.confidence)
    return Context(
        folder, data, problem, Execution(config.seed, config.torch_device, config.workers)
    )

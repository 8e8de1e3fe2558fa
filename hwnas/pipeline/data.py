"""The images of a run, and the space whose networks have the images' number of classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.arch import Arch
from hwnas.artifacts.networks import ArchPart
from hwnas.errors import UsageError
from hwnas.io.suggest import command
from hwnas.ops import OpSpec
from hwnas.pipeline.inputs import keep_images
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space, with_params

if TYPE_CHECKING:
    from hwnas.data import Dataset
    from hwnas.train.task import DataSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """A data set by name, in the folder ``root`` where one is needed; read when it is first used.

    ``name`` is None where a run was begun without images. ``space_name`` is the space as it was
    asked for; ``run`` is the run's folder, for messages.
    """

    name: str | None
    root: str | None
    space_name: str
    run: Path

    def require(self) -> str:
        """Return the name of the data set; UsageError where the run has none."""
        if self.name is None:
            raise UsageError(
                f"{self.run} was begun without images, which training and parity need",
                next_step=command("retrain", run=str(self.run), data="DATA"),
            )
        return self.name

    @cached_property
    def source(self) -> DataSource:
        """What a worker process loads the data set from."""
        from hwnas.train.task import DataSource  # loads torch

        size = load_space(self.space_name).input_shape[1]
        return DataSource(self.require(), Path(self.root) if self.root else None, size)

    @cached_property
    def dataset(self) -> Dataset:
        """The whole data set; stages before the last use ``without_test()``.

        Raises:
            InputError: it is not what the run read under this name before.
        """
        dataset = self.source.load()
        keep_images(self.run, self.require(), dataset)
        return dataset

    def dataset_for(self, layers: Sequence[OpSpec]) -> Dataset:
        """Return the whole data set at the input size of a network."""
        if layers[0].in_shape[1] == self.dataset.input_size:
            return self.dataset
        return self.source.sized_for(layers).load()

    @cached_property
    def space(self) -> SearchSpace:
        """The space with the data set's number of classes; as it is where there is no data set."""
        space = load_space(self.space_name)
        if self.name is None or space.num_classes == self.dataset.num_classes:
            return space
        name = with_params(self.space_name, num_classes=self.dataset.num_classes)
        logger.info(f"{self.name} has {self.dataset.num_classes} classes: the space is {name}")
        return load_space(name)

    def arch(self, part: ArchPart) -> Arch:
        """Return the architecture of a file, checked by the space."""
        return self.space.arch(part.choices)

"""``inputs.json``: what a run was made from, so that no later stage goes on with something else."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from hwnas.artifacts.base import Artifact, Part
from hwnas.artifacts.exported import Channels

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ImagesRecord(Part):
    """A data set as it was when the run first read it.

    ``fingerprint`` (16 hex digits) changes with the stored images, classes and splits, not with
    where they lie; ``splits`` are numbers of images; ``mean`` and ``std`` are of ``train``, 0..1.
    """

    fingerprint: str
    class_names: tuple[str, ...]
    splits: dict[str, int]
    input_size: int
    mean: Channels
    std: Channels


class InputsFile(Artifact):
    """``images`` are data sets by the name they were asked for by, the others hashes by path.

    ``files`` are those of others that the configuration names, ``own`` those in the run folder that
    later stages read: its tables and trained weights.
    """

    FILE: ClassVar[str] = "inputs.json"
    WRITTEN_BY: ClassVar[str] = "hwnas run"

    images: dict[str, ImagesRecord] = Field(default_factory=dict)
    files: dict[str, Sha256] = Field(default_factory=dict)
    own: dict[str, Sha256] = Field(default_factory=dict)

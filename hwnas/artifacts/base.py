"""What all files of a run share: loading with every problem at once, saving whole, old key names.

``Part`` is a piece of a file, ``Artifact`` a whole file. Both are written with exactly the keys
that were given, so that loading and saving a file changes nothing but renamed keys, and an optional
key that does not apply is left out instead of being written as null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import Self

from hwnas.errors import InputError
from hwnas.io.journal import read_json, write_json
from hwnas.io.schemas import parse_model

JsonObject: TypeAlias = dict[str, JsonValue]
"""Plain data that hwnas passes on without looking at its keys."""

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""An ``arch_id`` or ``network_id``: 16 hex digits. It is also a name in the run folder."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}$")]
"""The name of a file, without folders."""

Milliseconds = Annotated[float, Field(gt=0)]
"""A latency at batch 1."""

Count = Annotated[int, Field(ge=0)]

Cost: TypeAlias = dict[str, int | float]
"""What work cost, by name: ``images_trained``, ``macs_images`` (MACs of one image times images),
``core_s``, ``wall_s``, ``device_s``, ``networks_predicted``."""

NEXT_STEP = "remove it and repeat the command that made it"


class Part(BaseModel):
    """A piece of a file.

    Values are not converted to other types, NaN and infinity are refused, and unknown keys are kept
    (``extra="allow"``): a newer version of hwnas may have written them.
    """

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Return the part of plain data that hwnas made itself; files are read by ``Artifact``."""
        return cls.model_validate_json(json.dumps(content))

    def to_json(self) -> JsonObject:
        """Return the object a file holds, with the keys that were given only."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Artifact(Part):
    """A whole file: its name in the folder it is saved to, its version, and who writes it."""

    FILE: ClassVar[str]
    """The file's name in its folder."""

    WRITTEN_BY: ClassVar[str]
    """The command that writes the file; the run folder follows it."""

    VERSION: ClassVar[int | None] = 1
    """What the key ``schema`` holds; None: the file has no such key."""

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Old keys, dotted from the top and through lists, by the key's new name."""

    @classmethod
    def path(cls, folder: Path) -> Path:
        """Return the path of the file in ``folder``."""
        return folder / cls.FILE

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the file from ``folder``.

        Raises:
            InputError: there is no such file, or it is not what this schema says; lists every
                problem.
        """
        return cls.read(cls.path(folder))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file at ``path``, wherever it stands; errors as in :meth:`load`."""
        return cls.parse(read_json(path), str(path))

    @classmethod
    def load_if_present(cls, folder: Path) -> Self | None:
        """Read the file from ``folder``; None where there is none. Errors as in :meth:`load`."""
        return cls.load(folder) if cls.path(folder).is_file() else None

    @classmethod
    def parse(cls, content: object, what: str) -> Self:
        """Check plain data against this schema; ``what`` names them in errors and warnings.

        Raises:
            InputError: lists every problem.
        """
        if not isinstance(content, dict) or (
            cls.VERSION is not None and content.get("schema") != cls.VERSION
        ):
            rule = "" if cls.VERSION is None else f": it must hold schema: {cls.VERSION}"
            raise InputError(what, [f"is not a run's file{rule}"], NEXT_STEP)
        keys = {key: value for key, value in content.items() if key != "schema"}
        return parse_model(cls, cls.upgrade(keys, what), what=what, next_step=NEXT_STEP)

    @classmethod
    def upgrade(cls, content: JsonObject, what: str) -> JsonObject:
        """Return ``content`` with old values replaced; keys are renamed by ``RENAMED``.

        A subclass whose values were renamed overrides this, and logs a warning of each.
        """
        return content

    def to_json(self) -> JsonObject:
        """Return the object the file holds, the version first."""
        version: JsonObject = {} if self.VERSION is None else {"schema": self.VERSION}
        return version | super().to_json()

    def save(self, folder: Path) -> Path:
        """Write the file into ``folder``, whole; return its path.

        Raises:
            StorageError: it cannot be written; an older file is unchanged.
        """
        path = self.path(folder)
        write_json(path, self.to_json())
        return path

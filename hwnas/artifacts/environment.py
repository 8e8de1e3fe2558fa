"""``env.json``: the software and the host that a run was begun with."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from hwnas.artifacts.base import Artifact


class EnvironmentFile(Artifact):
    """What a run's results may depend on besides its configuration.

    ``threads`` is the variable OMP_NUM_THREADS, ``packages`` maps names to versions (or ``not
    installed``), ``started`` is UTC in ISO 8601.
    """

    FILE: ClassVar[str] = "env.json"
    WRITTEN_BY: ClassVar[str] = "hwnas run --out"
    VERSION: ClassVar[int | None] = None

    hwnas: str
    python: str = ""
    platform: str = ""
    cpu: str = ""
    cores: int | None = None
    threads: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    started: str = ""

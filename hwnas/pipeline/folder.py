"""A run folder: the path of each stage's file, and the checks that keep a run one run."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import hwnas
from hwnas.artifacts.base import Artifact
from hwnas.artifacts.environment import EnvironmentFile
from hwnas.artifacts.events import JOURNAL, ResumeEvent
from hwnas.errors import InputError, UsageError
from hwnas.executor.local import available_cores
from hwnas.io.journal import Journal, write_whole
from hwnas.io.lock import LOCK
from hwnas.io.schemas import require_no_leaving_links
from hwnas.latency.table.files import stored
from hwnas.pipeline.config.run import RunConfig, load_config, require_same
from hwnas.pipeline.plugin_record import FILE as PLUGINS_FILE
from hwnas.pipeline.plugin_record import record_plugins, require_plugins
from hwnas.search.records import now, stage_event

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "onnx",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "scikit-learn",
)
_ID = re.compile(r"[0-9a-f]{16}")

File = TypeVar("File", bound=Artifact)


def checked_id(value: str) -> str:
    """Return an id from a file; InputError unless it is 16 hex digits (and so a safe name)."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InputError("run folder", [f"{value!r} is not an id of 16 hex digits"])
    return value


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; a stage reads earlier files, writes its own whole, and edits none."""

    path: Path

    def require_free(self, config: RunConfig, *, resume: bool) -> None:
        """Make sure that a run of ``config`` may begin here, or go on; nothing is written.

        Raises:
            UsageError: the path holds a run and ``resume`` was not asked for, or something else.
            InputError: it was begun with another configuration; names what differs.
        """
        if self.is_begun:
            if not resume:
                raise UsageError(
                    f"{self.path} already holds a run. Next: add --resume to continue "
                    "it, or choose another --out"
                )
            require_no_leaving_links(self.path, "run folder")
            require_plugins(self.path)
            require_same(self.config_file, config)
        elif self.path.exists() and not (self.path.is_dir() and self._is_bare()):
            raise UsageError(
                f"{self.path} exists and is not a run (it has no config.yaml). "
                "Next: choose another --out"
            )

    def _is_bare(self) -> bool:
        """Whether it holds nothing but what ``begin`` leaves when it is stopped on its way."""
        beginnings = (EnvironmentFile.FILE, PLUGINS_FILE, LOCK.lstrip("."))
        return all(entry.name.lstrip(".").startswith(beginnings) for entry in self.path.iterdir())

    def begin(self, config: RunConfig) -> None:
        """Write down how the run begins, or that it goes on (see ``require_free``)."""
        if self.is_begun:
            with self.journal() as journal:
                journal.append(ResumeEvent(time=now()).to_json())
        else:
            environment().save(self.path)
            record_plugins(self.path)
            write_whole(self.config_file, config.to_yaml())

    @staticmethod
    def existing(path: Path) -> RunFolder:
        """Return the folder of a run that was begun.

        Raises:
            UsageError: it is none.
            InputError: links in it lead out of it.
        """
        folder = RunFolder(path)
        if not folder.is_begun:
            raise UsageError(
                f"{path} is not a run folder (it has no config.yaml). Next: hwnas run "
                "or hwnas search make one"
            )
        require_no_leaving_links(path, "run folder")
        return folder

    @property
    def is_begun(self) -> bool:
        """Whether a run was begun here; its configuration is written last."""
        return self.config_file.is_file()

    @property
    def config_file(self) -> Path:
        """The configuration the run was begun with."""
        return self.path / "config.yaml"

    def config(self) -> RunConfig:
        """Return the configuration the run was begun with."""
        require_plugins(self.path)
        return load_config(self.config_file, run_plugins=False)

    def file(self, name: str) -> Path:
        """Return the path of a stage's file."""
        return self.path / name

    def table(self, number: int) -> Path:
        """Return the path of a target's latency table, a folder if it is one of scoped tables."""
        return stored(self.path, "table" if number == 0 else f"table-{number + 1}")

    def weights(self, network_id: str) -> Path:
        """Return the path of a network's trained weights."""
        return self.path / "checkpoints" / f"{checked_id(network_id)}.safetensors"

    def initial(self, network_id: str) -> Path:
        """Return the path of the published weights that a network's training begins with."""
        return self.path / "checkpoints" / f"{checked_id(network_id)}.initial.safetensors"

    def training_state(self, network_id: str) -> Path:
        """Return the path of an unfinished training's checkpoint."""
        return self.path / "checkpoints" / f"{checked_id(network_id)}.state"

    def fold_states(self) -> list[Path]:
        """Return the checkpoints of trainings without one fold that are there."""
        return sorted((self.path / "checkpoints").glob("*.fold*of*.state"))

    def exported(self, arch_id: str, name: str) -> Path:
        """Return the path of a file in the export of a network."""
        return self.path / "export" / checked_id(arch_id) / name

    def supernet(self, number: int) -> Path:
        """Return the path of a trained supernet's weights."""
        return self.path / "checkpoints" / f"supernet-{number + 1}.safetensors"

    @property
    def supernet_start(self) -> Path:
        """The path of the weights that supernets begin with, where these were published."""
        return self.path / "checkpoints" / "supernet-start.safetensors"

    def supernet_state(self, number: int) -> Path:
        """Return the path of a supernet training's checkpoint."""
        return self.path / "checkpoints" / f"supernet-{number + 1}.state"

    def journal(self) -> Journal:
        """Return the run's journal."""
        return Journal(self.path / JOURNAL)

    def read(self, kind: type[File]) -> File:
        """Return a stage's file.

        Raises:
            UsageError: the stage has not been run; names the command that does.
            InputError: the file is not one that hwnas wrote; lists every problem.
        """
        return self.read_at(kind, kind.path(self.path))

    def read_at(self, kind: type[File], path: Path) -> File:
        """Return the stage's file at ``path`` in the folder; errors as in :meth:`read`."""
        if not path.is_file():
            name = path.relative_to(self.path)
            raise UsageError(f"{self.path} has no {name} yet. Next: {kind.WRITTEN_BY} {self.path}")
        return kind.read(path)

    def stage(
        self, name: str, output: Path, work: Callable[[], tuple[Artifact, Mapping[str, float]]]
    ) -> bool:
        """Run a stage unless its ``output`` exists; return whether it ran.

        ``work`` returns the file that is saved as ``output`` and the cost, which goes to the
        journal.
        """
        if output.is_file():
            return False
        start = time.perf_counter()
        content, cost = work()
        with self.journal() as journal:
            journal.append(stage_event(name, time.perf_counter() - start, cost).to_json())
        content.save(self.path)
        return True


def fold_state(state: Path, number: int, folds: int) -> Path:
    """Return the checkpoint of the training without fold ``number``, beside that of the whole."""
    return state.with_name(f"{state.stem}.fold{number + 1}of{folds}.state")


def environment() -> EnvironmentFile:
    """Return what a run's results may depend on: versions, platform, cores."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return EnvironmentFile(
        hwnas=hwnas.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=platform.processor() or platform.machine(),
        cores=available_cores(),
        threads=os.environ.get("OMP_NUM_THREADS"),
        packages=packages,
        started=now(),
    )

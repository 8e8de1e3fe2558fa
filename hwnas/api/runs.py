"""Whole runs: profile, search, retrain, export, bench and report in one folder that resumes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hwnas.api.results import Trial
from hwnas.api.spaces import Space
from hwnas.api.tables import Table, load_table
from hwnas.arch import Arch
from hwnas.artifacts.base import Artifact
from hwnas.artifacts.benched import BenchFile
from hwnas.artifacts.events import JOURNAL, EvaluationEvent, read_events
from hwnas.artifacts.exported import ExportIndexFile
from hwnas.artifacts.search import FinalistsFile, FrontFile, ResultFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import UsageError
from hwnas.io.html import facts_html
from hwnas.io.installed import names_missing_packages
from hwnas.pipeline.config.run import RunConfig, load_config, parse_config, preset
from hwnas.pipeline.folder import RunFolder

if TYPE_CHECKING:
    from hwnas.api.bundles import Bundle
    from hwnas.api.networks import Network

File = TypeVar("File", bound=Artifact)


class Run:
    """The folder of a run: its configuration, and what its stages wrote.

    Made by :func:`run` and :func:`open_run`. Each file is an attribute, read when it is used; it
    raises UsageError, naming the command that writes it, where the stage is still to come.

    Example:
        >>> import hwnas
        >>> run = hwnas.open_run("run")
        >>> run.result.strategy, len(run.finalists.answers[0].finalists)
        ('random', 2)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = RunFolder.existing(path)

    @cached_property
    def config(self) -> RunConfig:
        """The configuration the run was begun with."""
        return self._folder.config()

    def _read(self, kind: type[File]) -> File:
        if not kind.path(self.path).is_file():
            raise UsageError(
                f"{self.path} has no {kind.FILE} yet. Next: {kind.WRITTEN_BY} {self.path}, or "
                "hwnas.run(run.config, out=run.path, resume=True)"
            )
        return kind.load(self.path)

    @property
    def result(self) -> ResultFile:
        """What the search answered under each budget (``result.json``)."""
        return self._read(ResultFile)

    @property
    def finalists(self) -> FinalistsFile:
        """The best networks of each budget (``finalists.json``)."""
        return self._read(FinalistsFile)

    @property
    def front(self) -> FrontFile:
        """Every evaluated network, and which are on the front (``front.json``)."""
        return self._read(FrontFile)

    @property
    def retrained(self) -> RetrainedFile:
        """The finalists after training (``retrained.json``)."""
        return self._read(RetrainedFile)

    @property
    def benchmarks(self) -> tuple[BenchFile, ...]:
        """What was measured on each target (``bench/*.json``)."""
        return tuple(BenchFile.read(path) for path in sorted(self.path.glob("bench/*.json")))

    @property
    def winner(self) -> WinnerFile:
        """The network that was chosen, and why (``winner.json``)."""
        return self._read(WinnerFile)

    @property
    def evaluations(self) -> tuple[EvaluationEvent, ...]:
        """The networks that the search evaluated, in order (``journal.jsonl``)."""
        records = self._folder.journal().records()
        return tuple(read_events(records, EvaluationEvent, self.path / JOURNAL))

    @property
    def tables(self) -> tuple[Table, ...]:
        """The latency table of each target."""
        paths = [self._folder.table(number) for number in range(len(self.config.targets))]
        return tuple(load_table(path) for path in paths if path.exists())

    @cached_property
    def space(self) -> Space:
        """The space with the number of classes of the run's images."""
        from hwnas.pipeline.context import build_context

        return Space(build_context(self._folder, self.config).space)

    def network(self, arch: Arch | None = None) -> Network:
        """Return the winner, or the network of ``arch``, with its trained weights.

        Raises:
            UsageError: it was not trained in this run.
        """
        from hwnas.api.networks import build

        wanted = self.winner.arch.unchecked if arch is None else arch
        network = build(self.space, wanted)
        weights = self._folder.weights(self.space.network_id(wanted))
        if not weights.is_file():
            raise UsageError(
                f"{self.path} holds no weights of architecture {wanted.arch_id}. Next: "
                "run.retrain() trains the finalists"
            )
        network.load_weights(weights)
        return network

    def evaluate(self, archs: Sequence[Arch]) -> list[Trial]:
        """Score architectures as the run's search scores them; return a trial each, in order.

        Raises:
            UsageError: the run scores by a supernet, and its search is not finished.
        """
        from hwnas.pipeline.commands.evaluate import evaluate_run

        self.space.check(archs)
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "archs.jsonl"
            lines.write_text("".join(f"{json.dumps(arch.to_json())}\n" for arch in archs))
            records = evaluate_run(self.path, lines)
        return [
            Trial(
                number=number,
                arch=arch,
                network_id=self.space.network_id(arch),
                score=record.top1,
                metrics={},
                values={} if record.loss is None else {"loss": record.loss},
                error=record.error,
            )
            for number, (arch, record) in enumerate(zip(archs, records, strict=True))
        ]

    def retrain(self, *, top: int | None = None, epochs: int | None = None) -> RetrainedFile:
        """Train the finalists, all or the ``top`` of each budget; return ``retrained.json``."""
        from hwnas.pipeline.commands.runs import retrain_run

        retrain_run(self.path, top=top, epochs=epochs)
        return self.retrained

    def export(
        self,
        *,
        formats: Sequence[str] = ("onnx", "tflite"),
        precisions: Sequence[str] | None = None,
    ) -> tuple[Bundle, ...]:
        """Convert the trained finalists; return their bundles.

        ``precisions`` None are fp32 and what the run's targets execute.
        """
        from hwnas.api.bundles import load_bundle
        from hwnas.pipeline.commands.runs import export_run

        export_run(self.path, formats=formats, precisions=precisions)
        networks = self._read(ExportIndexFile).networks
        return tuple(load_bundle(self.path / "export" / network.arch_id) for network in networks)

    def bench(self) -> WinnerFile:
        """Measure the exported finalists on the first target; return the winner."""
        from hwnas.pipeline.commands.runs import bench_run

        bench_run(self.path)
        return self.winner

    def report(self) -> Path:
        """Write the report of the run, one HTML file, and return its path."""
        from hwnas.report.page import write_report

        return write_report(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {', '.join(self._facts().values())})"

    def _facts(self) -> dict[str, str]:
        done = [
            kind.FILE
            for kind in (ResultFile, RetrainedFile, WinnerFile)
            if kind.path(self.path).is_file()
        ]
        return {
            "space": self.config.space,
            "strategy": self.config.search.strategy,
            "written": " ".join(done) or "nothing yet",
        }

    def _repr_html_(self) -> str:
        return facts_html(f"Run {self.path}", self._facts())


@names_missing_packages
def open_run(path: str | Path) -> Run:
    """Return the run in a folder.

    Raises:
        UsageError: it is no run folder.
        InputError: links in it lead out of it, or a file is not what hwnas writes.

    Example:
        >>> import hwnas
        >>> hwnas.open_run("run")
        Run('run', tiny, random, result.json)
    """
    return Run(Path(path))


def as_config(config: RunConfig | Mapping[str, object] | str | Path) -> RunConfig:
    """Return a checked configuration; a name without ``.yaml`` is a preset that comes with hwnas.

    Raises:
        InputError: lists every problem.
        UsageError: there is no such preset.
    """
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, Mapping):
        return parse_config(dict(config), what="configuration")
    if isinstance(config, str) and not config.endswith((".yaml", ".yml")):
        return preset(config)
    return load_config(Path(config))


@names_missing_packages
def run(
    config: RunConfig | Mapping[str, object] | str | Path,
    *,
    out: str | Path,
    resume: bool = False,
) -> Run:
    """Carry out a whole run into the folder ``out``: from a profile to the report.

    ``config`` is a mapping with the keys of a run's YAML file (``hwnas run --schema`` lists them),
    the path of such a file, the name of a preset (``demo``), or a ``RunConfig``. With ``resume``
    only the stages that are missing are carried out.

    Raises:
        InputError: lists every problem of the configuration.
        UsageError: ``out`` holds a run and ``resume`` is not set, or something else.
        InfeasibleError: no network meets the limits; raised before any work.

    Example:
        >>> import hwnas
        >>> run = hwnas.run("demo", out="runs/demo")  # doctest: +SKIP
        >>> run.winner.measured_ms  # doctest: +SKIP
        0.061
    """
    from hwnas.pipeline.commands.runs import whole_run

    folder = Path(out)
    whole_run(as_config(config), folder, resume=resume)
    return Run(folder)

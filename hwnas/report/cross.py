"""Runs for several devices: every run's network on every run's device.

The table of hardware-specialised search (Cai et al., "ProxylessNAS", ICLR 2019, Table 4): a
network found for one device, on the others. Latencies are predictions by each run's own table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.arch import Arch
from hwnas.artifacts.base import JsonObject
from hwnas.artifacts.networks import ArchPart
from hwnas.artifacts.search import FinalistsFile, ResultFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.errors import InputError, UsageError
from hwnas.latency.table.files import load_table, stored
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace
from hwnas.report.text import ms, percent, signed_percent

TOLERANCE = 1e-9  # relative: a network that uses its budget up is within it


@dataclass(frozen=True)
class BestNetwork:
    """A run's best network under its first budget; ``top1`` a fraction, ``source`` its kind."""

    run: Path
    target: str
    budget_ms: float
    space: str
    arch: ArchPart
    arch_id: str
    top1: float
    source: str
    table: LatencyTable


@dataclass(frozen=True)
class Cell:
    """One network on one device.

    ``over`` is the share by which it exceeds that device's budget (0: within). ``regret`` is the
    top-1 that the device's own network has more; None where the network breaks the budget.
    """

    latency_ms: float
    over: float
    regret: float | None


@dataclass(frozen=True)
class Matrix:
    """``cells[i][j]``: the network of run i on the device of run j."""

    networks: tuple[BestNetwork, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def to_json(self) -> JsonObject:
        """Return the object that ``hwnas report --cross --json`` prints."""
        return {
            "schema": 1,
            "networks": [
                {
                    "run": str(own.run),
                    "searched_for": own.target,
                    "budget_ms": own.budget_ms,
                    "arch_id": own.arch_id,
                    "arch": own.arch.to_json(),
                    "top1": own.top1,
                    "source": own.source,
                    "on": [
                        {
                            "target": other.target,
                            "run": str(other.run),
                            "latency_ms": cell.latency_ms,
                            "budget_ms": other.budget_ms,
                            "within": cell.over == 0.0,
                            "over": cell.over,
                            "regret": cell.regret,
                        }
                        for other, cell in zip(self.networks, row, strict=True)
                    ],
                }
                for own, row in zip(self.networks, self.cells, strict=True)
            ],
        }


Predict = Callable[[SearchSpace, LatencyTable], Callable[[Arch], float]]


def cross(
    runs: Sequence[Path], load: Callable[[Path, str], SearchSpace], predict: Predict
) -> Matrix:
    """Return the network of each run on the device of each run.

    ``load`` returns the space of a run and its name, ``predict`` the latency of its architectures.

    Raises:
        UsageError: fewer than two runs.
        InputError: a run has no answer yet, or the runs cannot be compared; all reasons at once.
    """
    if len(runs) < 2:
        raise UsageError(f"--cross compares two runs or more, got {len(runs)}")
    problems: list[str] = []
    trained = all((run / RetrainedFile.FILE).is_file() for run in runs)
    networks = [one for run in runs if (one := _network(run, trained, problems)) is not None]
    for field, what in (
        ("space", "are of different spaces"),
        ("source", "have accuracies of different kinds"),
    ):
        kinds = {str(one.run): getattr(one, field) for one in networks}
        if len(set(kinds.values())) > 1:
            listed = ", ".join(f"{run} {kind}" for run, kind in kinds.items())
            problems.append(f"the runs {what}: {listed}")
    if problems:
        raise InputError(
            "runs to compare",
            problems,
            "compare searches of one space, evaluated or retrained alike",
        )
    space = load(networks[0].run, networks[0].space)
    archs = [space.arch(one.arch.choices) for one in networks]
    predictors = [predict(space, one.table) for one in networks]
    return Matrix(
        tuple(networks),
        tuple(
            tuple(
                _cell(own, other, predictor(arch))
                for other, predictor in zip(networks, predictors, strict=True)
            )
            for own, arch in zip(networks, archs, strict=True)
        ),
    )


def _cell(own: BestNetwork, other: BestNetwork, latency_ms: float) -> Cell:
    over = max(0.0, latency_ms / other.budget_ms - 1.0)
    over = over if over > TOLERANCE else 0.0
    return Cell(latency_ms, over, other.top1 - own.top1 if over == 0.0 else None)


def _network(run: Path, trained: bool, problems: list[str]) -> BestNetwork | None:
    """Return a run's best network, or None and add the reason to ``problems``."""
    if not (run / ResultFile.FILE).is_file():
        problems.append(f"{run} has no result.json: no search has ended there")
        return None
    try:
        return _best(run, trained)
    except InputError as error:
        problems.append(f"{run}: {error}")
        return None


def _best(run: Path, trained: bool) -> BestNetwork:
    result = ResultFile.load(run)
    answer = result.answers[0]
    best = answer.best
    if best is None or "top1" not in best.objectives:
        raise InputError("result.json", ["no network met its limits"])
    if not answer.limits or answer.limits[0].metric != "latency_ms" or answer.limits[0].max <= 0:
        raise InputError("result.json", ["its first limit must be a latency_ms above 0"])
    arch, arch_id, top1, source = best.arch, best.arch_id, best.top1.value, best.top1.source
    if trained:
        ids = {one.network_id for one in FinalistsFile.load(run).answers[0].finalists}
        finalists = RetrainedFile.load(run).finalists
        # best on val first
        after = next((one for one in finalists if one.searched_network_id in ids), None)
        if after is None:
            raise InputError(
                "retrained.json", ["none of its first budget's finalists was retrained"]
            )
        arch, arch_id, top1, source = after.arch, after.arch_id, after.val.top1, after.val.source
    measured = load_table(stored(run, "table"))
    header = measured.header
    target = f"{header.device}, {header.runtime} {header.precision}, {header.threads} thread(s)"
    budget_ms = answer.limits[0].max
    return BestNetwork(run, target, budget_ms, result.space, arch, arch_id, top1, source, measured)


def rows_of(matrix: Matrix) -> tuple[list[str], list[list[str]]]:
    """Return the matrix as text: a heading per column, a row per network."""
    titles = [
        "searched for",
        "top-1",
        *(f"on {one.target} <= {one.budget_ms:.4g} ms" for one in matrix.networks),
    ]
    rows = []
    for own, cells in zip(matrix.networks, matrix.cells, strict=True):
        rows.append([own.target, percent(own.top1), *(_text(cell) for cell in cells)])
    return titles, rows


def _text(cell: Cell) -> str:
    if cell.regret is None:
        return f"{ms(cell.latency_ms)}, {signed_percent(cell.over)} over the budget"
    return f"{ms(cell.latency_ms)}, regret {percent(cell.regret, 2)}"

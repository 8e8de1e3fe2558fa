"""Runs for several devices set against each other: every network on every device.

The figure of hardware-specialised search (Cai et al., "ProxylessNAS", ICLR 2019, Table 4): a
network found for one device, on the others. Latencies are predictions by each run's own table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import InputError, UsageError
from hwnas.io.journal import read_json
from hwnas.latency.table.scoped import Tables, load_tables, stored
from hwnas.protocols import SearchSpace
from hwnas.report.formats import ms, percent, signed_percent
from hwnas.report.markup import Column, Html, element, join, table
from hwnas.report.theme import css_variables

TOLERANCE = 1e-9  # relative: a network that uses its budget up is within it


@dataclass(frozen=True)
class Found:
    """A run's best network under its first budget; ``top1`` a fraction, ``source`` its kind."""

    run: Path
    target: str
    budget_ms: float
    space: str
    arch: Mapping[str, Any]
    arch_id: str
    top1: float
    source: str
    table: Tables


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

    found: tuple[Found, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``hwnas report --cross --json`` prints."""
        return {
            "schema": 1,
            "networks": [
                {
                    "run": str(own.run),
                    "searched_for": own.target,
                    "budget_ms": own.budget_ms,
                    "arch_id": own.arch_id,
                    "arch": dict(own.arch),
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
                        for other, cell in zip(self.found, row, strict=True)
                    ],
                }
                for own, row in zip(self.found, self.cells, strict=True)
            ],
        }


Predict = Callable[[SearchSpace, Tables], Callable[[Any], float]]


def cross(
    runs: Sequence[Path], load: Callable[[Path, str], SearchSpace], predict: Predict
) -> Matrix:
    """Return every run's network on every run's device.

    The accuracies are those of training from scratch where all runs have it, else of the searches.
    ``load`` returns the space of a run and its name, ``predict`` the latency of its architectures.

    Raises:
        UsageError: fewer than two runs.
        InputError: a run has no answer yet, or the runs cannot be compared; all reasons at once.
    """
    if len(runs) < 2:
        raise UsageError(f"--cross compares two runs or more, got {len(runs)}")
    problems: list[str] = []
    trained = all((run / "retrained.json").is_file() for run in runs)
    found = [one for run in runs if (one := _found(run, trained, problems)) is not None]
    for field, what in (
        ("space", "are of different spaces"),
        ("source", "have accuracies of different kinds"),
    ):
        kinds = {str(one.run): getattr(one, field) for one in found}
        if len(set(kinds.values())) > 1:
            problems.append(
                f"the runs {what}: " + ", ".join(f"{run} {kind}" for run, kind in kinds.items())
            )
    if problems:
        raise InputError(
            "runs to compare",
            problems,
            "compare searches of one space, evaluated or retrained alike",
        )
    space = load(found[0].run, found[0].space)
    archs = [space.arch(one.arch["choices"]) for one in found]
    predictors = [predict(space, one.table) for one in found]
    return Matrix(
        tuple(found),
        tuple(
            tuple(
                _cell(own, other, predictor(arch))
                for other, predictor in zip(found, predictors, strict=True)
            )
            for own, arch in zip(found, archs, strict=True)
        ),
    )


def _cell(own: Found, other: Found, latency_ms: float) -> Cell:
    over = max(0.0, latency_ms / other.budget_ms - 1.0)
    over = over if over > TOLERANCE else 0.0
    return Cell(latency_ms, over, other.top1 - own.top1 if over == 0.0 else None)


def _found(run: Path, trained: bool, problems: list[str]) -> Found | None:
    """Return a run's best network, or None and say why not."""
    if not (run / "result.json").is_file():
        problems.append(f"{run} has no result.json: no search has ended there")
        return None
    try:
        return _best(run, trained, problems)
    except (KeyError, IndexError, TypeError) as error:
        problems.append(
            f"{run}: its files are not those of a search: {type(error).__name__} {error}"
        )
        return None


def _best(run: Path, trained: bool, problems: list[str]) -> Found | None:
    result = read_json(run / "result.json")
    answer = result["answers"][0]
    best = answer["best"]
    if best is None:
        problems.append(f"{run}: no network met its limits")
        return None
    top1, source = best["objectives"]["top1"]["value"], best["objectives"]["top1"]["source"]
    if trained:
        ids = {f["network_id"] for f in _finalists(run)}
        rows = [
            row
            for row in read_json(run / "retrained.json")["finalists"]
            if row.get("searched", row)["network_id"] in ids
        ]
        if not rows:
            problems.append(f"{run}: none of its first budget's finalists was retrained")
            return None
        best = rows[0]  # best on val first
        top1, source = best["val"]["top1"], best["val"].get("source", "scratch")
    measured = load_tables(stored(run, "table"))
    header = measured.header
    target = f"{header.device}, {header.runtime} {header.precision}, {header.threads} thread(s)"
    found = Found(
        run,
        target,
        answer["limits"][0]["max"],
        result["space"],
        best["arch"],
        best["arch_id"],
        top1,
        source,
        measured,
    )
    numbers = (found.budget_ms, found.top1)
    if (
        not all(
            type(value) in (int, float) and math.isfinite(value) and value >= 0 for value in numbers
        )
        or found.budget_ms == 0
    ):
        raise TypeError(f"a budget and an accuracy must be numbers, got {numbers}")
    if not all(isinstance(text, str) for text in (found.space, found.arch_id, found.source)):
        raise TypeError("space, arch_id and source must be text")
    if not isinstance(found.arch, dict) or not isinstance(found.arch.get("choices"), dict):
        raise TypeError("arch must be an architecture")
    return found


def _finalists(run: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = read_json(run / "finalists.json")["answers"][0]["finalists"]
    return listed


def rows_of(matrix: Matrix) -> tuple[list[str], list[list[str]]]:
    """Return the matrix as text: a heading per column, a row per network."""
    titles = [
        "searched for",
        "top-1",
        *(f"on {one.target} <= {one.budget_ms:.4g} ms" for one in matrix.found),
    ]
    rows = []
    for own, cells in zip(matrix.found, matrix.cells, strict=True):
        rows.append([own.target, f"{own.top1:.4f}", *(_text(cell) for cell in cells)])
    return titles, rows


def _text(cell: Cell) -> str:
    if cell.regret is None:
        return f"{ms(cell.latency_ms)}, {signed_percent(cell.over)} over the budget"
    return f"{ms(cell.latency_ms)}, regret {percent(cell.regret, 2)}"


def page(matrix: Matrix) -> str:
    """Return the matrix as an HTML page that needs nothing beside it."""
    titles, rows = rows_of(matrix)
    columns = [Column(titles[0], False), *(Column(title) for title in titles[1:])]
    source = matrix.found[0].source
    main = element(
        "main",
        element("h1", f"Networks of {matrix.found[0].space} on the devices of others"),
        element(
            "p",
            "Each row is the network found for one device; latencies are predicted by "
            f"each device's table, accuracies are of source {source}. Regret is what the "
            "device's own network has more.",
        ),
        table(columns, rows),
    )
    style = css_variables() + Path(__file__).with_name("page.css").read_text()
    head = join(
        [
            Html('<meta charset="utf-8">'),
            element("title", "Specialisation"),
            element("style", Html(style)),
        ]
    )
    whole = element("html", element("head", head), element("body", main), attrs={"lang": "en"})
    return f"<!doctype html>\n{whole}\n"

"""Latency tables: measured on a device, or loaded from a file or by name."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hwnas.api.spaces import SpaceLike, as_space
from hwnas.arch import Arch
from hwnas.errors import UsageError
from hwnas.io.html import facts_html
from hwnas.io.installed import names_missing_packages
from hwnas.latency.table.files import load_table as read_table
from hwnas.latency.table.files import store
from hwnas.latency.table.names import find_table
from hwnas.latency.table.schemas import Calibration, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec

if TYPE_CHECKING:
    from hwnas.device.measurement import Measurement
    from hwnas.latency.profile.plan import ProfilePlan

TableLike: TypeAlias = "Table | LatencyTable | str | Path"
"""A table, a file, a folder of scoped tables, or the name of a table that comes with hwnas."""


class Table:
    """Measured milliseconds per operation on one target.

    Made by :func:`profile` and :func:`load_table`. ``path`` is where it was read from or written
    to, None where it has no file.

    Example:
        >>> import hwnas
        >>> hwnas.load_table("table.json")
        Table(host-onnxruntime-fp32-t1, 20 operations, calibrated for tiny)
    """

    def __init__(self, tables: LatencyTable, path: Path | None = None) -> None:
        self.tables = tables
        self.path = path

    @property
    def header(self) -> TableHeader:
        """Where the numbers are from: device, runtime and its version, protocol, host, date."""
        return self.tables.header

    @property
    def device(self) -> str:
        """The name of the device."""
        return self.header.device

    @property
    def precision(self) -> str:
        """The precision of the models that were timed: fp32 or int8."""
        return self.header.precision

    @property
    def name(self) -> str:
        """The target, as ``host-litert-fp32-t1``: device, runtime, precision, threads."""
        header = self.header
        return f"{header.device}-{header.runtime}-{header.precision}-t{header.threads}"

    @property
    def num_ops(self) -> int:
        """The number of rows; of scoped tables, of all together."""
        return self.tables.num_rows

    @property
    def rows(self) -> Mapping[OpSpec, Measurement]:
        """The measurement of each operation.

        Raises:
            UsageError: these are several tables with scopes; :attr:`scopes` holds each one's rows.
        """
        if len(self.scopes) == 1:
            return self.tables.entries
        raise UsageError(
            f"these are {len(self.scopes)} tables with scopes. Next: take the rows of one, as in "
            f"table.scopes[{next(iter(self.scopes))!r}].rows"
        )

    @property
    def scopes(self) -> Mapping[str, Table]:
        """The single tables by scope; one ``every network`` where a table has no scope."""
        parts = zip(self.tables.scope_names, self.tables.scopes, strict=True)
        return {scope: Table(part) for scope, part in parts}

    def of(self, arch: Arch) -> Table | None:
        """Return the table with the scope that ``arch`` is of; None: no scope covers it."""
        part = self.tables.of(arch.choices)
        if part is self.tables:
            return self
        return None if part is None else Table(part)

    @property
    def calibration(self) -> Mapping[str, Calibration]:
        """How rows become latencies of whole networks, by the name of a space."""
        return {name: fit for part in self.tables.scopes for name, fit in part.calibration.items()}

    def save(self, path: str | Path) -> Path:
        """Write the table (``NAME.json``; a folder of scoped tables) and return the path.

        Raises:
            UsageError: something is there already.
        """
        target = Path(path)
        if target.exists():
            raise UsageError(f"{target} exists. Next: choose another path")
        is_scoped = self.tables.is_scoped
        if not is_scoped and target.suffix != ".json":
            raise UsageError(f"a table is a .json file, got {str(target)!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        store(self.tables, target.parent, target.name if is_scoped else target.stem)
        return target

    def _facts(self) -> dict[str, str]:
        header, spaces = self.header, sorted(self.calibration)
        return {
            "device": header.device,
            "runtime": header.runtime_version,
            "precision": header.precision,
            "threads": str(header.threads),
            "operations": str(self.num_ops),
            "scopes": "; ".join(self.scopes),
            "calibrated for": ", ".join(
                f"{name} (mean error {self.calibration[name].mean_abs_rel_error:.1%})"
                for name in spaces
            )
            or "no space",
            "date": header.date,
        }

    def __repr__(self) -> str:
        spaces = ", ".join(sorted(self.calibration)) or "no space"
        return f"Table({self.name}, {self.num_ops} operations, calibrated for {spaces})"

    def _repr_html_(self) -> str:
        return facts_html(f"Latency table of {self.name}", self._facts())


def as_table(table: TableLike) -> Table:
    """Return ``table`` as a :class:`Table`; files and names are loaded."""
    if isinstance(table, Table):
        return table
    if isinstance(table, str | Path):
        return load_table(table)
    return Table(table)


def load_table(table: str | Path) -> Table:
    """Return a table: a file, a folder of scoped tables, or one that comes with hwnas by name.

    Raises:
        InputError: there is no such file or name, or all problems of the file.

    Example:
        >>> import hwnas
        >>> hwnas.load_table("table.json").device
        'host'
        >>> hwnas.load_table("pixel-1").header.runtime
        'litert'
    """
    path = find_table(table)
    return Table(read_table(path), path)


@names_missing_packages
def profile(
    space: SpaceLike,
    device: str = "host",
    *,
    runtime: str = "litert",
    precision: str = "fp32",
    threads: int | None = None,
    affinity: str | None = None,
    calibrate: int = 16,
    validate: int = 0,
    scope: Mapping[str, int] | None = None,
    max_ops: int | None = None,
    augment_ops: int = 0,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
) -> Table:
    """Measure the operations of a space on a device; return the latency table.

    ``device`` is a name (``hwnas devices`` lists them) or a YAML file; ``threads`` and ``affinity``
    (CPUs, as ``4-7``) are the device file's unless given. ``calibrate`` whole networks are timed to
    fit sums of rows to, ``validate`` others to check predictions on. ``scope`` measures only the
    networks with these options, as ``{"resolution": 160}``. ``max_ops`` measures a subset of the
    operations, chosen so that ``latency_model(predictor="op-predictor")`` predicts the others;
    ``augment_ops`` adds operations of other widths. The table is written to ``out`` and every visit
    to ``out + .samples.jsonl``, so that ``resume`` continues what was begun; without ``out``
    nothing is kept.

    Raises:
        UsageError: ``out`` exists and ``resume`` is not set, or the device has no such runtime.
        InputError: no such device, or what is on record is of another target, protocol or seed.
        DeviceError: the device failed; the visits so far are kept.

    Example:
        >>> import hwnas
        >>> hwnas.profile("tiny", "desk.yaml", runtime="onnxruntime", calibrate=2)
        Table(desk-onnxruntime-fp32-t1, 20 operations, calibrated for tiny)
    """
    from hwnas.device.device import load_device
    from hwnas.device.runner import make_target
    from hwnas.latency.profile.plan import ProfilePlan

    if out is None and resume:
        raise UsageError("resume continues the table of out. Next: give out, too")
    target = make_target(load_device(device), runtime, precision, threads, affinity)
    plan = ProfilePlan(
        as_space(space).definition,
        target,
        calibrate,
        validate,
        seed,
        dict(scope or {}),
        max_ops,
        augment_ops,
    )
    if plan.is_partial and augment_ops:
        raise UsageError("augment_ops goes with all operations of a space. Next: leave out max_ops")
    return _measured(plan, None if out is None else Path(out), resume=resume)


def _measured(plan: ProfilePlan, out: Path | None, *, resume: bool) -> Table:
    """Return the table of a plan, written to ``out``; None: nothing is kept."""
    from hwnas.export.convert.cache import ConversionCache
    from hwnas.latency.profile.profiler import profile as measure

    if out is not None:
        return Table(measure(plan, out, resume=resume, cache=ConversionCache()), out)
    with tempfile.TemporaryDirectory() as folder:
        return Table(measure(plan, Path(folder) / "table.json", cache=ConversionCache()))

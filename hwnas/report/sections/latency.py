"""The sections about latency: predicted and measured, the space's, the winner's."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from hwnas.artifacts.search import AuditPart
from hwnas.io.schemas import parse_model
from hwnas.io.suggest import command
from hwnas.latency.lut.calibration import describe
from hwnas.latency.table.scope import scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.report.figures.latency import STYLES, breakdown, calibration, space_distribution
from hwnas.report.figures.svg import Drawing, draw
from hwnas.report.figures.values import NetworkPair, Slot
from hwnas.report.model import RunFacts, cleaned, network_pairs
from hwnas.report.sections.blocks import (
    Block,
    Definitions,
    Figure,
    Missing,
    Table,
    Text,
    no_table,
    no_winner,
    table,
)
from hwnas.report.text import ABSENT, integer, large, ms, percent, plain


class Fit(BaseModel):
    """How well a predictor agrees with networks measured later; errors are fractions."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    num_networks: int | None = None
    mean_abs_rel_error: float | None = None
    within_5_percent: float | None = None
    kendall_tau: float | None = None


class Validation(Fit):
    """A table's predictions of one space, and what simpler predictors reach on it."""

    repeatability_mean: float | None = None
    macs_line: Fit | None = None
    op_count_line: Fit | None = None


# predicted against measured ----------------------------------------------------------------------


def prediction_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """Predicted against measured, with the errors of simpler predictors for comparison."""
    if facts.table is None and facts.bench is None:
        return (no_table(facts),)
    drawing = predicted_measured(facts)
    blocks: list[Block] = (
        [Text("No whole network was both predicted and measured yet.", muted=True)]
        if drawing is None
        else [Figure(drawing)]
    )
    if facts.table is None:
        return (*blocks, no_table(facts))
    validated = [one for one in facts.table.scopes if one.validation]
    if not validated:
        blocks.append(
            Text(
                "The table was not validated on whole networks. Next: ",
                code=command(
                    "profile",
                    device=facts.table.header.device,
                    runtime=facts.table.header.runtime,
                    precision=facts.table.header.precision,
                    space=str(facts.setting("space") or "SPACE"),
                    validate=32,
                    out=f"{facts.run}/table.json",
                    resume=True,
                ),
            )
        )
    return (*blocks, *(_errors(one) for one in validated))


def predicted_measured(facts: RunFacts) -> Drawing | None:
    """Draw predicted against measured latency of whole networks; None if no pair is known."""
    pairs = list(network_pairs(facts.table)) if facts.table else []
    pairs += [
        NetworkPair("bench", row.measurement.latency_ms, row.predicted_ms)
        for row in (facts.bench.rows if facts.bench else ())
        if row.predicted_ms is not None
    ]
    pairs = [pair for pair in pairs if pair.role in STYLES]
    if not pairs:
        return None
    numbers = {role: sum(pair.role == role for pair in pairs) for role in STYLES}
    counts = "; ".join(f"{STYLES[role][0]}: {n}" for role, n in numbers.items() if n)
    return draw(
        "predicted-measured",
        "Predicted against measured latency",
        lambda form: calibration(pairs, form=form),
        description=f"Scatter plot of predicted against measured latency. {counts}.",
        caption=(
            f"n = {len(pairs)} networks, ms at batch 1. Predicted by the "
            "latency table, measured on the device."
        ),
    )


def _named(space: str, measured: LatencyTable) -> str:
    """Return a space's name with the scope of the table, where it has one."""
    scope = measured.header.scope
    return f"{space}, {scope_text(scope)}" if scope else space


def _errors(measured: LatencyTable) -> Table:
    columns = [
        ("space", False),
        ("predictor", False),
        ("networks", True),
        ("mean error", True),
        ("within ±5 %", True),
        ("Kendall's tau", True),
        ("repeatability", True),
    ]
    rows = []
    for name_of_space, block in measured.validation.items():
        space = _named(name_of_space, measured)
        fit = parse_model(
            Validation,
            cleaned(block),
            what=f"table.json, validation.{space}",
            next_step="repeat the command that writes this file",
        )
        named: list[tuple[str, Fit | None]] = [
            ("latency table", fit),
            ("line through MACs", fit.macs_line),
            ("line through op count", fit.op_count_line),
        ]
        for name, one in named:
            if one is None:
                continue
            networks = fit.num_networks if one.num_networks is None else one.num_networks
            rows.append(
                [
                    space,
                    name,
                    integer(networks),
                    percent(one.mean_abs_rel_error),
                    percent(one.within_5_percent),
                    ABSENT if one.kendall_tau is None else f"{one.kendall_tau:.3f}",
                    percent(fit.repeatability_mean, 2) if one is fit else "",
                ]
            )
    return table(
        columns,
        rows,
        "Mean error: mean of |predicted − measured| / measured. Repeatability: how far "
        "two halves of the measurement's own rounds differ; no predictor can be more exact.",
    )


# the space ---------------------------------------------------------------------------------------


def space_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The distribution of latency over the space, and the share within the budget."""
    result = facts.result
    audit = result.audit if result else None
    drawing = distribution(audit, facts.budgets_ms) if audit else None
    if result is None or audit is None or drawing is None:
        return (Missing("result.json, audit", command("search", resume=True, out=str(facts.run))),)
    low, high = audit.num_feasible_low, audit.num_feasible_high
    restricted = [
        f"{one.choice} = {plain(one.option)}" + (" (with some options)" if one.beside else "")
        for one in result.restricted
    ]
    pairs = [
        ("architectures in the space", large(audit.num_codes)),
        (
            "of these within the first latency limit",
            large(low) if low == high else f"{large(low)} to {large(high)}",
        ),
        ("fastest", ms(audit.fastest_ms)),
        ("slowest", ms(audit.slowest_ms)),
        ("options left out, no table row", ", ".join(restricted) or "none"),
        *_predicted_rows(facts),
    ]
    return (Figure(drawing), Definitions(tuple(pairs)))


def distribution(audit: AuditPart, budgets_ms: Sequence[float]) -> Drawing | None:
    """Draw the cumulative distribution of predicted latency over the space's architectures.

    The curve joins the audit's percentiles; None if it holds fewer than two.
    """
    levels = {float(level): value for level, value in audit.percentiles.items()}
    for level, value in ((0.0, audit.fastest_ms), (100.0, audit.slowest_ms)):
        if value is not None:
            levels.setdefault(level, value)
    points = sorted(levels.items())
    if len(points) < 2:
        return None
    budgets = ", ".join(ms(budget) for budget in budgets_ms) or "none"
    known = "" if audit.num_codes is None else f" of {large(audit.num_codes)} architectures"
    return draw(
        "space-distribution",
        "Latency of the space",
        lambda form: space_distribution(points, budgets_ms, form=form),
        description=(
            f"Cumulative distribution of predicted latency from {ms(points[0][1])} to "
            f"{ms(points[-1][1])}; budget {budgets}."
        ),
        caption=(
            f"Percentiles{known}, predicted by the latency table, ms at batch 1; the ends are "
            "the exact fastest and slowest network."
        ),
    )


def _predicted_rows(facts: RunFacts) -> list[tuple[str, str]]:
    """Give for each target's table the number of predicted rows, and their errors."""
    targets = facts.result.predicted_rows if facts.result else ()
    return [
        (
            f"rows of {one.scope} predicted, not measured",
            f"{one.num_predicted}; measured: {one.num_measured}; cross-validated mean errors "
            "on new channel numbers: "
            + ", ".join(
                f"{kind} {percent(model.new_channels.mean_abs_rel_error)}"
                for kind, model in one.kinds.items()
                if model.num_predicted
            ),
        )
        for target in targets
        for one in target
        if one.num_predicted
    ]


# the winner's time -------------------------------------------------------------------------------


def time_blocks(facts: RunFacts, slots: Sequence[Slot]) -> tuple[Block, ...]:
    """Where the winner's time goes, operation by operation."""
    if not slots:
        return (no_winner(facts),)
    drawing = time_per_operation(slots)
    if facts.table is None or drawing is None:
        return (no_table(facts),)
    unknown = [operation_name(slot) for slot in slots if slot.op and slot.table_ms is None]
    notes = [Text(f"Without a row in the table: {', '.join(unknown)}.")] if unknown else []
    return (Figure(drawing), *notes, *_calibration(facts.table))


def time_per_operation(slots: Sequence[Slot]) -> Drawing | None:
    """Draw the table's time of each of the winner's operations; None if no row is known."""
    times = [(operation_name(slot), slot.table_ms) for slot in slots if slot.table_ms is not None]
    if not times:
        return None
    executed = sum(slot.op is not None for slot in slots)
    slowest, total = max(times, key=lambda one: one[1]), sum(time for _, time in times)
    return draw(
        "time-per-operation",
        "Where the winner's time goes",
        lambda form: breakdown(times, form=form),
        description=(
            f"Bar chart of {len(times)} operations in order of execution; the slowest is "
            f"{slowest[0]} with {ms(slowest[1])} of {ms(total)} in all."
        ),
        caption=(
            f"n = {len(times)} of {executed} operations with a row in the latency table; ms at "
            f"batch 1, each measured alone, {ms(total)} in all before calibration."
        ),
    )


def operation_name(slot: Slot) -> str:
    """Return what a reader calls an operation: the choice behind it, or its kind and width."""
    if slot.op is None:
        return f"{slot.option} (skipped)"
    return slot.option or f"{slot.op.kind} {slot.op.in_shape[0]}→{slot.op.out_channels}"


def _calibration(tables: LatencyTable) -> list[Text]:
    fits = [
        (_named(space, one), fit) for one in tables.scopes for space, fit in one.calibration.items()
    ]
    if not fits:
        words = (
            "The table is not calibrated on whole networks: predictions are raw sums of these "
            "times."
        )
        return [Text(words, muted=True)]
    return [Text(f"Prediction for {space}: {describe(fit)}.", muted=True) for space, fit in fits]

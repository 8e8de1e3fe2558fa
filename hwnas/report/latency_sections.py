"""The sections about latency: predicted and measured, the space's, the winner's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.latency.lut.calibration import describe
from hwnas.latency.table.scope import scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.report.answer import missing
from hwnas.report.body import Body, drawn, figure, no_table, no_winner
from hwnas.report.facts import RunFacts, Slot
from hwnas.report.figures import (
    operation_name,
    predicted_measured,
    space_distribution,
    time_per_operation,
)
from hwnas.report.formats import ABSENT, integer, large, ms, percent, plain
from hwnas.report.markup import Column, Html, definitions, element, join, table
from hwnas.report.records import Fit, Validation, read_record


def prediction_section(facts: RunFacts) -> Body:
    """Predicted against measured, with the errors beside what simpler predictors reach."""
    if facts.table is None and facts.bench is None:
        return Body(no_table(facts))
    drawing = predicted_measured(facts)
    parts = [] if drawing is None else [figure(drawing)]
    if drawing is None:
        parts.append(
            element(
                "p",
                "No whole network was both predicted and measured yet.",
                attrs={"class": "muted"},
            )
        )
    if facts.table is None:
        parts.append(no_table(facts))
    elif any(table.validation for table in facts.table.scopes):
        parts += [_errors(table) for table in facts.table.scopes if table.validation]
    else:
        parts.append(
            element(
                "p",
                "The table was not validated on whole networks: ",
                element("code", "hwnas profile --validate 32"),
                " does that.",
                attrs={"class": "missing"},
            )
        )
    return Body(join(parts), (drawing,) if drawing else ())


def _named(space: str, measured: LatencyTable) -> str:
    """Return a space's name with the scope of the table, where it has one."""
    scope = measured.header.scope
    return f"{space}, {scope_text(scope)}" if scope else space


def _errors(measured: LatencyTable) -> Html:
    columns = [
        Column("space", False),
        Column("predictor", False),
        Column("networks"),
        Column("mean error"),
        Column("within ±5 %"),
        Column("Kendall's tau"),
        Column("repeatability"),
    ]
    rows = []
    for name_of_space, block in measured.validation.items():
        space = _named(name_of_space, measured)
        fit = read_record(Validation, block, f"table.json, validation.{space}")
        named: list[tuple[str, Fit | None]] = [
            ("latency table", fit),
            ("line through MACs", fit.macs_line),
            ("line through op count", fit.op_count_line),
        ]
        for name, one in named:
            if one is None:
                continue
            tau = ABSENT if one.kendall_tau is None else f"{one.kendall_tau:.3f}"
            networks = fit.num_networks if one.num_networks is None else one.num_networks
            repeats = percent(fit.repeatability_mean, 2) if one is fit else ""
            rows.append(
                [
                    space,
                    name,
                    integer(networks),
                    percent(one.mean_abs_rel_error),
                    percent(one.within_5_percent),
                    tau,
                    repeats,
                ]
            )
    return table(
        columns,
        rows,
        "Mean error: mean of |predicted − measured| / measured. Repeatability: how far "
        "two halves of the measurement's own rounds differ; no predictor can be held to "
        "less.",
    )


def space_section(facts: RunFacts) -> Body:
    """How the latencies of the space lie about the budget."""
    audit = facts.result.audit if facts.result else None
    drawing = space_distribution(audit, facts.budgets_ms) if audit else None
    if audit is None or drawing is None:
        return Body(missing("result.json, audit", f"hwnas search --resume --out {facts.run}"))
    restricted = facts.result.restricted if facts.result else ()
    low, high = audit.num_feasible_low, audit.num_feasible_high
    pairs = [
        ("codes in the space", large(audit.num_codes)),
        (
            "of these within the first latency limit",
            large(low) if low == high else f"{large(low)} to {large(high)}",
        ),
        ("fastest", ms(audit.fastest_ms)),
        ("slowest", ms(audit.slowest_ms)),
        ("options left out, no table row", _listed(restricted)),
        *_predicted_rows(facts),
    ]
    return drawn(drawing, definitions(pairs))


def _predicted_rows(facts: RunFacts) -> list[tuple[str, str]]:
    """Say of each target's table how many rows were predicted instead of measured, and how well."""
    targets = facts.result.predicted_rows if facts.result else ()
    return [
        (
            f"rows of {one.scope} predicted, not measured",
            f"{one.num_predicted} beside {one.num_measured} measured; cross-validated mean errors "
            "on channels never seen: "
            + ", ".join(
                f"{kind} {percent(model['new_channels']['mean_abs_rel_error'])}"
                for kind, model in one.kinds.items()
                if model["num_predicted"]
            ),
        )
        for target in targets
        for one in target
        if one.num_predicted
    ]


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(plain(value) for value in values) or "none"


def time_section(facts: RunFacts, slots: Sequence[Slot]) -> Body:
    """Where the winner's time goes, operation by operation."""
    if not slots:
        return Body(no_winner(facts))
    drawing = time_per_operation(slots)
    if facts.table is None or drawing is None:
        return Body(no_table(facts))
    unknown = [operation_name(slot) for slot in slots if slot.op and slot.table_ms is None]
    notes = [element("p", f"Without a row in the table: {', '.join(unknown)}.")] if unknown else []
    return drawn(drawing, *notes, *_calibration(facts.table))


def _calibration(tables: LatencyTable) -> list[Html]:
    fits = [
        (_named(space, table), fit)
        for table in tables.scopes
        for space, fit in table.calibration.items()
    ]
    if not fits:
        return [
            element(
                "p",
                "The table is not calibrated on whole networks: predictions are raw "
                "sums of these times.",
                attrs={"class": "muted"},
            )
        ]
    return [
        element("p", f"Prediction for {space}: {describe(fit)}.", attrs={"class": "muted"})
        for space, fit in fits
    ]

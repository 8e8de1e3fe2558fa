"""``hwnas spaces audit``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.formatting import count_text, small_share_text
from hwnas.cli.options import AsJson, LutPath, PredictorOption, option
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.search.problem.audit import Audit


@verb("hwnas spaces audit tiny --lut t.json --budget-ms 0.1")
def audit(
    space: Annotated[str, typer.Argument(help="NAME[:key=value,...] or a .yaml file.")],
    lut: LutPath,
    budget_ms: Annotated[float, option("--budget-ms", help="Latency budget in ms.")],
    predictor: PredictorOption = "lut",
    force: Annotated[
        bool, option("--force", help="Accept a table whose predictions err by more than 10 %.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a latency budget leaves of a space.

    It prints the feasible share, the range of latencies, and the choices that do not matter.
    """
    from hwnas.latency.lut.reliability import require_reliable
    from hwnas.latency.models import model_name
    from hwnas.latency.table.files import load_table
    from hwnas.pipeline.prediction import predictor_of
    from hwnas.search.problem.audit import audit as audit_space
    from hwnas.search.problem.limits import Limit, LimitedSpace
    from hwnas.space.catalogue import load_space

    if not 0 < budget_ms < math.inf:
        raise UsageError(f"--budget-ms must be a number above 0, got {budget_ms:g}")
    name = model_name(predictor, needs="table")
    searched, table = load_space(space), load_table(lut)
    if not force:
        require_reliable(table, searched.name, f"table {lut}")
    model = predictor_of(searched, table, name)
    limit = Limit("latency_ms", budget_ms, str(lut))
    limited = LimitedSpace(model.space, (limit,), {str(lut): model})
    found = audit_space(limited)
    if as_json:
        restricted = [str(r) for r in model.restricted]
        print_json({**found.to_json(), "source": model.source, "restricted": restricted})
    else:
        _print_audit(found)
        for restriction in model.restricted:
            print_text(f"not covered by the table: {restriction}")
    limited.check()


def _print_audit(found: Audit) -> None:
    exact = found.num_feasible_low == found.num_feasible_high
    between = count_text(found.num_feasible_low)
    if not exact and count_text(found.num_feasible_high) != between:
        between += f" to {count_text(found.num_feasible_high)}"
    print_text(
        f"{between} of {count_text(found.num_codes)} architectures "
        f"({small_share_text(found.share)}) are within {found.budget_ms:g} ms; "
        f"the space reaches from {found.fastest_ms:.4g} to {found.slowest_ms:.4g} ms"
    )
    print_table(
        ["share of architectures (%)", "at most (ms)"],
        [[share, f"{ms:.4g}"] for share, ms in found.percentiles.items()],
    )
    rows = []
    for choice in found.choices:
        notes = []
        if choice.impossible:
            notes.append("never within the budget: " + " ".join(map(str, choice.impossible)))
        if choice.is_forced:
            notes.append("only one option is left")
        if choice.is_negligible:
            notes.append("does not matter to latency: below what a measurement repeats to")
        rows.append([choice.name, f"{choice.spread_ms:.4g}", "; ".join(notes)])
    print_table(["choice", "spread_ms", "under this budget"], rows)

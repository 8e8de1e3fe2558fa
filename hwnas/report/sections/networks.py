"""The networks of a run: the winner, the answers of several budgets, finalists, baselines."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.artifacts.search import FinalistAnswer
from hwnas.artifacts.training import RetrainedFile, TrainedNetwork
from hwnas.artifacts.winner import WinnerFile
from hwnas.io.suggest import command
from hwnas.report.figures.network import network
from hwnas.report.figures.svg import Drawing, draw_wide
from hwnas.report.figures.values import Slot
from hwnas.report.model import RunFacts, limits_text, slots_of, top1
from hwnas.report.sections.blocks import (
    Block,
    Cell,
    Definitions,
    Figure,
    Folded,
    Heading,
    Missing,
    Row,
    Side,
    Table,
    Text,
    no_winner,
    table,
)
from hwnas.report.sections.verdict import init_words
from hwnas.report.text import ABSENT, count, ms, percent, plain, signed_percent

MAX_DRAWN = 12
"""Finalists that are drawn as networks."""


def network_drawing(slots: Sequence[Slot], name: str, title: str) -> Drawing:
    """Return the drawing of a network's places, with its facts in words."""
    executed = [slot.op for slot in slots if slot.op is not None]
    listed = "; ".join(str(op) for op in executed)
    num_skipped = len(slots) - len(executed)
    skipped = f" {num_skipped} layer(s) were skipped." if num_skipped else ""
    return draw_wide(
        name,
        title,
        network(slots),
        [_layer_words(slot) for slot in slots],
        description=f"{len(executed)} operations in order: {listed}.{skipped}",
        caption=(
            f"n = {len(executed)} operations, {count(sum(op.macs for op in executed), 'MACs')}, "
            f"{count(sum(op.params for op in executed))} parameters. On top the "
            "resolution in px, below each layer its output channels and its expansion (×, hidden "
            "over input channels), which is also its height. Hover over a layer for its time in "
            "the latency table."
        ),
    )


def _layer_words(slot: Slot) -> str:
    """Return the tooltip of a place."""
    if slot.op is None:
        return f"{slot.option}: skipped"
    time = "no row in the latency table"
    if slot.table_ms is not None:
        time = f"{ms(slot.table_ms)} in the latency table"
    lines = [
        slot.option,
        str(slot.op),
        f"{count(slot.op.macs, 'MACs')}, {count(slot.op.params)} parameters",
        time,
    ]
    return "\n".join(line for line in lines if line)


def network_blocks(facts: RunFacts, slots: Sequence[Slot]) -> tuple[Block, ...]:
    """The winner as a drawing, and the same as a table."""
    if not slots:
        return (no_winner(facts),)
    columns = [
        ("layer", False),
        ("operation", False),
        ("MACs", True),
        ("parameters", True),
        ("table", True),
    ]
    rows = [
        [
            slot.option or "fixed",
            str(slot.op) if slot.op else "skipped",
            count(slot.op.macs if slot.op else None),
            count(slot.op.params if slot.op else None),
            ms(slot.table_ms),
        ]
        for slot in slots
    ]
    return (
        Figure(network_drawing(slots, "network", "The winning network")),
        Folded("The layers as a table", (table(columns, rows),)),
    )


# several budgets and devices ---------------------------------------------------------------------


def budgets_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The answers of several budgets, and the latencies on several devices, side by side."""
    blocks: list[Block] = []
    answers = facts.finalists.answers if facts.finalists else ()
    if len(answers) > 1:
        blocks.append(Side(tuple(_answer_group(facts, answer) for answer in answers)))
    if len(facts.benches) > 1:
        blocks += [Heading("On each device, measured"), _devices(facts)]
    return tuple(blocks)


def _answer_group(facts: RunFacts, answer: FinalistAnswer) -> tuple[Block, ...]:
    """Return one budget's best network: by the search, and after training."""
    best = answer.finalists[0] if answer.finalists else None
    if best is None:
        return (Heading(limits_text(answer.limits)), Text("No network meets these limits."))
    score = top1(best.objectives)
    trained = _trained_of(facts)
    ranked = sorted(
        (trained[one.network_id] for one in answer.finalists if one.network_id in trained),
        key=lambda one: -one.val.top1,
    )
    pairs = [
        ("best of the search", best.arch_id),
        ("predicted", ms(best.latency_ms)),
        ("top-1, search", f"{percent(score[0])} ({score[1]})" if score else ABSENT),
    ]
    if ranked:
        row = facts.measured(ranked[0].arch_id)
        pairs += [
            ("best after training", ranked[0].arch_id),
            ("top-1, val", percent(ranked[0].val.top1)),
            ("its latency, predicted", ms(ranked[0].latency_ms)),
            ("its latency, measured", ms(row.measurement.latency_ms if row else None)),
        ]
    return (Heading(limits_text(answer.limits)), Definitions(tuple(pairs)))


def _devices(facts: RunFacts) -> Table:
    """Return a row per model and a column per measuring session."""
    names = dict.fromkeys(row.name for bench in facts.benches for row in bench.rows)
    rows = []
    for name in names:
        cells = [
            next((row for row in bench.rows if row.name == name), None) for bench in facts.benches
        ]
        rows.append([name, *(ms(cell.measurement.latency_ms if cell else None) for cell in cells)])
    columns = [("model", False)] + [
        (f"{bench.device}, {bench.runtime} {bench.precision}", True) for bench in facts.benches
    ]
    return table(columns, rows)


# finalists and baselines -------------------------------------------------------------------------


def _trained_of(facts: RunFacts) -> dict[str, TrainedNetwork]:
    """Return the trained finalists by the network_id they have in the search."""
    every = facts.retrained.finalists if facts.retrained else ()
    return {one.searched_network_id: one for one in every}


def finalists_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The finalists of each budget: predicted, searched, trained, measured, drawn."""
    if facts.finalists is None:
        return (Missing("finalists.json", command("search", resume=True, out=str(facts.run))),)
    drawn = _drawn(facts)
    anchored: set[str] = set()
    blocks: list[Block] = [
        _finalist_table(facts, answer, drawn, anchored) for answer in facts.finalists.answers
    ]
    if facts.retrained is None:
        blocks.append(Missing("retrained.json", command("retrain", run=str(facts.run))))
    else:
        blocks.append(Text(_training(facts.retrained)))
    return (*blocks, *drawn.values())


def _drawn(facts: RunFacts) -> dict[str, Folded]:
    """Return the drawings of the first finalists by network_id."""
    drawn: dict[str, Folded] = {}
    for answer in facts.finalists.answers if facts.finalists else ():
        for one in answer.finalists:
            slots = slots_of(one.arch, facts.table)
            if slots and one.network_id not in drawn and len(drawn) < MAX_DRAWN:
                name = f"finalist-{one.network_id}"
                drawing = network_drawing(
                    slots, f"network-{one.network_id}", f"Finalist {one.arch_id}"
                )
                drawn[one.network_id] = Folded(
                    f"Drawing of {one.arch_id}", (Figure(drawing),), f"drawing-{name}"
                )
    return drawn


def _finalist_table(
    facts: RunFacts, answer: FinalistAnswer, drawn: dict[str, Folded], anchored: set[str]
) -> Table:
    """Return one budget's finalists; ``anchored`` collects the networks that have a row."""
    trained = _trained_of(facts)
    columns = [
        ("rank", True),
        ("architecture", False),
        ("predicted", True),
        ("measured", True),
        ("error", True),
        ("in budget", False),
        ("top-1, search", True),
        ("source", False),
        ("top-1, trained", True),
    ]
    rows = []
    for rank, one in enumerate(answer.finalists, start=1):
        after = trained.get(one.network_id)
        row = facts.measured(after.arch_id if after else one.arch_id)
        score, measured = top1(one.objectives), row.measurement.latency_ms if row else None
        folded = drawn.get(one.network_id)
        anchor = "" if one.network_id in anchored else f"finalist-{one.network_id}"
        anchored.add(one.network_id)
        cells = (
            str(rank),
            Cell(one.arch_id, "code", f"#{folded.anchor}" if folded else ""),
            ms(one.latency_ms),
            ms(measured),
            signed_percent(one.latency_ms / measured - 1) if measured else ABSENT,
            ABSENT if row is None else Cell(plain(row.within_budget), "badge"),
            percent(score[0] if score else None),
            score[1] if score else ABSENT,
            percent(after.val.top1 if after else None),
        )
        rows.append(Row(cells, anchor))
    return table(
        columns,
        rows,
        f"Limits: {limits_text(answer.limits)}. n = {len(rows)}, best of the search first.",
    )


def _training(retrained: RetrainedFile) -> str:
    """Say where the finalists' weights are from."""
    init = retrained.init
    on = f" on {retrained.data.name}" if retrained.data and retrained.data.name else ""
    if init is None:
        return f"The finalists were trained from scratch{on}."
    every = (*retrained.finalists, *retrained.random)
    begun = sum(one.val.source == "published" for one in every)
    rest = f" ({begun} of {len(every)}; the others from scratch)" if begun < len(every) else ""
    return f"The finalists were {init_words(init)}{rest}{on}; baselines always start from scratch."


def baselines_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The winner and what there is without the search, and the search's own error."""
    winner = facts.winner
    if winner is None:
        return (no_winner(facts),)
    test = winner.test.top1 if winner.test else None
    blocks: list[Block] = [_rivals(winner, test)]
    if winner.random_baseline is None:
        words = "No random networks were trained with the finalists."
        if facts.setting("search", "strategy") == "random":
            words = "This run is itself a random search."
        blocks.append(Text(words, muted=True))
    score = winner.search_top1
    if score is not None and test is not None:
        blocks.append(
            Text(
                f"The search scored the winner {percent(score.value)} ({score.source}, val); "
                f"trained, it reaches {percent(winner.val_top1)} on val and {percent(test)} on "
                f"test: the search was off by {signed_percent(score.value - test)} of all images."
            )
        )
    ranking = facts.retrained.ranking if facts.retrained else None
    if ranking is not None:
        blocks.append(Text(ranking.statement))
    return tuple(blocks)


def _rivals(winner: WinnerFile, test: float | None) -> Table:
    rows = [["winner", ms(winner.measured_ms), "measured", percent(winner.val_top1), percent(test)]]
    drawn = winner.random_baseline
    if drawn is not None:
        rows.append(
            [
                "a random network"
                if drawn.num_networks == 1
                else f"best of {drawn.num_networks} random networks",
                ms(drawn.predicted_ms),
                "predicted",
                percent(drawn.val_top1),
                percent(drawn.test_top1),
            ]
        )
    rows += [
        [
            model.name,
            ms(model.measured_ms),
            "measured",
            percent(model.val_top1),
            percent(model.test_top1),
        ]
        for model in winner.baselines
    ]
    columns = [
        ("network", False),
        ("latency", True),
        ("source", False),
        ("top-1, val", True),
        ("top-1, test", True),
    ]
    trained = "All trained from scratch by one recipe on the same images"
    if winner.init is not None:
        trained = (
            f"The winner was {init_words(winner.init)}, the baselines trained from scratch, on the "
            "same images"
        )
    return table(
        columns,
        rows,
        f"{trained}; the random networks are drawn from the window below the budget that the "
        "search used; their number is that of the finalists.",
    )

"""The sections after the first, each from facts to HTML, and their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath

from hwnas.report.account_sections import (
    configuration_section,
    cost_section,
    measuring_section,
    practices_section,
)
from hwnas.report.answer import missing
from hwnas.report.body import Body, drawn, no_winner
from hwnas.report.facts import RunFacts, Slot, limits_text, top1
from hwnas.report.figures import accuracy_latency
from hwnas.report.formats import ABSENT, count, integer, ms, percent, plain, signed_percent
from hwnas.report.latency_sections import prediction_section, space_section, time_section
from hwnas.report.markup import Column, element, join, table
from hwnas.report.network_drawing import network_drawing
from hwnas.report.outcomes import Retrained


def accuracy_section(facts: RunFacts) -> Body:
    """Accuracy against latency of everything the run evaluated, trained or measured."""
    if not (facts.evaluations or facts.retrained or facts.winner):
        return Body(missing("journal.jsonl", f"hwnas search --out {facts.run}"))
    notes = []
    if facts.front is None:
        notes.append(missing("front.json", f"hwnas search --resume --out {facts.run}"))
    if facts.retrained is None:
        notes.append(missing("retrained.json", f"hwnas retrain --run {facts.run}"))
    start = facts.setting("search", "supernet", "init")
    if start is not None:
        model = facts.setting("search", "supernet", "init_arch")
        of = f", weights of {plain(model)}" if model else ""
        after = (
            "was trained from there"
            if facts.setting("search", "supernet", "train")
            else "stayed as it was"
        )
        notes.append(
            element(
                "p",
                f"The supernet began with {PurePath(str(start)).name}{of}, and "
                f"{after}; supernet-start.json lists what the file filled.",
            )
        )
    return drawn(accuracy_latency(facts), *notes)


def network_section(facts: RunFacts, slots: Sequence[Slot]) -> Body:
    """The winner as a drawing, and the same as a table."""
    if not slots:
        return Body(no_winner(facts))
    columns = [
        Column("layer", False),
        Column("operation", False),
        Column("MACs"),
        Column("parameters"),
        Column("table"),
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
    return drawn(
        network_drawing(slots),
        element("details", element("summary", "The layers as a table"), table(columns, rows)),
    )


def finalists_section(facts: RunFacts) -> Body:
    """The finalists of each budget: predicted, searched, trained, measured."""
    if facts.finalists is None:
        return Body(missing("finalists.json", f"hwnas search --resume --out {facts.run}"))
    trained = {
        (one.searched or one).network_id: one
        for one in (facts.retrained.finalists if facts.retrained else ())
    }
    columns = [
        Column("rank"),
        Column("architecture", False),
        Column("predicted"),
        Column("measured"),
        Column("error"),
        Column("in budget", False),
        Column("top-1, search"),
        Column("source", False),
        Column("top-1, trained"),
    ]
    parts = []
    for answer in facts.finalists.answers:
        rows = []
        for rank, one in enumerate(answer.finalists, start=1):
            after = trained.get(one.network_id)
            row = facts.measured(after.arch_id if after else one.arch_id)
            found, measured = top1(one.objectives), row.measurement.latency_ms if row else None
            rows.append(
                [
                    str(rank),
                    element("code", one.arch_id),
                    ms(one.latency_ms),
                    ms(measured),
                    signed_percent(one.latency_ms / measured - 1) if measured else ABSENT,
                    ABSENT if row is None else plain(row.within_budget),
                    percent(found[0] if found else None),
                    found[1] if found else ABSENT,
                    percent(after.val.top1 if after else None),
                ]
            )
        parts.append(
            table(
                columns,
                rows,
                f"Limits: {limits_text(answer.limits)}. n = {len(rows)}, best of the search first.",
            )
        )
    if facts.retrained is None:
        parts.append(missing("retrained.json", f"hwnas retrain --run {facts.run}"))
    else:
        parts.append(element("p", _training(facts.retrained)))
    return Body(join(parts))


def _training(retrained: Retrained) -> str:
    """Say where the finalists' weights are from."""
    init, on = retrained.init, f" on {retrained.data.name}" if retrained.data else ""
    if init is None:
        return f"The finalists were trained from scratch{on}."
    every = (*retrained.finalists, *retrained.random)
    begun = sum(one.val.source == "published" for one in every)
    rest = f" ({begun} of {len(every)}; the others from scratch)" if begun < len(every) else ""
    return (
        f"The finalists were {init.words}{rest}{on}; models from the shelf always begin from "
        "scratch."
    )


def search_section(facts: RunFacts) -> Body:
    """How a search by gates went, epoch by epoch."""
    if not facts.epochs:
        words = (
            "The strategy trains no gates: its evaluations are in the figure above."
            if facts.evaluations
            else "Nothing was searched yet."
        )
        return Body(element("p", words, attrs={"class": "muted"}))
    columns = [
        Column("budget"),
        Column("epoch"),
        Column("loss"),
        Column("architecture steps"),
        Column("entropy"),
        Column("expected"),
        Column("of target"),
        Column("argmax"),
        Column("of target"),
    ]
    shown = facts.epochs[:: max(1, len(facts.epochs) // SHOWN_EPOCHS)]
    if shown[-1] != facts.epochs[-1]:
        shown = (*shown, facts.epochs[-1])
    rows = [
        [
            str(one.number + 1),
            str(one.epoch),
            f"{one.loss:.3f}",
            integer(one.num_arch_steps),
            f"{one.entropy:.3f}",
            ms(one.expected_ms),
            signed_percent(one.expected_ms / one.target_ms - 1),
            ms(one.argmax_ms),
            signed_percent(one.argmax_ms / one.target_ms - 1),
        ]
        for one in shown
    ]
    return Body(
        table(
            columns,
            rows,
            "Entropy of the gates per choice in nats (0: decided); expected: the mean "
            "latency over the gates' distribution; argmax: the network of the likeliest "
            "options; both predicted, against the budget less the search's headroom.",
        )
    )


def baselines_section(facts: RunFacts) -> Body:
    """The winner beside what a person would have without the search, and the search's own error."""
    winner = facts.winner
    if winner is None:
        return Body(no_winner(facts))
    test = winner.test.top1 if winner.test else None
    rows = [["winner", ms(winner.measured_ms), "measured", percent(winner.val_top1), percent(test)]]
    drawn = winner.random_baseline
    if drawn is not None:
        rows.append(
            [
                f"best of {drawn.num_networks} random networks",
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
        for model in winner.shelf
    ]
    columns = [
        Column("network", False),
        Column("latency"),
        Column("source", False),
        Column("top-1, val"),
        Column("top-1, test"),
    ]
    trained = (
        "All trained from scratch by one recipe on the same images"
        if winner.init is None
        else f"The winner was {winner.init.words}, the models from the shelf trained from "
        "scratch, on the same images"
    )
    parts = [
        table(
            columns,
            rows,
            f"{trained}; the random networks are drawn from the window below "
            "the budget that the search used, as many as there are "
            "finalists.",
        )
    ]
    if drawn is None:
        parts.append(
            element(
                "p",
                "No random networks were trained beside the finalists."
                if facts.setting("search", "strategy") != "random"
                else "This run is itself a random search.",
                attrs={"class": "muted"},
            )
        )
    found = winner.search_top1
    if found is not None and test is not None:
        parts.append(
            element(
                "p",
                f"The search scored the winner {percent(found.value)} "
                f"({found.source}, val); trained, it reaches "
                f"{percent(winner.val_top1)} on val and {percent(test)} on test: "
                f"the search was off by {signed_percent(found.value - test)} "
                "of all images.",
            )
        )
    ranking = facts.retrained.ranking if facts.retrained else None
    if ranking is not None:
        parts.append(element("p", ranking.statement))
    return Body(join(parts))


SHOWN_EPOCHS = 12

SectionMaker = Callable[[RunFacts, Sequence[Slot]], Body]

SECTIONS: Sequence[tuple[str, str, SectionMaker]] = (
    ("accuracy", "Accuracy against latency", lambda facts, _: accuracy_section(facts)),
    ("network", "The winning network", network_section),
    ("search", "How the search went", lambda facts, _: search_section(facts)),
    ("baselines", "Beside the baselines", lambda facts, _: baselines_section(facts)),
    ("prediction", "Predicted against measured", lambda facts, _: prediction_section(facts)),
    ("finalists", "Finalists", lambda facts, _: finalists_section(facts)),
    ("space", "The space and the budget", lambda facts, _: space_section(facts)),
    ("time", "Where the winner's time goes", time_section),
    ("cost", "What it cost", lambda facts, _: cost_section(facts)),
    ("measuring", "How everything was measured", lambda facts, _: measuring_section(facts)),
    ("practices", "Best practices", lambda facts, _: practices_section(facts)),
    (
        "configuration",
        "Configuration and environment",
        lambda facts, _: configuration_section(facts),
    ),
)
"""Every section after the first: (id, title, maker), in the order of the page."""

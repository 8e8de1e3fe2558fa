"""How a search by gates went: its curves, its gates over time, its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure as MplFigure

from hwnas.artifacts.events import SupernetEpochEvent
from hwnas.report.figures.search import curves, gate_heatmap
from hwnas.report.figures.style import Form
from hwnas.report.figures.svg import draw
from hwnas.report.figures.values import Curve
from hwnas.report.model import RunFacts, gate_names
from hwnas.report.sections.blocks import Block, Figure, Folded, Table, Text, table
from hwnas.report.text import integer, ms, percent, signed_percent


def search_curves(facts: RunFacts) -> list[Curve]:
    """Return the epochs of each search by gates, one per budget."""
    searches = []
    for number in dict.fromkeys(one.number for one in facts.epochs):
        epochs = [one for one in facts.epochs if one.number == number]
        gates = [one.gates for one in epochs]
        searches.append(
            Curve(
                f"budget {number + 1}: target {ms(epochs[0].target_ms)}",
                [one.epoch for one in epochs],
                [one.loss for one in epochs],
                [one.entropy for one in epochs],
                [one.expected_ms for one in epochs],
                [one.argmax_ms for one in epochs],
                epochs[0].target_ms,
                gates if all(gates) else (),
            )
        )
    return searches


def search_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """How a search by gates went: its curves, its gates, and its epochs as a table."""
    if not facts.epochs:
        words = (
            "The strategy trains no gates: its evaluations are in the first figure."
            if facts.evaluations
            else "Nothing was searched yet."
        )
        return (Text(words, muted=True),)
    searches = search_curves(facts)
    last = "; ".join(
        f"{one.name}, at the end expected {ms(one.expected_ms[-1])}, likeliest network "
        f"{ms(one.argmax_ms[-1])}, loss {one.loss[-1]:.3f}"
        for one in searches
    )
    drawing = draw(
        "search-curves",
        "How the search went",
        lambda form: curves(searches, form=form),
        description=f"Loss, entropy and predicted latency by epoch. {last}.",
        caption=(
            "Loss of the supernet on the training images. Entropy of the gates per choice in nats "
            "(0: decided). Expected: the mean latency over the gates' distribution; likeliest "
            "network: that of the likeliest option of each choice; both predicted. The target is "
            "the budget less the search's headroom."
        ),
    )
    return (
        Figure(drawing),
        *_heat_maps(facts, searches),
        Folded("The epochs as a table", (_epochs(facts.epochs),)),
    )


def _heat_maps(facts: RunFacts, searches: Sequence[Curve]) -> list[Figure]:
    layers, options = gate_names(facts)
    figures = []
    for number, search in enumerate(searches):
        sizes = [len(names) for names in options]
        if not search.gates or any([len(row) for row in gates] != sizes for gates in search.gates):
            continue  # an older run, or a space that cannot be loaded here
        final = ", ".join(
            f"{layer} {names[max(range(len(row)), key=row.__getitem__)]} {percent(max(row), 0)}"
            for layer, names, row in zip(layers, options, search.gates[-1], strict=True)
        )
        name = "gates" if len(searches) == 1 else f"gates-{number + 1}"
        of = "" if len(searches) == 1 else f" ({search.name})"
        drawing = draw(
            name,
            "The gates over time",
            partial(_gates_in_form, search, layers, options),
            description=f"Probability of each option by layer. Likeliest at the end: {final}.",
            caption=(
                f"Probability of each option of each layer{of}; the darker, the likelier. "
                "The epochs are spread evenly over the search."
            ),
        )
        figures.append(Figure(drawing))
    return figures


def _gates_in_form(
    search: Curve, layers: Sequence[str], options: Sequence[Sequence[str]], form: Form
) -> MplFigure:
    return gate_heatmap(search, layers, options, form=form)


def _epochs(epochs: Sequence[SupernetEpochEvent]) -> Table:
    columns = [
        ("budget", True),
        ("epoch", True),
        ("loss", True),
        ("architecture steps", True),
        ("entropy", True),
        ("expected", True),
        ("of target", True),
        ("argmax", True),
        ("of target", True),
    ]
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
        for one in epochs
    ]
    return table(columns, rows)

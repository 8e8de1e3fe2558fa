"""What a section of the page is made of: its HTML, and the drawings in it."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.report.answer import missing
from hwnas.report.facts import RunFacts
from hwnas.report.figures import Drawing
from hwnas.report.formats import plain
from hwnas.report.markup import Html, element, join
from hwnas.report.theme import themed


@dataclass(frozen=True)
class Body:
    """What a section holds: its HTML, and the drawings in it (also written as files)."""

    html: Html
    drawings: tuple[Drawing, ...] = ()


def figure(drawing: Drawing) -> Html:
    """Return a drawing with its caption; it scrolls where the page is narrower than legible."""
    sized = element(
        "div",
        themed(drawing.svg),
        attrs={"style": f"min-width:{drawing.min_width}px;max-width:{drawing.max_width}px"},
    )
    return element(
        "figure",
        element("div", sized, attrs={"class": "scroll", "tabindex": "0"}),
        element("figcaption", drawing.caption),
    )


def drawn(drawing: Drawing, *more: Html) -> Body:
    """Return the section of a drawing and what follows it."""
    return Body(join([figure(drawing), *more]), (drawing,))


def no_winner(facts: RunFacts) -> Html:
    """Return what stands where there is no winner yet."""
    return missing("winner.json", f"hwnas bench {facts.run}")


def no_table(facts: RunFacts) -> Html:
    """Return what stands where there is no latency table yet."""
    return missing(
        "table.json",
        f"hwnas profile --device {plain(facts.target['device'])} --space "
        f"{plain(facts.setting('space'))} --out {facts.run}/table.json",
    )

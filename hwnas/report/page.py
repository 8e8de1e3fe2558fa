"""The report of a run: one HTML page that needs nothing beside it, and its drawings as files."""

from __future__ import annotations

from pathlib import Path

from hwnas.io.journal import write_whole
from hwnas.report.answer import answer_section
from hwnas.report.facts import RunFacts, read_run, winner_slots
from hwnas.report.figures import Drawing
from hwnas.report.formats import plain
from hwnas.report.markup import Html, element, join
from hwnas.report.sections import SECTIONS
from hwnas.report.theme import css_variables


def write_report(run: Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` of the run folder ``run``; return the page.

    A run that stopped early gives a page whose later sections name the command that makes them.

    Raises:
        InputError: ``run`` is no run folder, or one of its files is broken.
        StorageError: a file cannot be written.
    """
    html, drawings = render(read_run(run))
    for drawing in drawings:
        write_whole(run / "figures" / f"{drawing.name}.svg", drawing.svg)
    page = run / "report.html"
    write_whole(page, html)
    return page


def render(facts: RunFacts) -> tuple[str, tuple[Drawing, ...]]:
    """Return the page of a run and the drawings in it."""
    slots = winner_slots(facts.winner, facts.table) if facts.winner else ()
    bodies = [(name, title, make(facts, slots)) for name, title, make in SECTIONS]
    links = [("answer", "Asked and got"), *((name, title) for name, title, _ in bodies)]
    main = element(
        "main",
        _header(facts, links),
        _section("answer", "Asked and got", answer_section(facts)),
        *(_section(name, title, body.html) for name, title, body in bodies),
    )
    drawings = tuple(drawing for _, _, body in bodies for drawing in body.drawings)
    return _document(_title(facts), main), drawings


def _title(facts: RunFacts) -> str:
    space = facts.result.space if facts.result else facts.setting("space")
    named = facts.run.name if space is None else plain(space)
    device = facts.target["device"]
    return named if device is None else f"{named} on {plain(device)}"


def _header(facts: RunFacts, links: list[tuple[str, str]]) -> Html:
    env = facts.env
    started = f", started {env.started[:16].replace('T', ' ')}" if env and env.started else ""
    version = f"hwnas {env.hwnas}" if env else "hwnas"
    strategy = facts.setting("search", "strategy")
    how = f", search by {plain(strategy)}" if strategy else ""
    return element(
        "header",
        element("h1", _title(facts)),
        element(
            "p",
            f"Report of the run {facts.run.name}: {version}{how}{started}.",
            attrs={"class": "muted"},
        ),
        element(
            "nav",
            *(element("a", title, attrs={"href": f"#{name}"}) for name, title in links),
            attrs={"aria-label": "Sections"},
        ),
    )


def _section(name: str, title: str, body: Html) -> Html:
    return element("section", element("h2", title), body, attrs={"id": name})


def _document(title: str, main: Html) -> str:
    style = css_variables() + Path(__file__).with_name("page.css").read_text()
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            element("style", Html(style)),
        ],
        "\n",
    )
    whole = element("html", element("head", head), element("body", main), attrs={"lang": "en"})
    return f"<!doctype html>\n{whole}\n"

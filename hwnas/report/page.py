"""The report of a run: one HTML page that needs no other file, and its drawings as files."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hwnas.io.journal import write_whole
from hwnas.report.figures.style import SHADES
from hwnas.report.figures.svg import Drawing
from hwnas.report.model import RunFacts, read_run, winner_slots
from hwnas.report.sections.account import (
    configuration_blocks,
    cost_blocks,
    measuring_blocks,
    practices_blocks,
)
from hwnas.report.sections.accuracy import accuracy_blocks
from hwnas.report.sections.answer import answer_blocks
from hwnas.report.sections.blocks import Section
from hwnas.report.sections.latency import prediction_blocks, space_blocks, time_blocks
from hwnas.report.sections.networks import (
    baselines_blocks,
    budgets_blocks,
    finalists_blocks,
    network_blocks,
)
from hwnas.report.sections.search import search_blocks
from hwnas.report.sections.verdict import verdict
from hwnas.report.text import plain, printable


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
    sections = sections_of(facts)
    html = page_html(
        "report.html.j2",
        title=_title(facts),
        subtitle=_subtitle(facts),
        verdict=verdict(facts),
        sections=sections,
    )
    return html, tuple(drawing for section in sections for drawing in section.drawings)


def sections_of(facts: RunFacts) -> list[Section]:
    """Return every section in the order of the page; the first holds the main figure."""
    slots = winner_slots(facts.winner, facts.table) if facts.winner else ()
    several = budgets_blocks(facts)
    return [
        Section("accuracy", "Accuracy against latency", accuracy_blocks(facts)),
        Section("answer", "Asked and got", answer_blocks(facts)),
        *([Section("budgets", "Budgets and devices", several)] if several else []),
        Section("network", "The winning network", network_blocks(facts, slots)),
        Section("search", "How the search went", search_blocks(facts)),
        Section("finalists", "Finalists", finalists_blocks(facts)),
        Section("baselines", "Against the baselines", baselines_blocks(facts)),
        Section("prediction", "Predicted against measured", prediction_blocks(facts)),
        Section("space", "The space and the budget", space_blocks(facts)),
        Section("time", "Where the winner's time goes", time_blocks(facts, slots)),
        Section("cost", "What it cost", cost_blocks(facts)),
        Section("measuring", "How everything was measured", measuring_blocks(facts)),
        Section("practices", "Best practices", practices_blocks(facts)),
        Section("configuration", "Configuration and environment", configuration_blocks(facts)),
    ]


def _title(facts: RunFacts) -> str:
    space = facts.result.space if facts.result else facts.setting("space")
    named = facts.run.name if space is None else plain(space)
    device = facts.target.device
    return named if device is None else f"{named} on {plain(device)}"


def _subtitle(facts: RunFacts) -> str:
    env = facts.env
    started = f", started {env.started[:16].replace('T', ' ')}" if env and env.started else ""
    version = f"hwnas {env.hwnas}" if env else "hwnas"
    strategy = facts.setting("search", "strategy")
    how = f", search by {plain(strategy)}" if strategy else ""
    return f"Report of the run {facts.run.name}: {version}{how}{started}."


def page_html(template: str, **values: object) -> str:
    """Return a template of this package as a page; every text in ``values`` is escaped."""
    environment = _environment()
    script = _source("page.js").strip()
    # the page may run this script and no other, and load nothing
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    return environment.get_template(template).render(
        style=Markup(_source("page.css")),
        script=Markup(f"\n{script}\n"),
        script_digest=digest,
        shades=SHADES,
        **values,
    )


def _source(name: str) -> str:
    """Return a file of the templates as it is."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> Environment:
    """Return the templates, with escaping on for every file."""
    return Environment(
        loader=PackageLoader("hwnas.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _printable(value: object) -> object:
    """Replace the characters of a text that HTML forbids; markup is passed on."""
    return printable(value) if type(value) is str else value

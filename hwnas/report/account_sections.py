"""The sections that account for a run: cost, measurement, practices, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwnas.latency.table.files import header_json
from hwnas.report.answer import missing
from hwnas.report.body import Body
from hwnas.report.facts import RunFacts, ledger, total_cost
from hwnas.report.formats import count, plain, seconds, signed_percent
from hwnas.report.markup import Column, Html, definitions, element, join, table
from hwnas.report.practices import practices
from hwnas.report.records import cleaned


def cost_section(facts: RunFacts) -> Body:
    """What the run cost, by stage."""
    costs = ledger(facts.stages)
    if not costs:
        return Body(missing("journal.jsonl", f"hwnas search --out {facts.run}"))
    columns = [
        Column("stage", False),
        Column("times run"),
        Column("wall time"),
        Column("core time"),
        Column("device time"),
        Column("images trained"),
        Column("MACs × images"),
    ]
    rows = [
        [
            one.stage,
            str(one.num_times),
            seconds(one.wall_s),
            seconds(one.cost.core_s),
            seconds(one.cost.device_s),
            count(one.cost.images_trained),
            count(one.cost.macs_images),
        ]
        for one in costs
    ]
    total = total_cost([one.cost for one in costs])
    rows.append(
        [
            element("strong", "in all"),
            "",
            seconds(sum(one.wall_s for one in costs)),
            seconds(total.core_s),
            seconds(total.device_s),
            count(total.images_trained),
            count(total.macs_images),
        ]
    )
    often = {0: "in one go", 1: "in two goes: resumed once"}.get(
        facts.num_resumes, f"with interruptions: resumed {facts.num_resumes} times"
    )
    note = f"The run was made {often}."
    return Body(join([table(columns, rows), element("p", note, attrs={"class": "muted"})]))


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested plain data as (dotted key, value) pairs, in order."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def measuring_section(facts: RunFacts) -> Body:
    """The protocol, the device's state, the versions, the drift of every measuring session."""
    parts: list[Html] = []
    if facts.table:
        header = flat(cleaned(header_json(facts.table)))
        parts += [
            element("h3", "Profiling: the latency table"),
            definitions([(key, plain(value)) for key, value in header]),
        ]
    for bench in facts.benches:
        ratio = bench.drift.ratio if bench.drift else None
        drift = (
            "not measured"
            if ratio is None
            else (f"{signed_percent(ratio - 1)} on the sentinels since profiling")
        )
        pairs = [
            ("device", bench.device),
            ("runtime", f"{bench.runtime} {bench.runtime_version}"),
            ("precision", bench.precision),
            ("threads", plain(bench.threads)),
            ("affinity", plain(bench.affinity)),
            ("drift", drift),
            *((f"protocol: {key}", plain(value)) for key, value in flat(bench.protocol)),
        ]
        parts += [
            element("h3", f"Measuring: {len(bench.rows)} models"),
            definitions(pairs),
            *_state(bench.state_before or {}, bench.state_after or {}),
        ]
    if facts.bench is None:
        parts.append(missing("bench/", f"hwnas bench {facts.run}"))
    return Body(join(parts))


def _state(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Html]:
    first, last = dict(flat(before)), dict(flat(after))
    if not first and not last:
        return [element("p", "The device's state was not recorded.", attrs={"class": "muted"})]
    rows = [
        [key, plain(first.get(key)), plain(last.get(key))]
        for key in dict.fromkeys([*first, *last])
        if key != "time"
    ]
    columns = [Column("state of the device", False), Column("before"), Column("after")]
    return [table(columns, rows)]


def practices_section(facts: RunFacts) -> Body:
    """The checklist of best practices, answered from the run."""
    columns = [Column("question", False), Column("answer", False), Column("from the run", False)]
    points = practices(facts)
    parts = [
        element(
            "p",
            "After the checklist of Lindauer and Hutter, Best Practices for "
            "Scientific Research on Neural Architecture Search, JMLR 2020.",
            attrs={"class": "muted"},
        )
    ]
    for group in dict.fromkeys(point.group for point in points):
        rows = [
            [
                point.question,
                element("span", point.answer, attrs={"class": f"badge {point.answer}"}),
                point.reason,
            ]
            for point in points
            if point.group == group
        ]
        parts += [element("h3", group), table(columns, rows)]
    return Body(join(parts))


def configuration_section(facts: RunFacts) -> Body:
    """The resolved configuration and the environment, folded away."""
    if facts.config_text:
        config = _folded("Configuration (config.yaml)", element("pre", facts.config_text))
    else:
        config = missing("config.yaml", f"hwnas search --out {facts.run}")
    env = facts.env
    if env is None:
        return Body(join([config, missing("env.json", f"hwnas search --out {facts.run}")]))
    pairs = [
        ("hwnas", env.hwnas),
        ("python", env.python),
        ("platform", env.platform),
        ("cpu", env.cpu),
        ("cores", plain(env.cores)),
        ("started", env.started),
        *env.packages.items(),
    ]
    return Body(join([config, _folded("Environment (env.json)", definitions(pairs))]))


def _folded(title: str, body: Html) -> Html:
    return element("details", element("summary", title), body)

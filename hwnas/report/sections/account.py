"""The sections that account for a run: cost, measurement, practices, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwnas.artifacts.base import Cost
from hwnas.io.suggest import command
from hwnas.latency.table.files import header_json
from hwnas.report.model import RunFacts, cleaned, ledger, total_cost
from hwnas.report.practices import practices
from hwnas.report.sections.blocks import (
    Bar,
    Bars,
    Block,
    Cell,
    Definitions,
    Folded,
    Heading,
    Missing,
    Pre,
    Text,
    table,
)
from hwnas.report.text import count, plain, runtime_text, seconds, signed_percent


def cost_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """What the run cost: the time of each stage as bars, all counts as a table."""
    costs = ledger(facts.stages)
    if not costs:
        return (Missing("journal.jsonl", command("search", resume=True, out=str(facts.run))),)
    total_s = sum(one.wall_s for one in costs)
    longest = max(one.wall_s for one in costs) or 1.0
    bars = tuple(
        Bar(one.stage, one.wall_s / longest, seconds(one.wall_s), note=_spent(one.cost))
        for one in costs
    )
    words = ", ".join(f"{one.stage} {seconds(one.wall_s)}" for one in costs)
    columns = [
        ("stage", False),
        ("times run", True),
        ("wall time", True),
        ("core time", True),
        ("device time", True),
        ("images trained", True),
        ("MACs × images", True),
    ]
    rows: list[list[str | Cell]] = [
        [one.stage, str(one.num_times), seconds(one.wall_s), *_counts(one.cost)] for one in costs
    ]
    total = total_cost([one.cost for one in costs])
    rows.append([Cell("in all", "strong"), "", seconds(total_s), *_counts(total)])
    often = {0: "in one go", 1: "in two goes: resumed once"}.get(
        facts.num_resumes, f"with interruptions: resumed {facts.num_resumes} times"
    )
    return (
        Text(f"{seconds(total_s)} of wall time in all. The run was made {often}."),
        Bars(f"wall time by stage: {words}", bars),
        Folded("The ledger as a table", (table(columns, rows),)),
    )


def _counts(cost: Cost) -> list[str]:
    return [
        seconds(cost.get("core_s")),
        seconds(cost.get("device_s")),
        count(cost.get("images_trained")),
        count(cost.get("macs_images")),
    ]


def _spent(cost: Cost) -> str:
    """Return what stands below a stage's bar: its counts that are known."""
    words = [
        ("core", seconds, "core_s"),
        ("device", seconds, "device_s"),
    ]
    parts = [f"{name} {unit(cost[key])}" for name, unit, key in words if cost.get(key)]
    if cost.get("images_trained"):
        parts.append(f"{count(cost['images_trained'])} images trained")
    return " · ".join(parts)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested plain data as (dotted key, value) pairs, in order."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def measuring_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The protocol, the device's state, the versions, the drift of every measuring session."""
    blocks: list[Block] = []
    if facts.table:
        header = flat(cleaned(header_json(facts.table)))
        blocks += [
            Heading("Profiling: the latency table"),
            Definitions(tuple((key, plain(value)) for key, value in header)),
        ]
    for bench in facts.benches:
        drift = "not measured"
        if bench.drift is not None:
            drift = f"{signed_percent(bench.drift.ratio - 1)} on the anchors since profiling"
        pairs = [
            ("device", bench.device),
            ("runtime", runtime_text(bench.runtime, bench.runtime_version)),
            ("precision", bench.precision),
            ("threads", plain(bench.threads)),
            ("affinity", plain(bench.affinity)),
            ("drift", drift),
            *((f"protocol: {key}", plain(value)) for key, value in flat(bench.protocol)),
        ]
        blocks += [
            Heading(f"Measuring: {len(bench.rows)} models"),
            Definitions(tuple(pairs)),
            _state(bench.state_before or {}, bench.state_after or {}),
        ]
    if facts.bench is None:
        blocks.append(Missing("bench/", command("bench", facts.run)))
    return tuple(blocks)


def _state(before: Mapping[str, Any], after: Mapping[str, Any]) -> Block:
    first, last = dict(flat(before)), dict(flat(after))
    if not first and not last:
        return Text("The device's state was not recorded.", muted=True)
    rows = [
        [key, plain(first.get(key)), plain(last.get(key))]
        for key in dict.fromkeys([*first, *last])
        if key != "time"
    ]
    return table([("state of the device", False), ("before", True), ("after", True)], rows)


def practices_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The checklist of best practices, answered from the run."""
    columns = [("question", False), ("answer", False), ("from the run", False)]
    points = practices(facts)
    blocks: list[Block] = [
        Text(
            "After the checklist of Lindauer and Hutter, Best Practices for "
            "Scientific Research on Neural Architecture Search, JMLR 2020.",
            muted=True,
        )
    ]
    for group in dict.fromkeys(point.group for point in points):
        rows: list[list[str | Cell]] = [
            [point.question, Cell(point.answer, "badge"), point.reason]
            for point in points
            if point.group == group
        ]
        blocks += [Heading(group), table(columns, rows)]
    return tuple(blocks)


def configuration_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """The resolved configuration and the environment, folded away."""
    config: Block = Missing("config.yaml", command("search", resume=True, out=str(facts.run)))
    if facts.config_text:
        config = Folded("Configuration (config.yaml)", (Pre(facts.config_text),))
    env = facts.env
    if env is None:
        return (config, Missing("env.json", command("search", resume=True, out=str(facts.run))))
    pairs = (
        ("hwnas", env.hwnas),
        ("python", env.python),
        ("platform", env.platform),
        ("cpu", env.cpu),
        ("cores", plain(env.cores)),
        ("started", env.started),
        *env.packages.items(),
    )
    return (config, Folded("Environment (env.json)", (Definitions(pairs),)))

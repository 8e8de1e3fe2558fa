"""The sections of the page after the first: each from facts to HTML, whole or saying what lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hwnas.latency.composition import describe
from hwnas.latency.scoped import Tables, header_json, scope_text
from hwnas.latency.scoped import parts as single_tables
from hwnas.latency.table import LatencyTable
from hwnas.report.answer import missing
from hwnas.report.facts import RunFacts, Slot, ledger, limits_text, top1, total_cost
from hwnas.report.figures import (
    Drawing,
    accuracy_latency,
    operation_name,
    predicted_measured,
    space_distribution,
    time_per_operation,
)
from hwnas.report.formats import (
    ABSENT,
    count,
    integer,
    large,
    ms,
    percent,
    plain,
    seconds,
    signed_percent,
)
from hwnas.report.markup import Column, Html, definitions, element, join, table
from hwnas.report.network_drawing import network_drawing
from hwnas.report.practices import practices
from hwnas.report.records import Fit, Retrained, Validation, cleaned, read_record
from hwnas.report.theme import themed


@dataclass(frozen=True)
class Body:
    """What a section holds: its HTML, and the drawings in it (also written as files)."""

    html: Html
    drawings: tuple[Drawing, ...] = ()


def figure(drawing: Drawing) -> Html:
    """Return a drawing with its caption; it scrolls where the page is narrower than legible."""
    sized = element("div", themed(drawing.svg), attrs={
        "style": f"min-width:{drawing.min_width}px;max-width:{drawing.max_width}px"})
    return element("figure", element("div", sized, attrs={"class": "scroll", "tabindex": "0"}),
                   element("figcaption", drawing.caption))


def _drawn(drawing: Drawing, *more: Html) -> Body:
    return Body(join([figure(drawing), *more]), (drawing,))


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
        after = ("was trained from there" if facts.setting("search", "supernet", "train")
                 else "stayed as it was")
        notes.append(element("p", f"The supernet began with {PurePath(str(start)).name}{of}, and "
                                  f"{after}; supernet-start.json lists what the file filled."))
    return _drawn(accuracy_latency(facts), *notes)


def network_section(facts: RunFacts, slots: Sequence[Slot]) -> Body:
    """The winner as a drawing, and the same as a table."""
    if not slots:
        return Body(_no_winner(facts))
    columns = [Column("layer", False), Column("operation", False), Column("MACs"),
               Column("parameters"), Column("table")]
    rows = [
        [slot.option or "fixed", str(slot.op) if slot.op else "skipped",
         count(slot.op.macs if slot.op else None), count(slot.op.params if slot.op else None),
         ms(slot.table_ms)]
        for slot in slots
    ]
    return _drawn(network_drawing(slots),
                  element("details", element("summary", "The layers as a table"),
                          table(columns, rows)))


def _no_winner(facts: RunFacts) -> Html:
    return missing("winner.json", f"hwnas bench {facts.run}")


def prediction_section(facts: RunFacts) -> Body:
    """Predicted against measured, with the errors beside what simpler predictors reach."""
    if facts.table is None and facts.bench is None:
        return Body(_no_table(facts))
    drawing = predicted_measured(facts)
    parts = [] if drawing is None else [figure(drawing)]
    if drawing is None:
        parts.append(element("p", "No whole network was both predicted and measured yet.",
                             attrs={"class": "muted"}))
    if facts.table is None:
        parts.append(_no_table(facts))
    elif any(table.validation for table in single_tables(facts.table)):
        parts += [_errors(table) for table in single_tables(facts.table) if table.validation]
    else:
        parts.append(element("p", "The table was not validated on whole networks: ",
                             element("code", "hwnas profile --validate 32"), " does that.",
                             attrs={"class": "missing"}))
    return Body(join(parts), (drawing,) if drawing else ())


def _no_table(facts: RunFacts) -> Html:
    return missing("table.json", f"hwnas profile --device {plain(facts.target['device'])} --space "
                                 f"{plain(facts.setting('space'))} --out {facts.run}/table.json")


def _named(space: str, measured: LatencyTable) -> str:
    """Return a space's name with the scope of the table, where it has one."""
    scope = measured.header.scope
    return f"{space}, {scope_text(scope)}" if scope else space


def _errors(measured: LatencyTable) -> Html:
    columns = [Column("space", False), Column("predictor", False), Column("networks"),
               Column("mean error"), Column("within ±5 %"), Column("Kendall's tau"),
               Column("repeatability")]
    rows = []
    for name_of_space, block in measured.validation.items():
        space = _named(name_of_space, measured)
        fit = read_record(Validation, block, f"table.json, validation.{space}")
        named: list[tuple[str, Fit | None]] = [
            ("latency table", fit), ("line through MACs", fit.macs_line),
            ("line through op count", fit.op_count_line),
        ]
        for name, one in named:
            if one is None:
                continue
            tau = ABSENT if one.kendall_tau is None else f"{one.kendall_tau:.3f}"
            networks = fit.num_networks if one.num_networks is None else one.num_networks
            repeats = percent(fit.repeatability_mean, 2) if one is fit else ""
            rows.append([space, name, integer(networks), percent(one.mean_abs_rel_error),
                         percent(one.within_5_percent), tau, repeats])
    return table(columns, rows,
                 "Mean error: mean of |predicted − measured| / measured. Repeatability: how far "
                 "two halves of the measurement's own rounds differ; no predictor can be held to "
                 "less.")


def finalists_section(facts: RunFacts) -> Body:
    """The finalists of each budget: predicted, searched, trained, measured."""
    if facts.finalists is None:
        return Body(missing("finalists.json", f"hwnas search --resume --out {facts.run}"))
    trained = {(one.searched or one).network_id: one
               for one in (facts.retrained.finalists if facts.retrained else ())}
    columns = [Column("rank"), Column("architecture", False), Column("predicted"),
               Column("measured"), Column("error"), Column("in budget", False),
               Column("top-1, search"), Column("source", False), Column("top-1, trained")]
    parts = []
    for answer in facts.finalists.answers:
        rows = []
        for rank, one in enumerate(answer.finalists, start=1):
            after = trained.get(one.network_id)
            row = facts.measured(after.arch_id if after else one.arch_id)
            found, measured = top1(one.objectives), row.measurement.latency_ms if row else None
            rows.append([
                str(rank), element("code", one.arch_id), ms(one.latency_ms), ms(measured),
                signed_percent(one.latency_ms / measured - 1) if measured else ABSENT,
                ABSENT if row is None else plain(row.within_budget),
                percent(found[0] if found else None), found[1] if found else ABSENT,
                percent(after.val.top1 if after else None),
            ])
        parts.append(table(columns, rows, f"Limits: {limits_text(answer.limits)}. "
                                          f"n = {len(rows)}, best of the search first."))
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
    return (f"The finalists were {init.words}{rest}{on}; models from the shelf always begin from "
            "scratch.")


def search_section(facts: RunFacts) -> Body:
    """How a search by gates went, epoch by epoch."""
    if not facts.epochs:
        words = ("The strategy trains no gates: its evaluations are in the figure above."
                 if facts.evaluations else "Nothing was searched yet.")
        return Body(element("p", words, attrs={"class": "muted"}))
    columns = [Column("budget"), Column("epoch"), Column("loss"), Column("architecture steps"),
               Column("entropy"), Column("expected"), Column("of target"), Column("argmax"),
               Column("of target")]
    shown = facts.epochs[:: max(1, len(facts.epochs) // SHOWN_EPOCHS)]
    if shown[-1] != facts.epochs[-1]:
        shown = (*shown, facts.epochs[-1])
    rows = [[str(one.number + 1), str(one.epoch), f"{one.loss:.3f}", integer(one.num_arch_steps),
             f"{one.entropy:.3f}", ms(one.expected_ms),
             signed_percent(one.expected_ms / one.target_ms - 1), ms(one.argmax_ms),
             signed_percent(one.argmax_ms / one.target_ms - 1)] for one in shown]
    return Body(table(columns, rows,
                      "Entropy of the gates per choice in nats (0: decided); expected: the mean "
                      "latency over the gates' distribution; argmax: the network of the likeliest "
                      "options; both predicted, against the budget less the search's headroom."))


def baselines_section(facts: RunFacts) -> Body:
    """The winner beside what a person would have without the search, and the search's own error."""
    winner = facts.winner
    if winner is None:
        return Body(_no_winner(facts))
    test = winner.test.top1 if winner.test else None
    rows = [["winner", ms(winner.measured_ms), "measured", percent(winner.val_top1), percent(test)]]
    drawn = winner.random_baseline
    if drawn is not None:
        rows.append([f"best of {drawn.num_networks} random networks", ms(drawn.predicted_ms),
                     "predicted", percent(drawn.val_top1), percent(drawn.test_top1)])
    rows += [[model.name, ms(model.measured_ms), "measured", percent(model.val_top1),
              percent(model.test_top1)] for model in winner.shelf]
    columns = [Column("network", False), Column("latency"), Column("source", False),
               Column("top-1, val"), Column("top-1, test")]
    trained = ("All trained from scratch by one recipe on the same images" if winner.init is None
               else f"The winner was {winner.init.words}, the models from the shelf trained from "
               "scratch, on the same images")
    parts = [table(columns, rows, f"{trained}; the random networks are drawn from the window below "
                                  "the budget that the search used, as many as there are "
                                  "finalists.")]
    if drawn is None:
        parts.append(element("p", "No random networks were trained beside the finalists."
                             if facts.setting("search", "strategy") != "random" else
                             "This run is itself a random search.", attrs={"class": "muted"}))
    found = winner.search_top1
    if found is not None and test is not None:
        parts.append(element("p", f"The search scored the winner {percent(found.value)} "
                                  f"({found.source}, val); trained, it reaches "
                                  f"{percent(winner.val_top1)} on val and {percent(test)} on test: "
                                  f"the search was off by {signed_percent(found.value - test)} "
                                  "of all images."))
    ranking = facts.retrained.ranking if facts.retrained else None
    if ranking is not None:
        parts.append(element("p", ranking.statement))
    return Body(join(parts))


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
        ("of these within the first latency limit",
         large(low) if low == high else f"{large(low)} to {large(high)}"),
        ("fastest", ms(audit.fastest_ms)), ("slowest", ms(audit.slowest_ms)),
        ("options left out, no table row", _listed(restricted)),
        *_predicted_rows(facts),
    ]
    return _drawn(drawing, definitions(pairs))


def _predicted_rows(facts: RunFacts) -> list[tuple[str, str]]:
    """Say of each target's table how many rows were predicted instead of measured, and how well."""
    targets = facts.result.predicted_rows if facts.result else ()
    return [
        (f"rows of {one.scope} predicted, not measured",
         f"{one.num_predicted} beside {one.num_measured} measured; cross-validated mean errors on "
         "channels never seen: " + ", ".join(
             f"{kind} {percent(model['new_channels']['mean_abs_rel_error'])}"
             for kind, model in one.kinds.items() if model["num_predicted"]))
        for target in targets for one in target if one.num_predicted
    ]


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(plain(value) for value in values) or "none"


def time_section(facts: RunFacts, slots: Sequence[Slot]) -> Body:
    """Where the winner's time goes, operation by operation."""
    if not slots:
        return Body(_no_winner(facts))
    drawing = time_per_operation(slots)
    if facts.table is None or drawing is None:
        return Body(_no_table(facts))
    unknown = [operation_name(slot) for slot in slots if slot.op and slot.table_ms is None]
    notes = [element("p", f"Without a row in the table: {', '.join(unknown)}.")] if unknown else []
    return _drawn(drawing, *notes, *_calibration(facts.table))


def _calibration(tables: Tables) -> list[Html]:
    fits = [(_named(space, table), fit) for table in single_tables(tables)
            for space, fit in table.calibration.items()]
    if not fits:
        return [element("p", "The table is not calibrated on whole networks: predictions are raw "
                             "sums of these times.", attrs={"class": "muted"})]
    return [
        element("p", f"Prediction for {space}: {describe(fit)}.", attrs={"class": "muted"})
        for space, fit in fits
    ]


def cost_section(facts: RunFacts) -> Body:
    """What the run cost, by stage."""
    costs = ledger(facts.stages)
    if not costs:
        return Body(missing("journal.jsonl", f"hwnas search --out {facts.run}"))
    columns = [Column("stage", False), Column("times run"), Column("wall time"),
               Column("core time"), Column("device time"), Column("images trained"),
               Column("MACs × images")]
    rows = [[one.stage, str(one.num_times), seconds(one.wall_s), seconds(one.cost.core_s),
             seconds(one.cost.device_s), count(one.cost.images_trained),
             count(one.cost.macs_images)] for one in costs]
    total = total_cost([one.cost for one in costs])
    rows.append([element("strong", "in all"), "", seconds(sum(one.wall_s for one in costs)),
                 seconds(total.core_s), seconds(total.device_s), count(total.images_trained),
                 count(total.macs_images)])
    often = {0: "in one go", 1: "in two goes: resumed once"}.get(
        facts.num_resumes, f"with interruptions: resumed {facts.num_resumes} times")
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
        parts += [element("h3", "Profiling: the latency table"),
                  definitions([(key, plain(value)) for key, value in header])]
    for bench in facts.benches:
        ratio = bench.drift.ratio if bench.drift else None
        drift = "not measured" if ratio is None else (
            f"{signed_percent(ratio - 1)} on the sentinels since profiling")
        pairs = [("device", bench.device), ("runtime", f"{bench.runtime} {bench.runtime_version}"),
                 ("precision", bench.precision), ("threads", plain(bench.threads)),
                 ("affinity", plain(bench.affinity)), ("drift", drift),
                 *((f"protocol: {key}", plain(value)) for key, value in flat(bench.protocol))]
        parts += [element("h3", f"Measuring: {len(bench.rows)} models"), definitions(pairs),
                  *_state(bench.state_before or {}, bench.state_after or {})]
    if facts.bench is None:
        parts.append(missing("bench/", f"hwnas bench {facts.run}"))
    return Body(join(parts))


def _state(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Html]:
    first, last = dict(flat(before)), dict(flat(after))
    if not first and not last:
        return [element("p", "The device's state was not recorded.", attrs={"class": "muted"})]
    rows = [[key, plain(first.get(key)), plain(last.get(key))]
            for key in dict.fromkeys([*first, *last]) if key != "time"]
    columns = [Column("state of the device", False), Column("before"), Column("after")]
    return [table(columns, rows)]


def practices_section(facts: RunFacts) -> Body:
    """The checklist of best practices, answered from the run."""
    columns = [Column("question", False), Column("answer", False), Column("from the run", False)]
    points = practices(facts)
    parts = [element("p", "After the checklist of Lindauer and Hutter, Best Practices for "
                          "Scientific Research on Neural Architecture Search, JMLR 2020.",
                     attrs={"class": "muted"})]
    for group in dict.fromkeys(point.group for point in points):
        rows = [[point.question, element("span", point.answer,
                                         attrs={"class": f"badge {point.answer}"}), point.reason]
                for point in points if point.group == group]
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
    pairs = [("hwnas", env.hwnas), ("python", env.python), ("platform", env.platform),
             ("cpu", env.cpu), ("cores", plain(env.cores)), ("started", env.started),
             *env.packages.items()]
    return Body(join([config, _folded("Environment (env.json)", definitions(pairs))]))


def _folded(title: str, body: Html) -> Html:
    return element("details", element("summary", title), body)


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
    ("configuration", "Configuration and environment",
     lambda facts, _: configuration_section(facts)),
)
"""Every section after the first: (id, title, maker), in the order of the page."""

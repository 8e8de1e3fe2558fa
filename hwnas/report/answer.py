"""The first section: what was asked, what was got, and what else could have been had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from hwnas.report.facts import RunFacts, limits_text
from hwnas.report.formats import (
    ABSENT,
    count,
    integer,
    ms,
    percent,
    plain,
    signed_percent,
    significant,
    size,
    tiny,
)
from hwnas.report.markup import Column, Html, element, join, table
from hwnas.report.outcomes import Baseline, FinalScore, Parity, Winner


@dataclass(frozen=True)
class Verdict:
    """The answer to 'did it hold the budget?': ``kind`` is yes, no or open."""

    kind: str
    headline: str
    sentences: tuple[str, ...]


def verdict(facts: RunFacts) -> Verdict:
    """Judge the run by the winner's latency measured on the device, never by the prediction."""
    winner = facts.winner
    if winner is None:
        return _open_verdict(facts)
    if winner.measured_ms is None:
        return Verdict(
            "open",
            "A winner is chosen, but was not measured on the device.",
            (
                f"It is predicted to take {ms(winner.predicted_ms)} against a budget of "
                f"{ms(winner.budget_ms)}; a budget is judged on a measurement only.",
            ),
        )
    share = winner.measured_ms / winner.budget_ms - 1
    holds = share <= 0
    headline = (
        f"{'The winner holds the budget' if holds else 'The winner misses the budget'}: measured "
        f"{ms(winner.measured_ms)} against {ms(winner.budget_ms)}."
    )
    side = "below" if holds else "above"
    sentences = [
        f"That is {percent(abs(share))} {side} the budget.",
        *_margin(facts, winner, abs(share)),
        *_ranks(winner),
        *_origin(facts, winner),
        *_against_shelf(winner),
        *_against_random(winner),
    ]
    return Verdict("yes" if holds else "no", headline, tuple(sentences))


def _open_verdict(facts: RunFacts) -> Verdict:
    answers = facts.result.answers if facts.result else ()
    sentences = tuple(
        f"Under {limits_text(answer.limits)} the search prefers {answer.best.arch_id}, predicted "
        f"to take {ms(answer.best.latency_ms)}."
        for answer in answers
        if answer.best is not None
    )
    return Verdict(
        "open", "Not answered yet: no winner has been measured on the device.", sentences
    )


def _margin(facts: RunFacts, winner: Winner, share: float) -> list[str]:
    row = facts.measured(winner.arch_id)
    repeats = row.measurement.repeatability if row else None
    if repeats is None or share >= repeats:
        return []
    return [
        f"This margin is smaller than the measurement's own repeatability ({percent(repeats)}),"
        " so another session may judge otherwise."
    ]


def _origin(facts: RunFacts, winner: Winner) -> list[str]:
    """Say where the winner's weights are from, and what its latency was predicted for."""
    found = []
    if winner.init is not None:
        found.append(
            f"The winner was {winner.init.words}; random networks likewise where the file "
            "holds theirs, models from the shelf were trained from scratch."
        )
    searched = facts.result.space if facts.result else None
    trained = winner.arch.get("space")
    if searched is not None and trained is not None and searched != trained:
        found.append(
            f"Latencies were predicted for {plain(searched)}; what was trained, exported "
            f"and measured is of {plain(trained)}: the heads differ."
        )
    return found


def _first_try(winner: Winner) -> list[str]:
    """Say how many finalists kept the budget when measured, none of them searched for again."""
    tried = winner.first_try
    if not tried or not tried.get("of"):
        return []
    return [
        f"First-try hit rate: {tried['within']} of {tried['of']} finalists were within the "
        "budget when measured."
    ]


def _ranks(winner: Winner) -> list[str]:
    return [*_ranking(winner), *_first_try(winner)]


def _ranking(winner: Winner) -> list[str]:
    if not winner.rejected:
        return ["It was the first finalist in rank." if winner.first_finalist_passed else ""]
    listed = "; ".join(
        f"{one.arch_id} ({ms(one.measured_ms)}{f': {one.reason}' if one.reason else ''})"
        for one in winner.rejected
    )
    number = len(winner.rejected)
    return [
        f"{number} finalist{'s' if number > 1 else ''} of higher rank "
        f"{'were' if number > 1 else 'was'} rejected after measuring: {listed}."
    ]


def _against_shelf(winner: Winner) -> list[str]:
    """Compare with the best shelf model that holds the budget, on the same test images."""
    rivals = [
        (model.test_top1, model.name)
        for model in winner.shelf
        if model.test_top1 is not None
        and model.measured_ms is not None
        and model.measured_ms <= winner.budget_ms
    ]
    if not rivals or winner.test is None:
        return []
    best, name = max(rivals)
    relation, inside = _compared(winner.test, best)
    return [
        f"On the test split it is {relation} the best measured shelf model within the budget "
        f"({name}, {percent(best)}).{inside}"
    ]


def _against_random(winner: Winner) -> list[str]:
    """Compare with random search that trained as many networks by the same recipe."""
    drawn = winner.random_baseline
    if drawn is None or winner.test is None:
        return []
    relation, inside = _compared(winner.test, drawn.test_top1)
    return [
        f"It is {relation} the best of {drawn.num_networks} random networks trained by the "
        f"same recipe ({percent(drawn.test_top1)}).{inside}"
    ]


def _compared(test: FinalScore, other: float) -> tuple[str, str]:
    """Return how the winner stands to another accuracy, and a word where that may be chance."""
    points = 100 * (test.top1 - other)
    inside = (
        " That model lies within the winner's 95 % interval."
        if test.ci95 and (test.ci95[0] <= other <= test.ci95[1])
        else ""
    )
    relation = (
        "as good as"
        if abs(points) < 0.05
        else f"{significant(abs(points), 2)} points {'above' if points > 0 else 'below'}"
    )
    return relation, inside


def answer_section(facts: RunFacts) -> Html:
    """Return the body of the section, with whatever is known so far."""
    judged = verdict(facts)
    parts = [
        element(
            "div",
            element("strong", judged.headline),
            *(element("p", sentence) for sentence in judged.sentences if sentence),
            attrs={"class": f"verdict {judged.kind}"},
        )
    ]
    winner = facts.winner
    if winner is None:
        parts.append(missing("winner.json", f"hwnas bench {facts.run}"))
        return join([*parts, _target(facts)])
    return join(
        [
            *parts,
            _cards(facts, winner),
            _bars(winner),
            _target(facts),
            _files(facts, winner),
            _shelf(winner),
        ]
    )


def missing(file: str, command: str) -> Html:
    """Return the note that stands where a section lacks its file: what makes it."""
    return element(
        "p",
        element("code", file),
        " is not in this run folder yet. Next: ",
        element("code", command),
        attrs={"class": "missing"},
    )


def _target(facts: RunFacts) -> Html:
    target = facts.target
    words = [
        f"Device {plain(target['device'])}",
        f"runtime {plain(target['runtime'])} {target['runtime_version'] or ''}".strip(),
        f"precision {plain(target['precision'])}",
        f"threads {plain(target['threads'])}",
        "batch 1",
    ]
    return element("p", ", ".join(words) + ".")


def _cards(facts: RunFacts, winner: Winner) -> Html:
    row = facts.measured(winner.arch_id)
    spread = ""
    if row is not None and row.measurement.p5_ms is not None:
        spread = f"p5 to p95: {ms(row.measurement.p5_ms)} to {ms(row.measurement.p95_ms)}"
    test = winner.test
    interval = ""
    if test is not None:
        low_high = (
            f"95 % interval {percent(test.ci95[0])} to {percent(test.ci95[1])}, "
            if test.ci95
            else ""
        )
        interval = f"{low_high}{integer(test.num_images)} images"
    cards = [
        ("budget", ms(winner.budget_ms), "asked"),
        ("measured", ms(winner.measured_ms), spread or "on the device"),
        ("predicted", ms(winner.predicted_ms), _error_text(winner)),
        ("test top-1", percent(test.top1 if test else None), interval or "not tested yet"),
        (
            "val top-1",
            percent(winner.val_top1),
            winner.init.words if winner.init else "trained from scratch",
        ),
        ("size", count(winner.params), f"parameters, {count(winner.macs, 'MACs')}"),
    ]
    return element(
        "div",
        *(
            element(
                "div",
                element("span", name, attrs={"class": "name"}),
                element("span", value, attrs={"class": "value"}),
                element("span", note, attrs={"class": "note"}),
                attrs={"class": "card"},
            )
            for name, value, note in cards
        ),
        attrs={"class": "cards"},
    )


def _error_text(winner: Winner) -> str:
    if winner.predicted_ms is None or not winner.measured_ms:
        return "by the latency table"
    return f"{signed_percent(winner.predicted_ms / winner.measured_ms - 1)} against measured"


def _bars(winner: Winner) -> Html:
    """Return the plain bars of budget, prediction and measurement, on one scale."""
    bars = [
        ("budget", winner.budget_ms, "budget"),
        ("predicted", winner.predicted_ms, ""),
        ("measured", winner.measured_ms, ""),
    ]
    known = [(name, value, kind) for name, value, kind in bars if value is not None]
    scale = max(value for _, value, _ in known)
    cells: list[Html] = []
    for name, value, kind in known:
        color = "over" if value > winner.budget_ms else kind
        cells += [
            element("span", name),
            element(
                "span",
                element(
                    "span",
                    attrs={
                        "class": f"fill {color}".strip(),
                        "style": f"width:{100 * value / scale:.1f}%",
                    },
                ),
                attrs={"class": "track"},
            ),
            element("span", ms(value)),
        ]
    words = ", ".join(f"{name} {ms(value)}" for name, value, _ in known)
    return element(
        "div", *cells, attrs={"class": "bars", "role": "img", "aria-label": f"Bars: {words}"}
    )


def _files(facts: RunFacts, winner: Winner) -> Html:
    export = facts.exports.get(winner.arch_id)
    if export is None:
        return missing(
            f"export/{winner.arch_id}/export.json",
            f"hwnas export --run {facts.run} --format onnx,tflite",
        )
    columns = [
        Column("format", False),
        Column("file", False),
        Column("size"),
        Column("max rel. difference"),
        Column("max abs. difference"),
        Column("SQNR"),
        Column("float operations"),
        Column("same class"),
        Column("images"),
    ]
    rows = []
    for name, made in export.formats.items():
        parity = made.parity
        file = winner.files.get(name) or f"export/{winner.arch_id}/{PurePosixPath(made.file).name}"
        rows.append(
            [
                name,
                _link(facts, file),
                size(made.bytes),
                tiny(parity.max_rel if parity else None),
                tiny(parity.max_abs if parity else None),
                f"{parity.sqnr_db:.1f} dB" if parity and parity.sqnr_db is not None else ABSENT,
                _left(parity),
                percent(parity.top1_agreement if parity else None),
                integer(parity.num_images if parity else None),
            ]
        )
    arch = winner.files.get("arch")
    note = element("p", "Architecture: ", _link(facts, arch)) if arch else Html()
    return join(
        [
            element("h3", "Files, and their parity with the trained network"),
            table(columns, rows),
            note,
            _precisions(winner),
        ]
    )


def _left(parity: Parity | None) -> str:
    """Say which operations of an int8 file its runtime computes in float."""
    if parity is None or parity.float_operations is None:
        return ABSENT
    return ", ".join(f"{number} {kind}" for kind, number in parity.float_operations.items()) or "0"


def _precisions(winner: Winner) -> Html:
    """Return latency and accuracy in each precision, where the winner has more than one."""
    if len(winner.precisions) < 2:
        return Html()
    columns = [
        Column("precision", False),
        Column("measured"),
        Column("val top-1"),
        Column("test top-1"),
    ]
    rows = [
        [
            name,
            ms(one.measured_ms),
            percent(one.val_top1),
            percent(one.test.top1 if one.test else None),
        ]
        for name, one in winner.precisions.items()
    ]
    return join([element("h3", "In fp32 and in int8"), table(columns, rows)])


def _link(facts: RunFacts, file: str) -> Html:
    """Return a link to a file of the run folder; its path alone where there is none such."""
    path = PurePosixPath(file)
    inside = not path.is_absolute() and ".." not in path.parts and (facts.run / path).is_file()
    if not inside:
        return element("code", file)
    return element("a", element("code", path.name), attrs={"href": f"./{quote(str(path))}"})


def _shelf(winner: Winner) -> Html:
    if not winner.shelf:
        return element(
            "p", "No shelf models were measured beside the winner.", attrs={"class": "muted"}
        )
    columns = [
        Column("model", False),
        Column("measured"),
        Column("in budget", False),
        Column("val top-1"),
        Column("test top-1"),
        Column("MACs"),
        Column("parameters"),
        Column("note", False),
    ]
    test = winner.test.top1 if winner.test else None
    rows: list[Sequence[str]] = [
        [
            element("strong", "winner"),
            ms(winner.measured_ms),
            _fits(winner.measured_ms, winner),
            percent(winner.val_top1),
            percent(test),
            count(winner.macs),
            count(winner.params),
            winner.arch_id,
        ]
    ]
    rows += [
        _shelf_row(model, winner)
        for model in sorted(winner.shelf, key=lambda model: (model.measured_ms or 0.0, model.name))
    ]
    return join([element("h3", "Beside models from the shelf"), table(columns, rows)])


def _shelf_row(model: Baseline, winner: Winner) -> list[str]:
    return [
        model.name,
        ms(model.measured_ms),
        _fits(model.measured_ms, winner),
        percent(model.val_top1),
        percent(model.test_top1),
        count(model.macs),
        count(model.params),
        model.note or "",
    ]


def _fits(measured_ms: float | None, winner: Winner) -> str:
    if measured_ms is None:
        return ABSENT
    return "yes" if measured_ms <= winner.budget_ms else "no"

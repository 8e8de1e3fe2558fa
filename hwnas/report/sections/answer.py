"""The answer of a run: the winner's figures, its files, and the baselines."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import quote

from hwnas.artifacts.exported import ParityPart
from hwnas.artifacts.winner import BaselinePart, WinnerFile
from hwnas.io.suggest import command
from hwnas.report.model import RunFacts
from hwnas.report.sections.blocks import (
    Bar,
    Bars,
    Block,
    Card,
    Cards,
    Cell,
    Heading,
    Missing,
    Row,
    Text,
    no_winner,
    table,
)
from hwnas.report.sections.verdict import init_words
from hwnas.report.text import (
    ABSENT,
    count,
    integer,
    ms,
    percent,
    plain,
    runtime_text,
    signed_percent,
    size,
    tiny,
)


def answer_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """Return the blocks of the section, with whatever is known so far."""
    winner = facts.winner
    if winner is None:
        return (no_winner(facts), _target(facts))
    return (
        _cards(facts, winner),
        _bars(winner),
        _target(facts),
        *_files(facts, winner),
        *_baselines(winner),
    )


def _target(facts: RunFacts) -> Text:
    target = facts.target
    words = [
        f"Device {plain(target.device)}",
        f"runtime {runtime_text(target.runtime, target.runtime_version)}",
        f"precision {plain(target.precision)}",
        f"threads {plain(target.threads)}",
        "batch 1",
    ]
    return Text(", ".join(words) + ".", muted=True)


def folds_text(facts: RunFacts) -> str:
    """Return ``, 5 folds`` where a cross-validation scored the networks, else nothing."""
    every = facts.retrained.finalists if facts.retrained else ()
    folds = next((one.val.folds for one in every), None)
    return f", {folds} folds" if folds else ""


def _cards(facts: RunFacts, winner: WinnerFile) -> Cards:
    row = facts.measured(winner.arch_id)
    spread = "on the device"
    if row is not None and row.measurement.p5_ms is not None:
        spread = f"p5 to p95: {ms(row.measurement.p5_ms)} to {ms(row.measurement.p95_ms)}"
    test, interval = winner.test, "not tested yet"
    if test is not None:
        low_high = (
            f"95 % interval {percent(test.ci95[0])} to {percent(test.ci95[1])}, "
            if test.ci95
            else ""
        )
        interval = f"{low_high}{integer(test.num_images)} images"
    error = "by the latency table"
    if winner.predicted_ms is not None and winner.measured_ms:
        error = f"{signed_percent(winner.predicted_ms / winner.measured_ms - 1)} against measured"
    return Cards(
        (
            Card("budget", ms(winner.budget_ms), "asked"),
            Card("measured", ms(winner.measured_ms), spread),
            Card("predicted", ms(winner.predicted_ms), error),
            Card("test top-1", percent(test.top1 if test else None), interval),
            Card(
                "val top-1", percent(winner.val_top1), init_words(winner.init) + folds_text(facts)
            ),
            Card("size", count(winner.params), f"parameters, {count(winner.macs, 'MACs')}"),
        )
    )


def _bars(winner: WinnerFile) -> Bars:
    """Return the bars of budget, prediction and measurement, on one scale."""
    values = [
        ("budget", winner.budget_ms, "budget"),
        ("predicted", winner.predicted_ms, ""),
        ("measured", winner.measured_ms, ""),
    ]
    known = [(name, value, style) for name, value, style in values if value is not None]
    scale = max(value for _, value, _ in known)
    bars = tuple(
        Bar(name, value / scale, ms(value), "over" if value > winner.budget_ms else style)
        for name, value, style in known
    )
    return Bars(", ".join(f"{name} {ms(value)}" for name, value, _ in known), bars)


def _files(facts: RunFacts, winner: WinnerFile) -> list[Block]:
    export = facts.exports.get(winner.arch_id)
    if export is None:
        return [
            Missing(
                f"export/{winner.arch_id}/export.json",
                command("export", run=str(facts.run), format="onnx,tflite"),
            )
        ]
    int8 = any(made.parity.sqnr_db is not None for made in export.formats.values()) or any(
        made.parity.float_operations is not None for made in export.formats.values()
    )
    columns = [("format", False), ("file", False), ("size", True)]
    columns += [("max rel. difference", True), ("max abs. difference", True)]
    columns += [("SQNR", True), ("float operations", True)] if int8 else []
    columns += [("same class", True), ("images", True)]
    rows: list[list[str | Cell]] = []
    for name, made in export.formats.items():
        parity = made.parity
        file = winner.files.get(name) or f"export/{winner.arch_id}/{PurePosixPath(made.file).name}"
        sqnr = ABSENT if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB"
        rows.append(
            [
                name,
                link_to(facts, file),
                size(made.bytes),
                tiny(parity.max_rel),
                tiny(parity.max_abs),
                *([sqnr, _float_operations(parity)] if int8 else []),
                percent(parity.top1_agreement),
                integer(parity.num_images),
            ]
        )
    blocks: list[Block] = [
        Heading("Files, and their parity with the trained network"),
        table(columns, rows),
    ]
    if arch := winner.files.get("arch"):
        link = link_to(facts, arch)
        blocks.append(Text("Architecture: ", code=link.text, href=link.href))
    return [*blocks, *_precisions(winner)]


def _float_operations(parity: ParityPart) -> str:
    """Name the operations of an int8 file that its runtime computes in float."""
    if parity.float_operations is None:
        return ABSENT
    return ", ".join(f"{number} {kind}" for kind, number in parity.float_operations.items()) or "0"


def _precisions(winner: WinnerFile) -> list[Block]:
    """Return latency and accuracy in each precision, where the winner has more than one."""
    if len(winner.precisions) < 2:
        return []
    columns = [("precision", False), ("measured", True), ("val top-1", True), ("test top-1", True)]
    rows = [
        [
            name,
            ms(one.measured_ms),
            percent(one.val_top1),
            percent(one.test.top1 if one.test else None),
        ]
        for name, one in winner.precisions.items()
    ]
    return [Heading("In fp32 and in int8"), table(columns, rows)]


def link_to(facts: RunFacts, file: str) -> Cell:
    """Return a link to a file of the run folder; its path alone where there is none such."""
    path = PurePosixPath(file)
    inside = not path.is_absolute() and ".." not in path.parts and (facts.run / path).is_file()
    return Cell(path.name, "code", f"./{quote(str(path))}") if inside else Cell(file, "code")


def sorted_baselines(winner: WinnerFile) -> list[BaselinePart]:
    """Return the baselines, fastest first: the order of their rows."""
    return sorted(winner.baselines, key=lambda model: (model.measured_ms or 0.0, model.name))


def _baselines(winner: WinnerFile) -> list[Block]:
    if not winner.baselines and winner.random_baseline is None:
        return [Text("No baselines were measured with the winner.", muted=True)]
    columns = [
        ("model", False),
        ("measured", True),
        ("in budget", False),
        ("val top-1", True),
        ("test top-1", True),
        ("MACs", True),
        ("parameters", True),
        ("note", False),
    ]
    rows: list[Row] = [
        Row(
            (
                Cell("winner", "strong"),
                ms(winner.measured_ms),
                _fits(winner.measured_ms, winner),
                percent(winner.val_top1),
                percent(winner.test.top1 if winner.test else None),
                count(winner.macs),
                count(winner.params),
                winner.arch_id,
            )
        )
    ]
    rows += [
        Row(
            (
                model.name,
                ms(model.measured_ms),
                _fits(model.measured_ms, winner),
                percent(model.val_top1),
                percent(model.test_top1),
                count(model.macs),
                count(model.params),
                model.note or "",
            ),
            f"baseline-{number}",
        )
        for number, model in enumerate(sorted_baselines(winner))
    ]
    rows += _random_row(winner)
    return [
        Heading("With random search, and with published networks, scaled by width"),
        table(columns, rows),
    ]


def _random_row(winner: WinnerFile) -> list[Row]:
    """Return the row of what random search found, if random networks were trained."""
    drawn = winner.random_baseline
    if drawn is None:
        return []
    return [
        Row(
            (
                "random search",
                ABSENT,
                ABSENT,
                percent(drawn.val_top1),
                percent(drawn.test_top1),
                ABSENT,
                ABSENT,
                f"best of {drawn.num_networks} on val, predicted {ms(drawn.predicted_ms)}",
            )
        )
    ]


def _fits(measured_ms: float | None, winner: WinnerFile) -> Cell | str:
    if measured_ms is None:
        return ABSENT
    fits = "yes" if measured_ms <= winner.budget_ms else "no"
    return Cell(fits, "badge")

"""The last stage: select the winner among the finalists that were measured; score it on test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from hwnas.arch import Arch
from hwnas.artifacts.benched import BenchFile, BenchRow
from hwnas.artifacts.exported import ExportedNetwork, ExportIndexFile, ModelFiles
from hwnas.artifacts.networks import ArchPart, OperationPart
from hwnas.artifacts.search import FinalistsFile
from hwnas.artifacts.training import RetrainedFile, TrainedNetwork
from hwnas.artifacts.winner import (
    BaselinePart,
    FirstTryPart,
    ImagesPart,
    PairedPart,
    PrecisionPart,
    RandomBaselinePart,
    RejectedPart,
    ScorePart,
    SearchScorePart,
    WinnerFile,
)
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import InputError
from hwnas.export.bundle import file_key
from hwnas.export.formats import PRECISIONS
from hwnas.nn.build import build, build_layers
from hwnas.ops import OpSpec
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.bench import bench_path
from hwnas.pipeline.stages.quantised import file_score
from hwnas.space.zoo.layers import KNOWN
from hwnas.stats.shares import binomial_interval
from hwnas.train.checkpoint import load_weights
from hwnas.train.engine import ImageScores, Score, score_images


def select_winner(context: Context) -> bool:
    """Take the best finalist that was measured within the budget; score it on test, once.

    Writes winner.json. The finalists of the first budget come in the order of their top-1 on
    ``val``; those measured over the budget are rejected and listed. When all are, the fastest
    stands there and ``within_budget`` is false.
    """
    benched = context.folder.read_at(BenchFile, bench_path(context))
    retrained = context.folder.read(RetrainedFile)
    exported = context.folder.read(ExportIndexFile).networks
    answer = context.folder.read(FinalistsFile).answers[0]
    drawn = {candidate.network_id for candidate in answer.random}

    def work() -> tuple[WinnerFile, Mapping[str, float]]:
        rows = {row.arch_id: row for row in benched.rows if row.kind == "finalist" and row.arch_id}
        _require_same(context, [f.arch_id for f in retrained.finalists], list(rows), exported)
        eligible = {candidate.network_id for candidate in answer.finalists}
        ranked = [
            Finalist(trained, rows[trained.arch_id])
            for trained in retrained.finalists
            if trained.searched_network_id in eligible
        ]
        choice = choose(ranked, by_int8=context.problem.target().precision == "int8")
        trained = choice.winner.trained
        formats = next(e.formats for e in exported if e.arch_id == trained.arch_id)
        scores = _test_arch(context, context.data.arch(trained.arch), trained.network_id)
        content = _winner_file(context, choice, scores, retrained, formats)
        extra = {
            "random_baseline": _random_baseline(context, retrained.random, drawn, scores),
            "baselines": tuple(
                _baseline(context, row, scores) for row in benched.rows if row.kind == "baseline"
            ),
        }
        return content.model_copy(update=extra), {}

    return context.folder.stage("winner", WinnerFile.path(context.folder.path), work)


@dataclass(frozen=True)
class Finalist:
    """A finalist as it was trained and as it was measured."""

    trained: TrainedNetwork
    row: BenchRow


@dataclass(frozen=True)
class WinnerChoice:
    """The winner, the finalists above it that were over the budget, and how many were within."""

    winner: Finalist
    rejected: tuple[Finalist, ...]
    num_within: int
    num_finalists: int
    first_is_within: bool


def choose(ranked: Sequence[Finalist], *, by_int8: bool) -> WinnerChoice:
    """Return the first of ``ranked`` (best on ``val`` first) that was measured within the budget.

    The fastest where none was. ``by_int8``: what is handed over is an int8 file, so that networks
    are ranked by the accuracy of theirs.
    """
    if by_int8:
        ranked = sorted(ranked, key=lambda one: -(one.row.val_top1_int8 or 0.0))
    within = [one for one in ranked if one.row.within_budget]
    fastest = min(ranked, key=lambda one: one.row.measurement.latency_ms)
    winner = within[0] if within else fastest
    place = next(number for number, one in enumerate(ranked) if one is winner)
    return WinnerChoice(
        winner, tuple(ranked[:place]), len(within), len(ranked), ranked[0].row.within_budget
    )


def _winner_file(
    context: Context,
    choice: WinnerChoice,
    scores: ImageScores,
    retrained: RetrainedFile,
    formats: ModelFiles,
) -> WinnerFile:
    """Return winner.json but for the networks that the winner is compared with."""
    trained, row, budget_ms = (
        choice.winner.trained,
        choice.winner.row,
        context.problem.budgets_ms[0],
    )
    arch = context.data.arch(trained.arch)
    folder = f"export/{trained.arch_id}"
    return WinnerFile(
        arch=ArchPart.of(arch),
        arch_id=trained.arch_id,
        network_id=trained.network_id,
        budget_ms=budget_ms,
        predicted_ms=trained.latency_ms,
        measured_ms=row.measurement.latency_ms,
        within_budget=row.within_budget,
        search_top1=SearchScorePart(value=trained.search_top1, source=trained.search_source),
        val_top1=row.val_top1,
        init=retrained.init if trained.val.source == "published" else None,
        test=_test_part(scores.score),
        test_images=_test_images(scores, context.data.dataset.num_classes),
        first_try=FirstTryPart(within=choice.num_within, of=choice.num_finalists),
        first_finalist_passed=choice.first_is_within,
        rejected=tuple(
            RejectedPart(
                arch_id=one.trained.arch_id,
                measured_ms=one.row.measurement.latency_ms,
                reason=f"measured over the budget of {budget_ms:g} ms",
            )
            for one in choice.rejected
        ),
        layers=tuple(OperationPart.of(op) for op in context.space.layers(arch)),
        macs=row.macs,
        params=row.params,
        parity={name: entry.parity for name, entry in formats.items()},
        files={
            **{name: f"{folder}/{entry.file}" for name, entry in formats.items()},
            "arch": f"{folder}/arch.json",
        },
        precision=context.problem.target().precision,
        precisions=_precisions(context, choice.winner, scores.score, formats),
    )


def _precisions(
    context: Context, winner: Finalist, fp32: Score, formats: ModelFiles
) -> dict[str, PrecisionPart]:
    """Return latency and accuracy of the winner in each precision it was exported to.

    For int8 the file is scored that the target's runtime executes, on ``test`` this once.
    """
    target, row = context.problem.target(), winner.row
    found: dict[str, PrecisionPart] = {}
    for precision in PRECISIONS:
        entry = formats.get(file_key(RUNTIMES[target.runtime].format, precision))
        measured = (
            row.measurement
            if precision == target.precision
            else row.other_precisions.get(precision)
        )
        if entry is None and measured is None:
            continue
        val: float | None
        if precision == "fp32":
            val, test = row.val_top1, _test_part(fp32)
        else:
            if entry is None:
                continue
            layers = context.space.layers(context.data.arch(winner.trained.arch))
            path = context.folder.exported(winner.trained.arch_id, entry.file)
            scored = file_score(path, context.data.dataset_for(layers), "test")
            correct = round(scored.top1 * scored.num_images)
            val = None if entry.val is None else entry.val.top1
            test = ScorePart(
                top1=scored.top1,
                num_images=scored.num_images,
                ci95=binomial_interval(correct, scored.num_images),
            )
        found[precision] = PrecisionPart(
            measured_ms=measured.latency_ms if measured else None, val_top1=val, test=test
        )
    return found


def _random_baseline(
    context: Context, random: Sequence[TrainedNetwork], drawn: Collection[str], winner: ImageScores
) -> RandomBaselinePart | None:
    """Return the best on ``val`` of the random networks of the first budget, with its test.

    It is what random search with as many trainings would have handed over; None where no random
    networks were trained. ``drawn`` are their ids in the search.
    """
    rows = [row for row in random if row.searched_network_id in drawn]
    if not rows:
        return None
    best = rows[0]
    scores = _test_arch(context, context.data.arch(best.arch), best.network_id)
    return RandomBaselinePart(
        num_networks=len(rows),
        arch_id=best.arch_id,
        network_id=best.network_id,
        predicted_ms=best.latency_ms,
        val_top1=best.val.top1,
        test_top1=scores.score.top1,
        paired=_paired(winner, scores),
    )


def _require_same(
    context: Context,
    trained: Sequence[str],
    benched: Sequence[str],
    exported: Sequence[ExportedNetwork],
) -> None:
    """Raise InputError unless the same finalists were trained, exported and measured."""
    problems = [
        f"{name} has {', '.join(found) or 'none'}, but retrained.json has {', '.join(trained)}"
        for name, found in (
            (bench_path(context).relative_to(context.folder.path), benched),
            (ExportIndexFile.FILE, [entry.arch_id for entry in exported]),
        )
        if set(found) != set(trained)
    ]
    if problems:
        raise InputError(
            str(context.folder.path),
            problems,
            "remove what is out of date and repeat hwnas export and hwnas bench",
        )


def _test_arch(context: Context, arch: Arch, network_id: str) -> ImageScores:
    return _test(context, build(context.space, arch), context.space.layers(arch), network_id)


def _test(
    context: Context, network: nn.Module, layers: Sequence[OpSpec], network_id: str
) -> ImageScores:
    """Score trained weights on ``test``, its images at the input size of ``layers``."""
    load_weights(network, context.folder.weights(network_id))
    return score_images(
        network,
        context.data.dataset_for(layers),
        "test",
        torch_device=context.execution.torch_device,
    )


def _test_part(score: Score) -> ScorePart:
    correct = round(score.top1 * score.num_images)
    return ScorePart(
        top1=score.top1,
        loss=score.loss,
        num_images=score.num_images,
        ci95=binomial_interval(correct, score.num_images),
    )


def _test_images(score: ImageScores, num_classes: int) -> ImagesPart:
    counts = np.bincount(score.labels, minlength=num_classes)  # (num_classes,)
    return ImagesPart(num_classes=num_classes, majority=float(counts.max() / counts.sum()))


def _paired(winner: ImageScores, other: ImageScores) -> PairedPart:
    """Compare two networks image by image; both were scored on ``test`` in its order."""
    return PairedPart(
        only_winner=int((winner.right & ~other.right).sum()),
        only_other=int((other.right & ~winner.right).sum()),
    )


def _baseline(context: Context, row: BenchRow, winner: ImageScores) -> BaselinePart:
    """Return what winner.json holds of a baseline: its row of the bench file, and its test."""
    if row.known is None or row.known not in KNOWN or row.width_mult is None:
        raise InputError(
            str(bench_path(context)),
            [f"the baseline {row.name} needs known ({', '.join(KNOWN)}) and width_mult"],
            "remove it and repeat hwnas bench",
        )
    layers = KNOWN[row.known](
        width_mult=row.width_mult,
        # bench files of the first version do not hold it: it was the space's
        input_size=row.input_size or context.space.input_shape[1],
        num_classes=context.space.num_classes,
    )
    scores = _test(context, build_layers(layers), layers, row.network_id)
    return BaselinePart(
        name=row.name,
        width_mult=row.width_mult,
        measured_ms=row.measurement.latency_ms,
        within_budget=row.within_budget,
        val_top1=row.val_top1,
        test_top1=scores.score.top1,
        macs=row.macs,
        params=row.params,
        note=row.note,
        paired=_paired(winner, scores),
    )

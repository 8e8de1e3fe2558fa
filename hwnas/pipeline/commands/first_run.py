"""The first hour: a folder of images and a budget become a run, planned before it begins."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from hwnas.device.device import load_device
from hwnas.device.runner import Target, make_target
from hwnas.errors import InfeasibleError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.first_run.images import FolderFacts, look_at
from hwnas.pipeline.first_run.plan import (
    SMALL_SIDE,
    Choice,
    StageTime,
    candidates,
    candidates_from,
    choose_space,
    config_for,
    times_of,
)
from hwnas.pipeline.first_run.reach import Reach, ends_of, measure_reach
from hwnas.pipeline.first_run.template import commented
from hwnas.pipeline.first_run.weights import NONE, PATTERN, PublishedWeights, weights_at_hand
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space
from hwnas.stats.shares import half_width

logger = logging.getLogger(__name__)

FEW_FOR_SCRATCH = 10_000
"""Training images up to which fine-tuning published weights usually pays."""
FEW_VAL = 100
"""Images of val below which finalists are hardly ranked."""


@dataclass(frozen=True)
class FirstRun:
    """A run on a folder of images: its configuration, and what was found out for it.

    ``weights`` are the published ones that its networks begin with; None: random ones.
    """

    facts: FolderFacts
    choice: Choice
    config: RunConfig
    times: tuple[StageTime, ...]
    weights: PublishedWeights | None = None

    @property
    def seconds(self) -> float:
        """The estimated time of the whole run."""
        return sum(one.seconds for one in self.times)


def plan_run(
    folder: Path,
    budget_ms: float | None,
    *,
    device: str = "host",
    runtime: str = "litert",
    epochs: int | None = None,
    seed: int = 0,
    init: str | None = None,
    folds: int | None = None,
) -> FirstRun:
    """Look at the images, choose a space by timing its ends on the device, and plan the run.

    ``init`` is a file of published weights, ``none``, or None for those at hand.

    Raises:
        InputError: the folder is none of images by class, or ``init`` no such file.
        UsageError: no budget is given; says which ones the space reaches.
        InfeasibleError: the budget is too small for the spaces that suit the images.
    """
    facts, target = look_at(folder), make_target(load_device(device), runtime, "fp32", None, None)
    log_facts(facts, folds)
    weights = usable_weights(facts, init)
    choice, weights = choose(facts, target, budget_ms, weights)
    if budget_ms is None:
        raise UsageError(
            f"--budget-ms is needed: networks of {choice.space.name} take {choice.reach} on "
            f"{device} ({runtime})"
        )
    config = config_for(
        facts,
        choice.space.name,
        budget_ms,
        device=device,
        runtime=runtime,
        epochs=epochs,
        seed=seed,
        weights=weights,
        folds=folds or 0,
    )
    if budget_ms > choice.reach.high_ms:
        logger.warning(
            f"every network of {choice.space.name} is within {budget_ms:g} ms (they take "
            f"{choice.reach}): the budget leaves nothing out"
        )
    ops = {op for part in choice.space.factors() for op in part.ops.ravel() if op is not None}
    times = times_of(
        config,
        facts,
        choice,
        seconds_an_image(choice.space),
        num_ops=len(ops),
        protocol_rounds=target.device.protocol.rounds,
    )
    return FirstRun(facts, choice, config, tuple(times), weights)


def usable_weights(facts: FolderFacts, init: str | None) -> PublishedWeights | None:
    """Return the published weights that suit the images, and log which these are, or why none.

    Errors as in :func:`weights_at_hand`.
    """
    weights = weights_at_hand(init)
    if weights is not None and facts.side <= SMALL_SIDE:
        logger.info(f"published weights: not used, they are of photographs, not {facts.side} px")
        return None
    if weights is not None:
        logger.info(f"published weights: {weights}")
    elif init is None and facts.side > SMALL_SIDE and facts.splits["train"] < FEW_FOR_SCRATCH:
        logger.warning(
            f"no published weights are at hand: networks learn from {facts.splits['train']} "
            "training images alone, where fine-tuned ones are usually far more accurate. Next: "
            f"--init FILE with Once-for-All's supernet ({PATTERN}, docs/guides/published.md), "
            f"or --init {NONE} to leave this out"
        )
    return weights


def choose(
    facts: FolderFacts,
    target: Target,
    budget_ms: float | None,
    weights: PublishedWeights | None = None,
) -> tuple[Choice, PublishedWeights | None]:
    """Return the space for a folder of images on a device, and log why it is this one.

    The weights that come back are None where their networks are all too slow for the budget.
    """
    if weights is not None:
        try:
            return _chosen(facts, target, budget_ms, candidates_from(weights, facts)), weights
        except InfeasibleError as error:
            logger.warning(f"published weights: not used; {error.reason}")
    return _chosen(facts, target, budget_ms, candidates(facts)), None


def _chosen(
    facts: FolderFacts, target: Target, budget_ms: float | None, names: list[str]
) -> Choice:
    cache = ConversionCache()

    def measure(space: SearchSpace) -> Reach:
        reach = measure_reach(space, target, cache)
        logger.info(f"{space.name} reaches {reach} on {target.device.name} ({target.runtime})")
        return reach

    choice = choose_space(names, budget_ms, load_space, measure)
    why = (
        f"images of {facts.side} pixels"
        if facts.side <= SMALL_SIDE
        else f"{facts.splits['train']} training images of {facts.side} pixels"
    )
    slow = f", and larger ones are too slow ({len(choice.passed)})" if choice.passed else ""
    logger.info(f"space {choice.space.name}: it suits {why}{slow}")
    return choice


def log_facts(facts: FolderFacts, folds: int | None = None) -> None:
    """Log classes, images and splits, and what a small val cannot decide; ``folds``: is wanted."""
    splits = ", ".join(f"{number} {name}" for name, number in facts.splits.items())
    logger.info(
        f"{facts.folder}: {len(facts.counts)} classes, {facts.num_images} images of about "
        f"{facts.side} pixels; {splits}; most frequent class {facts.majority:.0%}"
    )
    val = facts.splits["val"]
    if val < FEW_VAL and folds is None:
        logger.warning(
            f"val has {val} images: accuracies less than about {100 * half_width(val, 0.8):.0f} "
            "points apart cannot be told apart on it. Next: --folds 5, a cross-validation of "
            f"{facts.num_images - facts.splits['test']} images for five times the training of "
            "finalists, more images, or --folds 0 to leave this out"
        )


def seconds_an_image(space: SearchSpace, batch: int = 8) -> float:
    """Time one training image of the largest network of a space on this host, in seconds."""
    import torch

    from hwnas.nn.build import build

    arch = ends_of(space)[1]
    network = build(space, arch).train()
    images = torch.zeros(batch, *space.layers(arch)[0].in_shape)
    steps = []
    for _ in range(2):  # the first one warms up
        begin = time.perf_counter()
        network(images).sum().backward()
        steps.append(time.perf_counter() - begin)
    return min(steps) / batch


def file_for(
    folder: Path,
    name: str,
    *,
    device: str,
    runtime: str,
    budget_ms: float | None,
    init: str | None = None,
) -> str:
    """Return the run file for a folder of images; without a budget the middle of what is reached.

    Errors as in :func:`plan_run`.
    """
    if budget_ms is None:
        facts = look_at(folder)
        target = make_target(load_device(device), runtime, "fp32", None, None)
        choice, _ = choose(facts, target, None, usable_weights(facts, init))
        reach = choice.reach
        budget_ms = float(f"{(reach.low_ms * reach.high_ms) ** 0.5:.3g}")
        logger.info(f"budget {budget_ms:g} ms: the middle of what the space reaches; change it")
    first = plan_run(folder, budget_ms, device=device, runtime=runtime, init=init)
    return commented(first.facts, first.choice, first.config, name)

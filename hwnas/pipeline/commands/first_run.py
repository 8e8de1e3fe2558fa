"""The first hour: a folder of images and a budget become a run, planned before it begins."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from hwnas.device.device import load_device
from hwnas.device.runner import Target, make_target
from hwnas.errors import UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.first_run.images import FolderFacts, look_at
from hwnas.pipeline.first_run.plan import (
    Choice,
    StageTime,
    candidates,
    choose_space,
    config_for,
    times_of,
)
from hwnas.pipeline.first_run.reach import Reach, ends_of, measure_reach
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space
from hwnas.stats.shares import half_width

logger = logging.getLogger(__name__)

FEW_VAL = 100
"""Images of val below which finalists are hardly ranked."""


@dataclass(frozen=True)
class FirstRun:
    """A run on a folder of images: its configuration, and what was found out for it."""

    facts: FolderFacts
    choice: Choice
    config: RunConfig
    times: tuple[StageTime, ...]

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
) -> FirstRun:
    """Look at the images, choose a space by timing its ends on the device, and plan the run.

    Raises:
        InputError: the folder is none of images by class.
        UsageError: no budget is given; says which ones the space reaches.
        InfeasibleError: the budget is too small for the spaces that suit the images.
    """
    facts, target = look_at(folder), make_target(load_device(device), runtime, "fp32", None, None)
    log_facts(facts)
    choice = choose(facts, target, budget_ms)
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
    return FirstRun(facts, choice, config, tuple(times))


def choose(facts: FolderFacts, target: Target, budget_ms: float | None) -> Choice:
    """Return the space for a folder of images on a device, and log why it is this one."""
    cache = ConversionCache()

    def measure(space: SearchSpace) -> Reach:
        reach = measure_reach(space, target, cache)
        logger.info(f"{space.name} reaches {reach} on {target.device.name} ({target.runtime})")
        return reach

    names = candidates(facts)
    choice = choose_space(names, budget_ms, load_space, measure)
    why = (
        f"images of {facts.side} pixels"
        if len(names) == 2
        else f"{facts.splits['train']} training images of {facts.side} pixels"
    )
    slow = f", and larger ones are too slow ({len(choice.passed)})" if choice.passed else ""
    logger.info(f"space {choice.space.name}: it suits {why}{slow}")
    return choice


def log_facts(facts: FolderFacts) -> None:
    """Log classes, images and splits, and what a small val cannot decide."""
    splits = ", ".join(f"{number} {name}" for name, number in facts.splits.items())
    logger.info(
        f"{facts.folder}: {len(facts.counts)} classes, {facts.num_images} images of about "
        f"{facts.side} pixels; {splits}; most frequent class {facts.majority:.0%}"
    )
    val = facts.splits["val"]
    if val < FEW_VAL:
        logger.warning(
            f"val has {val} images: accuracies less than about {100 * half_width(val, 0.8):.0f} "
            "points apart cannot be told apart on it. Next: more images, or read the verdict, "
            "which says what is decided"
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


COMMENTED = """\
# A run of hwnas on {folder}: {classes} classes, {images} images.
# Carry it out with: hwnas run {name}
schema: 1

# The space suits {side} pixels and {train} training images (hwnas spaces shows the others).
space: {space}
data: {data}

targets:
  - device: {device}            # hwnas devices lists them
    runtime: {runtime}
    # Networks of this space take {reach} on this device.
    budget_ms: {budget}
    calibrate: 16               # whole networks that correct the sums of operations
    validate: 8                 # whole networks that predictions are checked on

search:
  strategy: proxyless           # one training of all paths; evolution scores networks singly
  supernet:
    recipe: {{epochs: {search_epochs}, batch_size: {batch_size}, lr: {lr}}}

retrain:
  top: 3                        # finalists; as many random networks are trained to compare with
  recipe: {{epochs: {retrain_epochs}, batch_size: {batch_size}, lr: {lr}}}
  # init: FILE                  # published weights to start from, with init_arch: MODEL

formats: [onnx, tflite]
# precisions: [fp32, int8]      # int8 files as well
seed: 0
"""


def commented(first: FirstRun, name: str) -> str:
    """Return a run file with comments that does what ``first`` plans."""
    config = first.config
    target, recipe = config.targets[0], config.search.supernet.recipe
    return COMMENTED.format(
        folder=first.facts.folder,
        classes=len(first.facts.counts),
        images=first.facts.num_images,
        name=name,
        side=first.facts.side,
        train=first.facts.splits["train"],
        space=_scalar(config.space),
        data=_scalar(str(first.config.data)),
        device=_scalar(target.device),
        runtime=target.runtime,
        reach=first.choice.reach,
        budget=f"{target.budgets_ms[0]:.4g}",
        search_epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        retrain_epochs=config.retrain.recipe.epochs,
    )


def _scalar(text: str) -> str:
    """Return ``text`` as YAML spells a scalar."""
    import json

    return json.dumps(text)


def file_for(folder: Path, name: str, *, device: str, runtime: str, budget_ms: float | None) -> str:
    """Return the run file for a folder of images; without a budget the middle of what is reached.

    Errors as in :func:`plan_run`.
    """
    if budget_ms is None:
        facts = look_at(folder)
        target = make_target(load_device(device), runtime, "fp32", None, None)
        reach = choose(facts, target, None).reach
        budget_ms = float(f"{(reach.low_ms * reach.high_ms) ** 0.5:.3g}")
        logger.info(f"budget {budget_ms:g} ms: the middle of what the space reaches; change it")
    return commented(plan_run(folder, budget_ms, device=device, runtime=runtime), name)

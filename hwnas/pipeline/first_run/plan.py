"""What a run on a folder of images will be: space, trainings, files, and how long each takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import InfeasibleError
from hwnas.executor.local import available_cores
from hwnas.export.formats import FORMATS
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.first_run.images import FolderFacts
from hwnas.pipeline.first_run.reach import Reach, ends_of, macs_of
from hwnas.pipeline.first_run.weights import PublishedWeights
from hwnas.protocols import SearchSpace

SMALL_SIDE = 48
"""Shorter side in pixels up to which images are upscaled by no space for photographs."""
PHOTO_SIZES = (224, 192, 160, 128, 96, 64)
WIDTHS = (1.0, 0.75, 0.5, 0.35)
FEW_TRAIN = 2_000
"""Training images below which widths above 0.5 only memorise them, at four times the cost."""
EASY = 0.8
"""Share of the budget at which the smallest network must be: a search needs some choice."""


@dataclass(frozen=True)
class Amount:
    """Trainings that suit a number of training images.

    With few images an epoch is short and every image must be seen often, so epochs are many and
    batches small; with many the reverse. The steps (epochs x images / batch) stay between about
    1,000 and 20,000. ``largest`` is the input size in pixels that the number of images supports:
    details are not learnt from some hundred images, and training costs grow with its square.
    """

    below: float
    search_epochs: int
    retrain_epochs: int
    batch_size: int
    largest: int


AMOUNTS = (
    Amount(500, 20, 40, 16, 96),
    Amount(2_000, 20, 40, 32, 128),
    Amount(10_000, 15, 30, 64, 160),
    Amount(100_000, 8, 20, 128, 192),
    Amount(float("inf"), 4, 12, 256, 224),
)


def amount_of(num_images: int) -> Amount:
    """Return the trainings that suit ``num_images`` training images."""
    return next(one for one in AMOUNTS if num_images < one.below)


OFA_SIZES = (224, 192, 160, 128)
EVALUATIONS = 100
"""Networks that a search scores by shared weights, each on a few hundred images."""


def candidates_from(weights: PublishedWeights, facts: FolderFacts) -> list[str]:
    """Return the spaces whose networks begin with ``weights``, from the largest to the smallest.

    What the weights know of larger images serves few images, too: only the images' own size limits
    the input's.
    """
    sizes = [size for size in OFA_SIZES if size <= facts.side] or [OFA_SIZES[-1]]
    width = "" if weights.width_mult == 1.0 else f",width_mult={weights.width_mult:g}"
    return [f"ofa-mbv3:num_classes={len(facts.counts)},resolution={size}{width}" for size in sizes]


def candidates(facts: FolderFacts) -> list[str]:
    """Return the spaces that suit a folder, from the largest to the smallest.

    Small images: the space of CIFAR-like networks, then the tiny one. Photographs: the ProxylessNAS
    space at input sizes up to the images' own and up to what their number supports.
    """
    classes = len(facts.counts)
    if facts.side <= SMALL_SIDE:
        return [f"{name}:num_classes={classes}" for name in ("macro-cifar", "tiny")]
    most = min(facts.side, amount_of(facts.splits["train"]).largest)
    sizes = [size for size in PHOTO_SIZES if size <= most] or [PHOTO_SIZES[-1]]
    is_few = facts.splits["train"] < FEW_TRAIN
    widths = [width for width in WIDTHS if width <= 0.5 or not is_few]
    pairs = [(sizes[0], width) for width in widths] + [(size, widths[-1]) for size in sizes[1:]]
    return [
        f"proxyless:input_size={size},num_classes={classes},width_mult={width:g}"
        for size, width in pairs
    ]


@dataclass(frozen=True)
class Choice:
    """A space and what it reaches on the device; ``passed`` are larger ones that are too slow."""

    space: SearchSpace
    reach: Reach
    passed: tuple[str, ...] = ()


def choose_space(
    names: list[str],
    budget_ms: float | None,
    load: Callable[[str], SearchSpace],
    measure: Callable[[SearchSpace], Reach],
) -> Choice:
    """Return the largest space whose smallest network is well within the budget.

    The first space is measured; those between are passed over by their multiply-accumulates, and
    the one chosen is measured, too. Without a budget it is the first.

    Raises:
        InfeasibleError: even the last one is too slow; says what it reaches.
    """
    passed: list[str] = []
    speed: float | None = None  # MACs a ms of the smallest network measured last
    for number, name in enumerate(names):
        space = load(name)
        macs = macs_of(space, ends_of(space)[0])
        is_last = number == len(names) - 1
        too_slow = (
            speed is not None and budget_ms is not None and macs / speed > 2 * EASY * budget_ms
        )
        if too_slow and not is_last:
            passed.append(space.name)
            continue
        reach = measure(space)
        speed = macs / reach.low_ms
        if budget_ms is None or reach.low_ms <= EASY * budget_ms:
            return Choice(space, reach, tuple(passed))
        passed.append(space.name)
    raise InfeasibleError(
        f"a budget of {budget_ms:g} ms is too small for the spaces that suit these images: the "
        f"smallest, {reach.space}, reaches {reach}. Next: a budget of "
        f"{reach.low_ms / EASY:.2g} ms or more, or a space of your own in a YAML file"
    )


def config_for(
    facts: FolderFacts,
    space: str,
    budget_ms: float,
    *,
    device: str,
    runtime: str,
    epochs: int | None = None,
    seed: int = 0,
    weights: PublishedWeights | None = None,
    folds: int = 0,
) -> RunConfig:
    """Return the run on a folder of images.

    From scratch: a search by gates, then trainings. With ``weights``: their supernet is fine-tuned,
    evolution searches by it, and finalists are fine-tuned from their share of the weights.
    """
    content = content_for(facts, space, budget_ms, device, runtime, epochs, seed, weights)
    if folds:
        content["retrain"]["folds"] = folds
    return RunConfig.model_validate_json(json.dumps(content))


def content_for(
    facts: FolderFacts,
    space: str,
    budget_ms: float,
    device: str,
    runtime: str,
    epochs: int | None,
    seed: int,
    weights: PublishedWeights | None,
) -> dict[str, Any]:
    """Return the content of the run's YAML file: what differs from the defaults."""
    amount = amount_of(facts.splits["train"])
    target = {
        "device": device,
        "runtime": runtime,
        "budget_ms": budget_ms,
        "calibrate": 16,
        "validate": 8,
    }
    return {
        "space": space,
        "data": str(facts.folder.resolve()),
        "targets": [target],
        **(
            _from_scratch(amount, epochs)
            if weights is None
            else _fine_tuned(amount, epochs, weights, facts.splits["train"])
        ),
        "formats": ["onnx", "tflite"],
        "seed": seed,
    }


def _from_scratch(amount: Amount, epochs: int | None) -> dict[str, Any]:
    lr = _lr(amount.batch_size)
    searched = min(amount.search_epochs, epochs or amount.search_epochs)
    return {
        "search": {
            "strategy": "proxyless",
            "supernet": {"recipe": _recipe(searched, amount, lr)},
        },
        "retrain": {
            "top": 3,
            "recipe": _recipe(epochs or amount.retrain_epochs, amount, lr),
        },
    }


def _fine_tuned(
    amount: Amount, epochs: int | None, weights: PublishedWeights, train: int
) -> dict[str, Any]:
    """Return a search and trainings that begin with weights: shorter, and with smaller steps."""
    lr, init = _lr(amount.batch_size) / 4, str(weights.path.resolve())
    searched = min(amount.search_epochs // 2, epochs or amount.search_epochs)
    return {
        "search": {
            "strategy": "evolution",
            "evaluator": "supernet",
            "evaluations": EVALUATIONS,
            "supernet": {
                "init": init,
                "sampling": "sandwich",
                "calibration_images": max(32, min(2000, train)),
                "recipe": _recipe(searched, amount, lr),
            },
        },
        "retrain": {
            "top": 3,
            "init": init,
            "recipe": _recipe(epochs or amount.retrain_epochs // 2, amount, lr),
        },
    }


def _recipe(epochs: int, amount: Amount, lr: float) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": amount.batch_size,
        "lr": round(lr, 5),
        **({"warmup_epochs": 0.0} if epochs < 3 else {}),
    }


def _lr(batch_size: int) -> float:
    """Return the peak learning rate of a batch size: 0.1 at 64 images, in proportion."""
    return round(0.1 * batch_size / 64, 4)


@dataclass(frozen=True)
class StageTime:
    """How long a stage takes, roughly, and what it does."""

    stage: str
    seconds: float
    what: str


def times_of(
    config: RunConfig,
    facts: FolderFacts,
    choice: Choice,
    image_s: float,
    *,
    num_ops: int,
    protocol_rounds: int,
) -> list[StageTime]:
    """Estimate the stages of a run, within a factor of about 2.

    ``image_s`` is the time of one training image of the largest network of the space, forward and
    backward, on this host. Networks of the search cost half of it, finalists as much as the budget
    is of the largest latency; a supernet step trains two paths and its gates one more; a
    conversion takes what its format takes a layer, and profiles convert on every core.
    """
    target = config.targets[0]
    train, val = facts.splits["train"], facts.splits["val"]
    middle_ms = (choice.reach.low_ms + choice.reach.high_ms) / 2
    networks = target.calibrate + target.validate_
    visits_ms = num_ops * max(1.0, 2 * middle_ms / 20) + networks * max(1.0, 2 * middle_ms)
    layers = len(choice.space.layers(ends_of(choice.space)[1]))
    layer_s = FORMATS[RUNTIMES[target.runtime].format].layer_seconds
    converted_s = (num_ops + networks * layers) * max(layer_s, 0.1) / available_cores()
    profile_s = converted_s + protocol_rounds * visits_ms / 1000
    exported_s = layers * sum(FORMATS[name].layer_seconds for name in config.formats) + 5.0
    search_images = 3.0 * config.search.supernet.recipe.epochs * train
    scored = ""
    if str(config.search.evaluator) == "supernet":  # a third of a training step: forward only
        shown = min(config.search.supernet.calibration_images, train) + facts.splits["arch"]
        search_images += config.search.evaluations * shown / 3
        scored = f", {config.search.evaluations} networks scored"
    num_trained = 2 * config.retrain.top * (1 + config.retrain.folds)
    folded = f", {config.retrain.folds} folds" if config.retrain.folds else ""
    retrain_images = config.retrain.recipe.epochs * train
    budget_ms = target.budgets_ms[0]
    each = image_s * min(1.0, budget_ms / choice.reach.high_ms)
    baselines = len(config.bench.baselines)
    return [
        StageTime(
            "profile",
            profile_s,
            f"{num_ops} operations, {networks} networks on {target.device}",
        ),
        StageTime(
            "search",
            search_images * image_s / 2,
            f"{config.search.supernet.recipe.epochs} epochs of all paths on {train} images{scored}",
        ),
        StageTime(
            "retrain",
            num_trained * (retrain_images * each + val * each / 3),
            f"{2 * config.retrain.top} networks (half of them random), "
            f"{config.retrain.recipe.epochs} epochs{folded}",
        ),
        StageTime(
            "export", config.retrain.top * exported_s, "ONNX and TFLite, compared with torch"
        ),
        StageTime(
            "bench",
            baselines * retrain_images * each + 20.0,
            f"finalists and {baselines} known networks, trained and timed",
        ),
        StageTime("report", 10.0, "test, verdict, report.html and winner/"),
    ]


def default_out(folder: Path) -> Path:
    """Return the run folder of a folder of images."""
    return Path("runs") / (folder.resolve().name or "images")

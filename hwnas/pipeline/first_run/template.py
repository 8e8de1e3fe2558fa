"""The YAML file of a run on a folder of images, with comments for whoever changes it."""

from __future__ import annotations

import json

from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.first_run.images import FolderFacts
from hwnas.pipeline.first_run.plan import Choice

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
{search}
retrain:
  top: 3                        # finalists; as many random networks are trained to compare with
  recipe: {{epochs: {retrain_epochs}, batch_size: {batch_size}, lr: {lr}}}
{init}
  {folds}

formats: [onnx, tflite]
# precisions: [fp32, int8]      # int8 files as well
seed: 0
"""


FROM_SCRATCH = """\
  strategy: proxyless           # one training of all paths; evolution scores networks singly
  supernet:
    recipe: {{epochs: {search_epochs}, batch_size: {batch_size}, lr: {lr}}}
"""
FINE_TUNED = """\
  strategy: evolution           # scores networks singly, by the supernet's weights
  evaluator: supernet
  evaluations: {evaluations}
  supernet:
    init: {file}
    sampling: sandwich          # the smallest and the largest network in every step
    calibration_images: {calibration_images}
    recipe: {{epochs: {search_epochs}, batch_size: {batch_size}, lr: {lr}}}
"""


def commented(facts: FolderFacts, choice: Choice, config: RunConfig, name: str) -> str:
    """Return a run file with comments that holds ``config``, the plan for a folder of images."""
    target, search = config.targets[0], config.search
    recipe = search.supernet.recipe
    numbers = {
        "search_epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "retrain_epochs": config.retrain.recipe.epochs,
    }
    file = _scalar(str(search.supernet.init))
    fine_tuned = FINE_TUNED.format(
        evaluations=search.evaluations,
        file=file,
        calibration_images=search.supernet.calibration_images,
        **numbers,
    )
    return COMMENTED.format(
        folder=facts.folder,
        classes=len(facts.counts),
        images=facts.num_images,
        name=name,
        side=facts.side,
        train=facts.splits["train"],
        space=_scalar(config.space),
        data=_scalar(str(config.data)),
        device=_scalar(target.device),
        runtime=target.runtime,
        reach=choice.reach,
        budget=f"{target.budgets_ms[0]:.4g}",
        search=FROM_SCRATCH.format(**numbers) if search.supernet.init is None else fine_tuned,
        init="  # init: FILE                  # published weights to start from"
        if search.supernet.init is None
        else f"  init: {file}",
        folds="# folds: 5                    # cross-validation: where val is small"
        if config.retrain.folds == 0
        else f"folds: {config.retrain.folds}",
        **numbers,
    )


def _scalar(text: str) -> str:
    """Return ``text`` as YAML spells a scalar."""
    return json.dumps(text)

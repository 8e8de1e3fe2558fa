"""Begin a run, after checking all that can be checked beforehand, or reopen one."""

from __future__ import annotations

from pathlib import Path

from hwnas.nn.supernet import check_supernet
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.context import Run, check_measurable, check_target, check_torch_device
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.stages import search_export as stages
from hwnas.pipeline.stages.evaluators import code_evaluator, kept_seed_archs
from hwnas.search.problem.warm_start import seed_archs
from hwnas.space.catalogue import load_space
from hwnas.train.checkpoint import read_tensors


def begin(config: RunConfig, out: Path, *, resume: bool, benches: bool) -> Run:
    """Return a run with its tables; whatever can be seen to be wrong is an error before any work.

    ``benches`` says whether the run ends on the device, which must then answer from the beginning.
    """
    folder = RunFolder(out)
    folder.require_free(config, resume=resume)
    run = Run(folder, config)
    load_space(config.space)
    check_torch_device(config.torch_device)
    for target in config.targets:
        check_target(target)
    if config.data is not None:
        run.dataset  # noqa: B018 - read now
    if config.search.evaluator.entry.trains == "supernet":
        check_supernet(run.space, by_gates="chain" in config.search.entry.needs)
    if config.search.evaluator.entry.at_array_speed:
        code_evaluator(run)  # read now
    if (seeds := kept_seed_archs(run)) is not None:
        seed_archs(run.space, seeds)  # read now
    if config.retrain.init is not None:
        read_tensors(Path(config.retrain.init))  # read now
    if config.retrain.data is not None:
        with_training_data(run).dataset  # noqa: B018 - read now
    if not folder.is_begun:
        for number, target in enumerate(config.targets):
            if target.table is None or (benches and number == 0):
                check_measurable(target)
        lacking = [
            found
            for number in range(len(config.targets))
            if (found := run.missing_heads(number)) is not None
        ]
        for found in lacking:
            found.check()
        if not lacking and all(target.table is not None for target in config.targets):
            run.check_limits()
    folder.begin(config)
    run.prepare_tables()
    return run


def reopen(path: Path) -> Run:
    """Return the run in a folder, with its configuration."""
    folder = RunFolder.existing(path)
    return Run(folder, folder.config())


def with_training_data(run: Run) -> Run:
    """Return the run with the images its finalists are trained on."""
    retrain = run.config.retrain
    return run if retrain.data is None else _on_data(run, retrain.data, retrain.data_root)


def with_trained_data(run: Run) -> Run:
    """Return the run with the images its finalists were trained on, as far as they were."""
    if not run.folder.file("retrained.json").is_file():
        return run
    data = run.folder.read("retrained.json", stages.RETRAINED).get("data")
    return run if data is None else _on_data(run, data["name"], data["root"])


def _on_data(run: Run, name: str, root: str | None) -> Run:
    if (name, root) == (run.config.data, run.config.data_root):
        return run
    config = run.config.model_copy(update={"data": name, "data_root": root})
    return Run(run.folder, config)

"""Begin a run, after checking all that can be checked beforehand, or reopen one."""

from __future__ import annotations

from pathlib import Path

from hwnas.artifacts.training import RetrainedFile
from hwnas.data.names import check_name
from hwnas.io.journal import make_folder
from hwnas.io.lock import hold
from hwnas.pipeline.checks import check_measurable, check_target, check_torch_device
from hwnas.pipeline.config.run import RetrainConfig, RunConfig
from hwnas.pipeline.context import Context, build_context
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.inputs import keep_files, keep_images, keep_own
from hwnas.space.catalogue import load_space


def begin(config: RunConfig, out: Path, *, resume: bool, benches: bool) -> Context:
    """Return the context of a run with its tables; what can be checked is checked before any work.

    ``benches`` says whether the run ends on the device, which must then answer from the beginning.
    """
    folder = RunFolder(out)
    folder.require_free(config, resume=resume)
    if folder.is_begun:
        hold(out)
    context = build_context(folder, config)
    load_space(config.space)
    for data in (config.data, config.retrain.data):
        if data is not None:
            check_name(data)
    for target in config.targets:
        check_target(target)
    # what loads torch or scipy comes after the checks that need neither
    from hwnas.nn.supernet import check_supernet
    from hwnas.pipeline.stages.search.evaluators import code_evaluator, kept_seed_archs
    from hwnas.pipeline.tables import missing_heads, prepare_tables
    from hwnas.search.problem.warm_start import seed_archs
    from hwnas.train.checkpoint import read_tensors

    check_torch_device(config.torch_device)
    if config.data is not None:
        context.data.dataset  # noqa: B018 - read now
    if config.search.evaluator.entry.trains == "supernet":
        check_supernet(context.space, by_gates="chain" in config.search.entry.needs)
    if config.search.evaluator.entry.at_array_speed:
        code_evaluator(context, config.search)  # read now
    if (seeds := kept_seed_archs(folder, config.search)) is not None:
        seed_archs(context.space, seeds)  # read now
    if config.retrain.init is not None:
        read_tensors(Path(config.retrain.init))  # read now
    if config.retrain.data is not None:
        with_training_data(context, config.retrain).data.dataset  # noqa: B018 - read now
    if not folder.is_begun:
        for number, target in enumerate(config.targets):
            if target.table is None or (benches and number == 0):
                check_measurable(target)
        incomplete = [
            found
            for number in range(len(config.targets))
            if (found := missing_heads(context.problem, number)) is not None
        ]
        for found in incomplete:
            found.check()
        if not incomplete and all(target.table is not None for target in config.targets):
            context.problem.check_limits()
    make_folder(out)
    hold(out)
    folder.require_free(config, resume=resume)  # another process may have begun it by now
    folder.begin(config)
    keep_files(out, config)
    if config.data is not None:
        keep_images(out, config.data, context.data.dataset)
    prepare_tables(context.problem, context.cache, seed=config.seed)
    keep_own(out, [folder.table(number) for number in range(len(config.targets))])
    return context


def reopen(path: Path) -> tuple[Context, RunConfig]:
    """Return the context of the run in a folder, and the configuration it was begun with."""
    folder = RunFolder.existing(path)
    config = folder.config()
    hold(path)
    keep_files(path, config)
    return build_context(folder, config), config


def with_training_data(context: Context, settings: RetrainConfig) -> Context:
    """Return the context with the images that the finalists are to be trained on."""
    if settings.data is None:
        return context
    return context.on_images(settings.data, settings.data_root)


def with_trained_data(context: Context) -> Context:
    """Return the context with the images that the finalists were trained on, if they were."""
    retrained = RetrainedFile.load_if_present(context.folder.path)
    if retrained is None or retrained.data is None:
        return context
    return context.on_images(retrained.data.name, retrained.data.root)

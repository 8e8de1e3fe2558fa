"""What each verb does with a run: begin or reopen its folder, carry out stages, read the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from hwnas.arch import Arch
from hwnas.errors import InputError, UsageError
from hwnas.executor import TaskError
from hwnas.export.bundle import write_bundle
from hwnas.export.cache import ConversionCache
from hwnas.export.calibration import NormalData
from hwnas.export.formats import precision_of
from hwnas.export.session import file_precision
from hwnas.files import parse_model
from hwnas.interfaces import Evaluation, SearchSpace
from hwnas.journal import read_json
from hwnas.latency.bench import bench, check_models
from hwnas.latency.device import MODEL_FORMAT, load_device
from hwnas.latency.runner import Target, make_target, open_runner
from hwnas.latency.scoped import load_tables
from hwnas.latency.visits import Progress, no_progress
from hwnas.network import build
from hwnas.pipeline import retraining, stages, verdict
from hwnas.pipeline.config import RunConfig
from hwnas.pipeline.evaluators import code_evaluator, kept_seed_archs, saved_evaluator
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.prediction import predictor_of
from hwnas.pipeline.published import Init
from hwnas.pipeline.setup import Run, check_measurable, check_target, check_torch_device
from hwnas.pipeline.stages import PARITY_IMAGES
from hwnas.report.cross import Matrix, cross
from hwnas.report.page import write_report
from hwnas.rng import stream
from hwnas.search.start import seed_archs
from hwnas.space.archfile import read_arch, read_archs
from hwnas.space.catalogue import load_space
from hwnas.train.checkpoint import load_weights, read_tensors, save_weights
from hwnas.train.engine import DivergedError
from hwnas.train.recipe import RecipeModel
from hwnas.weights import load_reference

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


def _begin(
    config: RunConfig, out: Path, *, resume: bool, benches: bool, progress: Progress, say: Say
) -> Run:
    """Return a run with its tables; whatever can be seen to be wrong is an error before any work.

    ``benches`` says whether the run ends on the device, which must then answer from the beginning.
    """
    folder = RunFolder(out)
    folder.require_free(config, resume=resume)
    run = Run(folder, config, progress, say)
    load_space(config.space)
    check_torch_device(config.torch_device)
    for target in config.targets:
        check_target(target)
    if config.data is not None:
        run.dataset  # noqa: B018 - read now
    if config.search.evaluator_file is not None:
        code_evaluator(run)  # read now
    if (seeds := kept_seed_archs(run)) is not None:
        seed_archs(run.space, seeds)  # read now
    if not folder.is_begun:
        for number, target in enumerate(config.targets):
            if target.table is None or (benches and number == 0):
                check_measurable(target)
        lacking = [found for number in range(len(config.targets))
                   if (found := run.lacking(number)) is not None]
        for found in lacking:
            found.check()
        if not lacking and all(target.table is not None for target in config.targets):
            run.check_limits()
    folder.begin(config)
    run.prepare_tables()
    return run


def _reopen(path: Path, *, progress: Progress, say: Say, trained: bool = False) -> Run:
    """Return the run in a folder; ``trained``: with the data its finalists were trained on."""
    folder = RunFolder.existing(path)
    config = folder.config()
    if trained and folder.file("retrained.json").is_file():
        data = folder.read("retrained.json", stages.RETRAINED).get("data")
        if data is not None:
            config = _on_data(config, data["name"], data["root"])
    return Run(folder, config, progress, say)


def _on_data(config: RunConfig, name: str, root: str | None) -> RunConfig:
    return config.model_copy(update={"data": name, "data_root": root})


def search_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
    say: Say = _silent,
) -> dict[str, Any]:
    """Search by ``config`` into the run folder ``out``; return result.json."""
    run = _begin(config, out, resume=resume, benches=False, progress=progress, say=say)
    stages.search(run)
    result: dict[str, Any] = read_json(run.folder.file("result.json"))
    return result


def evaluate_run(
    path: Path, archs: Path, *, progress: Progress = no_progress, say: Say = _silent
) -> list[dict[str, Any]]:
    """Score architectures as a run's search scores them; return a record per line of the file.

    A run that searched by a supernet scores by its shared weights (of several budgets, by the first
    one's), one by a table's or predictor's file by the run folder's copy of it, another by training
    each network from scratch with the search's recipe. Lines may be of
    the same space at another width or number of classes. A line that is no architecture, or whose
    evaluation fails, gets a record with ``error``.
    """
    run = _reopen(path, progress=progress, say=say)
    listed = read_archs(archs, run.space, names=_spellings(archs, run.space.name))
    by_supernet = run.config.search.evaluator == "supernet"
    if by_supernet and not run.folder.file("result.json").is_file():
        raise UsageError(f"{path} has no finished search yet. Next: hwnas search (as the run was "
                         f"begun) --resume --out {path}")
    records: list[dict[str, Any]] = [{} for _ in range(listed.num_lines)]
    for row, problem in listed.errors.items():
        records[row] = {"error": problem}
    if not len(listed.codes):
        return records
    evaluator = saved_evaluator(run)
    lines = archs.read_bytes().splitlines()
    scored = run.space.decode(listed.codes)
    untrained = {(r.choice, r.option) for r in run.predictors[0].restricted if not r.beside} if (
        run.config.search.trains_gates) else set()
    for arch, row in zip(scored, listed.rows.tolist(), strict=True):
        given = orjson.loads(lines[row])
        records[row] = {"arch_id": Arch.make(given["space"], given["choices"]).arch_id}
        if untrained & set(arch.items):
            records[row] = {"error": "uses an option without a row in the run's table, which its "
                                     "search never trained"}
    wanted = [place for place, row in enumerate(listed.rows.tolist())
              if "error" not in records[row]]
    try:
        for done, (place, found) in enumerate(evaluator.evaluate([scored[p] for p in wanted]), 1):
            records[int(listed.rows[wanted[place]])] |= _scored(found)
            progress("evaluating", done, len(wanted))
    except (TaskError, DivergedError) as error:  # the lines that are done are not lost
        for place in wanted:
            record = records[int(listed.rows[place])]
            if not {"top1", "error"} & set(record):
                record["error"] = str(error)
    return records


def _scored(found: Evaluation) -> dict[str, Any]:
    """Return what ``hwnas evaluate`` prints of an evaluation beside the id."""
    if found.error is not None:
        return {"error": found.error}
    objectives = found.objectives
    loss = {"loss": objectives["loss"].value} if "loss" in objectives else {}
    return {"top1": objectives["top1"].value, **loss, "source": objectives["top1"].source}


def _spellings(archs: Path, name: str) -> list[str]:
    """Return the spaces that the lines name and that are ``name`` but for its parameters."""
    found = set()
    own, _, digest = name.partition("@")  # a user's own space; its digest changes with the classes
    base = own.partition(":")[0]
    for line in archs.read_bytes().splitlines() if archs.is_file() else ():
        try:
            given = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        space = given.get("space") if isinstance(given, dict) else None
        if not isinstance(space, str) or space in found:
            continue
        if digest and space.partition("@")[0] == own:
            found.add(space)
        elif not digest and space.partition(":")[0] == base:
            with suppress(InputError):  # parameters it does not have: the line will be told so
                found.add(load_space(space).name)
    return sorted(found)


def retrain_run(
    path: Path,
    *,
    top: int | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    init: Path | None = None,
    init_arch: str | None = None,
    data: str | None = None,
    data_root: Path | None = None,
    progress: Progress = no_progress,
    say: Say = _silent,
) -> dict[str, Any]:
    """Train a run's finalists, from scratch or from published weights; return retrained.json.

    ``data`` are images instead of the run's own; the networks get their classes. 0 ``epochs`` leave
    published weights as they are, but for the batch norms' statistics.

    Raises:
        UsageError: there are no images, or the space has no such published weights.
        InputError: ``init`` is not a file of such weights; lists all differences.
    """
    run = _reopen(path, progress=progress, say=say)
    changes = {name: value for name, value in (("epochs", epochs or None), ("lr", lr))
               if value is not None}
    config = run.config
    if changes:
        given = config.retrain.recipe.model_dump() | changes
        if "warmup_epochs" not in changes:
            given["warmup_epochs"] = min(given["warmup_epochs"], given["epochs"])
        recipe = parse_model(RecipeModel, given, what="options of hwnas retrain")
        retrain = config.retrain.model_copy(update={"recipe": recipe})
        config = config.model_copy(update={"retrain": retrain})
    if data is not None:
        config = _on_data(config, data, str(data_root) if data_root else None)
    run = Run(run.folder, config, progress, say)
    run.require_data()
    if run.space.name != run.as_searched.space.name:
        say(f"latencies were predicted for {run.as_searched.space.name}; what is trained, exported "
            f"and measured is {run.space.name}")
    given_init = None if init is None else Init(init, init_arch)
    if not retraining.retrain(run, top, given_init, only_calibrate=epochs == 0):
        say(f"{path} holds retrained.json already: nothing to do")
    found: dict[str, Any] = read_json(run.folder.file("retrained.json"))
    return found


def export_run(
    path: Path,
    *,
    formats: Sequence[str],
    precisions: Sequence[str] | None = None,
    progress: Progress = no_progress,
    say: Say = _silent,
) -> dict[str, Any]:
    """Export a run's trained finalists; return their model files and parity.

    ``precisions`` None: fp32, and those of the run's targets.
    """
    run = _reopen(path, progress=progress, say=say, trained=True)
    changes: dict[str, Any] = {"formats": _formats(formats)}
    if precisions is not None:
        changes["precisions"] = tuple(precision_of(name) for name in precisions)
    config = run.config.model_copy(update=changes)
    if not stages.export(Run(run.folder, config, progress, say)):
        say(f"{path} holds export/index.json already: nothing to do")
    index = run.folder.read("export/index.json", stages.EXPORTED)
    return {"models": [
        {"path": str(run.folder.file(f"export/{network['arch_id']}/{entry['file']}")), **entry}
        for network in index["networks"] for entry in network["formats"].values()
    ]}


def _formats(formats: Sequence[str]) -> tuple[Any, ...]:
    unknown = [name for name in formats if name not in ("onnx", "tflite")]
    if unknown or not formats:
        raise UsageError(f"--format {','.join(formats)!r}: allowed are onnx, tflite or both")
    return tuple(formats)


def export_arch(
    path: Path,
    formats: Sequence[str],
    *,
    space: str | None,
    weights: Path | None,
    out: Path,
    weights_of: str | None = None,
    precisions: Sequence[str] = ("fp32",),
) -> dict[str, Any]:
    """Export one architecture with given weights, or its initial ones; return its model files.

    With ``weights_of`` the weights are a published model's of that name, a state dict of
    torchvision or timm; the network must be that model's.

    Without images of its own, parity is measured on fixed noise, and int8 calibrated on other
    noise; the preprocessing says mean 0 and deviation 1.

    Raises:
        UsageError: int8 of given weights, whose ranges noise does not tell.
    """
    wanted = tuple(precision_of(name) for name in precisions)
    if "int8" in wanted and weights is not None:
        raise UsageError("--precision int8 with --weights needs training images to measure ranges "
                         "on, which an architecture file does not bring. Next: export the run the "
                         "weights were trained in, with --run")
    value = read_arch(path)
    loaded = load_space(space or value["space"])
    if loaded.name != value["space"]:
        raise InputError(str(path), [f"is of space {value['space']}, not of {loaded.name}"])
    arch = loaded.arch(value["choices"])
    layers, network = loaded.layers(arch), build(loaded, arch)
    own = out / arch.arch_id / "weights.safetensors"
    used = own if weights is None or weights_of is not None else weights
    if weights is not None and weights_of is not None:
        load_reference(network, weights_of, read_tensors(weights))
    elif weights is not None:
        load_weights(network, weights)
    if used == own:
        save_weights(network, own)
    shape = (PARITY_IMAGES, *layers[0].in_shape)
    noise = stream(0, "parity images").standard_normal(shape, dtype=np.float32)
    written = write_bundle(
        out,
        network=network,
        layers=layers,
        wiring=loaded.wiring(arch),
        arch_json=arch.to_json(),
        weights=used,
        images=torch.from_numpy(noise),
        preprocessing={
            "input_size": list(layers[0].in_shape[1:]),
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "class_names": [str(number) for number in range(loaded.num_classes)],
        },
        cache=ConversionCache(),
        formats=_formats(formats),
        precisions=wanted,
        calibration=NormalData() if "int8" in wanted else None,
    )
    return {"models": [{"path": str(out / arch.arch_id / entry["file"]), **entry}
                       for entry in written["formats"].values()]}


def bench_run(
    path: Path, *, progress: Progress = no_progress, say: Say = _silent
) -> dict[str, Any]:
    """Measure a run's finalists and shelf models, choose the winner; return the bench file."""
    run = _reopen(path, progress=progress, say=say, trained=True)
    if not verdict.bench_finalists(run):
        say(f"{path} holds its bench file already: nothing to measure")
    verdict.choose_winner(run)
    found: dict[str, Any] = read_json(run.folder.file(verdict.bench_file(run.target(0))))
    return found


def cross_runs(paths: Sequence[Path], *, say: Say = _silent) -> Matrix:
    """Return the network of each run on the device of each run.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
        InputError: a run has no answer, or they cannot be compared.
    """
    folders = {path: RunFolder.existing(path) for path in paths}

    def load(path: Path, name: str) -> SearchSpace:
        # a user's own space is named by its file, which the configuration holds
        if "@" not in name:
            return load_space(name)
        return Run(folders[path], folders[path].config(), no_progress, say).space

    return cross(paths, load, lambda space, table: predictor_of(space, table, say).predict_arch_ms)


def bench_models(
    models: Sequence[Path],
    device: str,
    runtime: str | None,
    threads: int | None,
    affinity: str | None,
    *,
    rounds: int | None = None,
    lut: Path | None = None,
    progress: Progress = no_progress,
    say: Say = _silent,
) -> dict[str, Any]:
    """Measure model files; predicted beside where an arch.json lies beside and a table is given."""
    target = make_target(load_device(device), runtime or _runtime_of(models), "fp32", threads,
                         affinity)
    names = {str(path): path for path in models}
    check_models(names, target)
    precisions = {path: file_precision(path) for path in models}
    if lut is not None and len(set(precisions.values())) > 1:
        raise UsageError("--lut holds latencies of one precision, the models are of several: "
                         + ", ".join(f"{path} {found}" for path, found in precisions.items()))
    target = replace(target, precision=precisions[models[0]])
    predicted = _predictions(models, lut, target, say) if lut else {}
    with open_runner(target) as runner:
        found = bench(names, target, runner, rounds=rounds, progress=progress)
    rows = [
        {"name": model.name, "model": model.model.name, "precision": precisions[model.model],
         "measurement": model.measurement.to_json(),
         "round_medians_ms": list(model.round_medians_ms),
         "predicted_ms": predicted.get(model.model)}
        for model in found.models
    ]
    return {
        "device": target.device.name,
        "runtime": target.runtime,
        "runtime_version": found.runtime_version,
        "threads": target.threads,
        "affinity": target.affinity,
        "state_before": dict(found.state_before),
        "state_after": dict(found.state_after),
        "rows": rows,
    }


def _runtime_of(models: Sequence[Path]) -> str:
    suffixes = {path.suffix for path in models}
    for runtime, name in MODEL_FORMAT.items():
        if suffixes == {f".{name}"}:
            return runtime
    raise UsageError(f"cannot tell the runtime of {', '.join(map(str, models))}: measure *.tflite "
                     "or *.onnx files, one kind at a time")


def _predictions(
    models: Sequence[Path], lut: Path, target: Target, say: Say
) -> dict[Path, float]:
    """Return the predicted ms of each model with an arch.json beside it.

    Raises:
        UsageError: the table is of another device, runtime, precision or number of threads.
    """
    table = load_tables(lut)
    header = table.header
    measured = (header.device, header.runtime, header.precision, header.threads)
    wanted = (target.device.name, target.runtime, target.precision, target.threads)
    if measured != wanted:
        raise UsageError(f"{lut} holds latencies of {_spelt(*measured)}, but {_spelt(*wanted)} is "
                         "to be measured. Next: give the table of that target, or leave out --lut")
    predicted = {}
    for model in models:
        description = model.parent / "arch.json"
        if description.is_file():
            value = read_arch(description)
            space = load_space(value["space"])
            predictor = predictor_of(space, table, say)
            predicted[model] = predictor.predict_arch_ms(space.arch(value["choices"]))
    return predicted


def _spelt(device: str, runtime: str, precision: str, threads: int) -> str:
    return f"{device} ({runtime}, {precision}, {threads} thread(s))"


def whole_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
    say: Say = _silent,
) -> dict[str, Any]:
    """Carry out every stage that is missing; return the winner and the report's path."""
    run = _begin(config, out, resume=resume, benches=True, progress=progress, say=say)
    stages.search(run)
    retraining.retrain(run)
    stages.export(run)
    verdict.bench_finalists(run)
    verdict.choose_winner(run)
    report = write_report(run.folder.path)
    return {"winner": read_json(run.folder.file("winner.json")), "report": str(report)}


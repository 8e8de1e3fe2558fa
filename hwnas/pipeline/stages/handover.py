"""``winner/``: the winner's files in one folder, copied, to be taken into an application."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hwnas.artifacts.exported import ExportFile, ModelFilePart, NetworkFile, PreprocessingPart
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import StorageError
from hwnas.io.journal import write_json, write_whole
from hwnas.pipeline.context import Context

logger = logging.getLogger(__name__)

FOLDER = "winner"


def hand_over(context: Context) -> Path | None:
    """Copy the winner's files to ``winner/`` of the run; return that folder.

    None, with a warning, where files of the export are missing: a run that was thinned out.

    It holds the model files, ``labels.txt`` (a class a line, in the order of the logits),
    ``preprocessing.json``, ``arch.json``, ``weights.safetensors`` and ``README.txt``. It is written
    whole beside an older one and takes its place; it is written anew each time, so that it is that
    of ``winner.json``.

    Raises:
        StorageError: the folder cannot be written; an older one is unchanged.
        InputError: a file of the export is missing or broken.
    """
    winner = context.folder.read(WinnerFile)
    source = context.folder.exported(winner.arch_id, NetworkFile.FILE).parent
    network = NetworkFile.read(source / NetworkFile.FILE)
    formats = ExportFile.read(source / ExportFile.FILE).formats
    out = context.folder.file(FOLDER)
    models = [context.folder.exported(winner.arch_id, entry.file) for entry in formats.values()]
    weights = context.folder.weights(winner.network_id)
    missing = [str(path) for path in (*models, weights) if not path.is_file()]
    if missing:
        logger.warning(f"{out} is not written: {', '.join(missing)} is missing")
        return None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", dir=out.parent))
        os.chmod(scratch, 0o755)
        try:
            for model in models:
                shutil.copyfile(model, scratch / model.name)
            shutil.copyfile(source / NetworkFile.FILE, scratch / NetworkFile.FILE)
            shutil.copyfile(weights, scratch / "weights.safetensors")
            labels = [" ".join(name.splitlines()) for name in network.preprocessing.class_names]
            write_whole(scratch / "labels.txt", "".join(f"{label}\n" for label in labels))
            write_json(scratch / "preprocessing.json", network.preprocessing.to_json())
            write_whole(scratch / "README.txt", readme(winner, network.preprocessing, formats))
            if out.is_dir():
                shutil.rmtree(out)
            os.replace(scratch, out)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error}") from error
    return out


def readme(
    winner: WinnerFile, preprocessing: PreprocessingPart, formats: Mapping[str, ModelFilePart]
) -> str:
    """Return how to use the files: what goes in, what comes out, and a program for each format."""
    height, width = preprocessing.input_size
    measured = "not measured" if winner.measured_ms is None else f"{winner.measured_ms:.4g} ms"
    test = "" if winner.test is None else f", test top-1 {100 * winner.test.top1:.1f} %"
    lines = [
        f"Network {winner.arch_id}: {measured} (budget {winner.budget_ms:.4g} ms){test}.",
        "",
        "Input: one RGB image. Crop the largest centred square, resize it to "
        f"{height} x {width} (bilinear, antialiased), scale to 0..1, subtract mean "
        f"{_triple(preprocessing.mean)}, divide by std {_triple(preprocessing.std)}.",
        f"Output: {len(preprocessing.class_names)} logits; labels.txt names them in their order.",
        "preprocessing.json holds the same as data, arch.json the network, weights.safetensors "
        "its weights for hwnas.build.",
    ]
    for entry in formats.values():
        lines += ["", *_usage(entry)]
    return "\n".join(lines) + "\n"


def _triple(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


def _usage(entry: ModelFilePart) -> list[str]:
    """Return the use of one file from Python, with its tensors."""
    ends = [
        f"  {kind} {tensor.name}: {tensor.dtype} {list(tensor.shape)}"
        + ("" if tensor.scale is None else f", {tensor.scale:.6g} * (q - {tensor.zero_point})")
        for kind, tensors in (("input", entry.inputs), ("output", entry.outputs))
        for tensor in tensors
    ]
    head = [f"{entry.file} ({entry.precision}, {entry.layout.upper()})", *ends]
    if entry.file.endswith(".onnx"):
        return [
            *head,
            "  import onnxruntime",
            f"  session = onnxruntime.InferenceSession({json.dumps(entry.file)})",
            f"  (logits,) = session.run(None, {{{json.dumps(entry.inputs[0].name)}: image}})",
        ]
    if entry.file.endswith(".tflite"):
        return [
            *head,
            "  from ai_edge_litert.interpreter import Interpreter",
            f"  run = Interpreter({json.dumps(entry.file)}).get_signature_runner()",
            f"  logits = run({_argument(entry)}=image)[{json.dumps(_result(entry))}]",
        ]
    return head


def _argument(entry: ModelFilePart) -> str:
    """Return the name of the signature's input: a tensor's name without its signature's."""
    return entry.inputs[0].name.removeprefix("serving_default_").partition(":")[0]


def _result(entry: ModelFilePart) -> str:
    name = entry.outputs[0].name.removeprefix("serving_default_").partition(":")[0]
    return name.removesuffix("_output")

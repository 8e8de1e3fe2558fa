"""``hwnas export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hwnas.cli.display import Display
from hwnas.cli.formatting import parity_text, percent_text
from hwnas.cli.options import AsJson, any_of, option
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError
from hwnas.export.formats import FORMATS, PRECISIONS

ARCH = "One architecture"


@verb("hwnas export --run r --format onnx,tflite")
def export(
    run: Annotated[Path | None, option("--run", help="A run with trained finalists.")] = None,
    arch: Annotated[
        Path | None, option("--arch", panel=ARCH, help="An architecture file, instead of --run.")
    ] = None,
    formats: Annotated[
        str, option("--format", help=f"{any_of(FORMATS)}, or several with commas between them.")
    ] = "onnx,tflite",
    precision: Annotated[
        str | None,
        option(
            "--precision",
            help=f"{any_of(PRECISIONS)}, or several; by default fp32 and the precisions of the "
            "run's targets.",
        ),
    ] = None,
    space: Annotated[
        str | None, option("--space", panel=ARCH, help="Its space, if that is a file.")
    ] = None,
    weights: Annotated[
        Path | None,
        option("--weights", panel=ARCH, help="Its weights (safetensors); by default random."),
    ] = None,
    weights_of: Annotated[
        str | None,
        option(
            "--weights-of",
            panel=ARCH,
            help="Name of the torchvision or timm model whose weights --weights holds.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option("--out", panel=ARCH, help="The folder to write to.  [default: export]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write ONNX and TFLite files; compare them with torch.

    The export fails where an fp32 file differs from torch by more than rounding, or an int8 file by
    more than the stated signal-to-noise ratio.
    """
    if (run is None) == (arch is None):
        raise UsageError("hwnas export needs either --run or --arch")
    if run is not None and (space, weights, weights_of, out) != (None, None, None, None):
        raise UsageError(
            "--space, --weights, --weights-of and --out belong to --arch: a run has its own"
        )
    if weights_of is not None and weights is None:
        raise UsageError("--weights-of names the model of the weights in --weights: give both")
    wanted = tuple(formats.split(","))
    precisions = None if precision is None else tuple(precision.split(","))
    with Display():
        if run is not None:
            from hwnas.pipeline.commands.runs import export_run

            found = export_run(run, formats=wanted, precisions=precisions)
        else:
            from hwnas.pipeline.commands.single import export_arch

            assert arch is not None
            found = export_arch(
                arch,
                wanted,
                space=space,
                weights=weights,
                out=out or Path("export"),
                weights_of=weights_of,
                precisions=precisions or ("fp32",),
            )
    if as_json:
        print_json(found.to_json())
        return
    print_table(
        ["model", "kB", "parity with torch", "same class", "images", "val top-1"],
        [
            [
                model.path,
                f"{model.file.bytes / 1e3:.0f}",
                parity_text(model.file.parity),
                f"{model.file.parity.top1_agreement:.1%}",
                str(model.file.parity.num_images),
                percent_text(model.file.val.top1) if model.file.val else "",
            ]
            for model in found.models
        ],
    )

"""``hwnas retrain``."""

from __future__ import annotations

from typing import Annotated

from hwnas.cli.display import Display
from hwnas.cli.formatting import percent_text
from hwnas.cli.options import DATA, TRAINING, AsJson, DataRoot, Init, InitArch, RunPath, option
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError


@verb("hwnas retrain --run r --top 3 --epochs 40")
def retrain(
    run: RunPath,
    top: Annotated[
        int | None,
        option("--top", panel=TRAINING, min=1, help="Finalists to train, per budget, best first."),
    ] = None,
    epochs: Annotated[
        int | None,
        option(
            "--epochs",
            panel=TRAINING,
            min=0,
            help="Instead of the run's own number. 0 (with --init): only estimate the statistics "
            "of batch norms.",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        option("--lr", panel=TRAINING, help="Instead of the run's own learning rate."),
    ] = None,
    folds: Annotated[
        int | None,
        option(
            "--folds",
            panel=TRAINING,
            min=0,
            max=20,
            help="Score by cross-validation with so many folds, for so many times the training: "
            "where val is small.",
        ),
    ] = None,
    init: Init = None,
    init_arch: InitArch = None,
    data: Annotated[
        str | None,
        option(
            "--data",
            panel=DATA,
            help="Images instead of the run's own. The networks get their classes; predicted "
            "latencies stay those of the searched networks.",
        ),
    ] = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train the finalists of a run.

    Trainings use the splits train and arch, from random weights or from --init. A training that was
    stopped continues from its last epoch.
    """
    from hwnas.pipeline.commands.runs import retrain_run

    if init_arch is not None and init is None:
        raise UsageError("--init-arch names the model of the weights in --init: give both")
    if data_root is not None and data is None:
        raise UsageError("--data-root is the folder of the data set of --data: give both")
    with Display():
        found = retrain_run(
            run,
            top=top,
            epochs=epochs,
            lr=lr,
            folds=folds,
            init=init,
            init_arch=init_arch,
            data=data,
            data_root=data_root,
        )
    if as_json:
        print_json(found.to_json())
        return
    by = found.finalists[0].val.folds
    print_table(
        [
            "finalist",
            "predicted (ms)",
            "search top-1",
            f"top-1 of {by} folds" if by else "val top-1",
        ],
        [
            [
                one.arch_id,
                f"{one.latency_ms:.4g}",
                percent_text(one.search_top1),
                percent_text(one.val.top1),
            ]
            for one in found.finalists
        ],
    )

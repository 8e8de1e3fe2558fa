"""``hwnas profile``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from hwnas.cli.display import Display
from hwnas.cli.formatting import print_validation
from hwnas.cli.options import (
    TARGET,
    Affinity,
    AsJson,
    Precision,
    Resume,
    Runtime,
    Seed,
    SpaceName,
    Threads,
    option,
)
from hwnas.cli.output import print_json, print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError

logger = logging.getLogger(__name__)

WHAT = "What is measured"
NumNetworks = "Whole networks"


@verb(
    "hwnas profile --device host --runtime onnxruntime --space tiny --out t.json",
    renamed={"--likes": "--augment-ops"},
)
def profile(
    device: Annotated[str, option("--device", panel=TARGET, help="A device's name or .yaml file.")],
    space: SpaceName,
    out: Annotated[Path, option("--out", help="The table to write.")],
    runtime: Runtime = "litert",
    precision: Precision = "fp32",
    threads: Threads = None,
    affinity: Affinity = None,
    calibrate: Annotated[
        int,
        option(
            "--calibrate",
            panel=WHAT,
            min=0,
            help="Networks to fit the sum of operations to; 0 leaves the sum as it is.",
        ),
    ] = 16,
    validate: Annotated[
        int, option("--validate", panel=WHAT, min=0, help="Networks to check predictions on.")
    ] = 0,
    scope: Annotated[
        str | None,
        option("--scope", panel=WHAT, help="Only networks of this option, as in resolution=160."),
    ] = None,
    ops: Annotated[
        int | None,
        option(
            "--ops",
            panel=WHAT,
            min=1,
            help="Measure at most this many operations, chosen so that --predictor op-predictor "
            "predicts the others best.",
        ),
    ] = None,
    augment_ops: Annotated[
        int,
        option(
            "--augment-ops",
            panel=WHAT,
            min=0,
            help="Also measure this many operations of other widths, to predict similar spaces.",
        ),
    ] = 0,
    seed: Seed = 0,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Measure the operations of a space; write a latency table.

    Each distinct operation is measured once for all networks of the space. Whole networks are
    measured as well (--calibrate), and a correction of the sum of operations is fitted to them.
    """
    from hwnas.device.device import load_device
    from hwnas.device.measurement import disturbance
    from hwnas.device.runner import make_target
    from hwnas.export.convert.cache import ConversionCache
    from hwnas.latency.profile.plan import ProfilePlan
    from hwnas.latency.table.scope import parse_scope
    from hwnas.space.catalogue import load_space

    target = make_target(load_device(device), runtime, precision, threads, affinity)
    plan = ProfilePlan(
        load_space(space),
        target,
        calibrate,
        validate,
        seed,
        parse_scope(scope) if scope else {},
        ops,
        augment_ops,
    )
    if plan.is_partial and augment_ops:
        raise UsageError(
            "--augment-ops needs all operations of the space: leave --ops out, or raise it"
        )
    from hwnas.latency.profile.profiler import profile as measure  # loads scipy

    logger.info(
        f"measures {len(plan.ops)} operations, {calibrate} networks to calibrate and {validate} to "
        "check predictions"
    )
    cache = ConversionCache()
    with Display():
        table = measure(plan, out, resume=resume, cache=cache)
    logger.info(
        f"models made: {cache.made['fp32']} fp32, {cache.made['int8']} int8; all others were in "
        f"{cache.root}"
    )
    slowed = disturbance(
        [
            network.measurement.value()
            for network in table.networks
            if network.space == plan.space.name
        ]
    )
    if slowed:
        logger.warning(slowed)
    if as_json:
        print_json(
            {
                "table": str(out),
                "num_ops": len(table.entries),
                "calibration": {k: c.model_dump() for k, c in table.calibration.items()},
                "validation": dict(table.validation),
            }
        )
        return
    print_text(
        f"{out}: {len(table.entries)} operations on {target.device.name} "
        f"({table.header.runtime_version}, {target.precision}, {target.threads} thread(s))"
    )
    if plan.is_partial:
        print_text(
            f"of {len(plan.ops)} operations of {plan.space.name}; use it with "
            "--predictor op-predictor"
        )
    print_validation(table)

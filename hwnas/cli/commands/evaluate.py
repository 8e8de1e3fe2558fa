"""``hwnas evaluate``."""

from __future__ import annotations

import json

from hwnas.cli.display import Display
from hwnas.cli.formatting import percent_text
from hwnas.cli.options import Archs, AsJson, RunPath
from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb
from hwnas.errors import HwnasError


@verb("hwnas evaluate --run r --archs archs.jsonl --json")
def evaluate(run: RunPath, archs: Archs, as_json: AsJson = False) -> None:
    """Score architectures as the search of a run does.

    Scores come from the run's supernet, from trainings with the search's recipe, or from its table
    or predictor. Each line of --archs gives one line of output.
    """
    from hwnas.pipeline.commands.evaluate import evaluate_run

    with Display():
        records = evaluate_run(run, archs)
    for record in records:
        if as_json:
            print_text(json.dumps(record.to_json()))
        elif record.error is not None:
            print_text(f"error: {record.error}")
        else:
            loss = "" if record.loss is None else f"  loss {record.loss:.4f}"
            print_text(
                f"{record.arch_id}  top-1 {percent_text(record.top1)}{loss}  {record.source}"
            )
    num_bad = sum(record.error is not None for record in records)
    if num_bad:
        raise HwnasError(
            f"{num_bad} of {len(records)} lines of {archs} could not be scored; the output holds "
            "the reason for each"
        )

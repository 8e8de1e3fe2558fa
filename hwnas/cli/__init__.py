"""The command line: each verb parses, calls one function and prints. Heavy imports are inside.

Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1
failed, 2 a wrong use, 130 interrupted.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from hwnas.cli.commands import flow, look, search
from hwnas.cli.output import guarded

VERBS = (
    "devices",
    "spaces",
    "lut",
    "profile",
    "predict",
    "search",
    "evaluate",
    "retrain",
    "export",
    "bench",
    "report",
    "run",
    "doctor",
)  # in the order of the flow


class _InOrder(TyperGroup):
    """Lists groups of commands among the verbs, instead of after them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order of the flow."""
        return list(VERBS)


app = typer.Typer(
    name="hwnas",
    cls=_InOrder,
    help="Find a network that meets a latency budget on your device, and prove it by measuring.",
    epilog="Example:  hwnas run --preset demo --out runs/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _verb(name: str, function: object, epilog: str) -> None:
    app.command(name, epilog=epilog)(guarded(function))


_verb("devices", look.devices, "Example:  hwnas devices")
app.add_typer(look.spaces_app, name="spaces")
app.add_typer(look.lut_app, name="lut")
_verb(
    "profile",
    flow.profile,
    "Example:  hwnas profile --device host --runtime onnxruntime --space tiny --out t.json",
)
_verb(
    "predict",
    look.predict,
    "Example:  hwnas predict --space tiny --lut t.json --archs archs.jsonl --json",
)
_verb(
    "search",
    search.search,
    "Example:  hwnas search --space tiny --lut t.json --budget-ms 0.1 --data digits --out r",
)
_verb("evaluate", search.evaluate, "Example:  hwnas evaluate --run r --archs archs.jsonl --json")
_verb("retrain", flow.retrain, "Example:  hwnas retrain --run r --top 3 --epochs 40")
_verb("export", flow.export, "Example:  hwnas export --run r --format onnx,tflite")
_verb("bench", flow.bench, "Example:  hwnas bench r --json")
_verb("report", flow.report, "Example:  hwnas report r")
_verb("run", flow.run, "Example:  hwnas run --preset demo --out runs/demo")
_verb("doctor", look.doctor, "Example:  hwnas doctor")


def main() -> None:
    """Run the command line."""
    app()

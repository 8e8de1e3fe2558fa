"""The command ``hwnas``: its verbs in the order of the flow, and the options before a verb.

Exit codes: 0 done, 1 failed, 2 a wrong use, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from hwnas import __version__
from hwnas.cli.output import INTERRUPTED, reported_errors
from hwnas.cli.verbs import (
    Entry,
    Quiet,
    Verbose,
    group_of,
    load_plugins_of,
    plugin_option,
)

_COMMANDS = "hwnas.cli.commands"


COMMANDS = {
    "devices": Entry(f"{_COMMANDS}.devices:devices", "List the devices that hwnas knows."),
    "spaces": Entry(f"{_COMMANDS}.spaces:app", "List the search spaces, show one, or audit one."),
    "lut": Entry(
        f"{_COMMANDS}.lut:app", "List, show, import, merge, compare and check latency tables."
    ),
    "profile": Entry(
        f"{_COMMANDS}.profile:profile",
        "Measure the operations of a space; write a latency table.",
    ),
    "predict": Entry(
        f"{_COMMANDS}.predict:predict", "Predict the latency of a list of architectures."
    ),
    "search": Entry(
        f"{_COMMANDS}.search:search",
        "Search a space under latency budgets; write a run folder.",
    ),
    "evaluate": Entry(
        f"{_COMMANDS}.evaluate:evaluate", "Score architectures as the search of a run does."
    ),
    "retrain": Entry(f"{_COMMANDS}.retrain:retrain", "Train the finalists of a run."),
    "export": Entry(
        f"{_COMMANDS}.export:export",
        "Write ONNX and TFLite files; compare them with torch.",
    ),
    "bench": Entry(
        f"{_COMMANDS}.bench:bench",
        "Measure models on a device; select the winner of a run.",
    ),
    "report": Entry(
        f"{_COMMANDS}.report:report", "Write the report of a run as one HTML page, or compare runs."
    ),
    "run": Entry(
        f"{_COMMANDS}.run:run",
        "Run all stages, from profile to report.",
    ),
    "init": Entry(
        f"{_COMMANDS}.starting.init:init",
        "Write the YAML file of a run on a folder of images, with comments.",
    ),
    "runs": Entry(f"{_COMMANDS}.runs:app", "List, show and compare run folders."),
    "examples": Entry(
        f"{_COMMANDS}.starting.examples:examples",
        "List the examples that come with hwnas, or copy them into a folder.",
    ),
    "cache": Entry(f"{_COMMANDS}.cache:app", "Show or clear the cache of converted models."),
    "doctor": Entry(
        f"{_COMMANDS}.doctor:doctor",
        "Check what this host, or a device, can do.",
    ),
}


VERBS = tuple(COMMANDS)

app = typer.Typer(
    name="hwnas",
    cls=group_of(COMMANDS),
    help="Find a neural network that meets a latency budget on your device, and measure it there.",
    epilog="Example:  hwnas run --preset demo --out runs/demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"hwnas {__version__}")
        raise typer.Exit


def _load_early(paths: list[Path] | None) -> list[Path] | None:
    """Load plugins before a verb is imported, so that its help text lists what they add."""
    with reported_errors():
        load_plugins_of(paths or [])
    return paths


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    plugin: Annotated[list[Path] | None, plugin_option(callback=_load_early)] = None,
) -> None:
    """Take the options that every verb has also before the verb; the verbs read them."""


def main() -> None:
    """Run the command line.

    Ctrl-C and SIGTERM interrupt the command, which ends what it has started; a second one ends it
    at once.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
    app(prog_name="hwnas")


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _end_at_once)
    signal.signal(signal.SIGTERM, _end_at_once)
    raise KeyboardInterrupt


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # workers end with this process, device agents with its pipe

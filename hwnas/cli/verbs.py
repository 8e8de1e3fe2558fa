"""How verbs become commands: imported on use, guarded, with options that all of them take.

A verb is a function in a module of its own under ``cli/commands``, decorated with :func:`verb`. A
:class:`CommandGroup` lists its verbs by import path and imports one when it is used, so that
``hwnas --help`` and shell completion load none of them.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from hwnas.cli.output import log_to_stderr, print_warning, reported_errors

COMMON = "Common options"
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print warnings and errors only.", rich_help_panel=COMMON),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Print debug messages and tracebacks.", rich_help_panel=COMMON
    ),
]


def plugin_option(callback: Callable[..., Any] | None = None) -> Any:
    """Return the option ``--plugin``."""
    return typer.Option(
        "--plugin",
        metavar="FILE",
        callback=callback,
        help="A Python file that adds operations, spaces, strategies or runtimes. "
        "hwnas runs it (repeatable).",
        rich_help_panel=COMMON,
    )


Plugins = Annotated[list[Path] | None, plugin_option()]


@dataclass(frozen=True)
class Verb:
    """A function of the command line and what its command needs beyond the signature.

    ``example`` ends the help text and must run. ``renamed`` maps earlier option names to the
    present ones: they are accepted with a warning, and are not in the help text.
    """

    function: Callable[..., None]
    example: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    def command(self, name: str) -> Any:
        """Return the command called ``name``."""

        class Command(VerbCommand):
            renamed = self.renamed

        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, cls=Command, epilog=f"Example:  {self.example}")(_guarded(self.function))
        return typer.main.get_command(app)


def verb(
    example: str, *, renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Verb]:
    """Return a decorator that makes a function a :class:`Verb`."""
    return lambda function: Verb(function, example, renamed or {})


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Return ``function`` with the common options, log output, and errors as exit codes."""
    signature = inspect.signature(function, eval_str=True)
    takes_context = "context" in signature.parameters

    @functools.wraps(function)
    def run(
        context: typer.Context,
        /,
        quiet: bool,
        verbose: bool,
        plugin: list[Path] | None,
        **options: Any,
    ) -> None:
        above = context.find_root().params
        level = level_of(
            quiet=quiet or above.get("quiet", False), verbose=verbose or above.get("verbose", False)
        )
        if takes_context:
            options["context"] = context
        with log_to_stderr(level), reported_errors(can_resume="resume" in options):
            load_plugins_of(plugin or [])  # those before the verb are loaded already
            function(**options)

    def wrapper(**options: Any) -> None:
        run(options.pop("context"), **options)

    functools.update_wrapper(wrapper, function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("quiet", keyword, default=False, annotation=Quiet),
        inspect.Parameter("verbose", keyword, default=False, annotation=Verbose),
        inspect.Parameter("plugin", keyword, default=None, annotation=Plugins),
    ]
    if not takes_context:
        added.append(inspect.Parameter("context", keyword, annotation=typer.Context))
    own = [one.replace(kind=keyword) for one in signature.parameters.values()]
    parameters = [*own, *added]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


def level_of(*, quiet: bool, verbose: bool) -> int:
    """Return the least level of log messages that are printed."""
    if quiet:
        return logging.WARNING
    return logging.DEBUG if verbose else logging.INFO


def load_plugins_of(paths: list[Path]) -> None:
    """Run the plugin files of ``--plugin``."""
    if paths:
        from hwnas.plugins.loading import load_plugins

        load_plugins(paths)


class VerbCommand(TyperCommand):
    """A command whose earlier option names still work, and whose help groups its options."""

    renamed: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace earlier option names by the present ones, with a warning, then parse."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*map(self._present, args[:end]), *args[end:]])

    def _present(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if name not in self.renamed:
            return argument
        print_warning(
            f"{name} is now called {self.renamed[name]}; the next version will not accept {name}"
        )
        return self.renamed[name] + equals + value

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments first, then each panel of options in the order of the signature."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panel = getattr(parameter, "rich_help_panel", None) or usual
                panels.setdefault(panel, []).append(record)
        common = [*panels.pop(COMMON, ()), *_help_option(panels["Options"])]
        for title, records in {**panels, COMMON: common}.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _help_option(records: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Take ``--help`` out of ``records`` and return it."""
    return [records.pop()] if records and "--help" in records[-1][0] else []


class Entry(NamedTuple):
    """Where a command is (``package.module:name`` of a Verb or Typer), and its line of help."""

    place: str
    summary: str


class _OnUse(MutableMapping[str, Any]):
    """The commands of a group by name, imported when they are asked for."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries, self._made = dict(entries), dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, _, attribute = self._entries[name].place.partition(":")
            with reported_errors():  # help texts list registries, which load installed plugins
                found = getattr(import_module(module), attribute)
            made = found.command(name) if isinstance(found, Verb) else typer.main.get_command(found)
            made.name = name
            self._made[name] = made
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        self._made.pop(name, None)
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._entries, **self._made})

    def __len__(self) -> int:
        return len({**self._entries, **self._made})


class CommandGroup(TyperGroup):
    """A group of commands that are imported on use, listed in the order of ``entries``."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _OnUse(self.entries)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in their order."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])


def group_of(entries: Mapping[str, Entry]) -> type[CommandGroup]:
    """Return a class of groups with these commands, for ``typer.Typer(cls=...)``."""
    return type("Group", (CommandGroup,), {"entries": entries})

"""Text of the reference pages, from the command line, the schemas and the registries."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import typer

import hwnas.artifacts
from hwnas.artifacts.base import Artifact
from hwnas.cli import app
from hwnas.device.device import list_devices
from hwnas.device.runtimes import RUNTIMES
from hwnas.device.transports import TRANSPORTS
from hwnas.export.formats import FORMATS, PRECISIONS
from hwnas.latency.models import LATENCY_MODELS
from hwnas.latency.table.library import bundled_tables
from hwnas.ops.kind import OPS
from hwnas.pipeline.config.run import RunConfig
from hwnas.plugins import Registry
from hwnas.search.evaluators.registry import EVALUATORS
from hwnas.search.strategies.registry import STRATEGIES
from hwnas.space.catalogue import SPACES

REGISTRIES: tuple[tuple[str, str, Registry[Any]], ...] = (
    ("Strategies", "`--strategy`, `search.strategy`", STRATEGIES),
    ("Evaluators", "`--evaluator`, `search.evaluator`", EVALUATORS),
    ("Spaces", "`--space NAME[:key=value,...]`", SPACES),
    ("Operations", "rows of tables, options of a space's YAML", OPS),
    ("Latency models", "`--predictor`", LATENCY_MODELS),
    ("Runtimes", "`--runtime`", RUNTIMES),
    ("Precisions", "`--precision`", PRECISIONS),
    ("Export formats", "`--format`", FORMATS),
    ("Transports", "`transport` of a device file", TRANSPORTS),
)


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield every verb with its full name, in the order of the command line."""
    if hasattr(group, "list_commands"):
        context = group.make_context("hwnas", ["--help"], resilient_parsing=True)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if found is not None and not found.hidden:
                yield from commands(found, (*path, name))
    else:
        yield " ".join(path), group


def option_rows(command: Any) -> Iterator[str]:
    """Yield a table row for each visible option and argument of a verb."""
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.name or '').upper()}`"
        text = getattr(parameter, "help", None) or ""
        default = parameter.default
        shown = "" if default in (None, False, ()) or callable(default) else f"`{default}`"
        yield f"| {names} | {cell(text)} | {shown} |"


def cli_page() -> str:
    """Return the reference of the command line."""
    lines = [
        "# Command line",
        "",
        "Results go to standard output, messages and progress to "
        "standard error. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.",
        "",
    ]
    for name, command in commands(typer.main.get_command(app), ("hwnas",)):
        lines += [f"## {name}", "", *(command.help or "").strip().splitlines(), ""]
        rows = list(option_rows(command))
        if rows:
            lines += ["| option | meaning | default |", "|---|---|---|", *rows, ""]
        if command.epilog:
            lines += ["```text", command.epilog.strip(), "```", ""]
    return "\n".join(lines) + "\n"


def type_text(schema: Mapping[str, Any], *, link: bool = True) -> str:
    """Return the type of a JSON schema's property in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if link else name
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(type_text(part, link=link) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_text(schema.get('items', {}), link=link)}"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", ">="),
            ("exclusiveMinimum", ">"),
            ("maximum", "<="),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return " ".join([str(schema.get("type", "any")), *bounds])


def default_text(value: Any) -> str:
    """Return a default; that of a nested object is in the object's own section."""
    return "see its section" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def schema_section(title: str, schema: Mapping[str, Any]) -> list[str]:
    """Return the section of one object of a JSON schema."""
    lines = [f"## {title}", ""]
    if schema.get("description"):
        lines += [str(schema["description"]), ""]
    lines += ["| key | type | default |", "|---|---|---|"]
    required = set(schema.get("required", ()))
    for name, part in schema.get("properties", {}).items():
        default = "required" if name in required else default_text(part.get("default"))
        lines.append(f"| `{name}` | {type_text(part)} | {cell(default)} |")
    return [*lines, ""]


def configuration_page() -> str:
    """Return the reference of a run's YAML file."""
    schema = RunConfig.model_json_schema()
    lines = [
        "# Run configuration",
        "",
        "The YAML file of `hwnas run FILE` and `hwnas search "
        "--config FILE`. `hwnas run --schema` prints the same as JSON schema.",
        "",
    ]
    lines += schema_section("RunConfig", schema)
    for name, part in schema.get("$defs", {}).items():
        if "properties" in part:
            lines += schema_section(name, part)
    return "\n".join(lines) + "\n"


def registries_page() -> str:
    """Return the reference of everything that is chosen by name."""
    lines = [
        "# Choices by name",
        "",
        "Each list is a registry. [Plugins](../guides/plugins.md) add "
        "entries from outside the package.",
        "",
    ]
    for title, where, registry in REGISTRIES:
        lines += [f"## {title}", "", f"Used by {where}.", "", "| name | | needs |", "|---|---|---|"]
        lines += [
            f"| `{entry.name}` | {cell(entry.help)} | {cell(', '.join(entry.needs))} |"
            for entry in registry.values()
        ]
        lines.append("")
    lines += [
        "## Devices",
        "",
        "| name | description | reached by | runtimes |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{d.name}` | {cell(d.description)} | {d.transport} | {', '.join(d.runtimes)} |"
        for d in list_devices()
    ]
    lines += [
        "",
        "## Tables",
        "",
        "Used by `--lut NAME`.",
        "",
        "| name | rows | space | source |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{table.name}` | {table.num_rows} | `{table.space}` | {cell(table.source)} |"
        for table in bundled_tables()
    ]
    return "\n".join(lines) + "\n"


def artifacts_of_runs() -> list[type[Artifact]]:
    """Return the schemas of all files of a run folder and of a bundle, by file name."""
    for module in pkgutil.iter_modules(hwnas.artifacts.__path__):
        importlib.import_module(f"hwnas.artifacts.{module.name}")
    found = [kind for kind in Artifact.__subclasses__() if hasattr(kind, "FILE")]
    return sorted(found, key=lambda kind: kind.FILE)


def files_page() -> str:
    """Return the reference of the files of a run folder."""
    lines = [
        "# Files",
        "",
        "Every file appears whole (written under another name, then renamed). "
        "Only `journal.jsonl` grows. Keys that a newer version added are ignored.",
        "",
    ]
    for kind in artifacts_of_runs():
        about = " ".join((kind.__doc__ or "").split()).replace("``", "`")
        schema = kind.model_json_schema()
        lines += [f"## {kind.FILE}", "", f"{about} Written by `{kind.WRITTEN_BY}`.", ""]
        lines += ["| key | type |", "|---|---|"]
        lines += [
            f"| `{name}` | {cell(type_text(part, link=False))} |"
            for name, part in schema.get("properties", {}).items()
        ]
        lines.append("")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return the generated pages by their path below ``docs/``."""
    return {
        "reference/cli.md": cli_page(),
        "reference/configuration.md": configuration_page(),
        "reference/files.md": files_page(),
        "reference/registries.md": registries_page(),
    }

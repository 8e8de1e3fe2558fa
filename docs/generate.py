"""Text of the reference pages, from the command line, the schemas and the registries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from hwnas.cli import app
from hwnas.pipeline.config.run import RunConfig


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


def type_text(schema: Mapping[str, Any]) -> str:
    """Return the type of a JSON schema's property in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(type_text(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_text(schema.get('items', {}))}"
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


def pages() -> dict[str, str]:
    """Return the generated pages by their path below ``docs/``."""
    return {
        "reference/cli.md": cli_page(),
        "reference/configuration.md": configuration_page(),
    }

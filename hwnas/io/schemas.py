"""The file border: YAML and JSON read safely into pydantic models, all problems at once."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hwnas.errors import InputError
from hwnas.io.journal import MAX_DEPTH, is_deep
from hwnas.io.renaming import rename_key


class FileSchema(BaseModel):
    """Base of every file's model: an unknown key is an error, values are not coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Old keys, dotted from the top of the file and through lists, by the key's new name."""


Model = TypeVar("Model", bound=BaseModel)
_QUOTE = "'"  # pydantic quotes the values it lists with it


MAX_YAML_BYTES = 1 << 20  # of settings and descriptions; a YAML reader in Python is slow
MAX_NODES = 100_000  # with every alias written out


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, refusing a key given twice instead of taking the last.

    It also refuses a document that is large once its aliases are written out, or that holds itself.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _num_nodes(node, {}) > MAX_NODES:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"holds more than {MAX_NODES} values, its aliases written out",
                node.start_mark,
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text or a number", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which quotes text that the loader would read as a number."""


# YAML 1.2's numbers with an exponent; YAML 1.1 asks for a point and a sign (1.0e-2), nobody does
for _kind in (_StrictLoader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def yaml_text(value: Any) -> str:
    """Return plain data as YAML, keys in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False)
    return text


def _num_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of nodes with aliases written out; an error of one that holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias holds itself", node.start_mark
            )
        return known[id(node)]
    known[id(node)] = 0
    children = (
        [child for pair in node.value for child in pair]
        if isinstance(node, yaml.MappingNode)
        else node.value
    )
    known[id(node)] = 1 + sum(_num_nodes(child, known) for child in children)
    return known[id(node)]


def read_yaml(path: Path) -> Any:
    """Read one YAML document of at most MAX_YAML_BYTES with the safe loader.

    Raises:
        InputError: the file is absent, unreadable, not text, or not YAML (names line and column).
    """
    text = read_text(path, MAX_YAML_BYTES)
    try:
        value = yaml.load(text, _StrictLoader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise InputError(str(path), [f"not YAML: {error}"]) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        # values that only look right, as the date 2001-02-31 or the number 1__e
        raise InputError(str(path), [f"holds a value that cannot be read: {error}"]) from error
    except RecursionError:
        raise InputError(str(path), ["is nested too deeply"]) from None
    if is_deep(value):
        raise InputError(str(path), [f"is nested more than {MAX_DEPTH} deep"])
    return value


def read_text(path: Path, max_bytes: int) -> str:
    """Return the text of a file; InputError if there is none, or more than ``max_bytes``."""
    try:
        with path.open("rb") as stream:
            payload = stream.read(max_bytes + 1)
        if len(payload) > max_bytes:
            raise InputError(
                str(path),
                [f"is larger than {max_bytes >> 20} MB, the most that is read of such a file"],
            )
        return payload.decode()
    except FileNotFoundError:
        raise InputError(str(path), ["there is no such file"]) from None
    except (OSError, ValueError) as error:
        raise InputError(str(path), [f"cannot be read as text: {error}"]) from error


def require_no_leaving_links(folder: Path, what: str) -> None:
    """Raise InputError, naming them, where links in ``folder``, at any depth, lead out of it.

    A folder made by somebody else could otherwise have files written, or read, anywhere.
    """
    root = os.path.realpath(folder)
    leaving = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(root):
                leaving.append(os.path.relpath(path, folder))
    if leaving:
        raise InputError(
            f"{what} {folder}",
            [f"{name} is a link that leads out of it" for name in sorted(leaving)],
            "put what it names in its place, or remove it",
        )


def load_model(model: type[Model], path: Path, *, next_step: str = "") -> Model:
    """Read ``path`` (YAML) as ``model``; InputError lists every problem with its place."""
    return parse_model(model, read_yaml(path), what=str(path), next_step=next_step)


def parse_model(model: type[Model], value: Any, *, what: str, next_step: str = "") -> Model:
    """Check ``value`` (as JSON would give it) against ``model``; InputError lists every problem.

    Old keys (``RENAMED``) are read under their new names, with a warning in the log.
    """
    if not isinstance(value, dict):
        raise InputError(
            what, [f"must hold keys and values, got {type(value).__name__}"], next_step
        )
    renamed: Mapping[str, str] = getattr(model, "RENAMED", {})
    for old, new in renamed.items():
        value = rename_key(value, old, new, what)
    try:
        text = json.dumps(value)
        # through JSON, so that tuples accept lists in strict mode
        return model.model_validate_json(text)
    except (TypeError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise InputError(
                what, [f"holds a value that is not plain data: {error}"], next_step
            ) from error
        problems = _problems(model, json.loads(text), error)
        raise InputError(what, problems, next_step) from None


def _problems(model: type[BaseModel], value: Any, error: ValidationError) -> list[str]:
    details = error.errors()
    above = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return [
        f"{'.'.join(_place(value, detail)) or 'the file'}: {_complaint(model, detail)}"
        for detail in details
        # pydantic counts a list's wrong items, told of by themselves, as missing ones too
        if not (detail["type"] == "too_short" and detail["loc"] in above)
    ]


def _place(value: Any, detail: Any) -> list[str]:
    """Return the path to a problem in the file, without pydantic's names of a union's branches."""
    path = detail["loc"][:-1] if detail["type"] == "missing" else detail["loc"]
    place = []
    for part in path:
        inside = part in (
            value
            if isinstance(value, dict)
            else range(len(value))
            if isinstance(value, list)
            else ()
        )
        if inside:
            value = value[part]
            place.append(str(part))
    return place + [str(part) for part in detail["loc"][len(path) :]]


def _complaint(model: type[BaseModel], detail: Any) -> str:
    context, got = detail.get("ctx", {}), detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            known = _known_keys(model, detail["loc"][:-1])
            return "unknown key; " + (
                _meant(detail["loc"][-1], known) or f"known: {', '.join(known)}"
            )
        case "missing":
            return "is required and missing"
        case "value_error" if isinstance(got, dict):
            return str(context["error"])
        case "value_error":
            return f"{context['error']}, got {got!r}"
        case "literal_error" if detail["loc"][-1] == "[key]":
            return f"unknown key; known: {context['expected']}" + _likely(got, context["expected"])
        case "literal_error":
            return f"must be {context['expected']}, got {got!r}" + _likely(got, context["expected"])
        case "union_tag_invalid":
            return (
                f"{context['discriminator'].strip(_QUOTE)} must be one of "
                f"{context['expected_tags']}, got {context['tag']!r}"
                + _likely(context["tag"], context["expected_tags"])
            )
        case "union_tag_not_found":
            return f"{context['discriminator'].strip(_QUOTE)} is required and missing"
    return f"{detail['msg'].replace('Input should', 'must', 1)}, got {got!r}"


def _meant(word: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _likely(word: object, listed: str) -> str:
    """Return the suggestion for a value, from pydantic's list of quoted allowed ones."""
    meant = _meant(word, listed.split(_QUOTE)[1::2])
    return f"; {meant}" if meant else ""


def _known_keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the nested model that ``place`` leads to."""
    schema = model.model_json_schema()
    node: dict[str, Any] = schema
    for part in place:
        node = _resolved(schema, node)
        if isinstance(part, int):
            node = node.get("items") or node.get("prefixItems", [{}])[0]
        else:
            branches = node.get("anyOf") or node.get("oneOf") or [node]
            found = [
                b["properties"][part]
                for b in (_resolved(schema, b) for b in branches)
                if part in b.get("properties", {})
            ]
            extra = node.get("additionalProperties")
            node = found[0] if found else (extra if isinstance(extra, dict) else node)
    node = _resolved(schema, node)
    names: list[str] = []
    for branch in node.get("anyOf") or node.get("oneOf") or [node]:
        names += list(_resolved(schema, branch).get("properties", {}))
    return sorted(set(names))


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    resolved: dict[str, Any] = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return resolved

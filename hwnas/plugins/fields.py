"""Names from registries as fields of pydantic models: checked, and listed in JSON schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from hwnas.plugins.registry import Registry


class NameOf:
    """``Annotated[str, NameOf(RUNTIMES)]``: a name of that registry.

    The registry is read when a value is checked or a JSON schema is made, so that entries of
    plugins that were loaded in the meantime are known.
    """

    def __init__(self, registry: Registry[Any]) -> None:
        self._registry = registry

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of a string that is checked against the registry."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON schema: an enumeration of the names."""
        return {**handler(schema), "enum": list(self._registry.names())}

    def _checked(self, name: str) -> str:
        if name in self._registry:
            return name
        # pydantic's error of a Literal, which the file border words for users
        raise PydanticKnownError("literal_error", {"expected": quoted(self._registry.names())})


def quoted(names: Sequence[str]) -> str:
    """Return ``'a', 'b' or 'c'``."""
    listed = [f"'{name}'" for name in names]
    return " or ".join(filter(None, [", ".join(listed[:-1]), listed[-1]])) if listed else "nothing"

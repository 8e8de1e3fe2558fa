"""Registries: lookups, errors, lazily loaded built-in entries, who registered what."""

import sys
from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from hwnas import plugins
from hwnas.errors import UsageError
from hwnas.plugins.fields import NameOf, quoted
from hwnas.plugins.registry import Entry, Registry, load_object, resolved


@dataclass(frozen=True)
class Colour(Entry):
    hue: int


@pytest.fixture
def colours():
    registry: Registry[Colour] = Registry("colour", refused={"black": "it is no hue"})
    registry.add(Colour("red", "like blood", 0))
    registry.add(Colour("green", "like grass", 120))
    return registry


def test_entries_are_read_by_name_in_the_order_in_which_they_were_added(colours):
    assert list(colours) == ["red", "green"] == list(colours.names())
    assert colours["green"].hue == 120
    assert len(colours) == 2
    assert "red" in colours
    assert "grey" not in colours
    assert colours.help_text() == "red: like blood; green: like grass"
    assert colours.origin("red") is None


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(colours):
    message = r"colour 'gren' is not known; known: red, green; did you mean 'green'\?.*--plugin"
    with pytest.raises(UsageError, match=message):
        colours["gren"]
    with pytest.raises(UsageError, match="black: it is no hue"):
        colours["black"]


def test_a_registered_name_can_be_replaced_by_its_owner_only(colours):
    colours.register(Colour("blue", "like the sea", 240))
    colours.register(Colour("blue", "like the sky", 230))
    assert colours["blue"].hue == 230
    with pytest.raises(UsageError, match=r"colour 'red' is registered already, by hwnas"):
        colours.register(Colour("red", "like wine", 350))


BUILT_IN = (Entry("north", "up"), Entry("south", "down"))


def test_built_in_entries_are_loaded_when_the_registry_is_first_read(monkeypatch):
    registry: Registry[Entry] = Registry("direction", builtin=("directions:BUILT_IN",))
    monkeypatch.setitem(sys.modules, "directions", sys.modules[__name__])
    assert list(registry) == ["north", "south"]
    load_object.cache_clear()  # of a module that is gone after this test


def test_objects_are_named_by_import_path():
    assert load_object("json:dumps")([1]) == "[1]"
    assert resolved("json:dumps") is resolved(resolved("json:dumps"))


def test_a_field_of_names_is_checked_and_listed_in_the_schema(colours):
    class Paint(BaseModel):
        colour: Annotated[str, NameOf(colours)]

    assert Paint(colour="red").colour == "red"
    with pytest.raises(ValidationError, match="'red' or 'green'"):
        Paint(colour="grey")
    colours.register(Colour("blue", "like the sea", 240))
    assert Paint(colour="blue").colour == "blue"
    assert Paint.model_json_schema()["properties"]["colour"]["enum"] == ["red", "green", "blue"]


def test_names_are_quoted_as_a_sentence_lists_them():
    assert quoted(["a"]) == "'a'"
    assert quoted(["a", "b", "c"]) == "'a', 'b' or 'c'"


def test_every_public_name_of_plugins_and_every_registry_is_found():
    for name in plugins.__all__:
        assert getattr(plugins, name) is not None
    assert sorted(plugins.__all__) == dir(plugins)
    for path in plugins.REGISTRIES.values():
        registry = load_object(path)
        assert isinstance(registry, Registry)
        assert all(entry.name == name and entry.help for name, entry in registry.items())

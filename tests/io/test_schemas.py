"""The file border: every problem at once, each with its place and a way out."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from hwnas.errors import InputError
from hwnas.io.schemas import FileSchema, load_model, parse_model, read_yaml, yaml_text


class Part(FileSchema):
    kernel: int
    stride: int = 1


class Plain(FileSchema):
    kind: Literal["plain"]


class Wide(FileSchema):
    kind: Literal["wide"]
    width: Annotated[int, Field(ge=1)]


Option = Annotated[Plain | Wide, Field(discriminator="kind")]


class Whole(FileSchema):
    schema_: Literal[1] = Field(alias="schema")
    name: str
    ratio: float = 1.0
    part: Part
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = Field(default_factory=dict)
    options: dict[str, Option] = Field(default_factory=dict)
    maybe: Part | None = None


GOOD = {"schema": 1, "name": "n", "part": {"kernel": 3}}


def problems(value: object) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        parse_model(Whole, value, what="the file", next_step="do this")
    assert caught.value.what == "the file"
    assert str(caught.value).endswith("Next: do this")
    return caught.value.problems


def test_a_good_file_is_read_with_its_defaults(tmp_path):
    path = tmp_path / "whole.yaml"
    path.write_text("schema: 1\nname: n\nratio: 2\npart: {kernel: 3}\nparts:\n  - kernel: 5\n")
    model = load_model(Whole, path)
    assert model == Whole(
        schema=1, name="n", ratio=2.0, part=Part(kernel=3), parts=(Part(kernel=5),)
    )
    with pytest.raises(ValidationError, match="frozen"):
        model.name = "other"


def test_all_problems_are_told_at_once_each_with_its_place():
    found = problems(
        {
            "schema": 2,
            "ratio": "2",
            "part": {"kernel": "3"},
            "parts": [{}, {"kernel": 1.5}],
        }
    )
    assert len(found) == 6
    for start in (
        "schema: ",
        "name: is required and missing",
        "ratio: ",
        "part.kernel: ",
        "parts.0.kernel: is required and missing",
        "parts.1.kernel: ",
    ):
        assert sum(problem.startswith(start) for problem in found) == 1, start
    assert any("got '3'" in problem for problem in found)


@pytest.mark.parametrize(
    ("extra", "place", "meant"),
    [
        ({"nmae": "x"}, "nmae", "name"),
        ({"shema": 1}, "shema", "schema"),
        ({"part": {"kernel": 3, "strid": 2}}, "part.strid", "stride"),
        ({"parts": [{"kernel": 3}, {"kernel": 3, "kernal": 2}]}, "parts.1.kernal", "kernel"),
        ({"named": {"a": {"kernel": 3, "strides": 2}}}, "named.a.strides", "stride"),
        ({"maybe": {"kernel": 3, "sride": 2}}, "maybe.sride", "stride"),
    ],
)
def test_a_misspelt_key_is_told_with_the_key_that_was_meant(extra, place, meant):
    assert problems({**GOOD, **extra}) == (f"{place}: unknown key; did you mean {meant!r}?",)


def test_a_key_like_no_other_is_told_with_the_known_ones():
    assert problems({**GOOD, "part": {"kernel": 3, "zzz": 1}}) == (
        "part.zzz: unknown key; known: kernel, stride",
    )


def test_a_misspelt_key_inside_a_tagged_option_is_told_with_its_place_and_suggestion():
    found = problems({**GOOD, "options": {"o": {"kind": "wide", "width": 1, "widht": 2}}})
    assert len(found) == 1
    assert found[0].startswith("options.o")
    assert found[0].endswith("widht: unknown key; did you mean 'width'?")


@pytest.mark.parametrize("value", [3, "3", True, None, 3.5, [3]])
def test_only_whole_numbers_pass_for_whole_numbers(value):
    whole = {**GOOD, "part": {"kernel": value}}
    if value == 3 and type(value) is int:
        assert parse_model(Whole, whole, what="the file").part.kernel == 3
    else:
        assert problems(whole)[0].startswith("part.kernel: ")


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_file_that_is_not_keys_and_values_says_so(value):
    assert problems(value) == (f"must hold keys and values, got {type(value).__name__}",)


def test_a_value_that_is_not_plain_data_is_an_input_error(tmp_path):
    path = tmp_path / "date.yaml"
    path.write_text("schema: 1\nname: 2024-01-01\npart: {kernel: 3}\n")
    with pytest.raises(InputError, match="not plain data"):
        load_model(Whole, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", "not YAML: .*"),
        (b"\xff\xfe\xfa", "cannot be read as text"),
        (b"!!python/object/apply:os.getcwd []", "not YAML: .*could not determine a constructor"),
    ],
)
def test_a_file_that_is_not_safe_yaml_is_refused(tmp_path, content, message):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"(?s)file.yaml.*{message}"):
        read_yaml(path)


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_yaml(tmp_path)


def test_numbers_with_an_exponent_are_numbers_and_text_like_them_stays_text(tmp_path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("{a: 1e-2, b: 4E5, c: -8e+1, d: .5e3, e: 1e-2x, f: '1e5', g: e5}")
    read = read_yaml(path)
    numbers = {"a": 0.01, "b": 4e5, "c": -80.0, "d": 500.0}
    assert read == {**numbers, "e": "1e-2x", "f": "1e5", "g": "e5"}
    path.write_text(yaml_text(read))
    assert read_yaml(path) == read

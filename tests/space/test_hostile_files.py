"""Arch lists and space files that are broken or meant to harm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwnas.arch import Arch
from hwnas.errors import HwnasError
from hwnas.space.archfile import arch_ids, read_arch, read_archs
from hwnas.space.catalogue import load_space, with_params
from tests.fuzzing import survives

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_space.yaml"


@pytest.mark.parametrize("name", ["tiny", "ofa-mbv3", "nasbench201", "darts", "mobile"])
def test_arch_lists_never_break_their_reader(name, tmp_path):
    space = load_space(name)
    [arch] = space.decode(space.repair(np.zeros((1, len(space.choices)), dtype=np.int16)))
    path = tmp_path / "a.jsonl"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        listed = read_archs(path, space)
        assert len(listed.rows) + len(listed.errors) == listed.num_lines
        assert len(arch_ids(space, listed.codes)) == len(listed.rows)
        for found in space.decode(listed.codes):
            space.layers(found)

    survives(read, json.dumps(arch.to_json()).encode() + b"\n", lines=True, examples=30)


def test_an_arch_never_breaks_its_reader(tmp_path):
    space = load_space("tiny")
    [arch] = space.decode(np.zeros((1, 5), dtype=np.int16))
    path = tmp_path / "a.json"

    def read(payload: bytes) -> Arch:
        path.write_bytes(payload)
        return space.arch(read_arch(path)["choices"])

    survives(read, json.dumps(arch.to_json()).encode())
    survives(read, json.dumps({"arch": arch.to_json()}).encode())


def test_space_files_never_break_their_reader(tmp_path):
    path = tmp_path / "s.yaml"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        space = load_space(str(path))
        space.factors()
        [arch] = space.decode(np.zeros((1, len(space.choices)), dtype=np.int16))
        assert sum(op.macs for op in space.layers(arch)) > 0

    survives(read, EXAMPLE.read_bytes(), is_json=False)
    survives(read, json.dumps(yaml.safe_load(EXAMPLE.read_text())).encode(), examples=100)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.builds(
            "{}:{}={}".format,
            st.sampled_from(["tiny", "proxyless", "mobile", "x.yaml", "../x.yaml"]),
            st.sampled_from(["num_classes", "input_size", "width_mult", ""]),
            st.sampled_from(
                ["1", "-1", "nan", "inf", "1e9", "9" * 5000, "٣", "0x10", "5,num_classes=6"]
            ),
        ),
    )
)
@example("tiny:num_classes=" + "9" * 5000)
@example("\x00.yaml")
def test_names_of_spaces_never_break_their_reader(name):
    for read in (load_space, lambda text: with_params(text, num_classes=5)):
        try:
            read(name)
        except HwnasError:
            continue

"""Weights and checkpoints that are broken or meant to harm: told, nothing executed."""

from __future__ import annotations

import pickle
import struct

import pytest
import torch
from torch import nn

from hwnas.errors import HwnasError, InputError
from hwnas.train.checkpoint import (
    Progress,
    load_checkpoint,
    load_weights,
    read_tensors,
    save_checkpoint,
    save_weights,
)
from tests.fuzzing import survives


@pytest.fixture
def network() -> nn.Module:
    return nn.Conv2d(2, 2, 1)


def test_weights_never_break_their_reader(network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(network, path)
    valid = path.read_bytes()
    size = struct.unpack("<Q", valid[:8])[0]
    header, body = valid[8 : 8 + size], valid[8 + size :]

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        read_tensors(path)
        load_weights(network, path)

    survives(read, valid, is_json=False)
    survives(lambda text: read(struct.pack("<Q", len(text)) + text + body), header)


def test_checkpoints_never_break_their_reader(network, tmp_path):
    path = tmp_path / "c.state"
    parts = {"network": network.state_dict(), "optimiser": {}, "average": {}, "companion": {}}
    save_checkpoint(path, {"seed": 1}, parts, Progress())
    valid = path.read_bytes()

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        load_checkpoint(path, {"seed": 1})

    survives(read, valid, is_json=False, examples=30)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": 3},
        {"progress": [1]},
        {"progress": {"x": 1}},
        {"schema": "a"},
        {"schema": 1},
        {"identity": {}},
        {"more": 1},
    ],
)
def test_checkpoints_of_another_shape_are_input_errors(network, tmp_path, change):
    path = tmp_path / "c.state"
    parts = {"network": network.state_dict(), "optimiser": {}, "average": {}, "companion": {}}
    save_checkpoint(path, {"seed": 1}, parts, Progress())
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(InputError):
        load_checkpoint(path, {"seed": 1})


def test_nothing_in_a_torch_file_is_executed(tmp_path):
    mark = tmp_path / "mark"

    class Harm:
        def __reduce__(self):
            import os

            return os.mkdir, (str(mark),)

    for name in ("a.pth", "b.state", "c.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"x": Harm()}))
        for read in (read_tensors, lambda path: load_checkpoint(path, {})):
            with pytest.raises(HwnasError):
                read(tmp_path / name)
    assert not mark.exists()

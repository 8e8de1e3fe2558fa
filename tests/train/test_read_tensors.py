from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hwnas.errors import InputError
from hwnas.train.checkpoint import read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


@pytest.mark.parametrize("kind", ["torch", "wrapped", "safetensors"])
def test_tensors_come_back(tmp_path, kind):
    path = tmp_path / ("f.safetensors" if kind == "safetensors" else "f.pth")
    if kind == "safetensors":
        save_file(TENSORS, path)
    else:
        torch.save({"state_dict": TENSORS} if kind == "wrapped" else TENSORS, path)
    found = read_tensors(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


def test_what_is_no_tensor_is_named(tmp_path):
    torch.save({"a": torch.zeros(1), "epoch": 3, "name": "x"}, tmp_path / "f.pth")
    with pytest.raises(InputError) as error:
        read_tensors(tmp_path / "f.pth")
    assert error.value.problems == ("epoch: int, not a tensor", "name: str, not a tensor")


@pytest.mark.parametrize("name", ["f.pth", "f.safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04cos\nsystem\n(S'true'\ntR."])
def test_broken_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a file of tensors alone"):
        read_tensors(tmp_path / name)

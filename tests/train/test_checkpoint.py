from __future__ import annotations

import pickle
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hwnas.data import Dataset
from hwnas.errors import InputError
from hwnas.train import Recipe, fit, load_weights, save_weights
from hwnas.train.checkpoint import network_digest, read_tensors

MakeNetwork = Callable[..., nn.Module]
ONE_EPOCH = Recipe(epochs=1, batch_size=64)


def test_weights_come_back_equal_from_a_plain_safetensors_file(
    make_network: MakeNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "w.safetensors"
    saved = make_network(seed=1).to(memory_format=torch.channels_last)
    loaded = make_network(seed=2)
    save_weights(saved, path)
    load_weights(loaded, path)
    in_file = load_file(path)
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
        assert torch.equal(in_file[name], value), name
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_weights_of_another_network_are_refused_with_the_differences(
    make_network: MakeNetwork, tmp_path: Path
) -> None:
    save_weights(make_network((1, 0, 1, 0, 2)), tmp_path / "w")
    other = make_network((1, 0, 3, 0, 2), seed=3)
    before = network_state(other)
    with pytest.raises(InputError, match=r"the network has \(48, 8, 1, 1\), the file \(24, 8"):
        load_weights(other, tmp_path / "w")
    assert all(torch.equal(a, b) for a, b in zip(before, network_state(other), strict=True))
    longer = make_network((1, 1, 1, 1, 2))
    with pytest.raises(InputError) as caught:
        load_weights(longer, tmp_path / "w")
    absent = set(longer.state_dict()) - set(load_file(tmp_path / "w"))
    assert {f"{name}: missing" for name in absent} < set(caught.value.problems)  # all of them


def network_state(network: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not weights"])
def test_a_broken_weights_file_is_named(
    make_network: MakeNetwork, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_weights(make_network(), tmp_path / "w")


def test_absent_weights_are_named(make_network: MakeNetwork, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_weights(make_network(), tmp_path / "w")


@pytest.fixture
def checkpoint(digits: Dataset, make_network: MakeNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "c.pt"
    fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=path)
    return path


def test_a_checkpoint_of_another_training_is_refused_and_every_difference_named(
    digits: Dataset, make_network: MakeNetwork, checkpoint: Path
) -> None:
    with pytest.raises(InputError) as caught:
        fit(
            make_network((1, 1, 1, 0, 2)),
            replace(digits, fingerprint="0" * 16),
            ("val",),
            replace(ONE_EPOCH, lr=0.01),
            seed=1,
            checkpoint=checkpoint,
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "network",
        "dataset",
        "splits",
        "recipe",
        "seed",
    ]


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_torn_checkpoint_is_refused(
    digits: Dataset, make_network: MakeNetwork, checkpoint: Path, keep: int
) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read"):
        fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=checkpoint)


def test_a_pickle_is_not_executed(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path
) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    torch.save(Attack(), tmp_path / "c.pt", pickle_module=pickle)
    with pytest.raises(InputError, match="cannot be read"):
        fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "owned").exists()


def test_a_file_of_another_kind_is_refused(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path
) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="not a training checkpoint of schema 2"):
        fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=tmp_path / "c.pt")


@pytest.mark.parametrize("content", [b"hello world\n", b"a: 1\nb: 2\n", b"1,2,3\n4,5,6\n"])
def test_a_text_is_refused_as_a_checkpoint(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == content


def test_a_newer_schema_is_refused_with_what_to_do(
    digits: Dataset, make_network: MakeNetwork, checkpoint: Path
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["schema"] += 1
    torch.save(state, checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(InputError, match=r"has schema 3, this version of hwnas reads schema 2"):
        fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_other_threads_are_warned_about(
    digits: Dataset, make_network: MakeNetwork, checkpoint: Path
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["machine"]["threads"] += 1
    torch.save(state, checkpoint)
    with pytest.warns(UserWarning, match="last digits"):
        fit(make_network(), digits, ("arch",), ONE_EPOCH, seed=0, checkpoint=checkpoint)


def test_the_digest_tells_architectures_apart_and_ignores_weights(
    make_network: MakeNetwork,
) -> None:
    codes = [(1, 0, 1, 0, 2), (1, 0, 1, 0, 1), (2, 0, 1, 0, 2), (1, 0, 3, 0, 2)]
    assert len({network_digest(make_network(code)) for code in codes}) == 4
    assert network_digest(make_network(seed=1)) == network_digest(make_network(seed=2))


@pytest.mark.parametrize("wrapping", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_are_read_as_training_programs_leave_them(tmp_path, wrapping, prefix) -> None:
    own = {"a.weight": torch.ones(2), "module.bias": torch.zeros(1)}
    state = {prefix + name: value for name, value in own.items()}
    path = tmp_path / "w.pth"
    torch.save(state if wrapping is None else {wrapping: state, "epoch": torch.tensor(3)}, path)
    found = read_tensors(path)
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in own.items()
    }

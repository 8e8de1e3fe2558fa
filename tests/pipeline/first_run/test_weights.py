"""Where published weights are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hwnas.errors import UsageError
from hwnas.pipeline.first_run.weights import places, weights_at_hand


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HWNAS_WEIGHTS", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def supernet(path: Path, channels: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "final_expand_layer.bn.weight": torch.ones(channels),
        "classifier.linear.bias": torch.zeros(1000),
    }
    torch.save({"state_dict": state}, path)
    return path


@pytest.mark.parametrize(
    ("place", "channels", "width"),
    [
        ("here/.torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0", 960, 1.0),
        (".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.2", 1152, 1.2),
        (".cache/torch/hub/checkpoints/ofa_mbv3_d234_e346_k357_w1.0.pth", 960, 1.0),
    ],
)
def test_they_are_found_where_others_programs_keep_them(home, place, channels, width):
    assert weights_at_hand(None) is None
    supernet(home / place, channels)
    found = weights_at_hand(None)
    assert found is not None
    assert found.path.resolve() == (home / place).resolve()
    assert (found.width_mult, found.num_classes) == (width, 1000)
    assert weights_at_hand("none") is None


def test_a_folder_or_file_of_ones_own_comes_first(home, monkeypatch):
    supernet(home / ".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0", 960)
    mine = supernet(home / "weights" / "mine.pth", 1152)
    monkeypatch.setenv("HWNAS_WEIGHTS", str(mine))
    assert weights_at_hand(None).path == mine
    monkeypatch.setenv("HWNAS_WEIGHTS", str(home / "nowhere"))
    with pytest.raises(UsageError, match=r"HWNAS_WEIGHTS is .*nowhere, which does not exist"):
        weights_at_hand(None)
    monkeypatch.setenv("TORCH_HOME", str(home / "t"))
    assert home / "t" / "hub" / "checkpoints" in places()

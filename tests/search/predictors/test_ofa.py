from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.errors import InputError, UsageError
from hwnas.rng import stream
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.predictors.ofa import load_ofa_predictor
from hwnas.search.strategies.population import random_codes
from hwnas.space.catalogue import load_space

SPACE = load_space("ofa-mbv3:width_mult=1.2")
DATA = Path(os.environ.get("HWNAS_TEST_DATA", "../shared/data")) / "ofa-note10"


def _network(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        network = nn.Sequential(
            nn.Linear(128, 400),
            nn.ReLU(),
            nn.Linear(400, 400),
            nn.ReLU(),
            nn.Linear(400, 400),
            nn.ReLU(),
            nn.Linear(400, 1),
        )
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.1, generator=generator)
    return network


@pytest.fixture
def saved(tmp_path):
    def save(change=lambda state: None) -> Path:
        state = _network().state_dict()
        change(state)
        torch.save(state, tmp_path / "predictor.pth")
        return tmp_path / "predictor.pth"

    return save


def _one_hot(choices) -> torch.Tensor:
    """The input as the paper's released predictor takes it, written out block by block."""
    kernels, expands = [], []
    for stage in range(1, 6):
        for block in range(1, 5):
            there = block <= choices[f"stage{stage}.depth"]
            name = f"stage{stage}.block{block}"
            kernels += [there and choices[f"{name}.kernel_size"] == k for k in (3, 5, 7)]
            expands += [there and choices[f"{name}.expand_ratio"] == e for e in (3, 4, 6)]
    resolution = [choices["resolution"] == r for r in range(112, 225, 16)]
    return torch.tensor([float(hot) for hot in kernels + expands + resolution])


def _oracle(network: nn.Module, codes) -> np.ndarray:
    with torch.no_grad():
        rows = torch.stack([_one_hot(arch.choices) for arch in SPACE.decode(codes)])
        return network(rows)[:, 0].double().numpy()


def _codes(count: int):
    return random_codes(SPACE, count, stream(0, "test"))


def test_scores_are_those_of_the_network_in_torch(saved):
    codes = _codes(150)
    np.testing.assert_allclose(
        load_ofa_predictor(saved(), SPACE).score(codes),
        _oracle(_network(), codes),
        rtol=2e-5,
        atol=2e-5,
    )


def test_a_score_does_not_depend_on_what_is_scored_beside_it(saved):
    predictor, codes = load_ofa_predictor(saved(), SPACE), _codes(150)
    together = predictor.score(codes)
    assert np.array_equal(predictor.score(codes[::-1])[::-1], together)
    assert predictor.score(codes[77:78])[0] == together[77]
    assert len(predictor.score(codes[:0])) == 0


def test_published_predictor():
    path = DATA / "acc_predictor.pth"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    codes = _codes(40)
    network = _network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    scores = load_ofa_predictor(path, SPACE).score(codes)
    np.testing.assert_allclose(scores, _oracle(network, codes), atol=1e-6)
    assert 0.7 < scores.min() < scores.max() < 0.9


def test_all_problems_of_a_file_are_listed(saved):
    def spoil(state):
        del state["2.bias"]
        state["8.weight"] = torch.zeros(1)
        state["0.weight"] = torch.zeros(400, 124)
        state["4.weight"][3, 5] = float("nan")
        state["6.bias"] = torch.zeros(1, dtype=torch.int64)

    with pytest.raises(InputError) as error:
        load_ofa_predictor(saved(spoil), SPACE)
    assert len(error.value.problems) == 5
    for part in (
        "2.bias: missing",
        "8.weight: unexpected",
        "(400, 128), got (400, 124)",
        "4.weight: 1 of 160000 values are NaN",
        "6.bias: not of floating point",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04cos\nsystem\n(S'true'\ntR."])
def test_no_torch_file_and_nothing_is_executed(tmp_path, content):
    (tmp_path / "f.pth").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a file of tensors alone"):
        load_ofa_predictor(tmp_path / "f.pth", SPACE)


def test_a_pickled_object_is_refused(tmp_path):
    torch.save(_network(), tmp_path / "f.pth")
    with pytest.raises(InputError, match="cannot be read as a file of tensors alone"):
        load_ofa_predictor(tmp_path / "f.pth", SPACE)
    torch.save([torch.zeros(1)], tmp_path / "g.pth")
    with pytest.raises(InputError, match="not named tensors"):
        load_ofa_predictor(tmp_path / "g.pth", SPACE)
    with pytest.raises(InputError, match="no such file"):
        load_ofa_predictor(tmp_path / "none.pth", SPACE)


@pytest.mark.parametrize("name", ["tiny", "proxyless"])
def test_a_space_it_cannot_encode(saved, name):
    with pytest.raises(UsageError, match="Spaces it can score: ofa-mbv3"):
        load_ofa_predictor(saved(), load_space(name))


def test_evaluator_says_what_the_predictor_says(saved):
    predictor, codes = load_ofa_predictor(saved(), SPACE), _codes(5)
    found = dict(PredictorEvaluator(SPACE, predictor).evaluate(SPACE.decode(codes)))
    assert [found[n].objectives["top1"].value for n in range(5)] == predictor.score(codes).tolist()
    assert {found[n].objectives["top1"].source for n in range(5)} == {"predictor"}


def test_a_missing_score_is_an_error_of_its_own():
    class Partial:
        source = "table"

        def score(self, codes):
            return np.where(np.arange(len(codes)) == 1, np.nan, 0.5)

    found = dict(PredictorEvaluator(SPACE, Partial()).evaluate(SPACE.decode(_codes(3))))
    assert [found[n].error is None for n in range(3)] == [True, False, True]
    assert not found[1].objectives

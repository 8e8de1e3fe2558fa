from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hwnas.errors import InfeasibleError, InputError, UsageError
from hwnas.pipeline.commands.first_run import plan_run
from hwnas.pipeline.config.run import parse_config
from hwnas.pipeline.first_run.template import commented
from hwnas.pipeline.first_run.weights import PublishedWeights
from hwnas.space.catalogue import load_space
from hwnas.train.ofa_weights import expected_shapes


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images") / "my photos", np.random.default_rng(0)
    for name in ("cat", "no: yes"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def first(photos):
    return plan_run(photos, 1000.0, runtime="onnxruntime")


def test_a_plan_says_what_was_found_and_what_will_be_done(photos, said):
    found = plan_run(photos, 1000.0, runtime="onnxruntime")
    text = "\n".join(said)
    assert "2 classes, 40 images of about 32 pixels; 24 train, 4 arch, 4 val, 8 test" in text
    assert "cannot be told apart on it" in text
    assert f"reaches {found.choice.reach} on host (onnxruntime)" in text
    assert "every network of macro-cifar:num_classes=2 is within 1000 ms" in text
    assert found.seconds == sum(one.seconds for one in found.times) > 0
    assert 0 < found.choice.reach.low_ms < found.choice.reach.high_ms


def test_the_written_file_is_the_plan_with_comments(first):
    text = commented(first.facts, first.choice, first.config, "photos.yaml")
    content = yaml.safe_load(text)
    assert parse_config(content, what="photos.yaml") == first.config
    assert f"take {first.choice.reach} on this device" in text
    assert text.count("#") > 6


def test_a_missing_budget_is_answered_with_what_can_be_reached(photos):
    with pytest.raises(UsageError, match=r"--budget-ms is needed: networks of macro-cifar.* take"):
        plan_run(photos, None, runtime="onnxruntime")


def test_a_budget_below_every_space_is_refused_before_any_training(photos):
    with pytest.raises(InfeasibleError, match="too small for the spaces that suit these images"):
        plan_run(photos, 1e-4, runtime="onnxruntime")


def write_supernet(path, width_mult, classes=7):
    """A checkpoint of Once-for-All's form with random weights; small ones take no time."""
    generator = torch.Generator().manual_seed(0)
    space = load_space(f"ofa-mbv3:num_classes={classes},width_mult={width_mult}")
    state = {
        name: torch.zeros(()).long()
        if name.endswith("num_batches_tracked")
        else 0.1 * torch.rand(shape, generator=generator) + 0.1
        for name, shape in expected_shapes(space).items()
    }
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def large_photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("large") / "photos", np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for image in range(20):
            pixels = rng.integers(100 * number, 100 * number + 100, (132, 140, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{image}.png")
    return root


def test_networks_begin_with_the_published_weights_that_are_at_hand(
    large_photos, tmp_path, monkeypatch, said
):
    monkeypatch.setenv("HWNAS_WEIGHTS", str(tmp_path))
    file = write_supernet(tmp_path / "ofa_mbv3_d234_e346_k357_w0.1", 0.1)
    first = plan_run(large_photos, 1000.0, runtime="onnxruntime", folds=2)
    assert first.weights == PublishedWeights(file, 0.1, 7)
    config = first.config
    assert config.space == "ofa-mbv3:num_classes=2,resolution=128,width_mult=0.1"
    assert (config.search.strategy, str(config.search.evaluator)) == ("evolution", "supernet")
    assert config.search.supernet.init == config.retrain.init == str(file)
    assert config.retrain.folds == 2
    assert config.retrain.recipe.lr == pytest.approx(0.025 / 4, rel=0.01)
    assert f"published weights: {file} (Once-for-All's supernet of width 0.1" in "\n".join(said)
    text = commented(first.facts, first.choice, config, "photos.yaml")
    assert parse_config(yaml.safe_load(text), what="photos.yaml") == config


def test_weights_are_left_out_where_they_do_not_suit(photos, large_photos, tmp_path, said):
    file = str(write_supernet(tmp_path / "supernet.pth", 0.1))
    assert plan_run(photos, 1000.0, runtime="onnxruntime", init=file).weights is None
    assert "not used, they are of photographs, not 32 px" in "\n".join(said)
    said.clear()
    slow = plan_run(large_photos, 0.5, runtime="onnxruntime", init=file)
    assert slow.weights is None
    assert slow.config.space.startswith("proxyless:")
    assert slow.config.retrain.init is None
    assert "published weights: not used; a budget of 0.5 ms is too small" in "\n".join(said)


def test_it_is_said_when_no_weights_are_at_hand(large_photos, monkeypatch, tmp_path, said):
    monkeypatch.delenv("HWNAS_WEIGHTS", raising=False)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    plan_run(large_photos, 1000.0, runtime="onnxruntime")
    text = "\n".join(said)
    assert "no published weights are at hand: networks learn from 24 training images alone" in text
    assert "--folds 5, a cross-validation of 32 images" in text
    said.clear()
    plan_run(large_photos, 1000.0, runtime="onnxruntime", init="none", folds=0)
    assert not [line for line in said if "published" in line or "--folds" in line]


def test_a_file_that_is_no_supernet_is_refused(large_photos, tmp_path):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"holds no classifier\.linear\.bias"):
        plan_run(large_photos, 20.0, init=str(tmp_path / "model.pth"))
    with pytest.raises(UsageError, match=r"--init absent\.pth: there is no such file"):
        plan_run(large_photos, 20.0, init="absent.pth")

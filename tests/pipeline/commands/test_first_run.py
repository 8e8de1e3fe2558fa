from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from hwnas.errors import InfeasibleError, UsageError
from hwnas.pipeline.commands.first_run import commented, plan_run
from hwnas.pipeline.config.run import parse_config


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
    text = commented(first, "photos.yaml")
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

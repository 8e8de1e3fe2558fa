from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.errors import InputError, UsageError
from hwnas.nn.elastic_supernet import ElasticSupernet
from hwnas.space.catalogue import load_space
from hwnas.space.zoo.archs import known_archs
from hwnas.train.ofa_weights import expected_shapes
from hwnas.train.published_supernet import begin_with

DATA = Path(os.environ.get("HWNAS_TEST_DATA", "../shared/data")) / "ofa-supernet"
CHECKPOINT = DATA / "ofa_mbv3_w1.0_random_fp16.pth"
OFA = load_space("ofa-mbv3")


@pytest.fixture(scope="module")
def mobile():
    return ElasticSupernet(load_space("mobile:input_size=64"), seed=1)


@pytest.fixture(scope="module")
def golden():
    if not CHECKPOINT.is_file():
        pytest.skip(f"{CHECKPOINT} is absent")
    with np.load(DATA / "golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def filled(golden):
    supernet = ElasticSupernet(OFA)
    covered = begin_with(supernet, CHECKPOINT, None)
    assert covered.share == 1.0
    assert covered.drawn == ()
    return supernet.eval()


@pytest.mark.parametrize("number", range(8))
def test_paths_and_extracted_networks_have_the_reference_implementations_logits(
    filled, golden, number
):
    """In float64; number 0 is ill-conditioned (see test_ofa_weights)."""
    choices = {"resolution": 128}
    for stage in range(5):
        depth = int(golden["d"][number][stage])
        choices[f"stage{stage + 1}.depth"] = depth
        for block in range(depth):
            name, place = f"stage{stage + 1}.block{block + 1}", 4 * stage + block
            choices[f"{name}.kernel_size"] = int(golden["ks"][number][place])
            choices[f"{name}.expand_ratio"] = int(golden["e"][number][place])
    arch = OFA.arch(choices)
    images, expected = torch.from_numpy(golden["x"]).double(), golden["logits"][number]
    tolerance = 3e-5 if number == 0 else 2e-6
    filled.double()
    plain = filled.extract(arch).double().eval()
    assert sum(p.numel() for p in plain.parameters()) == golden["params"][number]
    with torch.no_grad():
        for logits in (filled(images, filled.path_of(arch)), plain(images)):
            assert np.abs(logits.numpy() - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v3_large",
        "mnasnet1_0",
        "efficientnet_b0",
        "mobilenetv4_conv_small",
        "mobilenetv4_hybrid_medium",
    ],
)
def test_the_network_of_a_known_model_is_that_model_in_a_filled_supernet(
    mobile, published, randomise, tmp_path, name
):
    oracle = published(name, 1.0)
    randomise(oracle, 7)
    torch.save(oracle.state_dict(), tmp_path / "f.pth")
    covered = begin_with(mobile, tmp_path / "f.pth", name)
    arch = known_archs(mobile.space)[name]
    plain = mobile.extract(arch).to(memory_format=torch.contiguous_format).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = plain(images), oracle(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    values = sum(v.numel() for v in oracle.state_dict().values() if v.ndim)
    total = sum(v.numel() for n, v in mobile.state_dict().items() if v.ndim)
    assert covered.share == pytest.approx(values / total, rel=1e-6)
    assert len(covered.filled) + len(covered.drawn) == sum(
        v.ndim > 0 for v in mobile.state_dict().values()
    )


def test_what_a_model_does_not_cover_stays_as_it_was(published, tmp_path):
    space = load_space("mobile:input_size=64,num_classes=7")
    torch.save(published("mobilenet_v3_large", 1.0).state_dict(), tmp_path / "f.pth")
    fresh, filled = ElasticSupernet(space, seed=4), ElasticSupernet(space, seed=4)
    covered = begin_with(filled, tmp_path / "f.pth", "mobilenet_v3_large")
    before, after = fresh.state_dict(), filled.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in covered.drawn)
    # another number of classes: the classifier is among these
    head = [name for name in covered.drawn if name.endswith("head_features-classifier.weight")]
    assert len(head) == 1
    for name, shape in covered.filled.items():
        changed = (before[name] != after[name]).sum().item()
        assert changed <= int(np.prod(shape))


def test_a_supernet_with_other_classes_begins_with_all_but_the_classifier(tmp_path):
    generator = torch.Generator().manual_seed(0)
    theirs = load_space("ofa-mbv3:num_classes=5,width_mult=0.1")
    state = {
        name: torch.zeros(()).long()
        if name.endswith("num_batches_tracked")
        else torch.rand(shape, generator=generator)
        for name, shape in expected_shapes(theirs).items()
    }
    torch.save({"state_dict": state}, tmp_path / "f.pth")
    supernet = ElasticSupernet(load_space("ofa-mbv3:num_classes=3,width_mult=0.1"))
    covered = begin_with(supernet, tmp_path / "f.pth", None)
    assert sorted(name.rpartition(".")[2] for name in covered.drawn) == ["bias", "weight"]
    assert all("classifier" in name for name in covered.drawn)
    del state["first_conv.conv.weight"]
    torch.save({"state_dict": state}, tmp_path / "f.pth")
    with pytest.raises(InputError, match=r"first_conv\.conv\.weight: missing"):
        begin_with(supernet, tmp_path / "f.pth", None)


def test_what_cannot_begin_a_space_is_refused(mobile, published, tmp_path):
    torch.save(published("mobilenet_v2", 1.0).state_dict(), tmp_path / "f.pth")
    with pytest.raises(UsageError, match="without --init-arch the file is Once-for-All's"):
        begin_with(mobile, tmp_path / "f.pth", None)
    with pytest.raises(UsageError, match="no known network of mobile"):
        begin_with(mobile, tmp_path / "f.pth", "resnet18")
    with pytest.raises(InputError, match="missing"):
        begin_with(mobile, tmp_path / "f.pth", "mobilenet_v3_large")

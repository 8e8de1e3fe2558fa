from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from hwnas.arch import Arch
from hwnas.errors import InputError, UsageError
from hwnas.export.convert.onnx import to_onnx
from hwnas.nn.build import MBConv
from hwnas.nn.layers import SqueezeExcite
from hwnas.space.catalogue import load_space
from hwnas.train.ofa_weights import OfaSupernet, expected_shapes, load_ofa_supernet

SPACE = load_space("ofa-mbv3")
DATA = Path(os.environ.get("HWNAS_TEST_DATA", "../shared/data")) / "ofa-supernet"
CHECKPOINT = DATA / "ofa_mbv3_w1.0_random_fp16.pth"


@pytest.fixture(scope="module")
def published() -> OfaSupernet:
    if not CHECKPOINT.is_file():
        pytest.skip(f"{CHECKPOINT} is absent")
    return load_ofa_supernet(CHECKPOINT, SPACE)


@pytest.fixture(scope="module")
def golden(published):
    with np.load(DATA / "golden.npz") as file:
        return dict(file)


def _arch(depths, kernels, expands, resolution=128) -> Arch:
    """The architecture of 5 depths and 20 kernels and expansions, those beyond a depth unused."""
    choices = {"resolution": resolution}
    for stage in range(5):
        choices[f"stage{stage + 1}.depth"] = int(depths[stage])
        for block in range(int(depths[stage])):
            name = f"stage{stage + 1}.block{block + 1}"
            choices[f"{name}.kernel_size"] = int(kernels[4 * stage + block])
            choices[f"{name}.expand_ratio"] = int(expands[4 * stage + block])
    return SPACE.arch(choices)


@pytest.mark.parametrize("number", range(8))
def test_logits_and_parameters_of_the_reference_implementation(published, golden, number):
    """In float64, since the order of float32 sums differs by processor and number of threads.

    The reference's own float32 logits are up to 1e-6 of the largest logit off, those of number 0,
    which is ill-conditioned (its logits reach 10,394), 1.9e-5.
    """
    network = published.extract(
        _arch(golden["d"][number], golden["ks"][number], golden["e"][number])
    )
    assert sum(p.numel() for p in network.parameters()) == golden["params"][number]
    with torch.no_grad():
        logits = network.double()(torch.from_numpy(golden["x"]).double()).numpy()
    expected = golden["logits"][number]
    tolerance = 3e-5 if number == 0 else 2e-6
    assert np.abs(logits - expected).max() <= tolerance * np.abs(expected).max()


def test_without_the_kernel_transform_small_kernels_are_wrong(published, golden):
    tensors = {
        name: torch.eye(len(value)) if name.endswith("_matrix") else value
        for name, value in published.tensors.items()
    }
    plain = OfaSupernet(SPACE, tensors)
    number = 1
    network = plain.extract(_arch(golden["d"][number], golden["ks"][number], golden["e"][number]))
    with torch.no_grad():
        logits = network(torch.from_numpy(golden["x"])).numpy()
    expected = golden["logits"][number]
    assert np.abs(logits - expected).max() > 0.05 * np.abs(expected).max()


def _random_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.zeros((), dtype=torch.long)
        if name.endswith("num_batches_tracked")
        else torch.rand(shape, generator=generator)
        for name, shape in expected_shapes(SPACE).items()
    }


def test_a_3x3_kernel_is_the_transformed_centre_of_the_transformed_5x5_one():
    state = _random_state()
    small = OfaSupernet(SPACE, state).extract(_arch([2] * 5, [3] * 20, [3] * 20))
    block = small[2]
    assert isinstance(block, MBConv)
    name = "blocks.1.conv.depth_conv.conv"
    seven = state[f"{name}.conv.weight"][:48]
    five = F.linear(seven[:, 0, 1:6, 1:6].reshape(48, 25), state[f"{name}.7to5_matrix"])
    centre = five.reshape(48, 5, 5)[:, 1:4, 1:4].reshape(48, 9)
    three = F.linear(centre, state[f"{name}.5to3_matrix"]).reshape(48, 1, 3, 3)
    assert torch.allclose(block.body[1][0].weight, three, rtol=1e-5)


def test_names_and_shapes_are_those_of_the_published_file():
    path = DATA / "state_dict_shapes.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    published = {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}
    assert expected_shapes(SPACE) == published


def test_all_problems_of_a_checkpoint_are_listed(tmp_path):
    state = _random_state()
    del state["classifier.linear.bias"], state["blocks.7.conv.point_linear.conv.conv.weight"]
    state["blocks.21.conv.weight"] = torch.zeros(1)
    state["first_conv.conv.weight"] = torch.zeros(24, 3, 3, 3)
    state["first_conv.bn.bias"][3] = float("nan")
    torch.save({"state_dict": state}, tmp_path / "f.pth")
    with pytest.raises(InputError) as error:
        load_ofa_supernet(tmp_path / "f.pth", SPACE)
    assert sorted(error.value.problems) == sorted(
        [
            "classifier.linear.bias: missing",
            "blocks.7.conv.point_linear.conv.conv.weight: missing",
            "blocks.21.conv.weight: unexpected",
            "first_conv.conv.weight: the space has (16, 3, 3, 3), the file (24, 3, 3, 3)",
            "first_conv.bn.bias: holds values that are NaN or infinite",
        ]
    )


def test_files_of_the_older_names_are_read(tmp_path):
    state = {
        name.replace(".conv.depth_conv", ".mobile_inverted_conv.depth_conv"): value
        for name, value in _random_state().items()
    }
    torch.save(state, tmp_path / "f.pth")
    assert (
        load_ofa_supernet(tmp_path / "f.pth", SPACE).tensors.keys() == expected_shapes(SPACE).keys()
    )


def test_another_space_has_no_such_supernet(tmp_path):
    with pytest.raises(UsageError, match="ofa-mbv3"):
        load_ofa_supernet(tmp_path / "f.pth", load_space("tiny"))


def test_squeeze_excite_is_exported_with_one_mean(tmp_path):
    module = SqueezeExcite(8, 4, "hsigmoid").eval()
    to_onnx(module, (8, 5, 5), tmp_path / "f.onnx")
    graph = onnx.load(str(tmp_path / "f.onnx")).graph
    pools = [
        node.op_type for node in graph.node if node.op_type in ("ReduceMean", "GlobalAveragePool")
    ]
    assert len(pools) == 1
    exported = torch.export.export(module, (torch.rand(1, 8, 5, 5),))
    means = [node for node in exported.graph.nodes if "mean" in str(node.target)]
    assert len(means) == 1


def test_squeeze_excite_is_one_function_in_training_and_evaluation():
    module = SqueezeExcite(8, 4, "hsigmoid")
    x = torch.rand(2, 8, 5, 7)
    assert torch.allclose(module.train()(x), module.eval()(x), rtol=1e-5)

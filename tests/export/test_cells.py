"""Networks of cells and their operations in both formats: the same numbers, the kernels wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from safetensors.torch import save_file

from hwnas.artifacts.exported import PreprocessingPart
from hwnas.export.bundle import write_bundle
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.export.verify.parity import check_parity, parity
from hwnas.export.verify.session import open_session
from hwnas.nn.build import build, build_network
from hwnas.ops import OpSpec
from hwnas.space.catalogue import load_space
from hwnas.space.zoo.cells import DARTS_V2, darts_arch

SHAPE = (4, 6, 8)
OPS = {
    "sum": OpSpec.make("add", SHAPE, 4, summands=3),
    "concat": OpSpec.make("concat", SHAPE, 8, summands=2),
    "zero": OpSpec.make("zero", SHAPE, 4),
    "average": OpSpec.make("pool", SHAPE, 4, pool="avg", stride=2),
    "odd average": OpSpec.make("pool", (4, 7, 6), 4, pool="avg", stride=2),
    "reduction": OpSpec.make("factorized_reduce", SHAPE, 8),
    "residual": OpSpec.make("preact_residual", SHAPE, 8, stride=2),
}
KERNELS = {
    "sum": {"ADD"},
    "concat": {"CONCATENATION"},
    "zero": {"RELU", "MINIMUM"},
    "average": {"PAD", "AVERAGE_POOL_2D", "MUL"},
    "odd average": {"PAD", "AVERAGE_POOL_2D", "MUL"},
    "reduction": {"RELU", "SLICE", "CONV_2D", "CONCATENATION", "MUL"},
    "residual": {"RELU", "PAD", "CONV_2D", "AVERAGE_POOL_2D", "ADD"},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> ConversionCache:
    return ConversionCache(tmp_path_factory.mktemp("cache"))


def _inputs(op: OpSpec) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, *op.in_shape, generator=generator) for _ in range(op.num_inputs)]


@torch.no_grad()
@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
@pytest.mark.parametrize("name", OPS)
def test_an_operation_computes_the_same_on_all_its_inputs(name, model_format, cache):
    op, inputs = OPS[name], _inputs(OPS[name])
    conversion = Conversion.make([op], InitWeights(), model_format)
    session = open_session(cache.fill([conversion])[conversion])
    assert len(session.inputs) == op.num_inputs
    fed, expected = inputs, build_network([op], None).eval()(*inputs)
    if model_format == "tflite":
        fed, expected = [x.permute(0, 2, 3, 1) for x in fed], expected.permute(0, 2, 3, 1)
    found = session.run(*(np.ascontiguousarray(x.numpy()) for x in fed))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", OPS)
def test_an_operation_is_made_of_the_kernels_it_has_inside_a_network(name, cache):
    conversion = Conversion.make([OPS[name]], InitWeights(), "tflite")
    path = cache.fill([conversion])[conversion]
    kernels = {detail["op_name"] for detail in Interpreter(model_path=str(path))._get_ops_details()}
    assert kernels - {"DELEGATE"} <= KERNELS[name]
    assert kernels


@pytest.mark.parametrize(
    "edges",
    [
        (
            "nor_conv_3x3",
            "skip_connect",
            "nor_conv_1x1",
            "avg_pool_3x3",
            "skip_connect",
            "nor_conv_3x3",
        ),
        ("none",) * 6,
    ],
)
def test_a_network_of_cells_computes_the_same_in_both_formats(edges, cache):
    space = load_space("nasbench201:cells=1,channels=4,input_size=16")
    arch = space.arch(dict(zip((c.name for c in space.choices), edges, strict=True)))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    network = build(space, arch, seed=5)
    for model_format, layout in (("onnx", "nchw"), ("tflite", "nhwc")):
        conversion = Conversion.make(
            space.layers(arch), InitWeights(5), model_format, wiring=space.wiring(arch)
        )
        path: Path = cache.fill([conversion])[conversion]
        check_parity(parity(network, path, images, layout=layout), path)


def test_the_published_network_of_darts_is_exported_whole(cache, tmp_path):
    """Its genotype in a short and narrow row: a normal cell between two reductions."""
    space = load_space("darts:cells=3,channels=4")
    arch = darts_arch(space, DARTS_V2)
    network = build(space, arch, seed=2)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    written = write_bundle(
        tmp_path,
        network=network,
        layers=space.layers(arch),
        wiring=space.wiring(arch),
        arch=arch,
        weights=tmp_path / "weights.safetensors",
        images=images,
        preprocessing=PreprocessingPart(
            input_size=(32, 32),
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            class_names=tuple(str(number) for number in range(10)),
        ),
        cache=cache,
    )
    assert list(written.formats) == ["onnx", "tflite"]
    for entry in written.formats.values():
        assert entry.parity.max_rel < 1e-5

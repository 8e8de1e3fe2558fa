"""ONNX files against torch and against ONNX's own checker."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import nn

from hwnas.errors import InputError
from hwnas.export.convert.onnx import onnx_bytes, to_onnx
from hwnas.export.convert.onnx_file import check_onnx, with_metadata
from hwnas.export.formats import ONNX_OPSET, ConversionError
from hwnas.export.verify.parity import PARITY_LIMIT_FP32, check_parity, parity
from hwnas.export.verify.session import model_io
from hwnas.ops import OpSpec


def _images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_a_network_computes_the_same_as_onnx(tmp_path, trained, tiny_layers):
    network = trained(tiny_layers)
    path = tmp_path / "n.onnx"
    to_onnx(network, (3, 32, 32), path)
    found = parity(network, path, _images(3, 3, 32, 32), layout="nchw")
    assert found.num_images == 3
    assert found.top1_agreement == 1.0
    assert 0.0 < found.max_rel <= PARITY_LIMIT_FP32
    check_parity(found, path)
    assert model_io(path) == {
        "inputs": [{"name": "image", "shape": [1, 3, 32, 32], "dtype": "float32"}],
        "outputs": [{"name": "logits", "shape": [1, 10], "dtype": "float32"}],
    }


def test_a_squeeze_excite_block_computes_the_same_as_onnx(tmp_path, trained, se_block):
    network = trained([se_block])
    path = tmp_path / "b.onnx"
    to_onnx(network, se_block.in_shape, path)
    check_parity(parity(network, path, _images(2, 16, 14, 9), layout="nchw"), path)
    assert model_io(path)["outputs"] == [
        {"name": "out", "shape": [1, 16, 14, 9], "dtype": "float32"}
    ]


def test_a_shuffled_block_computes_the_same_as_onnx(tmp_path, trained, grouped_block):
    network, path = trained([grouped_block]), tmp_path / "b.onnx"
    to_onnx(network, grouped_block.in_shape, path)
    check_parity(parity(network, path, _images(2, 16, 14, 9), layout="nchw"), path)


def test_newer_mobile_blocks_compute_the_same_as_onnx(tmp_path, trained, mobile_blocks):
    network, path = trained(mobile_blocks), tmp_path / "b.onnx"
    to_onnx(network, mobile_blocks[0].in_shape, path)
    check_parity(parity(network, path, _images(2, 8, 28, 18), layout="nchw"), path)


def test_the_model_is_valid_folded_and_of_the_fixed_opset(trained, tiny_layers):
    model = onnx.load_model_from_string(onnx_bytes(trained(tiny_layers), (3, 32, 32)))
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [ONNX_OPSET]
    operators = {node.op_type for node in model.graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators


def test_the_exported_network_is_left_as_it_was(tmp_path, trained, tiny_layers):
    network = trained(tiny_layers).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    to_onnx(network, (3, 32, 32), tmp_path / "n.onnx")
    parity(network, tmp_path / "n.onnx", _images(1, 3, 32, 32), layout="nchw")
    assert all(module.training for module in network.modules())
    assert not any(isinstance(module, nn.Identity) for module in network[0].modules())
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_batch_norm_that_does_not_follow_its_convolution_in_the_data_flow_is_kept(tmp_path):
    class Backwards(nn.Sequential):
        def forward(self, x):
            for module in reversed(self):
                x = module(x)
            return x

    network = Backwards(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    network[1].running_mean = _images(4)
    network[1].running_var = torch.tensor([0.1, 0.5, 2.0, 3.0])
    to_onnx(network, (4, 8, 8), tmp_path / "n.onnx")
    found = parity(network, tmp_path / "n.onnx", _images(2, 4, 8, 8), layout="nchw")
    check_parity(found, tmp_path / "n.onnx")


def test_an_operation_without_onnx_form_is_an_error_with_the_exporters_reason(tmp_path):
    class Eigenvalues(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    with pytest.raises(ConversionError, match=r"no ONNX form.*linalg_eigvals"):
        to_onnx(Eigenvalues(), (3, 4, 4), tmp_path / "n.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit_the_shape_is_an_error(tmp_path, trained, tiny_layers):
    with pytest.raises(ConversionError, match=r"does not run on one image .* \(4, 32, 32\)"):
        to_onnx(trained(tiny_layers), (4, 32, 32), tmp_path / "n.onnx")


def test_a_network_with_several_outputs_is_an_error(tmp_path):
    class Twice(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ConversionError, match="returns one tensor, got tuple"):
        to_onnx(Twice(), (3, 4, 4), tmp_path / "n.onnx")


def test_metadata_is_read_back_and_changes_no_result(tmp_path, trained):
    network = trained([OpSpec.make("conv", (3, 8, 8), 4, kernel=3)])
    payload = with_metadata(onnx_bytes(network, (3, 8, 8)), {"hwnas.arch": '{"a":1}'})
    path = tmp_path / "m.onnx"
    path.write_bytes(payload)
    assert {p.key: p.value for p in onnx.load(path).metadata_props} == {"hwnas.arch": '{"a":1}'}
    check_parity(parity(network, path, _images(1, 3, 8, 8), layout="nchw"), path)


def test_an_invalid_model_does_not_pass_the_check(trained):
    model = onnx.load_model_from_string(
        onnx_bytes(trained([OpSpec.make("conv", (3, 8, 8), 4, kernel=3)]), (3, 8, 8))
    )
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ConversionError, match="not valid ONNX"):
        check_onnx(model.SerializeToString())


def test_a_file_that_is_no_model_is_an_input_error(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="ONNX Runtime cannot load it"):
        model_io(path)
    with pytest.raises(InputError, match="no such file"):
        model_io(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match=r"suffix is \.onnx or \.tflite"):
        model_io(tmp_path / "model.pb")

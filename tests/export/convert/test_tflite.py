"""TFLite files against torch, in both layouts."""

from __future__ import annotations

import os

import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from hwnas.errors import InputError
from hwnas.export.convert.tflite import to_tflite
from hwnas.export.formats import ConversionError
from hwnas.export.verify.parity import PARITY_LIMIT_FP32, check_parity, parity
from hwnas.export.verify.session import model_io


def _images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def block_file(tmp_path_factory, trained, se_block):
    path = tmp_path_factory.mktemp("block") / "b.tflite"
    to_tflite(trained([se_block]), se_block.in_shape, path)
    return path


def test_a_squeeze_excite_block_computes_the_same_channels_last(block_file, trained, se_block):
    network = trained([se_block])
    check_parity(parity(network, block_file, _images(2, 16, 14, 9), layout="nhwc"), block_file)
    for sides in model_io(block_file).values():
        assert [(side["shape"], side["dtype"]) for side in sides] == [([1, 14, 9, 16], "float32")]


def test_inputs_and_outputs_have_names(tmp_path, block_file):
    blocks = Interpreter(model_path=str(block_file)).get_signature_list()
    assert blocks == {"serving_default": {"inputs": ["image"], "outputs": ["out"]}}
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    to_tflite(network.eval(), (3, 8, 8), tmp_path / "n.tflite")
    whole = Interpreter(model_path=str(tmp_path / "n.tflite"))
    assert whole.get_signature_list()["serving_default"]["outputs"] == ["logits"]
    image = _images(1, 8, 8, 3)
    logits = whole.get_signature_runner()(image=image.numpy())["logits"]
    expected = network(image.permute(0, 3, 1, 2)).detach().numpy()
    assert abs(logits - expected).max() < 1e-6


def test_a_squeeze_excite_block_computes_the_same_channels_first(tmp_path, trained, se_block):
    network, path = trained([se_block]), tmp_path / "b.tflite"
    to_tflite(network, se_block.in_shape, path, layout="nchw")
    check_parity(parity(network, path, _images(2, 16, 14, 9), layout="nchw"), path)
    for sides in model_io(path).values():
        assert [(side["shape"], side["dtype"]) for side in sides] == [([1, 16, 14, 9], "float32")]


def test_a_shuffled_block_computes_the_same_channels_last(tmp_path, trained, grouped_block):
    network, path = trained([grouped_block]), tmp_path / "b.tflite"
    to_tflite(network, grouped_block.in_shape, path)
    check_parity(parity(network, path, _images(2, 16, 14, 9), layout="nhwc"), path)


def test_newer_mobile_blocks_compute_the_same_channels_last(tmp_path, trained, mobile_blocks):
    network, path = trained(mobile_blocks), tmp_path / "b.tflite"
    to_tflite(network, mobile_blocks[0].in_shape, path)
    check_parity(parity(network, path, _images(2, 8, 28, 18), layout="nhwc"), path)


def test_a_channels_last_block_has_no_transposes_and_no_separate_batch_norm(block_file):
    details = Interpreter(model_path=str(block_file))._get_ops_details()
    kernels = [detail["op_name"] for detail in details]
    assert "TRANSPOSE" not in kernels
    # three convolutions of the block and two of squeeze-and-excite, every batch norm in them
    assert kernels.count("CONV_2D") + kernels.count("DEPTHWISE_CONV_2D") == 5
    assert "SUB" not in kernels
    assert kernels.count("MUL") == 2  # the gate's slope, the gate itself
    assert kernels.count("ADD") == 1  # the residual


def test_a_network_computes_the_same_and_is_left_as_it_was(tmp_path, trained, tiny_layers):
    # as training leaves it: train mode, weights channel-last in memory
    network = trained(tiny_layers).to(memory_format=torch.channels_last).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = tmp_path / "n.tflite"
    to_tflite(network, (3, 32, 32), path)
    found = parity(network, path, _images(3, 3, 32, 32), layout="nhwc")
    assert found.top1_agreement == 1.0
    assert 0.0 < found.max_rel <= PARITY_LIMIT_FP32
    assert network.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_the_streams_and_the_environment_stay_as_they_were(
    tmp_path, capfd, monkeypatch, trained, se_block
):
    monkeypatch.setenv("LITERT_TORCH_SHOW_PROGRESS", "y")
    to_tflite(trained([se_block]), se_block.in_shape, tmp_path / "b.tflite")
    assert os.environ["LITERT_TORCH_SHOW_PROGRESS"] == "y"
    assert capfd.readouterr() == ("", "")
    os.write(2, b"later messages arrive")
    assert capfd.readouterr().err == "later messages arrive"


def test_an_operation_without_tflite_form_is_an_error_with_the_converters_reason(tmp_path):
    class Eigenvalues(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    with pytest.raises(ConversionError, match=r"no TFLite form.*linalg_eig"):
        to_tflite(Eigenvalues(), (3, 4, 4), tmp_path / "n.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_an_input_error(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="LiteRT cannot load it"):
        model_io(path)

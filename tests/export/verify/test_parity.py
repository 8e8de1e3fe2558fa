"""Parity finds differences: models that are wrong, in number, shape or layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.errors import InputError
from hwnas.export.convert.onnx import to_onnx
from hwnas.export.verify.parity import (
    Int8Parity,
    Parity,
    ParityError,
    check_int8_parity,
    check_parity,
    parity,
    sqnr_db,
)


class Affine(nn.Module):
    """(N, 3, 1, 1) to three logits, ``scale * x + shift``: differences are known by hand."""

    def __init__(self, scale, shift):
        super().__init__()
        self.scale = scale
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x):
        return self.scale * x.flatten(1) + self.shift


IMAGES = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 2.0]]).reshape(2, 3, 1, 1)


def test_differences_are_those_computed_by_hand(tmp_path):
    path = tmp_path / "m.onnx"
    to_onnx(Affine(1.0, [2.5, 0.0, 0.0]), (3, 1, 1), path)
    found = parity(Affine(1.0, [0.0, 0.0, 0.0]), path, IMAGES, layout="nchw")
    # model: [3.5 2 4] and [5.5 1 2]; torch: [1 2 4] and [3 1 2], its largest 4
    assert found == Parity(max_abs=2.5, max_rel=2.5 / 4, num_images=2, top1_agreement=1.0)


def test_agreement_counts_the_images_with_the_same_largest_output(tmp_path):
    path = tmp_path / "m.onnx"
    to_onnx(Affine(1.0, [3.5, 0.0, 0.0]), (3, 1, 1), path)
    # the model's largest is the first output for both; torch's the third for the first image
    found = parity(Affine(1.0, [0.0, 0.0, 0.0]), path, IMAGES, layout="nchw")
    assert found.top1_agreement == 0.5


def test_the_limit_is_named_with_the_value(tmp_path):
    good = Parity(max_abs=1.0, max_rel=1e-4, num_images=1, top1_agreement=1.0)
    check_parity(good, tmp_path)
    with pytest.raises(ParityError, match=r"at most 0\.0001, got 0\.00011"):
        check_parity(Parity(1.0, 1.1e-4, 1, 1.0), tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_no_number_is_an_error(tmp_path, value):
    with pytest.raises(ParityError, match="must be at most"):
        check_parity(Parity(value, value, 1, 1.0), tmp_path)


def test_nan_from_the_model_is_found(tmp_path):
    path = tmp_path / "m.onnx"
    to_onnx(Affine(math.nan, [0.0, 0.0, 0.0]), (3, 1, 1), path)
    found = parity(Affine(1.0, [0.0, 0.0, 0.0]), path, IMAGES, layout="nchw")
    with pytest.raises(ParityError):
        check_parity(found, path)


def test_a_network_that_gives_zeros_is_compared_absolutely(tmp_path):
    path = tmp_path / "m.onnx"
    to_onnx(Affine(0.0, [0.0, 0.0, 0.0]), (3, 1, 1), path)
    zero = Affine(0.0, [0.0, 0.0, 0.0])
    assert parity(zero, path, IMAGES, layout="nchw").max_rel == 0.0
    to_onnx(Affine(0.0, [0.0, 1.0, 0.0]), (3, 1, 1), path)
    assert parity(zero, path, IMAGES, layout="nchw").max_rel == math.inf


def test_images_of_another_shape_layout_or_number_are_input_errors(tmp_path):
    path = tmp_path / "m.onnx"
    network = Affine(1.0, [0.0, 0.0, 0.0])
    to_onnx(network, (3, 1, 1), path)
    with pytest.raises(InputError, match=r"takes float32 \(1, 3, 1, 1\).*\(1, 3, 2, 2\)"):
        parity(network, path, torch.zeros(1, 3, 2, 2), layout="nchw")
    with pytest.raises(InputError, match=r"takes float32.*\(1, 1, 1, 3\)"):
        parity(network, path, IMAGES, layout="nhwc")
    with pytest.raises(InputError, match=r"takes float32.*float64"):
        parity(network, path, IMAGES.double(), layout="nchw")
    with pytest.raises(InputError, match="at least one image"):
        parity(network, path, IMAGES[:0], layout="nchw")


def test_outputs_of_another_width_are_an_input_error(tmp_path):
    path = tmp_path / "m.onnx"
    to_onnx(nn.Flatten(), (3, 1, 1), path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"gives outputs \(3,\) where the network gives \(2,\)"):
        parity(network, path, IMAGES, layout="nchw")


def test_the_signal_to_noise_ratio_is_that_of_the_closed_form():
    reference = np.array([[3.0, 4.0]])
    assert sqnr_db(reference, np.array([[3.0, 4.5]])) == pytest.approx(20.0)  # 25 over 0.25
    assert sqnr_db(reference, reference) is None
    assert sqnr_db(reference, np.zeros((1, 2))) == pytest.approx(0.0)
    assert sqnr_db(reference, np.array([[3.0, np.nan]])) == -math.inf
    assert sqnr_db(np.zeros((1, 2)), reference) == -math.inf
    # a uniform step of 1/127 of the largest value: 6.02 dB a bit (Bennett, 1948), sine 1.76 more
    wave = np.sin(np.linspace(0, 40 * np.pi, 40001))
    assert sqnr_db(wave, np.rint(wave * 127) / 127) == pytest.approx(6.02 * 8 + 1.76, abs=0.1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Int8Parity(9.9, 64, 1.0, {}), r"at least 10 dB, got 9\.9 dB"),
        (Int8Parity(20.0, 64, 0.89, {}), r"at least 90%, got 89\.0% of 64 images"),
        (Int8Parity(math.nan, 64, 1.0, {}), "got nan dB"),
    ],
)
def test_a_network_that_quantisation_broke_is_an_error_with_the_next_step(tmp_path, found, message):
    with pytest.raises(ParityError, match=message) as error:
        check_int8_parity(found, tmp_path)
    assert "Next: export --precision fp32" in str(error.value)
    check_int8_parity(Int8Parity(10.0, 64, 0.9, {}), tmp_path)
    check_int8_parity(Int8Parity(None, 64, 1.0, {}), tmp_path)

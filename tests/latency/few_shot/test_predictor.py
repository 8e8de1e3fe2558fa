"""The few-shot predictor as a latency model of codes: same figures as its process, any batch."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.latency.few_shot import predictor as module
from hwnas.latency.few_shot.feature_space import FeatureSpace, Measured
from hwnas.latency.few_shot.predictor import FewShotPredictor
from hwnas.latency.few_shot.process import FewShotProcess
from hwnas.protocols import AdditiveLatencyModel
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

SPACE = load_space("tiny")
CODES = stream(0, "few-shot codes").integers(0, 4, (60, 5)).astype(np.int16)
MS = 1.0 + CODES.sum(axis=1) / 10


@pytest.fixture(scope="module")
def predictor():
    return FewShotPredictor(SPACE, Measured("phone", CODES[:12], MS[:12]))


def test_predictions_are_those_of_the_process_whatever_the_batch(predictor, monkeypatch):
    features = FeatureSpace(SPACE, {})
    process = FewShotProcess(features.pool(CODES[:12]), MS[:12])
    mean, std = process.predict(features.pool(CODES))
    for batch in (4096, 7):
        monkeypatch.setattr(module, "BATCH", batch)
        np.testing.assert_allclose(predictor.predict_ms(CODES), mean, rtol=1e-9)
        both = predictor.predict_with_std_ms(CODES)
        np.testing.assert_allclose(both, (mean, std), rtol=1e-9)
    assert predictor.predict_ms(CODES[:0]).shape == (0,)


def test_architectures_and_codes_are_predicted_alike(predictor):
    archs = SPACE.decode(CODES[:3])
    np.testing.assert_allclose(predictor.predict(archs), predictor.predict_ms(CODES[:3]))
    assert predictor.predict_arch_ms(archs[1]) == pytest.approx(predictor.predict_ms(CODES)[1])


def test_it_is_no_sum_over_factors(predictor):
    assert predictor.source == "few-shot"
    assert not isinstance(predictor, AdditiveLatencyModel)


def test_too_few_networks_are_refused_with_what_to_do():
    with pytest.raises(InputError, match=r"5 to 400 networks are needed, got 4[\s\S]*--suggest"):
        FewShotPredictor(SPACE, Measured("phone", CODES[:4], MS[:4]))

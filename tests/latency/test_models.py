"""Latency models by name: what they are built from, earlier names, models added by a plugin."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.latency.few_shot.feature_space import Measured
from hwnas.latency.few_shot.predictor import FewShotPredictor
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.models import (
    LATENCY_MODELS,
    LatencyModelEntry,
    build_model,
    latency_model,
    model_name,
)
from hwnas.latency.op_predictor.rows import OpPredictor
from hwnas.plugins.registry import Registry
from hwnas.protocols import AdditiveLatencyModel
from hwnas.rng import stream

pytestmark = pytest.mark.filterwarnings("ignore:the table of")


@pytest.fixture
def timed(tiny):
    codes = stream(0, "timed").integers(0, 4, (8, 5)).astype(np.int16)
    return Measured("phone", codes, 1.0 + codes.sum(axis=1))


def test_a_table_gives_sums_and_timed_networks_the_few_shot_predictor(tiny, random_table, timed):
    table = random_table(tiny)
    lut = latency_model(tiny, table)
    assert type(lut) is LutPredictor
    assert isinstance(lut, AdditiveLatencyModel)
    assert type(latency_model(tiny, table, name="op-predictor")) is OpPredictor
    assert type(latency_model(tiny, timed=timed)) is FewShotPredictor
    for model in (lut, latency_model(tiny, timed=timed)):
        assert model.space is tiny
        assert model.predict_ms(timed.codes).shape == (8,)


def test_the_terms_of_an_additive_model_sum_to_its_predictions(tiny, random_table, timed):
    model = latency_model(tiny, random_table(tiny))
    assert isinstance(model, AdditiveLatencyModel)
    total = sum(
        term.values[tuple(timed.codes[:, choice] for choice in term.choices)]
        for term in model.factor_ms()
    )
    np.testing.assert_allclose(total, model.predict_ms(timed.codes))
    assert model.restricted == ()
    assert model.repeatability > 0


def test_the_earlier_name_of_the_op_predictor_is_taken_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert model_name("kernel") == "op-predictor"
    assert "'kernel' is now called 'op-predictor'" in caplog.text


def test_names_are_checked_against_what_a_model_is_built_from(tiny, timed, random_table):
    with pytest.raises(UsageError, match="'few-shot' is not there; allowed: lut, op-predictor"):
        model_name("few-shot", needs="table")
    with pytest.raises(UsageError, match="'lutt' is not there; allowed: lut, op-predictor, few"):
        model_name("lutt")
    with pytest.raises(UsageError, match="'lut' is built from a latency table"):
        latency_model(tiny, timed=timed, name="lut")
    for both in ({}, {"table": random_table(tiny), "timed": timed}):
        with pytest.raises(UsageError, match="give one of the two"):
            latency_model(tiny, **both)


def test_a_plugin_adds_a_model(tiny, random_table, monkeypatch):
    registry: Registry[LatencyModelEntry] = Registry("latency model")
    for entry in LATENCY_MODELS.values():
        registry.add(entry)
    monkeypatch.setattr("hwnas.latency.models.LATENCY_MODELS", registry)
    made = object()
    registry.add(LatencyModelEntry("mine", "of a test", lambda space, data: made, needs=("table",)))
    assert latency_model(tiny, random_table(tiny), name="mine") is made
    with pytest.raises(UsageError, match="is not there"):
        build_model("other", tiny, None)

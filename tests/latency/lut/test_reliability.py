from __future__ import annotations

import dataclasses

import pytest

from hwnas.errors import InputError
from hwnas.latency.lut.reliability import calibration_error, require_reliable, unreliable
from hwnas.latency.table.files import load_table
from hwnas.latency.table.names import find_table
from hwnas.latency.table.schemas import FormError


@pytest.fixture(scope="module")
def table():
    return load_table(find_table("x86-64-vm/litert-fp32-t1"))


def with_error(table, error):
    calibration = table.calibration["tiny"]
    left_out = {
        calibration.form: FormError(
            rms_rel_error=error, mean_abs_rel_error=error, max_abs_rel_error=error
        )
    }
    changed = calibration.model_copy(update={"left_out": left_out})
    return dataclasses.replace(
        table, calibration={**table.calibration, "tiny": changed}, validation={}
    )


def test_the_error_is_that_on_networks_nothing_was_fitted_to(table):
    assert calibration_error(table, "tiny") == table.validation["tiny"]["mean_abs_rel_error"]
    assert calibration_error(with_error(table, 0.07), "tiny") == 0.07
    old = table.calibration["tiny"].model_copy(update={"left_out": {}})
    before = dataclasses.replace(table, calibration={"tiny": old}, validation={})
    assert calibration_error(before, "tiny") == old.mean_abs_rel_error
    assert calibration_error(table, "fbnet") is None


@pytest.mark.parametrize(("error", "is_refused"), [(0.1, False), (0.101, True), (0.48, True)])
def test_a_table_of_a_disturbed_device_is_refused(table, error, is_refused):
    assert (unreliable(with_error(table, error), "tiny") is not None) == is_refused


def test_the_refusal_names_error_rule_and_what_to_do(table):
    require_reliable(table, "tiny", "table t.json")
    with pytest.raises(InputError) as caught:
        require_reliable(with_error(table, 0.48), "tiny", "table t.json")
    said = str(caught.value)
    assert "off by 48% on average, and at most 10% is allowed" in said
    assert (
        "hwnas profile --device x86-64-vm --runtime litert --precision fp32 --threads 1 "
        "--space tiny --out NEW_TABLE" in said
    )
    assert "--force" in said

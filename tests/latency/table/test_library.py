"""The tables that come with hwnas: each is found by name, whole, with its source and licence."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.device.device import load_device
from hwnas.errors import InputError
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table
from hwnas.latency.table.library import bundled_tables
from hwnas.latency.table.names import bundled_names, find_table
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

PUBLISHED = ("galaxy-note10", "pixel-1", "pixel-3", "raspberry-pi-4")


def test_every_table_is_of_a_known_device_and_says_where_it_is_from():
    found = {table.name: table for table in bundled_tables()}
    assert set(PUBLISHED) <= set(found)
    for table in found.values():
        for part in table.parts:
            assert load_device(part.header.device).name == part.header.device
        assert table.num_rows > 0
        assert table.space
    for name in PUBLISHED:
        for part in found[name].parts:
            assert part.header.provenance["source"]
            assert part.header.provenance["license"]
            assert len(part.header.provenance["sha256"]) == 64


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_table_predicts_random_networks_of_its_space(name):
    tables = load_table(find_table(name))
    stated = next(t for t in bundled_tables() if t.name == name).space
    space = load_space(stated)
    with pytest.warns(UserWarning, match="not calibrated"):
        predictor = LutPredictor(space, tables)
    options = [len(choice.options) for choice in space.choices]
    draws = stream(0, "test library").integers(0, options, (200, len(options)))
    latency_ms = predictor.predict_ms(space.repair(draws.astype(np.int16)))
    covered = np.isfinite(latency_ms)
    assert covered.any()
    assert (latency_ms[covered] > 0).all()


def test_a_path_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixel-1").mkdir()
    assert find_table("pixel-1").resolve() == (tmp_path / "pixel-1").resolve()


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(InputError, match=r"nearest: galaxy-note10.*pixel-1"):
        find_table("galaxy-note-10")
    assert "raspberry-pi-4" in bundled_names()

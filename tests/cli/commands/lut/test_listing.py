"""``hwnas lut list``, and its names wherever a table is given."""

from __future__ import annotations


def test_the_tables_that_come_with_hwnas_are_listed(hwnas):
    listed = hwnas("lut", "list", "--json").json
    names = [table["name"] for table in listed]
    assert {"galaxy-note10", "pixel-1", "pixel-3", "raspberry-pi-4"} <= set(names)
    text = hwnas("lut", "list").out
    assert all(name in text for name in names)
    assert all(table["num_rows"] > 0 and table["space"] for table in listed)


def test_a_name_is_a_table_for_every_command(hwnas):
    shown = hwnas("lut", "show", "pixel-1", "--json").json
    assert shown["header"]["device"] == "pixel-1"
    found = hwnas("spaces", "audit", "proxyless", "--lut", "pixel-1", "--budget-ms", "80", "--json")
    assert found.code == 0
    wrong = hwnas("lut", "show", "pixel-12")
    assert wrong.code != 0
    assert "pixel-12" in wrong.err

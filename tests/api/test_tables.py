from __future__ import annotations

import pytest

import hwnas


def test_a_saved_table_is_the_same(shop):
    table = hwnas.load_table("table.json")
    copy = hwnas.load_table(table.save("folder/copy.json"))
    assert copy.tables == table.tables
    with pytest.raises(hwnas.UsageError, match="exists"):
        table.save("folder/copy.json")
    with pytest.raises(hwnas.UsageError, match=r"a table is a \.json file"):
        table.save("copy.txt")


def test_scoped_tables_are_saved_as_a_folder(shop):
    table = hwnas.load_table("galaxy-note10")
    copy = hwnas.load_table(table.save("note10"))
    assert copy.num_ops == table.num_ops
    assert set(copy.scopes) == set(table.scopes)
    assert "resolution=160" in copy.scopes
    with pytest.raises(hwnas.UsageError, match=r"table\.scopes\['resolution=160'\]\.rows"):
        table.rows  # noqa: B018 - the access is what is tested


def test_profile_resumes_and_keeps_nothing_without_out(shop):
    plan = {"runtime": "onnxruntime", "calibrate": 2}
    first = hwnas.profile("tiny", "desk.yaml", out="desk.json", **plan)
    again = hwnas.profile("tiny", "desk.yaml", out="desk.json", resume=True, **plan)
    assert again.rows == first.rows
    assert again.path == first.path
    with pytest.raises(hwnas.UsageError, match="exists"):
        hwnas.profile("tiny", "desk.yaml", out="desk.json", **plan)
    with pytest.raises(hwnas.UsageError, match="give out, too"):
        hwnas.profile("tiny", "desk.yaml", resume=True, **plan)
    before = sorted(shop.iterdir())
    assert hwnas.profile("tiny", "desk.yaml", **plan).path is None
    assert sorted(shop.iterdir()) == before

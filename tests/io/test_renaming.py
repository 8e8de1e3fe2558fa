"""Old names in files are read, and said to be old."""

from __future__ import annotations

from hwnas.io.renaming import rename_key


def test_a_key_is_renamed_through_lists_and_a_new_key_wins():
    content = {"a": [{"b": {"old": 1}}, {"b": {"old": 2, "new": 3}}, {"b": 4}, 5], "old": 6}
    assert rename_key(content, "a.b.old", "new", "f") == {
        "a": [{"b": {"new": 1}}, {"b": {"old": 2, "new": 3}}, {"b": 4}, 5],
        "old": 6,
    }
    assert rename_key(content, "a.c.old", "new", "f") is content

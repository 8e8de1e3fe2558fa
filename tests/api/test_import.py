"""``import hwnas``: fast, without heavy libraries, every public name found, and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import hwnas


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_loads_no_library():
    heavy = ("torch", "numpy", "matplotlib", "pydantic", "scipy", "typer", "rich")
    found = json.loads(
        python(
            f"import sys, json, hwnas; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
        )
    )
    assert found == []


def test_import_takes_at_most_150_ms():
    def seconds() -> float:
        # of the processor: the wall clock also counts what else runs on this host
        before = os.times()
        python("import hwnas")
        after = os.times()
        used = after.children_user - before.children_user
        return used + after.children_system - before.children_system

    assert min(seconds() for _ in range(3)) < 0.15


def test_spaces_and_tables_load_no_torch():
    code = (
        "import sys, hwnas; hwnas.load_space('tiny').sample(2); hwnas.LatencyModel; hwnas.Study;"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    assert python(code).split() == ["False", "False"]


def test_every_public_name_is_found_and_listed():
    assert sorted(hwnas.__all__) == dir(hwnas)
    assert set(hwnas.__all__) == {*hwnas._HOMES, *hwnas._ROOMS, "__version__"}
    for name in hwnas.__all__:
        assert getattr(hwnas, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'serch'"):
        hwnas.serch  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize(
    "first",
    [
        "import hwnas",
        "import hwnas; hwnas.search; hwnas.export; import hwnas.search.loop as loop",
    ],
)
def test_rooms_that_share_a_name_with_a_function_are_both(first):
    code = (
        f"{first}\n"
        "from hwnas import export, search\n"
        "import hwnas.search.pareto, hwnas.export.formats as formats\n"
        "assert hwnas.search is search and hwnas.export is export\n"
        "assert hwnas.search.pareto.non_dominated and formats.PRECISIONS\n"
        "r = hwnas.search('tiny', {'params': 30_000}, evaluate=lambda arch: 1.0, evaluations=4)\n"
        "print(len(r.trials))"
    )
    assert python(code).strip() == "4"

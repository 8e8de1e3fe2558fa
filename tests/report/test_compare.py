"""Several runs side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwnas.cli import app
from hwnas.errors import InputError, UsageError
from hwnas.report.compare import compare, comparison_page, comparison_rows, names_of

WriteRun = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(write_run: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run, and one that ends with the search."""
    folder = tmp_path_factory.mktemp("runs")
    return write_run(folder / "first"), write_run(folder / "second", until="search")


def test_each_run_is_a_column_of_its_own_figures(runs: tuple[Path, Path]) -> None:
    titles, rows = comparison_rows(compare(runs))
    assert titles == ["", "first", "second"]
    table = {row[0]: row[1:] for row in rows}
    winner = json.loads((runs[0] / "winner.json").read_text())
    assert table["measured"] == [f"{winner['measured_ms']:.2f}\u00a0ms", "–"]
    assert table["test top-1"] == ["91.2\u00a0%", "–"]
    assert table["95 % interval"] == ["87.9\u00a0% to 93.8\u00a0%", "–"]
    assert table["best baseline within, test"] == ["88.0\u00a0%", "–"]  # the third is over
    assert table["evaluations"] == ["60", "60"]
    assert table["wall time"] == ["11\u00a0min 56\u00a0s", "6\u00a0min 50\u00a0s"]


def test_names_are_as_long_as_it_takes_to_tell_runs_apart(write_run: WriteRun, tmp_path: Path):
    both = [write_run(tmp_path / name / "run", until="profile") for name in ("a", "b")]
    assert names_of(compare(both)) == ["a/run", "b/run"]


def test_the_page_needs_no_other_file_and_draws_the_runs_in_one_figure(
    runs: tuple[Path, Path],
) -> None:
    page = comparison_page(compare(runs))
    assert "first: finalists" in page
    assert "second: front of the search" in page
    assert "first: winner" in page
    assert not re.search(r"\b(src|srcset)=|<link|@import", page)
    assert page.count("<svg") == 2  # one figure in two forms


def test_hostile_names_of_runs_stay_texts(write_run: WriteRun, tmp_path: Path) -> None:
    both = [
        write_run(tmp_path / name, until="retrain")
        for name in ("<img src=x onerror=y>", "$\\frac$")
    ]
    page = comparison_page(compare(both))
    assert "<img" not in page
    assert "&lt;img src=x onerror=y&gt;" in page


def test_one_run_and_no_run_are_errors(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs or more, got 1"):
        compare(runs[:1])
    with pytest.raises(InputError, match="hwnas run"):
        compare([runs[0], tmp_path / "absent"])


def test_the_verb_prints_a_table_or_plain_data_and_writes_the_page(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out, runner = tmp_path / "comparison.html", CliRunner()
    printed = runner.invoke(app, ["report", *map(str, runs), "--json", "--out", str(out)])
    assert printed.exit_code == 0
    found = json.loads(printed.stdout)
    assert [one["run"] for one in found["runs"]] == [str(run) for run in runs]
    assert found["runs"][0]["test_ci95"] == [0.879, 0.938]
    assert found["runs"][1]["winner"] is None
    assert found["on_devices"][0]["on"][0]["within"] is True
    assert out.is_file()
    text = runner.invoke(app, ["report", *map(str, runs)]).stdout
    assert "test top-1" in text
    assert runner.invoke(app, ["report", str(runs[0]), "--json"]).exit_code != 0

"""Runs for several devices set against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwnas.cli import app
from hwnas.errors import InputError, UsageError
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table, save_table
from hwnas.report.compare import matrix_page
from hwnas.report.cross import Matrix, cross, rows_of
from hwnas.space.catalogue import load_space

SPACE = load_space("tiny")


def _predict(space, table):
    return LutPredictor(space, table).predict_arch_ms


def _load(path, name):
    return load_space(name)


def _edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def runs(write_run, tmp_path) -> tuple[Path, Path]:
    """Two searches; the second device takes twice as long for 5x5 kernels, its budget is tight."""
    first = write_run(tmp_path / "first", until="search")
    second = write_run(tmp_path / "second", until="search")
    table = load_table(second / "table.json")
    entries = {
        op: replace(
            m, latency_ms=m.latency_ms * (2 if op.kind == "mbconv" and op["kernel"] == 5 else 1)
        )
        for op, m in table.entries.items()
    }
    header = table.header.model_copy(update={"device": "slow-kernels"})
    save_table(replace(table, header=header, entries=entries), second / "table.json")
    slow = LutPredictor(SPACE, load_table(second / "table.json"))
    records = [json.loads(line) for line in (second / "journal.jsonl").read_text().splitlines()]
    own = min(
        (r for r in records if r["event"] == "evaluation"),
        key=lambda r: slow.predict_arch_ms(SPACE.arch(r["arch"]["choices"])),
    )

    def answer(content) -> None:
        latency_ms = slow.predict_arch_ms(SPACE.arch(own["arch"]["choices"]))
        content["answers"][0]["limits"][0]["max"] = latency_ms
        content["answers"][0]["best"] = {
            k: own[k] for k in ("arch", "arch_id", "network_id", "latency_ms", "objectives")
        }

    _edit(second / "result.json", answer)
    return first, second


def _matrix(runs) -> Matrix:
    return cross(runs, _load, _predict)


def test_every_network_is_predicted_by_every_table(runs):
    matrix = _matrix(runs)
    for row, run in zip(matrix.cells, runs, strict=True):
        best = json.loads((run / "result.json").read_text())["answers"][0]["best"]
        arch = SPACE.arch(best["arch"]["choices"])
        for cell, other in zip(row, runs, strict=True):
            expected = LutPredictor(SPACE, load_table(other / "table.json")).predict_arch_ms(arch)
            assert cell.latency_ms == pytest.approx(expected, rel=1e-12)


def test_a_network_on_its_own_device_has_no_regret_and_is_within(runs):
    matrix = _matrix(runs)
    for place in range(2):
        assert matrix.cells[place][place].regret == 0.0
        assert matrix.cells[place][place].over == 0.0


def test_regret_is_what_the_devices_own_network_has_more(runs):
    matrix = _matrix(runs)
    first, second = matrix.networks
    assert matrix.cells[1][0].regret == pytest.approx(first.top1 - second.top1)
    assert matrix.cells[1][0].regret > 0


def test_a_network_over_a_budget_has_its_excess_instead_of_a_regret(runs):
    cell = _matrix(runs).cells[0][1]
    budget_ms = json.loads((runs[1] / "result.json").read_text())["answers"][0]["limits"][0]["max"]
    assert cell.regret is None
    assert cell.over == pytest.approx(cell.latency_ms / budget_ms - 1)
    assert "over the budget" in rows_of(_matrix(runs))[1][0][3]


def test_trained_from_scratch_counts_where_all_runs_have_it(write_run, tmp_path):
    both = [write_run(tmp_path / name, until="retrain") for name in ("a", "b")]
    matrix = _matrix(both)
    rows = json.loads((both[0] / "retrained.json").read_text())["finalists"]
    assert matrix.networks[0].source == "scratch"
    assert matrix.networks[0].top1 == rows[0]["val"]["top1"]
    (both[1] / "retrained.json").unlink()
    assert _matrix(both).networks[0].source == "supernet"


def test_all_reasons_against_comparing_are_listed_at_once(runs, write_run, tmp_path):
    other = write_run(tmp_path / "third", until="search", space="macro-cifar")
    bare = write_run(tmp_path / "fourth", until="profile")
    with pytest.raises(InputError) as caught:
        _matrix([runs[0], other, bare])
    text = str(caught.value)
    assert "fourth has no result.json" in text
    assert "of different spaces" in text
    with pytest.raises(UsageError, match="two runs or more, got 1"):
        _matrix(runs[:1])


def test_the_page_needs_no_other_file_and_names_every_device(runs):
    html = matrix_page(_matrix(runs))
    assert "slow-kernels" in html
    assert html.count("<tr>") == 3
    assert "src=" not in html
    assert 'href="#devices"' in html
    assert html.count("href=") == 1


def test_the_verb_prints_the_matrix_and_writes_the_page(runs, tmp_path):
    out = tmp_path / "cross.html"
    runner = CliRunner()
    printed = runner.invoke(
        app, ["report", "--cross", *map(str, runs), "--json", "--out", str(out)]
    )
    assert printed.exit_code == 0
    found = json.loads(printed.stdout)
    assert [row["within"] for row in found["networks"][0]["on"]] == [True, False]
    assert out.is_file()
    text = runner.invoke(app, ["report", "--cross", *map(str, runs)])
    assert "searched for" in text.stdout

"""Tables solved from sums: against the table the sums were made of, and what is no sum."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.published import published_header
from hwnas.latency.table.sums import import_sums, read_sums
from hwnas.latency.table.sums_solver import Design, solve
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

HEADER = published_header("phone", "litert", "fp32", 1, None)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def tiny():
    return load_space("tiny")


def random_codes(space, count: int, seed: int = 0):
    sizes = [len(choice.options) for choice in space.choices]
    return space.repair(
        stream(seed, "sums").integers(sizes, size=(count, len(sizes))).astype(np.int16)
    )


def true_sums(space, codes, seed: int = 0):
    """Return sums of a random table with a common speed of about 10 GMAC/s."""
    design = Design(space)
    noise = stream(seed, "rows").uniform(0.5, 2.0, len(design.ops))
    rows = np.array([op.macs / 1e7 for op in design.ops]) * noise + 0.002
    return design.counts(codes) @ rows, dict(zip(design.ops, rows, strict=True))


def write(path: Path, space, codes, latency_ms) -> Path:
    path.write_text(
        "".join(
            json.dumps({"arch": arch.to_json(), "latency_ms": ms}) + "\n"
            for arch, ms in zip(space.decode(codes), latency_ms, strict=True)
        )
    )
    return path


def predict(space, table, codes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return LutPredictor(space, table).predict_ms(codes)


@pytest.mark.parametrize("name", ["tiny", "fbnet-cifar", "ofa-mbv3", "nasbench201"])
def test_networks_never_seen_are_predicted_as_the_true_table_does(name):
    space = load_space(name)
    known, others = random_codes(space, 2500), random_codes(space, 200, seed=1)
    latency_ms, true = true_sums(space, known)
    solution = solve(space, known, latency_ms)
    assert np.abs(solution.residual_ms).max() < 1e-9 * latency_ms.max()
    assert (
        solution.rank == solution.space_rank == np.linalg.matrix_rank(Design(space).counts(known))
    )
    assert (solution.row_ms > 0).all()
    rows = dict(zip(solution.ops, solution.row_ms, strict=True))
    design = Design(space)
    expected = design.counts(others) @ np.array([true[op] for op in design.ops])
    got = design.counts(others) @ np.array([rows[op] for op in design.ops])
    np.testing.assert_allclose(got, expected, rtol=1e-7)


def test_the_rows_that_no_sharing_can_change_are_the_true_ones(tiny):
    codes = random_codes(tiny, 300)
    latency_ms, true = true_sums(tiny, codes)
    solution = solve(tiny, codes, latency_ms)
    equal = [
        abs(ms - true[op]) < 1e-9 for op, ms in zip(solution.ops, solution.row_ms, strict=True)
    ]
    # the layers whose shape stays: their identity takes no time, so nothing can be moved
    still = [op for op in solution.ops if op.kind == "mbconv" and op["residual"]]
    assert solution.num_identified == len(still) == 6
    assert all(equal[solution.ops.index(op)] for op in still)
    assert len(solution.ops) - solution.rank == 4  # stem and head, and three layers' differences


def test_the_published_sums_of_a_pixel_3_and_a_pi_4_are_reproduced(shared_data, tmp_path):
    file = shared_data("device-latency/fbnet.npz")
    space = load_space("fbnet-cifar")
    data = np.load(file)
    bounds = {"pixel3": 1e-6, "raspi4": 2e-6}  # half a unit of float32 at 30 and at 53 ms
    for device, bound in bounds.items():
        lines = subprocess.run(
            [sys.executable, ROOT / "examples/fbnet_sums.py", file, device],
            capture_output=True,
            check=True,
        ).stdout
        (tmp_path / f"{device}.jsonl").write_bytes(lines)
        table = import_sums([tmp_path / f"{device}.jsonl"], space, HEADER)
        published = data["latency_ms"][data["device"].tolist().index(device)].astype(float)
        predicted = predict(space, table, data["arch"].astype(np.int16))
        assert len(predicted) == 5000
        assert np.abs(predicted - published).max() <= bound
        assert table.header.provenance["rank"].startswith("97 of 104 rows (97 is all")
        assert "48 rows are identified" in table.header.provenance["rank"]
        assert "over 5000 networks" in table.header.provenance["residual"]


def test_networks_measured_as_a_whole_are_refused_or_marked(tiny, tmp_path):
    codes = random_codes(tiny, 300)
    latency_ms, _ = true_sums(tiny, codes)
    noisy = latency_ms * stream(0, "noise").normal(1, 0.03, len(codes))
    file = write(tmp_path / "a.jsonl", tiny, codes, noisy)
    with pytest.raises(
        InputError,
        match=r"they are no sums of one table: the best one misses "
        r"them by 2\..*% in the mean",
    ):
        import_sums([file], tiny, HEADER)
    table = import_sums([file], tiny, HEADER, force=True)
    assert "no sums of one table" in table.header.provenance["forced"]
    assert np.abs(predict(tiny, table, codes) / noisy - 1).mean() < 0.03


def test_a_few_wrong_lines_are_named_and_have_no_say(tiny, tmp_path):
    codes = random_codes(tiny, 200)
    latency_ms, _ = true_sums(tiny, codes)
    wrong = latency_ms.copy()
    wrong[[7, 50]] *= [1.3, 1000]
    file = write(tmp_path / "a.jsonl", tiny, codes, wrong)
    with pytest.raises(InputError) as caught:
        import_sums([file], tiny, HEADER)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "a.jsonl line 51",
        "a.jsonl line 8",
    ]
    assert f"which give {latency_ms[7]:.9g} ms" in caught.value.problems[1]
    table = import_sums([file], tiny, HEADER, force=True)
    np.testing.assert_allclose(predict(tiny, table, codes), latency_ms, rtol=1e-9)
    assert "2 networks fit no sum" in table.header.provenance["residual"]


def test_an_option_in_no_network_is_open_and_never_given_a_number(tiny, tmp_path):
    codes = random_codes(tiny, 300)
    codes[codes[:, 3] == 2, 3] = 1
    latency_ms, _ = true_sums(tiny, codes)
    file = write(tmp_path / "a.jsonl", tiny, codes, latency_ms)
    with pytest.raises(
        InputError,
        match=r"1 rows stay open: mbconv .*kernel=5.*No network has "
        "layer4=mb3_k5",
    ):
        import_sums([file], tiny, HEADER)
    table = import_sums([file], tiny, HEADER, force=True)
    probe = codes[:2].copy()
    probe[:, 3] = 2
    assert np.isnan(predict(tiny, table, probe)).all()
    np.testing.assert_allclose(predict(tiny, table, codes), latency_ms, rtol=1e-7)


def test_too_few_networks_show_nothing(tiny, tmp_path):
    codes = random_codes(tiny, 17)
    file = write(tmp_path / "a.jsonl", tiny, codes, true_sums(tiny, codes)[0])
    with pytest.raises(InputError, match="17 networks cannot show whether they are sums"):
        import_sums([file], tiny, HEADER)


def test_equal_operations_with_different_times_are_no_sums(tmp_path):
    space = load_space("fbnet-cifar")
    codes = random_codes(space, 1000)
    latency_ms, _ = true_sums(space, codes)
    latency_ms += 0.05 * (codes[:, 3] == 3)  # the third of three equal layers alone
    file = write(tmp_path / "a.jsonl", space, codes, latency_ms)
    with pytest.raises(InputError, match="equal operations take different times"):
        import_sums([file], space, HEADER)


@pytest.mark.parametrize("decimals", [3, 2])
def test_rounded_sums_are_sums_to_half_their_unit(tmp_path, decimals):
    space = load_space("fbnet-cifar")
    codes = random_codes(space, 1000)
    latency_ms = true_sums(space, codes)[0]
    file = write(tmp_path / "a.jsonl", space, codes, np.round(latency_ms, decimals))
    table = import_sums([file], space, HEADER)
    assert np.abs(predict(space, table, codes) - latency_ms).max() < 10.0**-decimals


def test_microseconds_are_refused(tiny, tmp_path):
    codes = random_codes(tiny, 300)
    file = write(tmp_path / "a.jsonl", tiny, codes, true_sums(tiny, codes)[0] * 1e3)
    with pytest.raises(InputError, match="are its latencies in microseconds"):
        import_sums([file], tiny, HEADER)


def test_all_wrong_lines_are_told_by_number(tiny, tmp_path):
    [arch] = tiny.decode(random_codes(tiny, 1))
    good = {"arch": arch.to_json(), "latency_ms": 1.0}
    lines = [
        "{",
        "[]",
        json.dumps({**good, "latency_ms": -1}),
        "",
        json.dumps({**good, "latency_ms": 10**400}),
        json.dumps({**good, "latency_ms": True}),
        json.dumps({**good, "arch": {**good["arch"], "space": "fbnet"}}),
        json.dumps({**good, "arch": {**good["arch"], "choices": {"layer1": "x"}}}),
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + '\n{"latency_ms": NaN}\n')
    with pytest.raises(InputError) as caught:
        read_sums([tmp_path / "a.jsonl", tmp_path / "none.jsonl"], tiny)
    text = str(caught.value)
    for number in (1, 2, 3, 5, 6, 7, 8):
        assert f"a.jsonl line {number}: " in text
    assert "is of space 'fbnet', not of 'tiny'" in text

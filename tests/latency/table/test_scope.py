"""Folders of scoped tables: each network by the table of its scope; what keeps tables apart."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import InputError, MissingRowError, UsageError
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table, save_table, store, stored
from hwnas.latency.table.schemas import Calibration
from hwnas.latency.table.scope import ops_in_scope, parse_scope, scope_terms
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import Restriction
from hwnas.rng import stream
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops


@pytest.fixture(scope="module")
def space():
    return load_space("ofa-mbv3:num_classes=10,width_mult=0.5")


@pytest.fixture
def scoped(space, random_table):
    """Makes a table of one resolution, with its own number for every operation."""

    def make(resolution: int, **parts_of_table) -> LatencyTable:
        table = random_table(space, seed=resolution, **parts_of_table)
        header = table.header.model_copy(update={"scope": {"resolution": resolution}})
        return replace(table, header=header)

    return make


def _predictor(space, tables):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return LutPredictor(space, tables)


def _codes(space, count, resolutions):
    sizes = [len(choice.options) for choice in space.choices]
    rng = stream(0, "scoped test")
    codes = rng.integers(sizes, size=(count, len(sizes))).astype(np.int16)
    codes[:, 0] = rng.choice([space.choices[0].options.index(r) for r in resolutions], size=count)
    return space.repair(codes)


def test_each_network_is_predicted_by_the_table_of_its_resolution(space, scoped):
    tables = LatencyTable.of_scopes([scoped(160), scoped(192)])
    predictor = _predictor(space, tables)
    codes = _codes(space, 300, (160, 192))
    by_resolution = {table.header.scope["resolution"]: table for table in tables.scopes}
    for arch, ms in zip(space.decode(codes), predictor.predict_ms(codes), strict=True):
        rows = by_resolution[arch.choices["resolution"]].entries
        expected = sum(rows[op].latency_ms for op in space.layers(arch))
        assert ms == pytest.approx(expected, rel=1e-12)
        assert predictor.predict_arch_ms(arch) == ms
    assert predictor.restricted == tuple(
        Restriction("resolution", r, space.layers(space.decode(_codes(space, 1, (r,)))[0])[0])
        for r in (128, 144, 176, 208, 224)
    )


def test_a_network_of_another_resolution_has_no_latency(space, scoped):
    predictor = _predictor(space, LatencyTable.of_scopes([scoped(160), scoped(192)]))
    codes = _codes(space, 3, (176,))
    assert np.isnan(predictor.predict_ms(codes)).all()
    with pytest.raises(MissingRowError, match="there are tables of resolution=160; resolution=192"):
        predictor.predict_arch_ms(space.decode(codes)[0])


def test_answers_under_a_limit_stay_in_the_covered_resolutions_and_are_exact(space, scoped):
    predictor = _predictor(space, LatencyTable.of_scopes([scoped(160), scoped(192)]))
    limited = LimitedSpace(space, (Limit("latency_ms", 14.0, "t"),), {"t": predictor})
    assert limited.restricted == predictor.restricted
    assert limited.num_codes == 2 * (9**2 + 9**3 + 9**4) ** 5
    drawn = [
        arch for arch, _ in zip(limited.draws(12.0, 14.0, stream(1, "d")), range(30), strict=False)
    ]
    latencies = predictor.predict_ms(space.encode(drawn))
    assert ((latencies >= 12.0) & (latencies <= 14.0)).all()
    assert {arch.choices["resolution"] for arch in drawn} <= {160, 192}
    low, high = limited.extremes()
    every = predictor.predict_ms(_codes(space, 2000, (160, 192)))
    assert low < every.min() < every.max() < high
    # half of random codes lie below the median; deep networks are most of all codes
    symbols = limited.window(0.0, 1e3).sample(400, stream(2, "d"))
    from hwnas.space.codes import to_codes

    below = (predictor.predict_ms(to_codes(symbols, space)) <= limited.percentiles([0.5])[0]).mean()
    assert 0.4 < below < 0.6


def test_calibrations_are_each_tables_own(space, scoped):
    def fit(scale, constant_ms):
        return {
            space.name: Calibration(
                scale=scale,
                per_op_ms=-0.01,
                constant_ms=constant_ms,
                num_networks=8,
                mean_abs_rel_error=0.0,
                max_abs_rel_error=0.0,
            )
        }

    one, two = scoped(160, calibration=fit(0.9, 0.5)), scoped(192, calibration=fit(1.1, -0.5))
    predictor = LutPredictor(space, LatencyTable.of_scopes([one, two]))
    assert predictor.source == "lut"
    raw = _predictor(space, LatencyTable.of_scopes([scoped(160), scoped(192)]))
    codes = _codes(space, 50, (160, 192))
    counts = np.array([len(space.layers(arch)) for arch in space.decode(codes)])
    is_160 = codes[:, 0] == 2
    expected = (
        np.where(is_160, 0.9, 1.1) * raw.predict_ms(codes)
        - 0.01 * counts
        + np.where(is_160, 0.5, -0.5)
    )
    np.testing.assert_allclose(predictor.predict_ms(codes), expected, rtol=1e-12)
    with pytest.warns(UserWarning, match=r"\(resolution=192\) is not calibrated"):
        mixed = LutPredictor(space, LatencyTable.of_scopes([one, scoped(192)]))
    assert mixed.source == "lut-uncalibrated"


def test_a_folder_is_read_in_the_order_of_its_scopes(tmp_path, scoped):
    for name, resolution in (("a", 224), ("b", 128), ("c", 160)):
        save_table(scoped(resolution), tmp_path / f"{name}.json")
    loaded = load_table(tmp_path)
    assert [table.header.scope["resolution"] for table in loaded.scopes] == [128, 160, 224]
    assert loaded.header.scope == {}
    single = load_table(tmp_path / "b.json")
    assert single.is_scoped
    assert single.scopes == (single,)
    store(loaded, tmp_path / "run", "table")
    assert load_table(stored(tmp_path / "run", "table")) == loaded
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["table"]


def test_tables_that_cannot_be_told_apart_are_all_named(tmp_path, scoped, random_table, space):
    save_table(scoped(160), tmp_path / "a.json")
    save_table(scoped(160), tmp_path / "b.json")
    save_table(random_table(space), tmp_path / "c.json")
    other = scoped(192)
    header = other.header.model_copy(update={"device": "board"})
    save_table(replace(other, header=header), tmp_path / "d.json")
    with pytest.raises(InputError) as caught:
        load_table(tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "b.json",
        "c.json",
        "d.json",
    ]
    for words in (
        "b.json: a second table of scope resolution=160, beside a.json",
        "c.json: its scope is every network",
        "d.json: device is 'board'",
    ):
        assert words in str(caught.value)


def test_a_scope_that_the_space_does_not_have_is_refused(space, scoped, random_table, tiny):
    with pytest.raises(InputError, match=r"resolution of ofa-mbv3.* is one of 128, .*, not 100"):
        _predictor(space, LatencyTable.of_scopes([scoped(100)]))
    table = random_table(tiny)
    header = table.header.model_copy(update={"scope": {"resolution": 32}})
    with pytest.raises(InputError, match="tiny has no choice 'resolution'"):
        _predictor(tiny, LatencyTable.of_scopes([replace(table, header=header)]))


def test_a_gap_in_one_combination_is_listed_and_never_used(space, scoped):
    table = scoped(160)
    [lost] = [
        op
        for op in table.entries
        if op.kind == "mbconv"
        and op.in_shape[1:] == (10, 10)
        and op["kernel"] == 5
        and op["hidden"] == 6 * op.in_shape[0]
        and op["stride"] == 2
    ]
    rows = {op: row for op, row in table.entries.items() if op != lost}
    predictor = _predictor(space, LatencyTable.of_scopes([replace(table, entries=rows)]))
    [gap] = [r for r in predictor.restricted if r.beside]
    assert (gap.choice, gap.option, gap.op) == ("stage5.block1.expand_ratio", 6, lost)
    assert gap.beside == (("resolution", 160), ("stage5.block1.kernel_size", 5))
    assert "beside resolution=160 beside stage5.block1.kernel_size=5" in str(gap)
    assert gap.to_json()["beside"] == {"resolution": 160, "stage5.block1.kernel_size": 5}
    limited = LimitedSpace(space, (Limit("latency_ms", 1e3, "t"),), {"t": predictor})
    symbols = limited.window(0.0, 1e3).sample(300, stream(3, "d"))
    names = [choice.name for choice in space.choices]
    kernel, expand = (names.index(f"stage5.block1.{n}") for n in ("kernel_size", "expand_ratio"))
    assert not ((symbols[:, kernel] == 1) & (symbols[:, expand] == 2)).any()


def test_a_block_without_any_row_is_an_error_that_names_the_tables_own_operations(space, scoped):
    table = scoped(160)
    # the third block of the first stage is the same operations as the second, which always exists
    deep = next(f for f in space.factors() if len(f.choices) == 4 and f.choices[1] == 1)
    lacking = {op for op in deep.ops[2].ravel() if op is not None}
    rows = {op: row for op, row in table.entries.items() if op not in lacking}
    with pytest.raises(MissingRowError, match=r"has no row for 9 operation.*\n.* 16x40x40->16 "):
        _predictor(space, LatencyTable.of_scopes([replace(table, entries=rows)]))


def test_operations_in_a_scope_are_those_of_its_networks(space):
    scope = {"resolution": 160}
    found = ops_in_scope(space, scope)
    assert len(found) == len(set(found))
    archs = space.decode(_codes(space, 400, [160]))
    used = {op for arch in archs for op in space.layers(arch)}
    assert used <= set(found)
    assert {op.in_shape[1] for op in found} == {160, 80, 40, 20, 10, 5}
    everything = ops_in_scope(space, {})
    assert set(found) < set(everything) == set(distinct_ops(space))


def test_scope_terms_allow_networks_of_the_scope_only(space):
    (term,) = scope_terms(space, {"resolution": 160})
    codes = _codes(space, 50, [160, 224])
    allowed = np.isfinite(term.values[codes[:, term.choices[0]]])
    of_160 = [arch.choices["resolution"] == 160 for arch in space.decode(codes)]
    assert allowed.tolist() == of_160


@pytest.mark.parametrize(
    ("scope", "reason"),
    [({"resolution": 150}, "is one of 128, 144"), ({"width": 3}, "has no choice 'width'")],
)
def test_a_scope_names_options_of_the_space(space, scope, reason):
    with pytest.raises(InputError, match=reason):
        ops_in_scope(space, scope)


def test_parse_scope_reads_options_and_refuses_the_rest():
    assert parse_scope("resolution=160") == {"resolution": 160}
    assert parse_scope("b=2, a=1") == {"a": 1, "b": 2}
    for text in ("resolution", "resolution=", "=3", "a=x", "a=1,a=2", ""):
        with pytest.raises(UsageError, match=r"choice=integer"):
            parse_scope(text)

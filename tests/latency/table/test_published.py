"""Published tables against hand sums of their own YAML, and what is wrong with wrong ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from hwnas.errors import InputError, UsageError
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.published import import_tables, published_header, require_place
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

HEADER = published_header("phone", "litert", "fp32", 1, None)
RESOLUTIONS = (160, 176, 192, 208, 224)


def _predictor(space, tables):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return LutPredictor(space, tables)


def _means(path: Path) -> dict[str, float]:
    return {key: row["mean"] for key, row in yaml.safe_load(path.read_text()).items()}


def _ofa_hand_sum(means: dict[str, float], choices: dict[str, int], resolution: int) -> float:
    """Add up the rows of one network, keys spelt from the supernet's published shapes (x 1.2)."""
    size = resolution // 2
    total = sum(ms for key, ms in means.items() if not key.startswith("expanded_conv"))
    total += means[
        f"expanded_conv-input:{size}x{size}x24-output:{size}x{size}x24-expand:24-"
        "kernel:3-stride:1-idskip:1-se:0-hs:0"
    ]
    channels = 24
    plan = ((32, 2, 0, 0), (48, 2, 1, 0), (96, 2, 0, 1), (136, 1, 1, 1), (192, 2, 1, 1))
    for stage, (width, stride, se, hs) in enumerate(plan, start=1):
        for block in range(1, choices[f"stage{stage}.depth"] + 1):
            step = stride if block == 1 else 1
            out = -(-size // step)
            hidden = channels * choices[f"stage{stage}.block{block}.expand_ratio"]
            kernel = choices[f"stage{stage}.block{block}.kernel_size"]
            total += means[
                f"expanded_conv-input:{size}x{size}x{channels}-output:{out}x{out}x"
                f"{width}-expand:{hidden}-kernel:{kernel}-stride:{step}-"
                f"idskip:{int(step == 1 and channels == width)}-se:{se}-hs:{hs}"
            ]
            size, channels = out, width
    return total


def test_ofa_tables_give_the_hand_sums_of_1000_networks(shared_data, tmp_path):
    files = {r: shared_data(f"ofa-note10/{r}_lookup_table.yaml") for r in RESOLUTIONS}
    tables = import_tables(list(files.values()), "ofa", HEADER)
    for path, table in require_place(tables, tmp_path / "phone").items():
        save_table(table, path)
    loaded = load_table(tmp_path / "phone")
    space = load_space("ofa-mbv3:width_mult=1.2")
    predictor = _predictor(space, loaded)
    sizes = [len(choice.options) for choice in space.choices]
    codes = space.repair(
        stream(5, "hand sums").integers(sizes, size=(1400, len(sizes))).astype(np.int16)
    )
    predicted = predictor.predict_ms(codes)
    means = {r: _means(file) for r, file in files.items()}
    num_summed = 0
    for arch, ms in zip(space.decode(codes), predicted, strict=True):
        resolution = arch.choices["resolution"]
        if resolution not in means:
            assert np.isnan(ms)
            continue
        assert ms == pytest.approx(
            _ofa_hand_sum(means[resolution], arch.choices, resolution), abs=1e-9
        )
        num_summed += 1
    assert num_summed >= 900
    assert {(r.choice, r.option) for r in predictor.restricted} == {
        ("resolution", 128),
        ("resolution", 144),
    }
    header = load_table(next((tmp_path / "phone").glob("*160.json"))).header
    assert header.scope == {"resolution": 160}
    assert header.provenance["file"] == "160_lookup_table.yaml"
    assert len(header.provenance["sha256"]) == 64
    assert header.protocol is None


def test_the_proxyless_table_gives_the_hand_sums_of_1000_networks(shared_data):
    file = shared_data("proxylessnas-pixel1/mobile_trim.yaml")
    [table] = import_tables([file], "proxyless", HEADER)
    space = load_space("proxyless")
    predictor = _predictor(space, table)
    assert predictor.restricted == ()
    means = _means(file)
    always = sum(ms for key, ms in means.items() if not key.startswith("expanded_conv"))
    always += means[
        "expanded_conv-input:112x112x32-output:112x112x16-expand:1-kernel:3-stride:1-idskip:0"
    ]
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(6, "hand sums").integers(sizes, size=(1000, len(sizes))).astype(np.int16)
    plan = [
        (width, stride if layer == 0 else 1)
        for width, layers, stride in (
            (24, 4, 2),
            (40, 4, 2),
            (80, 4, 2),
            (96, 4, 1),
            (192, 4, 2),
            (320, 1, 1),
        )
        for layer in range(layers)
    ]
    for arch, predicted in zip(space.decode(codes), predictor.predict_ms(codes), strict=True):
        total, size, channels = always, 112, 16
        for number, (width, stride) in enumerate(plan, start=1):
            option, out = arch.choices[f"block{number}"], size // stride
            if option != "skip":
                kernel, expand = option[1], option[-1]
                total += means[
                    f"expanded_conv-input:{size}x{size}x{channels}-output:{out}x{out}x{width}-"
                    f"expand:{expand}-kernel:{kernel}-stride:{stride}-"
                    f"idskip:{int(stride == 1 and channels == width)}"
                ]
            size, channels = out, width
        assert predicted == pytest.approx(total, abs=1e-9)


BLOCK = (
    "expanded_conv-input:{0}x{0}x16-output:{0}x{0}x16-expand:16-kernel:3-stride:1-idskip:1-"
    "se:0-hs:0:"
)


def _text(size: int = 16, block_mean: str = "0.05", **extra: str) -> str:
    """Spell a small table of images of ``2 * size`` pixels."""
    rows = {
        f"Conv-input:{2 * size}x{2 * size}x3-output:{size}x{size}x16:": "0.05",
        BLOCK.format(size): block_mean,
        f"Conv_1-input:{size}x{size}x16-output:{size}x{size}x32:": "0.1",
        f"AvgPool2D-input:{size}x{size}x32-output:1x1x32:": "0.002",
        "Conv_2-input:1x1x32-output:1x1x64:": "0.004",
        "Logits-input:1x1x64-output:10:": "0.008",
        **extra,
    }
    return "".join(
        f"{key}\n  count: 3\n  mean: {mean}\n  std: 0.01\n" for key, mean in rows.items()
    )


@pytest.fixture
def write(tmp_path):
    def make(text: str, name: str = "t.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return make


def test_the_rows_of_the_head_become_one_operation(write):
    [table] = import_tables([write(_text())], "ofa", HEADER)
    [head] = [op for op in table.entries if op.kind == "head"]
    assert (head["hidden"], head["features"], head.out_channels) == (32, 64, 10)
    assert table.entries[head].latency_ms == pytest.approx(0.114, abs=1e-12)
    assert table.entries[head].num_runs == 3
    assert table.header.scope == {"resolution": 32}
    [block] = [op for op in table.entries if op.kind == "mbconv"]
    assert not block["expand"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_text(block_mean=".nan"), r"line 5, .*: mean must be a number above 0, got .nan"),
        (_text(block_mean="-0.1"), "mean must be a number above 0, got -0.1"),
        (_text(block_mean="0"), "mean must be a number above 0, got 0"),
        (_text(block_mean=".inf"), "mean must be a number above 0, got .inf"),
        (_text(block_mean="fast"), "mean must be a number above 0, got fast"),
        (_text(block_mean="true"), "mean must be a number above 0, got true"),
        (_text() + BLOCK.format(16) + " {count: 3, mean: 0.1, std: 0.1}\n", "a second row of"),
        (_text().replace("count: 3", "count: 3.5", 1), "count must be an integer above 0"),
        (_text().replace("std: 0.01", "std: -1", 1), "std must be a number of 0 or more, got -1"),
        (_text().replace("std: 0.01", "var: 0.01", 1), "unknown key 'var'"),
        (_text().replace("  std: 0.01\n", "", 1), "std is missing"),
        (_text().replace("  std: 0.01\n", "  std: 1\n  std: 2\n", 1), "std is given twice"),
        (_text(**{"warp-input:1x1x3-output:1x1x4:": "0.1"}), "warp-.*is no operation"),
        (
            _text(**{BLOCK.format(16).replace("stride:1", "stride:2"): "0.1"}),
            r"residual needs equal shapes|stride 2 gives",
        ),
        (
            _text(**{BLOCK.format(16).replace("kernel:3", "kernel:4"): "0.1"}),
            "mbconv.kernel must be one of",
        ),
        (_text().replace("Conv_2-input:1x1x32", "Conv_2-input:1x1x48"), "a layer takes"),
        (
            _text().replace("Logits-input:1x1x64-output:10", "Logits-input:1x1x64-output:0"),
            "empty shape",
        ),
        (_text().replace("Conv-input:32x32x3", "Conv-input:32x30x3"), "a square image"),
        ("\n".join(_text().split("\n")[4:]), "Conv is missing, which every network has"),
        ("- 1\n", "must be a mapping"),
        ("a: [", "not YAML"),
        ("", "must be a mapping"),
        ("{}", "holds no row"),
        (_text().replace("-se:0-hs:0", ""), "is of the proxyless format"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(write, text, problem):
    with pytest.raises(InputError, match=problem):
        import_tables([write(text)], "ofa", HEADER)


def test_all_problems_of_all_files_are_told_at_once(write):
    first = write(_text(block_mean="-1").replace("count: 3", "count: 0", 1), "a.yaml")
    second = write(_text().replace("Logits", "Logit"), "b.yaml")
    with pytest.raises(InputError) as caught:
        import_tables([first, second, first.with_name("c.yaml")], "ofa", HEADER)
    text = str(caught.value)
    assert len(caught.value.problems) == 5  # count, mean; unknown row, missing Logits; no file
    for expected in (
        "a.yaml: line 1",
        "a.yaml: line 5",
        "b.yaml: Logit-",
        "b.yaml: Logits is",
        "c.yaml: there is no such file",
    ):
        assert expected in text


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "seconds"), (1e3, "microseconds")])
def test_latencies_in_another_unit_are_refused_unless_forced(shared_data, write, factor, unit):
    rows = yaml.safe_load(shared_data("ofa-note10/160_lookup_table.yaml").read_text())
    scaled = {key: {**row, "mean": row["mean"] * factor} for key, row in rows.items()}
    file = write(yaml.safe_dump(scaled))
    with pytest.raises(InputError, match=f"are its latencies in {unit}"):
        import_tables([file], "ofa", HEADER)
    [table] = import_tables([file], "ofa", HEADER, force=True)
    assert len(table.entries) == 93


def test_two_files_of_one_resolution_are_refused(write):
    files = [write(_text(), "a.yaml"), write(_text(block_mean="0.06"), "b.yaml")]
    with pytest.raises(InputError, match=r"b.yaml: a second table of scope resolution=32, beside"):
        import_tables(files, "ofa", HEADER)


def test_a_table_never_overwrites_nor_joins_one_of_its_scope_or_of_another_device(write, tmp_path):
    out = tmp_path / "out"
    [table] = import_tables([write(_text())], "ofa", HEADER)
    [path] = require_place([table], out)
    save_table(table, path)
    with pytest.raises(InputError, match="is there already"):
        require_place([table], out)
    path.rename(out / "other.json")
    with pytest.raises(InputError, match="a second table of scope resolution=32, beside other"):
        require_place([table], out)
    [wider] = import_tables([write(_text(24))], "ofa", HEADER)
    require_place([wider], out)
    [foreign] = import_tables(
        [write(_text(24))], "ofa", published_header("board", "litert", "fp32", 1, None)
    )
    with pytest.raises(InputError, match=r"other\.json: device is 'phone', but 'board'"):
        require_place([foreign], out)


def test_unknown_formats_and_targets_are_refused_by_name(write):
    with pytest.raises(UsageError, match="--format 'fbnet' is not known; it is one of ofa, prox"):
        import_tables([write(_text())], "fbnet", HEADER)
    with pytest.raises(UsageError) as caught:
        published_header("../phone", "tflite", "fp4", 1, "7-4")
    for option in (
        "--device '../phone'",
        "--runtime 'tflite'",
        "--precision 'fp4'",
        "--affinity '7-4'",
    ):
        assert option in str(caught.value)


def test_a_published_row_says_what_is_not_known_and_comes_back_whole(write, tmp_path):
    [table] = import_tables([write(_text(block_mean="0.012345678901234"))], "ofa", HEADER)
    save_table(table, tmp_path / "out.json")
    again = load_table(tmp_path / "out.json")
    assert again.header == table.header
    for op, row in table.entries.items():
        assert again.entries[op].latency_ms == row.latency_ms
        assert (again.entries[op].num_rounds, again.entries[op].num_runs) == (0, 3)
        assert np.isnan(again.entries[op].repeatability)
    assert load_table(tmp_path / "out.json").is_scoped

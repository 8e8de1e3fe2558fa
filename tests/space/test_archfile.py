"""Lists of architectures: one answer per line, in order, and ids that agree everywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.space.archfile import arch_ids, read_arch, read_archs
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
GOOD = {f"layer{i}": "mb3_k3" for i in range(1, 6)}
MISSING = {name: option for name, option in GOOD.items() if name != "layer3"}


def _line(choices=GOOD, **changes):
    return json.dumps({"schema": 1, "space": "tiny", "choices": choices, **changes})


BAD = {
    "": "not JSON: ",
    "   ": "not JSON: ",
    "{": "not JSON: ",
    _line()[:-1]: "not JSON: ",
    "NaN": "not JSON: ",
    '{"schema": 1} {"schema": 1}': "not JSON: ",
    "3": "an architecture has exactly the keys schema, space and choices",
    "null": "an architecture has exactly the keys",
    '"text"': "an architecture has exactly the keys",
    "[]": "an architecture has exactly the keys",
    "{}": "an architecture has exactly the keys",
    json.dumps({"schema": 1, "space": "tiny"}): "an architecture has exactly the keys",
    json.dumps(GOOD): "an architecture has exactly the keys",
    _line(top1=0.9): "an architecture has exactly the keys",
    _line(schema=2): "schema must be 1, got 2",
    _line(schema="1"): "schema must be 1, got '1'",
    _line(schema=None): "schema must be 1, got None",
    _line(space="proxyless"): "is of space 'proxyless', not of 'tiny'",
    _line(space=["tiny"]): "is of space ['tiny'], not of 'tiny'",
    _line(list(GOOD)): "choices must be an object of choice: option",
    _line(None): "choices must be an object",
    _line("mb3_k3"): "choices must be an object",
    _line({}): "choice 'layer1' is missing; allowed: identity, mb3_k3, mb3_k5, mb6_k3; choice",
    _line(MISSING): "choice 'layer3' is missing; allowed: ",
    _line({**GOOD, "layer6": "mb3_k3"}): "unknown choice 'layer6'; tiny has layer1, ",
    _line({**MISSING, "layer6": "mb3_k3"}): "unknown choice 'layer6'",
    _line({**GOOD, "layer2": "mb9"}): "choice 'layer2' is 'mb9'; allowed: identity, ",
    _line({**GOOD, "layer2": 3}): "choice 'layer2' is 3; allowed: ",
    _line({**GOOD, "layer2": None}): "choice 'layer2' is None; allowed: ",
    _line({**GOOD, "layer2": ["mb3_k3"]}): "choice 'layer2' is ['mb3_k3']; allowed: ",
    _line({**GOOD, "layer2": {"a": 1}}): "choice 'layer2' is {'a': 1}; allowed: ",
}


@pytest.mark.parametrize("bad", BAD)
def test_each_bad_line_is_told_what_is_wrong_and_the_others_are_read(tmp_path, bad):
    path = tmp_path / "archs.jsonl"
    path.write_text(f"{_line()}\n{bad}\n{_line()}\n")
    found = read_archs(path, TINY)
    assert found.num_lines == 3
    assert found.rows.tolist() == [0, 2]
    assert found.codes.tolist() == [[1] * 5] * 2
    assert list(found.errors) == [1]
    assert found.errors[1].startswith(BAD[bad])


def test_all_problems_of_a_line_are_told_together(tmp_path):
    path = tmp_path / "archs.jsonl"
    path.write_text(_line({**MISSING, "layer2": "mb9", "layer6": "mb3_k3"}))
    (told,) = read_archs(path, TINY).errors.values()
    assert told.count("; allowed: ") == 2
    assert told.count("unknown choice") == 1


def test_bytes_that_are_no_text_are_a_bad_line_and_not_a_crash(tmp_path):
    path = tmp_path / "archs.jsonl"
    path.write_bytes(b'{"schema": 1, "space": "\xff"}\n' + _line().encode() + b"\r\n")
    found = read_archs(path, TINY)
    assert found.errors[0].startswith("not JSON: ")
    assert found.codes.tolist() == [[1] * 5]


def test_lines_keep_their_order_among_bad_ones(tmp_path):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (500, 5)).astype(np.int16)
    bad_lines = list(BAD)
    is_bad = rng.random(500) < 0.3
    lines = [
        bad_lines[rng.integers(len(bad_lines))] if bad else json.dumps(arch.to_json())
        for bad, arch in zip(is_bad, TINY.decode(codes), strict=True)
    ]
    path = tmp_path / "archs.jsonl"
    path.write_text("\n".join(lines) + "\n")
    found = read_archs(path, TINY)
    assert found.num_lines == 500
    assert found.rows.tolist() == np.flatnonzero(~is_bad).tolist()
    assert list(found.errors) == np.flatnonzero(is_bad).tolist()
    assert found.codes.dtype == np.int16
    assert (found.codes == codes[~is_bad]).all()


def test_keys_may_come_in_any_order_and_the_last_line_without_an_end(tmp_path):
    path = tmp_path / "archs.jsonl"
    turned = {"choices": dict(reversed(GOOD.items())), "space": "tiny", "schema": 1}
    path.write_text(json.dumps(turned, indent=None))
    found = read_archs(path, TINY)
    assert (found.codes.tolist(), found.errors) == ([[1] * 5], {})


def test_an_empty_file_has_no_lines_and_an_absent_one_is_an_error(tmp_path):
    path = tmp_path / "archs.jsonl"
    path.write_text("")
    found = read_archs(path, TINY)
    assert (found.num_lines, found.codes.shape, len(found.rows)) == (0, (0, 5), 0)
    for wrong, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"cannot be read: {reason}"):
            read_archs(wrong, TINY)


def test_lines_of_a_space_with_absent_choices_are_read(tmp_path, depth_space, depth_codes):
    lines = [json.dumps(arch.to_json()) for arch in depth_space.decode(depth_codes)]
    beyond = {"depth": 1, "block1.kernel": 3, "block2.kernel": 3}
    lines.insert(3, json.dumps({"schema": 1, "space": "depth", "choices": beyond}))
    path = tmp_path / "archs.jsonl"
    path.write_text("\n".join(lines))
    found = read_archs(path, depth_space)
    assert (found.codes == depth_codes).all()
    assert found.errors == {3: "depth 1 needs ['block1.kernel', 'depth']"}
    assert found.rows.tolist() == [0, 1, 2, *range(4, 19)]


@pytest.mark.parametrize("name", ["tiny", "macro-cifar:num_classes=7", "proxyless"])
def test_ids_are_those_of_the_archs(name):
    space = load_space(name)
    rng = np.random.default_rng(1)
    codes = np.stack([rng.integers(len(c.options), size=200) for c in space.choices], axis=1)
    codes = codes.astype(np.int16)
    assert arch_ids(space, codes) == [arch.arch_id for arch in space.decode(codes)]
    assert arch_ids(space, codes[:0]) == []


def test_ids_are_those_of_the_archs_with_absent_choices(depth_space, depth_codes):
    for codes in (depth_codes, depth_codes[6:], depth_codes[:2]):
        expected = [arch.arch_id for arch in depth_space.decode(codes)]
        assert arch_ids(depth_space, codes) == expected
    random = np.random.default_rng(2).integers(-1, 2, (300, 4)).astype(np.int16)
    assert (random == -1).all(axis=1).any()  # an arch of no choices at all has an id, too
    assert arch_ids(depth_space, random) == [a.arch_id for a in depth_space.decode(random)]


def test_one_architecture_is_read_bare_or_from_an_exported_file(tmp_path):
    arch = json.loads(_line())
    path = tmp_path / "arch.json"
    for content in (arch, {"arch": arch, "latency_ms": 3.0}):
        path.write_text(json.dumps(content))
        assert read_arch(path) == arch


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON: "),
        ("", "not JSON: "),
        ("[1, 2]", "an architecture has exactly the keys schema, space and choices, got [1,2]"),
        ('{"arch": 3}', 'and choices, got {"arch":3}'),
        ('{"arch": {"schema": 1}}', 'and choices, got {"schema":1}'),
        (_line(extra=1), "an architecture has exactly the keys"),
    ],
)
def test_a_file_that_is_no_architecture_is_told_why(tmp_path, content, problem):
    path = tmp_path / "arch.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_arch(path)
    assert caught.value.what == str(path)
    (told,) = caught.value.problems
    assert problem in told


def test_an_absent_architecture_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_arch(tmp_path / "absent.json")


@pytest.mark.parametrize("wrong", [1.0, True])
def test_a_number_of_another_type_is_no_option_in_a_list_either(wrong, tmp_path):
    darts = load_space("darts")
    arch = darts.decode(darts.repair(np.zeros((1, 32), dtype=np.int16)))[0]
    choices = {**arch.choices, "normal.node5.edge1.source": 1}
    lines = [
        {**arch.to_json(), "choices": {**choices, "normal.node5.edge2.source": 2}},
        {
            **arch.to_json(),
            "choices": {
                **choices,
                "normal.node5.edge2.source": 2,
                "normal.node5.edge1.source": wrong,
            },
        },
    ]
    path = tmp_path / "archs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    listed = read_archs(path, darts)
    assert listed.rows.tolist() == [0]
    assert "node5.edge1.source" in listed.errors[1]


def test_a_byte_order_mark_and_blank_last_lines_are_not_read(tmp_path):
    space = load_space("tiny")
    line = json.dumps(space.arch({c.name: c.options[0] for c in space.choices}).to_json())
    path = tmp_path / "archs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\n{line}\n\n  \n".encode())
    found = read_archs(path, space)
    assert (found.num_lines, len(found.codes), found.errors) == (2, 2, {})


def test_architectures_of_once_for_alls_program_are_read(tmp_path):
    space = load_space("ofa-mbv3")
    theirs = {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 3] * 5, "d": [2, 3, 4, 2, 3], "r": [224]}
    path = tmp_path / "archs.jsonl"
    wrong = [
        {**theirs, "r": 220},
        {**theirs, "d": [2, 3]},
        {**theirs, "d": [2, 3, 4, 2, 9]},
        {**theirs, "ks": 3},
    ]
    path.write_text("\n".join(json.dumps(one) for one in (theirs, *wrong)))
    found = read_archs(path, space)
    (arch,) = space.decode(found.codes)
    assert arch.choices["resolution"] == 224
    assert [arch.choices[f"stage{n}.depth"] for n in range(1, 6)] == theirs["d"]
    assert arch.choices["stage2.block3.kernel_size"] == 7
    assert "stage1.block3.kernel_size" not in arch.choices
    assert set(found.errors) == {1, 2, 3, 4}
    assert "ks and e must have 20 values and d 5" in found.errors[2]
    assert "which tiny does not hold" in read_archs(path, load_space("tiny")).errors[0]

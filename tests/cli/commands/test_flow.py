"""Verbs that work: their options, their refusals before any work, and what a stop leaves."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import yaml

from hwnas.latency.table.files import load_table
from hwnas.space.catalogue import load_space

SEARCH = (
    "search",
    "--space",
    "tiny",
    "--lut",
    "quiet.json",
    "--data",
    "digits",
    "--out",
    "new",
    "--strategy",
    "random",
    "--budget-ms",
)
QUICK = ("--evaluations", "1", "--epochs", "1", "--workers", "1")


def copied_device(shop, **changes):
    """A device file of one's own, beside the tables."""
    text = (
        "schema: 1\nname: desk\ndescription: A desk\ntransport: local\ntested: false\n"
        "abi: any\nruntimes: {onnxruntime: {}}\n"
        "protocol: {rounds: 2, min_visit_ms: 0.5}\n"
    )
    for old, new in changes.items():
        text = text.replace(old, new)
    (shop / "desk.yaml").write_text(text)
    return "desk.yaml"


def test_search_prints_its_answers_and_where_to_go_on(shop, hwnas):
    answer = hwnas(*SEARCH, "0.1", *QUICK)
    assert answer.code == 0
    assert "latency_ms <= 0.1: " in answer.out
    assert "Next: hwnas retrain --run new" in answer.out


def test_search_json_is_the_result_file_with_an_answer_per_budget(shop, hwnas):
    answer = hwnas(*SEARCH, "0.06,0.08", *QUICK, "--json")
    assert answer.json == json.loads((shop / "new" / "result.json").read_text())
    for wanted, found in zip((0.06, 0.08), answer.json["answers"], strict=True):
        assert found["limits"][0]["max"] == wanted
        assert found["best"]["latency_ms"] <= wanted
    assert "evaluating" in answer.err


def test_two_tables_with_a_budget_each_limit_one_search(shop, hwnas, make_table):
    make_table(shop / "slow.json", factor=2.0)
    answer = hwnas(
        *SEARCH,
        "0.1",
        "--lut",
        "slow.json",
        "--budget-ms",
        "0.12",
        *QUICK,
        "--limit",
        "params=25000",
        "--json",
    )
    (found,) = answer.json["answers"]
    assert found["limits"] == [
        {"metric": "latency_ms", "table": "table.json", "max": 0.1},
        {"metric": "latency_ms", "table": "table-2.json", "max": 0.12},
        {"metric": "params", "table": None, "max": 25000.0},
    ]
    assert found["best"]["latency_ms"] <= 0.06 + 1e-9
    space = load_space("tiny")
    layers = space.layers(space.arch(found["best"]["arch"]["choices"]))
    assert sum(op.params for op in layers) <= 25000


def test_a_table_of_a_device_of_ones_own_needs_its_file(shop, hwnas, make_table):
    make_table(shop / "quiet.json", device="desk")
    answer = hwnas(*SEARCH, "0.1", *QUICK)
    assert answer.code == 2
    assert (
        "measured on desk, which does not come with hwnas. Next: give its file with --device"
        in answer.err
    )
    assert hwnas(*SEARCH, "0.1", *QUICK, "--device", copied_device(shop)).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.1", "--lut", "t.json"), "pair up in order: got 2, 1 and 0"),
        (("0.1", "--device", "host", "--device", "host"), "pair up in order: got 1, 1 and 2"),
        (("0.1,x",), "must be numbers as in 20 or 20,30"),
        (("0",), "must be a number of ms above 0"),
        (("nan",), "must be a number of ms above 0"),
        (("0.1", "--limit", "parms=3"), "params, macs, size_mb"),
        (("0.1", "--limit", "params"), "params, macs, size_mb"),
        (("0.1", "--limit", "params=3", "--limit", "params=4"), "each metric once"),
        (("0.1", "--limit", "params=-1"), "params, macs, size_mb"),
        (("0.1", "--strategy", "nsga", "--evaluator", "oracle"), "2 problems"),
        (("0.1", "--strategy", "nsga"), "'exhaustive' or 'combined-moves', got 'nsga'"),
        (("0.1", "--epochs", "0"), "epochs must be at least 1, got 0"),
        (("0.1", "--headroom", "0.9"), "headroom: must be less than 0.5"),
        (("0.1", "--evaluator", "table:a.jsonl", "--epochs", "2"), "table:a.jsonl trains nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_use_of_search_is_refused_with_what_is_allowed(shop, hwnas, arguments, message):
    answer = hwnas(*SEARCH, *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
    assert not (shop / "new").exists()


def test_a_search_by_gates_takes_its_options_and_is_evaluated(shop, hwnas):
    answer = hwnas(
        *SEARCH,
        "0.1",
        "--strategy",
        "proxyless",
        "--gradient",
        "full",
        "--epochs",
        "2",
        "--evaluations",
        "2",
        "--top",
        "1",
    )
    assert answer.code == 0, answer.err
    config = yaml.safe_load((shop / "new/config.yaml").read_text())["search"]
    assert (config["evaluator"], config["gates"]["gradient"]) == ("supernet", "full")
    assert config["supernet"]["recipe"]["epochs"] == 2
    few = (shop / "archs.jsonl").read_text().splitlines(keepends=True)[:2]
    (shop / "archs.jsonl").write_text("".join(few))
    found = hwnas("evaluate", "--run", "new", "--archs", "archs.jsonl", "--json")
    assert found.code == 0, found.err
    lines = [json.loads(line) for line in found.out.splitlines()]
    assert len(lines) == 2
    assert all(set(line) == {"arch_id", "top1", "loss", "source"} for line in lines)
    (shop / "archs.jsonl").write_text("nothing\n" + few[0])
    found = hwnas("evaluate", "--run", "new", "--archs", "archs.jsonl")
    assert found.code == 1
    assert found.out.splitlines()[0].startswith("error: not JSON")
    assert found.out.splitlines()[1].endswith("supernet")
    assert "1 of 2 lines" in found.err


def test_search_takes_a_run_file_instead_of_its_options(shop, hwnas):
    config = yaml.safe_load((shop / "r/config.yaml").read_text())
    (shop / "my.yaml").write_text(yaml.safe_dump(config))
    assert hwnas("search", "--config", "my.yaml", "--out", "new").code == 0
    assert (shop / "new/result.json").is_file()
    # values that equal the defaults are given all the same
    given = ("--space", "tiny", "--seed", "0", "--strategy", "random", "--top", "3")
    both = hwnas("search", "--config", "my.yaml", "--out", "other", *given, "--quiet")
    assert both.code == 2
    assert "error: --space, --strategy, --top, --seed cannot be given with --config" in both.err
    assert "Next: set them in my.yaml, or leave --config out" in both.err
    none = hwnas("search", "--out", "other")
    assert none.code == 2
    assert "needs --space, --lut or --device, --data, --budget-ms" in none.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.001",), "the fastest has latency_ms 0.034"),
        (("0.1", "--limit", "params=10"), "the smallest has params 12882"),
        (("0.1", "--data", "digitz"), "did you mean digits?"),
        (("0.1", "--data", "cifar10"), "--data-root"),
        (("0.1", "--space", "tinny"), "no space 'tinny'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_search_that_cannot_be_says_why_and_leaves_the_name_free(shop, hwnas, arguments, message):
    answer = hwnas(*SEARCH, *arguments)
    assert answer.code == 1
    assert message in answer.err
    assert not (shop / "new").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it is empty"),
        ({"ant/1.png": b"", "bee/1.png": b""}, "2 images are broken"),
        ({"1.png": b""}, "images outside of class folders"),
    ],
    ids=["empty", "corrupt", "no classes"],
)
def test_a_folder_that_cannot_be_trained_on_is_refused_with_its_files(shop, hwnas, files, message):
    (shop / "images").mkdir()
    for name, data in files.items():
        (shop / "images" / name).parent.mkdir(exist_ok=True)
        (shop / "images" / name).write_bytes(data)
    answer = hwnas(*SEARCH, "0.1", "--data", "images")
    assert answer.code == 1
    assert message in answer.err
    assert not (shop / "new").exists()


def test_an_out_that_is_taken_is_refused_and_left_alone(shop, hwnas):
    (shop / "mine").mkdir()
    (shop / "mine" / "notes").write_text("mine")
    for out, message in (
        ("r", "Next: add --resume"),
        ("mine", "is not a run"),
        ("mine/notes", "is not a run"),
    ):
        answer = hwnas(*SEARCH, "0.1", "--out", out)
        assert answer.code == 2
        assert message in answer.err
    assert (shop / "mine" / "notes").read_text() == "mine"


def test_an_out_that_cannot_be_written_is_a_message(shop, hwnas):
    (shop / "file").write_text("")
    for verb in (
        (*SEARCH, "0.1", *QUICK, "--out", "file/new"),
        (
            "profile",
            "--device",
            "host",
            "--runtime",
            "onnxruntime",
            "--space",
            "tiny",
            "--out",
            "file/t.json",
        ),
        ("lut", "merge", "t.json", "--out", "file/t.json"),
    ):
        answer = hwnas(*verb)
        assert answer.code == 1
        assert "cannot write file" in answer.err
        assert "Next: " in answer.err


def test_resuming_with_other_options_names_what_differs(shop, hwnas):
    assert hwnas(*SEARCH, "0.1", *QUICK).code == 0
    answer = hwnas(*SEARCH, "0.2", *QUICK, "--seed", "7", "--resume")
    assert answer.code == 1
    assert "targets.0.budget_ms: the run was begun with 0.1, now it is 0.2" in answer.err
    assert "seed: the run was begun with 0, now it is 7" in answer.err
    assert hwnas(*SEARCH, "0.1", *QUICK, "--resume").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--device", "toaster", "--space", "tiny"), 1, "no such device"),
        (("--device", "pixel-8", "--space", "tiny"), 2, "adb, which this version cannot"),
        (("--device", "raspberry-pi-4", "--space", "tiny"), 2, "ssh, which this version cannot"),
        (
            ("--device", "host", "--space", "tiny", "--runtime", "tensorrt"),
            2,
            "it has litert, onnxruntime",
        ),
        (("--device", "host", "--space", "tiny", "--precision", "int4"), 2, "allowed: fp32, int8"),
        (("--device", "host", "--space", "tiny", "--precision", "fp16"), 2, "computes it as fp32"),
        (("--device", "host", "--space", "tiny", "--affinity", "all"), 2, "CPU list"),
        (("--device", "host", "--space", "tinny"), 1, "no space 'tinny'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_profiled_is_refused_with_what_can(shop, hwnas, arguments, code, message):
    answer = hwnas("profile", *arguments, "--out", "new.json")
    assert answer.code == code
    assert message in answer.err
    assert not list(shop.glob("new.json*"))


def test_profiling_into_a_table_that_is_there_needs_resume(shop, hwnas):
    before = (shop / "t.json").read_bytes()
    answer = hwnas("profile", "--device", "host", "--space", "tiny", "--out", "t.json")
    assert answer.code == 2
    assert "t.json exists. Next: add --resume" in answer.err
    assert (shop / "t.json").read_bytes() == before


def test_verbs_out_of_order_name_the_one_that_is_missing(shop, hwnas):
    for name in (
        "winner.json",
        "bench/host-onnxruntime-fp32.json",
        "export/index.json",
        "retrained.json",
    ):
        (shop / "r" / name).unlink()
    assert "Next: hwnas retrain --run r" in hwnas("export", "--run", "r").err
    assert "Next: hwnas retrain --run r" in hwnas("bench", "r").err
    (shop / "r" / "finalists.json").unlink()
    answer = hwnas("retrain", "--run", "r")
    assert answer.code == 2
    assert "no finalists.json yet. Next: hwnas search" in answer.err
    for verb in (("retrain", "--run"), ("export", "--run"), ("bench",), ("report",)):
        answer = hwnas(*verb, shop)  # a folder, but of no run
        assert answer.code == 2
        assert "is not a run folder" in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export",), "either --run or --arch"),
        (("export", "--run", "r", "--arch", "a.json"), "either --run or --arch"),
        (("export", "--run", "r", "--out", "x"), "belong to --arch"),
        (("export", "--arch", "a.json", "--weights-of", "mobilenet_v2"), "give both"),
        (("export", "--run", "r", "--format", "onx"), "allowed are onnx, tflite or both"),
        (("export", "--run", "r", "--precision", "int4"), "allowed: fp32, int8"),
        (("bench", "r", "--rounds", "3"), "measured on its own device"),
        (("bench", "r", "r"), "cannot tell the runtime"),
        (("run",), "needs a YAML file, a folder of images with --budget-ms, or --preset"),
        (
            ("run", "c.yaml", "--preset", "demo"),
            "needs a YAML file, a folder of images with --budget-ms, or --preset",
        ),
        (("run", "--preset", "dmo"), "did you mean 'demo'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_do_not_go_together_are_refused(shop, hwnas, arguments, message):
    answer = hwnas(*arguments)
    assert answer.code == 2
    assert message in answer.err


def test_an_architecture_is_exported_and_measured_beside_its_prediction(shop, hwnas):
    (shop / "a.json").write_text((shop / "archs.jsonl").read_text().splitlines()[0])
    (model,) = hwnas(
        "export", "--arch", "a.json", "--format", "onnx", "--out", "ex", "--json"
    ).json["models"]
    assert (shop / model["path"]).is_file()
    answer = hwnas(
        "bench", model["path"], "--device", "host", "--rounds", "2", "--lut", "quiet.json", "--json"
    )
    predicted = json.loads(
        hwnas(
            "predict", "--space", "tiny", "--lut", "quiet.json", "--archs", "a.json", "--json"
        ).out
    )
    assert answer.json["rows"][0]["predicted_ms"] == pytest.approx(predicted["latency_ms"])


def test_a_run_says_when_its_winner_is_over_the_budget(shop, hwnas):
    path = shop / "r" / "winner.json"
    winner = json.loads(path.read_text())
    rejected = [{"arch_id": "0" * 16, "measured_ms": 0.3, "reason": "measured over the budget"}]
    path.write_text(json.dumps({**winner, "within_budget": False, "rejected": rejected}))
    answer = hwnas("run", "r/config.yaml", "--out", "r", "--resume")
    assert answer.code == 0
    assert "OVER the budget of 0.1 ms" in answer.out
    assert f"rejected after measuring: {'0' * 16} (0.300 ms: measured over" in answer.out
    assert hwnas("run", "r/config.yaml", "--out", "r", "--resume", "--json").json["winner"]


# the real command, in a process of its own


def stop_when(process, is_ready):
    """Interrupt the command as Ctrl-C does, once it is ready for that; return what it said.

    Every process it had started, or they had, must be gone soon after.
    """
    while not is_ready():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    family = family_of(process.pid)
    assert len(family) > 1, "nothing was running beside it"
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    end = time.monotonic() + 60
    while (left := family & set(running())) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == set()
    assert "Traceback" not in said
    return said


def holds(path, text, count=1):
    """Whether a file that a command is writing holds ``text`` so many times by now."""
    return lambda: path.is_file() and path.read_text().count(text) >= count


def running():
    """Every living process with its parent and its session."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                found[int(folder.name)] = (int(parent), int(session))
    return found


def family_of(pid):
    """The process, those of its session, and those that any of these started."""
    found, every = {pid}, running()
    while more := {
        p for p, (parent, session) in every.items() if p not in found and {parent, session} & found
    }:
        found |= more
    return found


def profile_arguments(shop, **changes):
    return (
        "profile",
        "--device",
        copied_device(shop, **changes),
        "--runtime",
        "onnxruntime",
        "--space",
        "tiny",
        "--out",
        "new.json",
    )


def test_a_stopped_profile_goes_on_where_it_was_and_leaves_no_process(shop, start, hwnas):
    arguments = profile_arguments(shop, **{"rounds: 2": "rounds: 40"})
    process = start(*arguments, cwd=shop)
    said = stop_when(process, holds(shop / "new.json.samples.jsonl", '"event":"repetition"', 50))
    assert process.returncode == 130
    assert said.endswith("Next: repeat the command with --resume\n")
    kept = (shop / "new.json.samples.jsonl").read_text()
    answer = hwnas(*arguments, "--resume")
    assert answer.code == 0
    assert (shop / "new.json.samples.jsonl").read_text().startswith(kept[: kept.rindex("\n")])
    assert len(load_table(shop / "new.json").entries) == 20


def test_a_stopped_retraining_leaves_no_process_and_goes_on(shop, start, hwnas):
    (shop / "r" / "retrained.json").unlink()
    for path in (shop / "r" / "checkpoints").iterdir():
        path.unlink()
    arguments = ("retrain", "--run", "r", "--epochs", "4")
    process = start(*arguments, cwd=shop)
    said = stop_when(process, lambda: list((shop / "r" / "checkpoints").glob("*.state")))
    assert process.returncode == 130
    assert said.endswith("Next: repeat the command\n")
    assert not (shop / "r" / "retrained.json").exists()
    assert hwnas(*arguments).code == 0
    (finalist,) = json.loads((shop / "r" / "retrained.json").read_text())["finalists"]
    assert finalist["cost"]["images_trained"] == 4 * (1148 + 145)  # no epoch twice, none left out


def test_a_full_disk_ends_a_profile_with_what_was_measured_kept(shop, start, hwnas):
    arguments = profile_arguments(shop)
    hwnas(*arguments[:-1], "first.json")  # the conversions are then in the cache
    most = 8_000

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = start(*arguments, cwd=shop, preexec_fn=small_files)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "cannot write new.json.samples.jsonl" in said
    assert "What was written before is kept. Next: free space" in said
    assert "Traceback" not in said
    kept = (shop / "new.json.samples.jsonl").read_text()
    assert kept.count('"event":"repetition"') > 3
    assert not (shop / "new.json").exists()
    assert hwnas(*arguments, "--resume").code == 0
    assert (shop / "new.json.samples.jsonl").read_text().startswith(kept[: kept.rindex("\n")])


def test_a_reader_that_closes_early_gets_no_trace(shop, start):
    (shop / "many.jsonl").write_text((shop / "archs.jsonl").read_text() * 2000)
    process = start(
        "predict", "--space", "tiny", "--lut", "quiet.json", "--archs", "many.jsonl", cwd=shop
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.wait(timeout=300)
    assert "Traceback" not in said


def test_a_stopped_search_ends_with_the_answers_of_an_unbroken_one(shop, start, hwnas):
    arguments = (*SEARCH, "0.1", "--evaluations", "5", "--epochs", "1", "--workers", "2")
    process = start(*arguments, cwd=shop)
    said = stop_when(process, holds(shop / "new" / "journal.jsonl", '"event":"evaluation"'))
    assert process.returncode == 130
    assert said.endswith("Next: repeat the command with --resume\n")
    events = [json.loads(line) for line in (shop / "new/journal.jsonl").read_text().splitlines()]
    kept = [event["arch_id"] for event in events if event["event"] == "evaluation"]
    assert 1 <= len(kept) < 5
    resumed = hwnas(*arguments, "--resume", "--json").json
    unbroken = hwnas(*arguments, "--out", "other", "--json").json
    assert resumed["answers"] == unbroken["answers"]


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ((), "proxyless"),
        (("--evaluator", "scratch"), "evolution"),
        (("--halving", "2"), "evolution"),
        (("--surrogate",), "evolution"),
        (("--gradient", "full"), "proxyless"),
        (("--evaluator", "predictor:p.json", "--evaluations", "2000"), "combined-moves"),
        (("--evaluator", "table:t.jsonl"), "evolution"),
    ],
)
def test_without_a_strategy_the_one_that_fits_is_taken_and_named(
    shop, hwnas, monkeypatch, options, strategy
):
    taken = []
    monkeypatch.setattr(
        "hwnas.pipeline.commands.runs.search_run",
        lambda config, out, **_: taken.append(config) or pytest.skip("not searched"),
    )
    words = [word for word in SEARCH if word not in ("--strategy", "random")]
    with contextlib.suppress(pytest.skip.Exception):
        answer = hwnas(*words, "0.1", *options)
        raise AssertionError(answer.err)
    assert [config.search.strategy for config in taken] == [strategy]


def test_of_two_searches_into_one_folder_one_goes_on_and_the_other_names_it(shop, start):
    arguments = (
        *("search", "--space", "tiny", "--lut", "t.json", "--budget-ms", "3", "--data", "digits"),
        *("--strategy", "random", "--evaluations", "3", "--epochs", "1", "--out", "both"),
    )
    processes = [start(*arguments, cwd=shop) for _ in range(2)]
    answers = [(process.communicate(timeout=300), process.returncode) for process in processes]
    codes = sorted(code for _, code in answers)
    assert codes == [0, 2], answers
    ((_, errors),) = [texts for texts, code in answers if code == 2]
    assert "both is being written by process" in errors or "both already holds a run" in errors
    journal = (shop / "both" / "journal.jsonl").read_text()
    events = [json.loads(line) for line in journal.splitlines()]
    evaluated = [event["network_id"] for event in events if event.get("event") == "evaluation"]
    assert len(evaluated) == len(set(evaluated)) == 3
    assert not list((shop / "both").glob(".lock*"))

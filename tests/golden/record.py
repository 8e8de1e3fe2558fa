"""Record what the command line says and writes: ``python tests/golden/record.py [CASE...]``.

Everything goes through ``hwnas.cli.main`` and files, so that the recordings outlive any change of
the modules behind it. Seeds are fixed; what differs from run to run or from machine to machine
(clocks, measured times, versions, paths) is scrubbed. ``--out`` names the folder to write to, by
default ``outputs/`` beside this file; ``--list`` prints the cases.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import html
import io
import itertools
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import renames
import yaml

HERE = Path(__file__).parent
INPUTS, OUTPUTS = HERE / "inputs", HERE / "outputs"
OLD_RUNS = HERE / "run_folder_0_1"  # run folders that hwnas 0.1.0 wrote: one budget, and several
OLD_RUN_NAMES = ("one", "several")
SCRUBBED = "<scrubbed>"
BY_ID = "<by its id>"
MISSING = "<no such file>"
DIGITS = 9

# values that clocks, machines and versions decide, wherever they stand
VARYING = {
    "wall_s",
    "core_s",
    "device_s",
    "time",
    "date",
    "started",
    "state_before",
    "state_after",
    "host",
    "python",
    "platform",
    "cpu",
    "packages",
    "converter",
    "runtime_version",
    "report",
}
MEASURED = {
    "cores",
    "measured_ms",
    "measurement",
    "round_medians_ms",
    "ratio",
    "repeatability",
    "sessions",
    "drift",
    "disturbance",
}
# lines of messages that come and go with the machine: progress, warnings of noise, libraries
PASSING = re.compile(
    r"^[a-z][\w ]* \d+/\d+(, [\d.]+ (s|min|h) left)?( \(about .* left in the run\))?$|"
    r"^models made: |^(warning: )?something else slowed|^the device is at x|"
    r"^INFO: |^WARNING: |^[WIE]\d{4} |^$"
)


@dataclass
class Shop:
    """A folder that commands run in, and what they have said so far."""

    path: Path
    steps: list[dict[str, Any]] = field(default_factory=list)

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run ``hwnas ARGUMENTS`` in this process; return its exit code and both streams."""
        from hwnas.cli import main

        words = [renames.WORDS.get(str(a), str(a)) for a in arguments]
        out, err = io.StringIO(), io.StringIO()
        argv, sys.argv = sys.argv, ["hwnas", *words]
        code: Any = 0
        try:
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.argv = argv
        return code, out.getvalue(), err.getvalue()

    def hwnas(
        self,
        *arguments: object,
        files: tuple[str, ...] = (),
        scrub: frozenset[str] | set[str] = frozenset(),
        keep_text: bool = True,
    ) -> str:
        """Run a command and record it, with ``files`` of those it wrote; return its output.

        ``scrub`` names more keys whose values vary; without ``keep_text`` a text on standard
        output, which would tell measured times, is left out.
        """
        code, out, err = self.run(*arguments)
        step: dict[str, Any] = {"command": " ".join(["hwnas", *map(str, arguments)]), "exit": code}
        values = parsed(out)
        if values is not None:
            step["json"] = scrubbed(values, scrub)
        elif out and keep_text:
            step["stdout"] = self.lines(out)
        if said := [line for line in self.lines(err) if not PASSING.match(line)]:
            step["stderr"] = said
        if files:
            step["files"] = {name: self.file(name, scrub) for name in files}
        self.steps.append(step)
        return out

    def lines(self, text: str) -> list[str]:
        """Return lines without what depends on the place they were written at."""
        text = text.replace(f"{self.path}/", "").replace(str(self.path), ".")
        text = re.sub(r"Device files: \S+;", f"Device files: {SCRUBBED};", text)
        text = re.sub(r"python -m \S*hwnas\S*", "hwnas", text)
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        text = re.sub(rf"measured {today}T\S+", f"measured {SCRUBBED}", text)
        return [line.rstrip() for line in text.splitlines()]

    def place(self, name: str) -> Path:
        """Return where a file is today that was called ``name``, a path inside the shop."""
        head, _, rest = name.partition("/")
        renamed = renames.FILES.get(rest or head, rest or head)
        return self.path / (f"{head}/{renamed}" if rest else renamed)

    def file(self, name: str, scrub: frozenset[str] | set[str] = frozenset()) -> Any:
        """Return a file's content: JSON, JSON lines or YAML without what varies; else a hash."""
        path = self.place(name)
        if not path.is_file():
            return MISSING
        if path.suffix in (".onnx", ".tflite", ".safetensors"):
            return model_digest(path)
        text = path.read_text()
        value = yaml.safe_load(text) if path.suffix == ".yaml" else parsed(text)
        if value is None:
            return self.lines(text)
        return scrubbed(value, scrub)

    def copy(self, *names: str) -> None:
        """Put inputs into the shop, with today's keys."""
        for name in names:
            self.write(name, (INPUTS / name).read_text())

    def write(self, name: str, content: str | list[Any] | dict[str, Any]) -> None:
        """Write an input: text, or values as JSON (lines of them for ``.jsonl``)."""
        if isinstance(content, str) and not renames.INPUT_KEYS:
            (self.path / name).write_text(content)
            return
        if isinstance(content, str):
            value = parsed(content) if not name.endswith(".yaml") else yaml.safe_load(content)
            content = content if value is None else value
        content = renamed_keys(content, renames.INPUT_KEYS)
        if isinstance(content, str):
            text = content
        elif name.endswith(".jsonl"):
            text = "".join(json.dumps(line) + "\n" for line in content)
        elif name.endswith(".yaml"):
            text = yaml.safe_dump(content, sort_keys=False)
        else:
            text = json.dumps(content)
        (self.path / name).write_text(text)


def parsed(text: str) -> Any:
    """Return a JSON document, or a list of JSON lines; None where ``text`` is neither."""
    try:
        value = json.loads(text)
        return value if isinstance(value, dict | list) else None
    except ValueError:
        pass
    lines = text.splitlines()
    if not lines or not all(line.startswith("{") for line in lines):
        return None
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        return None


def scrubbed(value: Any, more: frozenset[str] | set[str] = frozenset()) -> Any:
    """Return ``value`` without what varies, floats with DIGITS digits.

    Architectures that stand beside their id, which is a hash of them, are left out.
    """
    if isinstance(value, dict):
        hidden = VARYING | more
        if str(value.get("file", "")).endswith(".tflite"):
            hidden |= {"bytes", "sha256"}  # source paths are in the file
        return {
            key: SCRUBBED
            if key in hidden and not isinstance(item, bool)
            else BY_ID
            if key == "arch" and "arch_id" in value
            else scrubbed(item, more)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [scrubbed(item, more) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value


def renamed_keys(value: Any, keys: Mapping[str, str], parent: str = "") -> Any:
    """Return ``value`` with keys renamed: ``key`` anywhere, ``parent/key`` below that parent."""
    if isinstance(value, dict):
        return {
            keys.get(f"{parent}/{key}", keys.get(key, key)): renamed_keys(item, keys, key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [renamed_keys(item, keys, parent) for item in value]
    return value


def model_digest(path: Path) -> dict[str, Any]:
    """Return what a model file holds: operators and shapes, and a hash of its weights."""
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(path).graph
        weights = hashlib.sha256()
        for tensor in sorted(graph.initializer, key=lambda one: one.name):
            weights.update(f"{tensor.name} {tensor.data_type} {list(tensor.dims)}".encode())
            weights.update(onnx.numpy_helper.to_array(tensor).tobytes())
        nodes = hashlib.sha256()
        for node in graph.node:
            bare = onnx.NodeProto()
            bare.CopyFrom(node)
            del bare.metadata_props[:]
            bare.doc_string = ""
            nodes.update(bare.SerializeToString(deterministic=True))
        return {
            "operators": [node.op_type for node in graph.node],
            "weights_sha256": weights.hexdigest(),
            "nodes_sha256": nodes.hexdigest(),
        }
    return tflite_digest(path) if path.suffix == ".tflite" else {"bytes": path.stat().st_size}


def tflite_digest(path: Path) -> dict[str, Any]:
    """Return operators, inputs, outputs, and a hash of the constants; source paths are left out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
    weights = hashlib.sha256()
    for tensor in sorted(interpreter.get_tensor_details(), key=lambda one: one["index"]):
        try:
            value = interpreter.get_tensor(tensor["index"])
        except ValueError:  # no constant: nothing is allocated
            continue
        weights.update(f"{tensor['dtype'].__name__} {list(tensor['shape'])}".encode())
        weights.update(value.tobytes())
    ends = interpreter.get_input_details() + interpreter.get_output_details()
    return {
        "operators": [op["op_name"] for op in interpreter._get_ops_details()],
        "ends": [[end["dtype"].__name__, end["shape"].tolist()] for end in ends],
        "weights_sha256": weights.hexdigest(),
    }


def pretty(value: Any, indent: str = "", width: int = 100) -> str:
    """Spell a value as JSON that diffs by line: what fits stands on one line."""
    flat = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if len(indent) + len(flat) <= width or not isinstance(value, dict | list) or not value:
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {pretty(value[key], inner, width)}"
            for key in sorted(value)
        ]
        return "{\n" + ",\n".join(inner + part for part in parts) + "\n" + indent + "}"
    parts = [pretty(item, inner, width) for item in value]
    return "[\n" + ",\n".join(inner + part for part in parts) + "\n" + indent + "]"


# the cases


@dataclass(frozen=True)
class Case:
    """One recording: what it does, and how it is compared.

    ``slow``: takes minutes. ``trains``: weights, or files that versions of others decide, are in
    it. ``subset``: what was there must be there, more may be.
    """

    function: Callable[[Shop], None]
    slow: bool = False
    trains: bool = False
    subset: bool = False


CASES: dict[str, Case] = {}


def case(**how: bool) -> Callable[[Callable[[Shop], None]], Callable[[Shop], None]]:
    """Register a function as a case of its own name."""

    def register(function: Callable[[Shop], None]) -> Callable[[Shop], None]:
        CASES[function.__name__] = Case(function, **how)
        return function

    return register


SPACES = (
    "tiny",
    "macro-cifar",
    "proxyless",
    "fbnet",
    "fbnet-cifar",
    "ofa-mbv3",
    "mobile",
    "nasbench201",
    "darts",
)
SPACE_FILE = """\
schema: 1
name: my-space
input_size: 32
num_classes: 10
stem: {width: 16, stride: 2, act: relu6}
options:
  k3_e3: {kind: mbconv, kernel: 3, expand: 3}
  k5_e6: {kind: mbconv, kernel: 5, expand: 6, act: hswish, se: 0.25}
  first: {kind: mbconv, kernel: 3, expand: 1}
  skip: {kind: identity}
stages:
  - {width: 16, layers: 1, stride: 1, fixed: first}
  - {width: 24, layers: 2, stride: 2, options: [k3_e3, k5_e6], same_shape_options: [skip]}
head: {hidden: 64}
"""
DEVICE_FILE = """\
schema: 1
name: desk
description: A desk
transport: local
tested: false
abi: any
runtimes: {onnxruntime: {}}
protocol: {rounds: 4, min_runs: 2, min_visit_ms: 0.05, warmup_runs: 1, loads: 2}
"""


def tiny_archs(shop: Shop) -> list[dict[str, Any]]:
    """Return all 1,024 architectures of ``tiny``."""
    choices = json.loads(shop.run("spaces", "show", "tiny", "--json")[1])["choices"]
    return [
        {"schema": 1, "space": "tiny", "choices": dict(zip(choices, options, strict=True))}
        for options in itertools.product(*choices.values())
    ]


def score(arch: Mapping[str, Any], seed: float = 0.0) -> float:
    """Return a made-up accuracy: later options are better, and so is luck."""
    letters = "".join(str(option) for option in arch["choices"].values())
    luck = int(hashlib.sha256(f"{seed}{letters}".encode()).hexdigest()[:8], 16) / 2**32
    work = sum(len(str(option)) + 2 * ("6" in str(option)) for option in arch["choices"].values())
    return round(0.3 + 0.008 * work + 0.05 * luck, 6)


def scores_of(archs: list[dict[str, Any]]) -> list[Any]:
    """Return lines of an accuracy file."""
    return [{"arch": arch, "top1": score(arch)} for arch in archs]


RUN_FILES = ("config.yaml", "result.json", "finalists.json", "front.json", "journal.jsonl")


def in_run(name: str, files: tuple[str, ...] = RUN_FILES) -> tuple[str, ...]:
    """Return the files of a run folder, as paths inside the shop."""
    return tuple(f"{name}/{file}" for file in files)


@case()
def spaces(shop: Shop) -> None:
    """Every built-in space, and one of a file."""
    shop.write("my_space.yaml", SPACE_FILE)
    shop.hwnas("spaces")
    shop.hwnas("spaces", "--json")
    for name in (
        *SPACES,
        "proxyless:width_mult=0.5,num_classes=5",
        "ofa-mbv3:width_mult=1.2",
        "my_space.yaml",
    ):
        shop.hwnas("spaces", "show", name)
    for name in ("tiny", "nasbench201", "my_space.yaml"):
        shop.hwnas("spaces", "show", name, "--json")


@case()
def devices(shop: Shop) -> None:
    """The devices that come with the package."""
    shop.hwnas("devices")
    shop.hwnas("devices", "--json")


@case(subset=True)
def options(shop: Shop) -> None:
    """Every verb with its options, what they take and their defaults, from the help texts."""

    def visit(verb: tuple[str, ...]) -> Iterator[str]:
        text = shop.run(*verb, "--help")[1]
        name = " ".join(("hwnas", *verb))
        yield name
        options = text.partition("Options:")[2].partition("Commands:")[0]
        for entry in re.split(r"\n  (?=--)", options)[1:]:
            entry = re.sub(r"\s+", " ", entry)
            head = re.match(r"--[\w-]+(?: <[^>]+>)?", entry)
            default = re.search(r"\[default: [^\]]*\]", entry)
            yield " ".join([name, head[0], *([default[0]] if default else [])])
        for command in re.findall(r"^  ([a-z]+)  ", text.partition("Commands:")[2], re.MULTILINE):
            yield from visit((*verb, command))

    shop.steps.append({"lines": list(visit(()))})


@case()
def schema(shop: Shop) -> None:
    """What a run's YAML file may hold: names, types, defaults and limits."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: bare(item)
                for key, item in value.items()
                if not (key in ("title", "description") and isinstance(item, str))
            }
        return [bare(item) for item in value] if isinstance(value, list) else value

    found = bare(json.loads(shop.run("run", "--schema")[1]))
    shop.steps.append({"command": "hwnas run --schema", "json": found})


@case()
def audit(shop: Shop) -> None:
    """Budgets over spaces: sums, cells, a resolution of several, missing rows."""
    shop.copy("tiny.json", "nasbench201.json", "ofa-160.json")
    for arguments in (
        ("tiny", "--lut", "tiny.json", "--budget-ms", "0.07"),
        ("tiny", "--lut", "tiny.json", "--budget-ms", "0.001"),
        ("nasbench201", "--lut", "nasbench201.json", "--budget-ms", "12"),
        ("ofa-mbv3", "--lut", "ofa-160.json", "--budget-ms", "6"),
    ):
        shop.hwnas("spaces", "audit", *arguments)
        shop.hwnas("spaces", "audit", *arguments, "--json")
    partial(shop, "tiny.json", "part.json")
    shop.hwnas("spaces", "audit", "tiny", "--lut", "part.json", "--budget-ms", "0.07", "--json")
    shop.hwnas(
        "spaces",
        "audit",
        "tiny",
        "--lut",
        "part.json",
        "--budget-ms",
        "0.07",
        "--predictor",
        "kernel",
        "--json",
    )


def partial(shop: Shop, name: str, out: str) -> None:
    """Write a table without some of the rows of kernel 5."""
    content = json.loads((shop.path / name).read_text())
    content["entries"] = [
        row
        for row in content["entries"]
        if not (row["op"]["attrs"].get("kernel") == 5 and row["op"]["in_shape"][0] == 16)
    ]
    (shop.path / out).write_text(json.dumps(content))


@case()
def predict(shop: Shop) -> None:
    """Architectures by a table, by predicted rows, and lines that are none."""
    shop.copy("tiny.json", "nasbench201.json", "ofa-160.json")
    partial(shop, "tiny.json", "part.json")
    archs = tiny_archs(shop)[::37]
    shop.write("archs.jsonl", archs)
    shop.hwnas("predict", "--space", "tiny", "--lut", "tiny.json", "--archs", "archs.jsonl")
    shop.hwnas(
        "predict", "--space", "tiny", "--lut", "tiny.json", "--archs", "archs.jsonl", "--json"
    )
    shop.hwnas(
        "predict", "--space", "tiny", "--lut", "part.json", "--archs", "archs.jsonl", "--json"
    )
    shop.hwnas(
        "predict",
        "--space",
        "tiny",
        "--lut",
        "part.json",
        "--archs",
        "archs.jsonl",
        "--predictor",
        "kernel",
        "--json",
    )
    good = json.dumps(archs[3])
    (shop.path / "bad.jsonl").write_text(
        "\n".join(
            [
                good,
                good.replace('"layer1": "', '"layer1": "mb9'),
                "",
                "{",
                "[1]",
                good,
                good.replace('"tiny"', '"fbnet"'),
                good.replace('"schema": 1', '"schema": 9'),
            ]
        )
        + "\n"
    )
    shop.hwnas("predict", "--space", "tiny", "--lut", "tiny.json", "--archs", "bad.jsonl", "--json")
    for space, table in (("nasbench201", "nasbench201.json"), ("ofa-mbv3", "ofa-160.json")):
        shop.write("archs.jsonl", varied(shop, space))
        shop.hwnas("predict", "--space", space, "--lut", table, "--archs", "archs.jsonl", "--json")


def varied(shop: Shop, space: str, count: int = 12) -> list[dict[str, Any]]:
    """Return architectures near a space's example: one choice differs in each, at 160 px."""
    found = json.loads(shop.run("spaces", "show", space, "--json")[1])
    choices = found["example"]["choices"]
    if "resolution" in choices:
        choices["resolution"] = 160
    archs = []
    for number, name in enumerate(n for n in choices if "depth" not in n and n != "resolution"):
        every = found["choices"][name]
        archs.append(
            {**found["example"], "choices": {**choices, name: every[(number + 1) % len(every)]}}
        )
    return archs[:count]


@case()
def transfer(shop: Shop) -> None:
    """A device without a table: a few networks timed on it, and other devices."""
    archs = tiny_archs(shop)[::7]

    def timed(name: str, chosen: list[Any], weights: tuple[float, float], device: str) -> None:
        lines = []
        for arch in chosen:
            ms = 1.0
            for place, option in enumerate(arch["choices"].values()):
                ms += sum(
                    weight
                    * (1 + math.sin(7 * place + 3 * len(option) + 5 * ("5" in option) + seed))
                    for seed, weight in enumerate(weights)
                )
            lines.append(
                {"arch": arch, "latency_ms": round(ms, 6), **({"device": device} if device else {})}
            )
        shop.write(name, lines)

    timed("a.jsonl", archs[1::2], (1.0, 0.0), "a")
    timed("b.jsonl", archs[1::2], (0.1, 0.9), "b")
    timed("mine.jsonl", archs[::12], (0.5, 0.5), "")
    shop.write("pool.jsonl", archs[::5])
    ask = ("predict", "--space", "tiny", "--archs", "pool.jsonl")
    others = ("--sources", "a.jsonl", "b.jsonl")
    shop.hwnas(*ask, "--measured", "mine.jsonl", *others, "--json")
    shop.hwnas(*ask, "--measured", "mine.jsonl", *others)
    shop.hwnas(*ask, "--measured", "mine.jsonl", "--json")
    shop.hwnas(*ask, "--suggest", "5", *others, "--json")
    shop.hwnas(*ask, "--suggest", "5", "--json")


def published_rows(resolution: int) -> str:
    """Spell a made-up table of a very small network as Once-for-All's are spelt."""
    size = resolution // 2
    rows = {
        f"Conv-input:{resolution}x{resolution}x3-output:{size}x{size}x16": 0.5,
        f"expanded_conv-input:{size}x{size}x16-output:{size}x{size}x16-expand:64-kernel:3-"
        "stride:1-idskip:1-se:0-hs:1": 2.0,
        f"Conv_1-input:{size}x{size}x16-output:{size}x{size}x32": 0.7,
        f"AvgPool2D-input:{size}x{size}x32-output:1x1x32": 0.1,
        "Conv_2-input:1x1x32-output:1x1x64": 0.01,
        "Logits-input:1x1x64-output:10": 0.01,
    }
    return "".join(
        f"{key}:\n  count: 9\n  mean: {mean_ms}\n  std: 0.01\n" for key, mean_ms in rows.items()
    )


@case()
def tables(shop: Shop) -> None:
    """Tables shown, compared, merged, imported and solved from sums."""
    shop.copy("tiny.json", "tiny-litert.json", "tiny-slow.json", "ofa-160.json")
    archs = tiny_archs(shop)
    shop.write("arch.json", archs[700])
    shop.hwnas("lut", "show", "tiny.json")
    shop.hwnas("lut", "show", "tiny.json", "--json")
    shop.hwnas("lut", "show", "tiny.json", "--hot")
    shop.hwnas("lut", "show", "tiny.json", "--hot", "--json")
    shop.hwnas("lut", "show", "tiny.json", "--hot", "--arch", "arch.json", "--json")
    shop.hwnas("lut", "show", "ofa-160.json", "--hot", "--space", "ofa-mbv3")
    shop.hwnas("lut", "diff", "tiny.json", "tiny-slow.json")
    shop.hwnas("lut", "diff", "tiny.json", "tiny-slow.json", "--json")
    shop.hwnas("lut", "diff", "tiny.json", "tiny-litert.json", "--json")
    content = json.loads((shop.path / "tiny.json").read_text())
    for name, rows in (("one.json", content["entries"][:8]), ("two.json", content["entries"][6:])):
        (shop.path / name).write_text(json.dumps({**content, "entries": rows}))
    shop.hwnas("lut", "merge", "one.json", "two.json", "--out", "both.json")
    shop.hwnas("lut", "diff", "tiny.json", "both.json")
    shop.hwnas("lut", "merge", "tiny.json", "tiny-litert.json", "--out", "none.json")
    for resolution in (160, 224):
        (shop.path / f"{resolution}_lookup_table.yaml").write_text(published_rows(resolution))
    shop.hwnas(
        "lut",
        "import",
        "--format",
        "ofa",
        "160_lookup_table.yaml",
        "224_lookup_table.yaml",
        "--device",
        "galaxy-note10",
        "--out",
        "note10",
    )
    for path in sorted((shop.path / "note10").iterdir()):
        shop.steps.append(
            {"file": f"note10/{path.name}", "content": shop.file(f"note10/{path.name}")}
        )
    shop.hwnas("lut", "show", "note10")
    shop.write(
        "sums.jsonl",
        [{"arch": arch, "latency_ms": round(1 + score(arch), 6)} for arch in archs[::3]],
    )
    shop.hwnas(
        "lut",
        "import",
        "--format",
        "sums",
        "sums.jsonl",
        "--space",
        "tiny",
        "--device",
        "pixel-3",
        "--out",
        "sums",
    )
    exact = [
        round(2.0 + sum(0.1 * len(option) for option in arch["choices"].values()), 6)
        for arch in archs
    ]
    shop.write(
        "exact.jsonl",
        [{"arch": arch, "latency_ms": ms} for arch, ms in zip(archs[::3], exact[::3], strict=True)],
    )
    shop.hwnas(
        "lut",
        "import",
        "--format",
        "sums",
        "exact.jsonl",
        "--space",
        "tiny",
        "--device",
        "pixel-3",
        "--out",
        "exact",
    )
    shop.write("archs.jsonl", archs[::64])
    shop.hwnas("predict", "--space", "tiny", "--lut", "exact", "--archs", "archs.jsonl", "--json")


STRATEGIES: dict[str, tuple[str, ...]] = {
    "random": ("--evaluations", "12"),
    "evolution": ("--evaluations", "30"),
    "local": ("--evaluations", "30"),
    "nsga2": ("--evaluations", "30", "--budget-ms", "0.06,0.075"),
    "exhaustive": ("--evaluations", "1024", "--limit", "params=16000"),
    "combined-moves": ("--evaluations", "1000", "--limit", "params=30000", "--limit", "macs=2e6"),
}


def searched(shop: Shop, strategy: str, *arguments: str, name: str = "run") -> None:
    """Search ``tiny`` under a budget by made-up accuracies; record the run's files."""
    if not (shop.path / "known.jsonl").is_file():
        shop.copy("tiny.json", "tiny-litert.json")
        shop.write("known.jsonl", scores_of(tiny_archs(shop)))
    budget = () if "--budget-ms" in arguments else ("--budget-ms", "0.07")
    unread = {
        "exhaustive": {"journal.jsonl", "config.yaml"},
        "random": set(),
        "combined-moves": {"journal.jsonl", "front.json"},
    }.get(strategy, {"config.yaml"})
    files = [name for name in RUN_FILES if name not in unread]
    shop.hwnas(
        "search",
        "--space",
        "tiny",
        "--lut",
        "tiny.json",
        *budget,
        "--strategy",
        strategy,
        "--evaluator",
        "table:known.jsonl",
        *arguments,
        "--out",
        name,
        files=in_run(name, tuple(files)),
        keep_text=strategy != "rl",
    )


def _strategy(strategy: str, arguments: tuple[str, ...]) -> None:
    def search(shop: Shop) -> None:
        searched(shop, strategy, *arguments)

    search.__name__ = f"search_{strategy.replace('-', '_')}"
    case()(search)


for _name, _arguments in STRATEGIES.items():
    _strategy(_name, _arguments)


@case()
def search_surrogate(shop: Shop) -> None:
    """A search whose evaluations a model fitted on the way chooses; and one from given networks."""
    searched(shop, "evolution", "--evaluations", "24", "--surrogate")
    shop.write("seeds.jsonl", tiny_archs(shop)[:6])
    searched(shop, "local", "--evaluations", "20", "--seed-archs", "seeds.jsonl", name="seeded")


@case(slow=True)
def search_rl(shop: Shop) -> None:
    """A controller that learns by REINFORCE."""
    searched(shop, "rl", "--evaluations", "24")


@case()
def search_several(shop: Shop) -> None:
    """Two devices and a limit; a confidence; and a search that goes on, or may not."""
    searched(
        shop,
        "evolution",
        "--evaluations",
        "16",
        "--budget-ms",
        "0.075",
        "--lut",
        "tiny-litert.json",
        "--budget-ms",
        "0.15",
        "--limit",
        "params=40000",
        "--seed",
        "3",
    )
    searched(shop, "random", "--evaluations", "8", "--confidence", "0.9", "--top", "2", name="sure")
    searched(
        shop,
        "random",
        "--evaluations",
        "8",
        "--confidence",
        "0.9",
        "--top",
        "2",
        "--resume",
        name="sure",
    )
    shop.hwnas(
        "search",
        "--space",
        "tiny",
        "--lut",
        "tiny.json",
        "--budget-ms",
        "0.07",
        "--evaluator",
        "table:known.jsonl",
        "--headroom",
        "0.02",
        "--resume",
        "--out",
        "sure",
    )


@case()
def search_cells(shop: Shop) -> None:
    """All codes of NAS-Bench-201 with made-up accuracies."""
    shop.copy("nasbench201.json")
    choices = json.loads(shop.run("spaces", "show", "nasbench201", "--json")[1])["choices"]
    archs = [
        {"schema": 1, "space": "nasbench201", "choices": dict(zip(choices, o, strict=True))}
        for o in itertools.product(*choices.values())
    ]
    shop.write("known.jsonl", scores_of(archs))
    shop.hwnas(
        "search",
        "--space",
        "nasbench201",
        "--lut",
        "nasbench201.json",
        "--budget-ms",
        "12",
        "--strategy",
        "evolution",
        "--evaluator",
        "table:known.jsonl",
        "--evaluations",
        "40",
        "--out",
        "run",
        files=in_run("run"),
    )


@case()
def search_predictor(shop: Shop) -> None:
    """Once-for-All's space by an accuracy predictor of random weights, many networks a second."""
    import torch

    shop.copy("ofa-160.json")
    generator = torch.Generator().manual_seed(0)
    state = {}
    for place, (wide, deep) in enumerate(((400, 128), (400, 400), (400, 400), (1, 400))):
        size = 0.1 if wide > 1 else 0.002
        state[f"{2 * place}.weight"] = size * torch.randn(wide, deep, generator=generator)
        state[f"{2 * place}.bias"] = size * torch.randn(wide, generator=generator)
    state["6.bias"] += 0.7
    torch.save(state, shop.path / "predictor.pth")
    for name, arguments in {
        "moves": ("--strategy", "combined-moves", "--evaluations", "1000", "--budget-ms", "5,6"),
        "front": ("--strategy", "nsga2", "--evaluations", "60", "--budget-ms", "6"),
    }.items():
        files = ("result.json", "finalists.json", *(["front.json"] if name == "front" else []))
        shop.hwnas(
            "search",
            "--space",
            "ofa-mbv3",
            "--lut",
            "ofa-160.json",
            *arguments,
            "--evaluator",
            "predictor:predictor.pth",
            "--out",
            name,
            files=in_run(name, files),
        )


@case()
def wrong_uses(shop: Shop) -> None:
    """What is said of wrong options and files, with the exit codes."""
    shop.copy("tiny.json", "tiny-litert.json")
    shop.write("desk.yaml", DEVICE_FILE)
    shop.write("archs.jsonl", tiny_archs(shop)[:3])
    shop.write("known.jsonl", scores_of(tiny_archs(shop)[:5]))
    (shop.path / "a.json").write_text("{}")
    (shop.path / "broken.json").write_text('{"schema": 1, "header": {}}')
    (shop.path / "broken.yaml").write_text(
        "space: tiny\ntargets: [{device: host, budget_ms: -1}]\nserach: {}\n"
    )
    search = ("search", "--space", "tiny", "--lut", "tiny.json", "--out", "new", "--budget-ms")
    known = ("--evaluator", "table:known.jsonl")
    for arguments in (
        ("predicct",),
        ("spaces", "show", "tinny"),
        ("spaces", "show", "tiny:num_class=3"),
        ("spaces", "show", "absent.yaml"),
        ("lut", "show", "absent.json"),
        ("lut", "show", "broken.json"),
        ("lut", "show", "tiny.json", "--space", "tiny"),
        ("lut", "check", "tiny.json", "--device", "pixel-8"),
        ("lut", "merge", "tiny.json", "--out", "tiny.json"),
        ("predict", "--space", "tiny"),
        ("predict", "--space", "tiny", "--archs", "archs.jsonl"),
        ("predict", "--space", "tiny", "--lut", "tiny.json", "--archs", "absent.jsonl"),
        (
            "predict",
            "--space",
            "tiny",
            "--lut",
            "tiny.json",
            "--archs",
            "archs.jsonl",
            "--predictor",
            "magic",
        ),
        (
            "predict",
            "--space",
            "tiny",
            "--lut",
            "tiny.json",
            "--archs",
            "archs.jsonl",
            "--suggest",
            "3",
        ),
        ("spaces", "audit", "tiny", "--lut", "tiny.json", "--budget-ms", "inf"),
        (*search, "0.001", *known),
        (*search, "0.1", "--data", "digitz"),
        (*search, "0.1", "--limit", "params=10", *known),
        (*search, "0.1"),
        (*search, "0.1", *known, "--strategy", "magic"),
        (*search, "0.1", *known, "--strategy", "combined-moves"),
        (*search, "0.1", *known, "--strategy", "random", "--surrogate"),
        (*search, "0.1", *known, "--headroom", "0.1", "--confidence", "0.9"),
        (*search, "0.1", *known, "--lut", "tiny-litert.json"),
        (*search, "0.1", "--evaluator", "table:absent.jsonl"),
        (*search, "0.1", "--data", "digits", "--strategy", "proxyless", "--gradient", "magic"),
        ("search", "--out", "new"),
        ("profile", "--device", "toaster", "--space", "tiny", "--out", "new.json"),
        ("profile", "--device", "pixel-8", "--space", "tiny", "--out", "new.json"),
        ("profile", "--device", "host", "--space", "tiny", "--precision", "int4", "--out", "n"),
        ("profile", "--device", "host", "--space", "tiny", "--runtime", "tensorrt", "--out", "n"),
        ("profile", "--device", "host", "--space", "tiny", "--out", "tiny.json"),
        ("retrain", "--run", "."),
        ("report", "."),
        ("report", "absent"),
        ("evaluate", "--run", ".", "--archs", "archs.jsonl"),
        ("export",),
        ("export", "--arch", "a.json", "--weights-of", "mobilenet_v2"),
        ("export", "--arch", "a.json"),
        ("export", "--run", ".", "--format", "onx"),
        ("bench", "a.json", "b.json"),
        ("run",),
        ("run", "--preset", "dmo"),
        ("run", "broken.yaml"),
        ("run", "absent.yaml"),
        ("report", "a", "b", "--cross"),
        ("lut", "import", "--format", "magic", "a.json", "--device", "pixel-3", "--out", "o"),
        ("lut", "import", "--format", "ofa", "broken.yaml", "--device", "pixel-3", "--out", "o"),
    ):
        shop.hwnas(*arguments)


@case(slow=True)
def profile(shop: Shop) -> None:
    """A table from visits on record, of which only the header is of this machine.

    A first, short profile writes the header of today's samples file; the visits behind it are
    replaced by those in ``inputs/``, and ``--resume`` makes the table of them.
    """
    shop.write("desk.yaml", DEVICE_FILE)
    ask = (
        "profile",
        "--device",
        "desk.yaml",
        "--runtime",
        "onnxruntime",
        "--space",
        "tiny",
        "--calibrate",
        "5",
        "--validate",
        "4",
        "--out",
        "t.json",
    )
    code, _, err = shop.run(*ask)
    if code:
        raise RuntimeError(err)
    samples = shop.path / "t.json.samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    if os.environ.get("GOLDEN_VISITS"):  # how inputs/visits.jsonl was made
        kept = [line for line in lines if '"event":"visit"' in line]
        Path(os.environ["GOLDEN_VISITS"]).write_text("".join(kept))
    samples.write_text(lines[0] + (INPUTS / "visits.jsonl").read_text())
    (shop.path / "t.json").unlink()
    shop.hwnas(*ask, "--resume", files=("t.json",))
    added = samples.read_text().count('"event":"visit"')
    shop.steps.append({"visits": added})
    shop.hwnas("lut", "show", "t.json")
    shop.hwnas("lut", "show", "t.json", "--json")
    shop.hwnas("lut", "diff", "t.json", "t.json", "--json")
    shop.hwnas("spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "0.08", "--json")


WHOLE = """\
space: tiny
data: digits
targets: [{device: host, runtime: onnxruntime, table: slow.json, budget_ms: BUDGET, headroom: 0.1}]
search: SEARCH
retrain: {top: 1, recipe: {epochs: 1, warmup_epochs: 0}}
bench: {shelf: []}
formats: FORMATS
workers: 1
"""
WHOLE_FILES = (
    *RUN_FILES,
    "table.json",
    "env.json",
    "retrained.json",
    "winner.json",
    "export/index.json",
    "bench/host-onnxruntime-fp32.json",
)


def slow_table(shop: Shop) -> None:
    """Put a table into the shop with latencies above any device's: all is within budget."""
    content = json.loads((INPUTS / "tiny-slow.json").read_text())
    content["networks"] = []
    shop.write("slow.json", content)


def settings(budget: str, search: str, formats: str) -> str:
    """Return a run's YAML file."""
    return WHOLE.replace("BUDGET", budget).replace("SEARCH", search).replace("FORMATS", formats)


@case(slow=True, trains=True)
def whole_run(shop: Shop) -> None:
    """Everything from the table to the winner on digits; again with --resume; two networks more."""
    slow_table(shop)
    shop.write(
        "run.yaml",
        settings(
            "4.6", "{evaluations: 2, recipe: {epochs: 1, warmup_epochs: 0}}", "[onnx, tflite]"
        ),
    )
    shop.hwnas(
        "run",
        "run.yaml",
        "--out",
        "run",
        files=in_run("run", WHOLE_FILES),
        scrub=MEASURED,
        keep_text=False,
    )
    for path in sorted((shop.path / "run/export").glob("*/*")):
        name = str(path.relative_to(shop.path))
        shop.steps.append({"file": name, "content": shop.file(name, MEASURED)})
    for path in sorted((shop.path / "run/checkpoints").glob("*.safetensors")):
        name = str(path.relative_to(shop.path))
        shop.steps.append({"file": name, "content": shop.file(name)})
    shop.hwnas("run", "run.yaml", "--out", "run", "--resume", "--json", scrub=MEASURED)
    shop.write("archs.jsonl", tiny_archs(shop)[:2])
    shop.hwnas("evaluate", "--run", "run", "--archs", "archs.jsonl", "--json")


@case(slow=True, trains=True)
def gates(shop: Shop) -> None:
    """A supernet and its gates on digits, a few steps of each."""
    slow_table(shop)
    for gradient in ("two", "full"):
        shop.hwnas(
            "search",
            "--space",
            "tiny",
            "--lut",
            "slow.json",
            "--budget-ms",
            "8",
            "--data",
            "digits",
            "--strategy",
            "proxyless",
            "--gradient",
            gradient,
            "--epochs",
            "2",
            "--evaluations",
            "2",
            "--top",
            "1",
            "--workers",
            "1",
            "--out",
            gradient,
            files=in_run(gradient),
        )


@case(slow=True, trains=True)
def gates_rl(shop: Shop) -> None:
    """Gates that REINFORCE moves, on digits."""
    slow_table(shop)
    shop.hwnas(
        "search",
        "--space",
        "tiny",
        "--lut",
        "slow.json",
        "--budget-ms",
        "8",
        "--data",
        "digits",
        "--strategy",
        "proxyless-rl",
        "--epochs",
        "2",
        "--evaluations",
        "2",
        "--top",
        "1",
        "--workers",
        "1",
        "--out",
        "run",
        files=in_run("run"),
    )


@case(slow=True, trains=True)
def supernet(shop: Shop) -> None:
    """A supernet of uniform paths that scores what a search asks for; other networks by it."""
    slow_table(shop)
    shop.hwnas(
        "search",
        "--space",
        "tiny",
        "--lut",
        "slow.json",
        "--budget-ms",
        "8",
        "--data",
        "digits",
        "--strategy",
        "evolution",
        "--evaluator",
        "supernet",
        "--epochs",
        "1",
        "--evaluations",
        "4",
        "--top",
        "1",
        "--workers",
        "1",
        "--out",
        "run",
        files=in_run("run"),
    )
    shop.write("archs.jsonl", tiny_archs(shop)[::300])
    shop.hwnas("evaluate", "--run", "run", "--archs", "archs.jsonl", "--json")


@case(slow=True, trains=True)
def halving(shop: Shop) -> None:
    """Trainings from scratch, most of them brief."""
    slow_table(shop)
    shop.hwnas(
        "search",
        "--space",
        "tiny",
        "--lut",
        "slow.json",
        "--budget-ms",
        "5",
        "--data",
        "digits",
        "--strategy",
        "random",
        "--halving",
        "2",
        "--epochs",
        "2",
        "--evaluations",
        "4",
        "--top",
        "1",
        "--workers",
        "1",
        "--out",
        "run",
        files=in_run("run"),
    )


@case(slow=True, trains=True)
def exports(shop: Shop) -> None:
    """Untrained networks as ONNX and TFLite, in fp32 and int8, and what their files hold."""
    shop.write("arch.json", tiny_archs(shop)[700])
    shop.hwnas(
        "export",
        "--arch",
        "arch.json",
        "--format",
        "onnx,tflite",
        "--precision",
        "fp32,int8",
        "--out",
        "tiny",
        "--json",
    )
    shop.write("arch.json", varied(shop, "nasbench201", 3)[2])
    shop.hwnas("export", "--arch", "arch.json", "--format", "onnx", "--out", "cells", "--json")
    for path in sorted([*(shop.path / "tiny").rglob("*"), *(shop.path / "cells").rglob("*")]):
        if path.is_file():
            name = str(path.relative_to(shop.path))
            shop.steps.append({"file": name, "content": shop.file(name)})


@case(slow=True)
def measuring(shop: Shop) -> None:
    """What is measured has other numbers each time: the names of what is told, and the rest."""

    def names(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: names(item) for key, item in value.items()}
        if isinstance(value, list):
            return [names(item) for item in value[:1]]
        return SCRUBBED if isinstance(value, float) else value

    shop.copy("tiny.json", "tiny-slow.json")
    shop.write("arch.json", tiny_archs(shop)[700])
    shop.run("export", "--arch", "arch.json", "--format", "onnx", "--out", "models")
    (model,) = (shop.path / "models").rglob("*.onnx")
    for arguments in (
        (
            "bench",
            str(model.relative_to(shop.path)),
            "--device",
            "host",
            "--rounds",
            "2",
            "--lut",
            "tiny.json",
            "--json",
        ),
        ("lut", "check", "tiny-slow.json", "--device", "host", "--anchors", "2", "--json"),
    ):
        code, out, _ = shop.run(*arguments)
        shop.steps.append(
            {
                "command": " ".join(arguments),
                "exit": code,
                "json": names(
                    scrubbed(json.loads(out), VARYING | {"cpus", "celsius", "num_runs", "verdict"})
                ),
            }
        )
    checks = json.loads(shop.run("doctor", "--json")[1])
    shop.steps.append(
        {
            "command": "doctor --json",
            "json": [sorted(check) for check in checks[:1]],
            "checks": [check["check"] for check in checks],
        }
    )


def visible_text(page: str) -> list[str]:
    """Return the pieces of text a reader of an HTML page sees, drawings left out."""
    page = re.sub(r"(?s)<(style|script|svg)\b.*?</\1>", "\n", page)
    text = html.unescape(re.sub(r"<[^>]+>", "\n", page))
    return [piece for line in text.splitlines() if (piece := " ".join(line.split()))]


@case(subset=True)
def report(shop: Shop) -> None:
    """The figures that the reports of recorded runs show, each with its unit."""
    figures = []
    for name in OLD_RUN_NAMES:
        shutil.copytree(OLD_RUNS / name, shop.path / name)
        code, _, err = shop.run("report", name)
        if code:
            raise RuntimeError(err)
        text = " ".join(visible_text((shop.path / name / "report.html").read_text()))
        text = text.partition("Configuration (config.yaml)")[0]
        found = re.findall(
            r"(?<![\w.])[+−-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?: (?:ms|%|kB|k|M|G|s)"
            r"(?!\w))?|\b[0-9a-f]{16}\b",
            text,
        )
        figures += [f"{name}: {one}" for one in sorted({f.rstrip(",") for f in found})]
    shop.steps.append({"lines": figures})


@case()
def old_runs(shop: Shop) -> None:
    """Recorded runs opened again: what --resume prints of them, and several side by side."""
    for name in OLD_RUN_NAMES:
        shutil.copytree(OLD_RUNS / name, shop.path / name)
    shutil.copyfile(shop.path / "one/table.json", shop.path / "table.json")  # as it was begun with
    for name in OLD_RUN_NAMES:
        shop.hwnas("run", f"{name}/config.yaml", "--out", name, "--resume")
        shop.hwnas("run", f"{name}/config.yaml", "--out", name, "--resume", "--json")
        for verb in (("retrain", "--run"), ("export", "--run"), ("bench",)):
            shop.hwnas(*verb, name, "--json")
    shop.hwnas("report", *OLD_RUN_NAMES, "--cross", "--json")
    shop.hwnas("report", *OLD_RUN_NAMES, "--cross")


def record(name: str, out: Path) -> Path:
    """Carry out one case in a folder of its own; write and return its file."""
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        shop, home = Shop(Path(folder).resolve()), Path.cwd()
        os.chdir(shop.path)
        try:
            CASES[name].function(shop)
        finally:
            os.chdir(home)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(pretty(shop.steps) + "\n", encoding="utf-8")
    return path


def processor() -> str:
    """Return what trainings' last digits depend on: torch, and the instructions it uses."""
    import torch

    return f"torch {torch.__version__.partition('+')[0]} {torch.backends.cpu.get_cpu_capability()}"


def main() -> None:
    """Record the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []])
    parser.add_argument("--out", type=Path, default=OUTPUTS)
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(CASES))
        return
    out = asked.out.resolve()
    os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory(prefix="golden-models-") as cache:
        os.environ.setdefault("HWNAS_CACHE", cache)
        for name in asked.cases or CASES:
            begun = time.process_time()
            path = record(name, out)
            print(f"{path}: {time.process_time() - begun:.1f} s of this process", flush=True)
            if CASES[name].trains:
                (out / f"{name}.processor").write_text(processor() + "\n")


if __name__ == "__main__":
    main()

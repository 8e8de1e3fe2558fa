"""The example plugins, each one file outside the package, from its registration to an answer."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

import hwnas
from hwnas.arch import Arch
from hwnas.device.device import load_device
from hwnas.device.runner import make_target, open_runner
from hwnas.errors import InputError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.nn.build import build, make_module
from hwnas.ops import OPS, OpSpec
from hwnas.pipeline.config.run import parse_config
from hwnas.pipeline.folder import RunFolder
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.registry import STRATEGIES, SearchProblem
from hwnas.space.catalogue import SPACES, load_space

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"
FILES = ("operation.py", "space.py", "strategy.py", "runtime.py")
GHOSTS = str(EXAMPLES / "ghost_space.yaml")
DEVICE = """\
schema: 1
name: desk
description: The machine the tests run on, timed briefly
transport: local
tested: false
abi: any
runtimes:
  onnxruntime: {threads: 1, affinity: null}
protocol: {rounds: 2, min_runs: 1, min_visit_ms: 0.1, warmup_runs: 1, cooldown_s: 0.0}
"""


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_one_file_of_at_most_sixty_lines(name):
    assert len((EXAMPLES / name).read_text().splitlines()) <= 60


# operation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_the_operation_has_the_shape_cost_and_size_it_declares(load, count_macs, kernel, stride):
    load("operation.py")
    spec = OpSpec.make("ghost", (8, 9, 7), 16, kernel=kernel, stride=stride)
    module = make_module(spec).eval()
    out = module(torch.zeros(2, *spec.in_shape))
    assert tuple(out.shape[1:]) == spec.out_shape
    assert sum(p.numel() for p in module.parameters()) == spec.params
    assert count_macs(module, spec.in_shape) == spec.macs
    assert OpSpec.from_json(json.loads(spec.key)) == spec


def test_the_operation_refuses_what_it_cannot_be(load):
    load("operation.py")
    with pytest.raises(ValueError, match="ghost needs an even number of channels, got 7"):
        OpSpec.make("ghost", (8, 8, 8), 7)


def test_a_space_file_with_the_operation_needs_the_plugin(load):
    with pytest.raises(InputError, match=r"must be one of .*got 'ghost'"):
        load_space(GHOSTS)
    load("operation.py")
    space = load_space(GHOSTS)
    arch = space.arch({"layer1": "ghost3", "layer2": "ghost5"})
    assert [op.kind for op in space.layers(arch)] == ["conv", "ghost", "ghost", "head"]
    assert build(space, arch)(torch.zeros(2, *space.input_shape)).shape == (2, 10)
    assert "ghost" not in [kind for kind, entry in OPS.items() if OPS.origin(kind) is None]


def test_networks_with_the_operation_are_exported_to_both_formats(load, tmp_path):
    load("operation.py")
    space = hwnas.load_space(GHOSTS)
    network = hwnas.build(space, space.arch({"layer1": "ghost3", "layer2": "ghost5"}))
    bundle = hwnas.export(network, tmp_path / "out", formats=["onnx", "tflite"])
    assert {path.suffix for path in bundle.files.values()} == {".onnx", ".tflite"}  # parity checked


# space ---------------------------------------------------------------------------------------


def test_the_space_is_known_by_name_and_takes_its_parameters(load):
    with pytest.raises(InputError, match=r"there is no space 'resnet-like'.*(.|\n)*--plugin"):
        load_space("resnet-like")
    origin = load("space.py")
    assert SPACES.origin("resnet-like") is origin
    space = hwnas.load_space("resnet-like:width=8,input_size=32")
    assert space.name == "resnet-like:input_size=32,width=8"
    arch = space.sample(1, seed=0)[0]
    assert hwnas.build(space, arch).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(InputError, match="width must be between 8 and 256, got 4"):
        load_space("resnet-like:width=4")


# strategy ------------------------------------------------------------------------------------


def test_the_strategy_asks_for_each_network_once_and_climbs(load):
    load("strategy.py")
    space = load_space("tiny")
    within = AdditiveFeasible(LimitedSpace(space, (Limit("params", 60_000.0),), {}))
    settings = STRATEGIES["annealing"].settings_schema()(hot=0.01)
    problem = SearchProblem(within, seed=3, evaluations=120, settings=settings)
    searcher = STRATEGIES["annealing"].searcher(problem)
    weights = stream(0, "annealing").uniform(size=(5, 4))
    best, seen = [], set()
    for _ in range(30):
        codes = searcher.ask_codes(4)
        keys = {key.tobytes() for key in space.network_keys(codes)}
        assert len(keys) == 4
        assert not keys & seen
        seen |= keys
        scores = weights[np.arange(5), codes].mean(axis=1)
        best.append(scores.max())
        searcher.tell_codes(codes, np.where(scores < 0.3, np.nan, scores)[:, None])
    drawn = weights[np.arange(5), problem.feasible.sample(2000, np.random.default_rng(0))]
    assert max(best) >= np.quantile(drawn.mean(axis=1), 0.995)


def test_the_strategy_is_an_option_of_the_api_and_of_a_configuration(load, tmp_path):
    config = {
        "space": "tiny",
        "data": "digits",
        "targets": [{"budget_ms": 1.0}],
        "search": {"strategy": "annealing", "settings": {"hot": 0.1}},
    }
    with pytest.raises(InputError, match=r"strategy: must be .*'random'.* got 'annealing'"):
        parse_config(config, what="configuration")
    load("strategy.py")
    assert parse_config(config, what="configuration").search.strategy == "annealing"
    config["search"]["settings"] = {"hot": 7.0}
    with pytest.raises(InputError, match=r"hot.*less than or equal to 1"):
        parse_config(config, what="configuration")
    result = hwnas.search(
        "tiny",
        {"macs": 2e6},
        strategy="annealing",
        evaluate=lambda arch: sum(value == "mb6_k3" for value in arch.choices.values()) / 5,
        evaluations=40,
    )
    assert result.best.score >= 0.4


# runtime -------------------------------------------------------------------------------------


def test_the_runtime_times_models_through_the_agent(load, tmp_path):
    (tmp_path / "desk.yaml").write_text(DEVICE)
    device = load_device(str(tmp_path / "desk.yaml"))
    with pytest.raises(UsageError, match="no runtime 'onnxruntime-lean'"):
        make_target(device, "onnxruntime-lean")
    load("runtime.py")
    target = make_target(device, "onnxruntime-lean")
    conversion = Conversion.make(
        [OpSpec.make("conv", (3, 8, 8), 8, kernel=3)], InitWeights(), "onnx"
    )
    model = ConversionCache(tmp_path).fill([conversion])[conversion]
    with open_runner(target) as runner:
        assert runner.info["runtime_version"] == f"onnxruntime {onnxruntime.__version__}, lean"
        runner.load("one", model)
        times = runner.time_ms("one", min_runs=3, min_ms=0.0, flush_mb=0.5)
    assert len(times) == 3
    assert min(times) > 0


# all of them in one run ----------------------------------------------------------------------

RUN = {
    "schema": 1,
    "plugins": [str(EXAMPLES / name) for name in ("operation.py", "strategy.py", "runtime.py")],
    "space": GHOSTS + ":input_size=8",
    "data": "digits",
    "targets": [
        {"runtime": "onnxruntime-lean", "calibrate": 0, "budget_percentile": 60.0},
    ],
    "search": {
        "strategy": "annealing",
        "evaluator": "table:known.jsonl",
        "evaluations": 4,
        "settings": {"hot": 0.05},
    },
    "retrain": {"top": 1, "random_baseline": False, "recipe": {"epochs": 1}},
    "bench": {"shelf": []},
    "formats": ["onnx"],
    "workers": 1,
}


def _all_archs(space: SearchSpace) -> list[Arch]:
    options = [range(len(choice.options)) for choice in space.choices]
    return space.decode(np.array(list(itertools.product(*options)), dtype=np.int16))


def _hwnas(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HWNAS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(hwnas.__file__).parents[1])
    command = [sys.executable, "-m", "hwnas", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_run_names_its_plugins_profiles_searches_exports_and_measures(load, tmp_path):
    (tmp_path / "desk.yaml").write_text(DEVICE)
    RUN["targets"][0]["device"] = str(tmp_path / "desk.yaml")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    load("operation.py")
    with (tmp_path / "known.jsonl").open("w") as known:
        for number, arch in enumerate(_all_archs(load_space(RUN["space"]))):
            known.write(json.dumps({"arch": arch.to_json(), "top1": number / 100}) + "\n")
    done = _hwnas(tmp_path, "run", "run.yaml", "--out", "r")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r" / "winner.json").read_text())["arch_id"]
    assert list((tmp_path / "r" / "export").glob("*/model.onnx"))
    recorded = json.loads((tmp_path / "r" / "plugins.json").read_text())
    assert [Path(file["path"]).name for file in recorded["files"]] == [
        "operation.py",
        "strategy.py",
        "runtime.py",
    ]
    # a run folder never runs a file by itself
    folder = RunFolder.existing(tmp_path / "r")
    with pytest.raises(InputError, match=r"strategy\.py, which is not loaded(.|\n)*--plugin"):
        folder.config()
    load("strategy.py")
    changed = tmp_path / "runtime.py"
    changed.write_text((EXAMPLES / "runtime.py").read_text() + "# changed\n")
    load(changed)
    with pytest.raises(InputError, match=r"runtime\.py has changed since the run was begun"):
        folder.config()
    changed.write_text((EXAMPLES / "runtime.py").read_text())
    load(changed)
    assert folder.config().search.strategy == "annealing"


def test_the_command_line_takes_plugins_before_and_after_the_verb(tmp_path):
    show = _hwnas(tmp_path, "spaces", "show", GHOSTS, "--plugin", str(EXAMPLES / "operation.py"))
    assert show.returncode == 0, show.stderr
    assert "ghost3 ghost5 mb3 skip" in show.stdout
    plugin = ("--plugin", str(EXAMPLES / "runtime.py"))
    listed = _hwnas(tmp_path, *plugin, "profile", "--help")
    assert "litert, onnxruntime or onnxruntime-lean" in " ".join(listed.stdout.split())
    absent = _hwnas(tmp_path, "--plugin", "absent.py", "devices")
    assert absent.returncode == 1
    assert "error: plugin absent.py: 1 problem" in absent.stderr
    assert "Traceback" not in absent.stderr

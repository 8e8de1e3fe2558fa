"""The agent as a process of its own, spoken to in JSON lines as boards and phones will be."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.device import agent as agent_module
from hwnas.device.local import AGENT
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.export.verify.session import open_session
from hwnas.ops import OpSpec

RUNTIMES = ("onnxruntime", "litert")
NOISY_RUNTIME = """
import os
import sys

__version__ = "0.0 (noisy)"
print("a banner of a library")
os.write(1, b"a line of a C++ logger" + bytes([10]))


class SessionOptions:
    pass


class InferenceSession:
    def __init__(self, path, options, providers):
        print("loading", path)
        raise RuntimeError("cannot load: " + path)
"""


class Agent:
    """One agent process."""

    def __init__(self, *, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(AGENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def send(self, line: str) -> dict[str, Any]:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        return self.send(json.dumps(request))

    def hello(self, runtime: str, affinity: list[int] | None = None) -> dict[str, Any]:
        return self.ask(cmd="hello", runtime=runtime, threads=1, affinity=affinity)

    def end(self) -> tuple[str, str]:
        """Close its input; return what is left on its outputs."""
        return self.process.communicate(timeout=30)


@pytest.fixture
def start() -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def make(**options: Any) -> Agent:
        agents.append(Agent(**options))
        return agents[-1]

    yield make
    for agent in agents:
        agent.process.kill()
        agent.process.communicate()


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


def _images(model: Path, count: int) -> np.ndarray:
    shape = open_session(model).inputs[0].shape
    return np.random.default_rng(1).standard_normal((count, *shape[1:])).astype(np.float32)


def test_hello_names_the_runtime_and_the_machine(start, runtime):
    answer = start().hello(runtime)
    package = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}[runtime]
    assert answer["ok"] is True
    assert answer["protocol"] == 1
    assert answer["runtime_version"].startswith(f"{package} ")
    assert answer["numpy"] == np.__version__
    assert answer["cpus"] == sorted(os.sched_getaffinity(0))
    assert answer["cpu"]


def test_affinity_pins_the_process(start):
    cpu = min(os.sched_getaffinity(0))
    agent = start()
    assert agent.hello("onnxruntime", [cpu])["cpus"] == [cpu]
    assert os.sched_getaffinity(agent.process.pid) == {cpu}
    assert agent.ask(cmd="state")["ok"]


def test_a_cpu_that_is_not_there_is_an_error_and_not_ignored(start):
    answer = start().hello("onnxruntime", [1000])
    assert answer["ok"] is False
    assert answer["error"].startswith("ValueError: CPU 1000 is not there")


def test_outputs_equal_those_of_the_runtime_called_directly(start, runtime, models, tmp_path):
    agent, model = start(), models[runtime]
    agent.hello(runtime)
    assert agent.ask(cmd="load", id="m", path=str(model)) == {"ok": True}
    images = _images(model, 3)
    np.save(tmp_path / "in.npy", images)
    request = {"input": str(tmp_path / "in.npy"), "output": str(tmp_path / "out.npy")}
    assert agent.ask(cmd="infer", id="m", **request) == {"ok": True}
    session = open_session(model)
    expected = np.concatenate([session.run(image[None]) for image in images])
    found = np.load(tmp_path / "out.npy")
    assert found.shape == expected.shape
    assert float(np.ptp(expected)) > 0.1  # not all alike
    np.testing.assert_array_equal(found, expected)


def test_times_are_whole_nanoseconds_until_both_minima_are_met(start, runtime, models):
    agent = start()
    agent.hello(runtime)
    agent.ask(cmd="load", id="m", path=str(models[runtime]))
    exact = agent.ask(cmd="time", id="m", min_runs=7, min_ms=0, warmup_runs=0)["ns"]
    assert len(exact) == 7
    assert all(type(ns) is int and ns > 0 for ns in exact)
    longer = agent.ask(cmd="time", id="m", min_runs=1, min_ms=20, warmup_runs=3)["ns"]
    assert len(longer) > 7  # a run of this model takes microseconds
    assert sum(longer[:-1]) < 20e6  # none was begun after the time was over


def test_caches_are_flushed_and_inputs_touched_before_each_timed_run():
    done = []

    class Recorded:
        def touch(self):
            done.append("touch")

        def run(self):
            done.append("run")

    class Flush:
        def max(self):
            done.append("flush")

    times = agent_module.time_runs(Recorded(), 3, 0.0, 1, Flush())
    assert len(times) == 3
    assert done == ["run", *["flush", "touch", "run"] * 3]


def test_flush_memory_is_as_large_as_asked_and_kept():
    settings = {}
    found = agent_module.flush_of(1.5, settings)
    assert found.nbytes == 1.5 * 2**20
    assert agent_module.flush_of(1.5, settings) is found
    assert agent_module.flush_of(0.0, settings) is None
    assert agent_module.flush_of(3.0, settings).nbytes == 3 * 2**20


def test_a_flushed_model_keeps_the_input_it_was_given(runtime, models):
    model = agent_module.MODELS[runtime](str(models[runtime]), 1)
    model.set_input(_images(models[runtime], 1))
    model.run()
    before = np.array(model.result())
    agent_module.time_runs(model, 2, 0.0, 0, agent_module.flush_of(1.0, {}))
    np.testing.assert_array_equal(model.result(), before)
    assert float(np.ptp(before)) > 0.1


def test_flushing_is_asked_for_in_megabytes_and_within_reason(start, runtime, models):
    agent = start()
    agent.hello(runtime)
    agent.ask(cmd="load", id="m", path=str(models[runtime]))
    timing = {"cmd": "time", "id": "m", "min_runs": 4, "min_ms": 0, "warmup_runs": 1}
    assert len(agent.ask(**timing, flush_mb=2)["ns"]) == 4
    for wrong in (-1, 2000):
        assert "is not between 0 and 1024" in agent.ask(**timing, flush_mb=wrong)["error"]


def test_an_unloaded_model_is_gone_and_another_stays(start, runtime, models):
    agent = start()
    agent.hello(runtime)
    timing = {"cmd": "time", "min_runs": 1, "min_ms": 0, "warmup_runs": 0}
    for name in ("a", "b"):
        agent.ask(cmd="load", id=name, path=str(models[runtime]))
    assert agent.ask(cmd="unload", id="a") == {"ok": True}
    assert agent.ask(cmd="unload", id="a") == {"ok": True}
    assert agent.ask(id="a", **timing) == {"ok": False, "error": "KeyError: 'a'"}
    assert agent.ask(id="b", **timing)["ok"]


def test_a_corrupt_or_absent_model_is_an_error_and_the_agent_lives_on(
    start, runtime, models, tmp_path
):
    agent = start()
    agent.hello(runtime)
    corrupt = tmp_path / "corrupt.bin"
    corrupt.write_bytes(b"neither a protobuf nor a flatbuffer" * 20)
    for path in (corrupt, tmp_path / "absent.bin"):
        answer = agent.ask(cmd="load", id="m", path=str(path))
        assert answer["ok"] is False
        assert len(answer["error"]) > 10
    assert agent.ask(cmd="load", id="m", path=str(models[runtime])) == {"ok": True}
    assert agent.ask(cmd="time", id="m", min_runs=1, min_ms=0, warmup_runs=0)["ok"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("this is no JSON", "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        ('{"id": "m"}', "KeyError: 'cmd'"),
        ('{"cmd": "dance", "id": "m"}', "KeyError: 'm'"),
        ('{"cmd": "load", "id": "m", "path": "x"}', "KeyError: 'runtime'"),  # no hello before
        ('{"cmd": "hello", "runtime": "tvm", "threads": 1}', "runtime 'tvm'; known: litert"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_with_an_error(start, line, error):
    agent = start()
    answer = agent.send(line)
    assert answer["ok"] is False
    assert error in answer["error"]
    assert agent.ask(cmd="state")["ok"]


def test_an_unknown_command_on_a_loaded_model_is_named(start, models):
    agent = start()
    agent.hello("onnxruntime")
    agent.ask(cmd="load", id="m", path=str(models["onnxruntime"]))
    assert agent.ask(cmd="dance", id="m") == {
        "ok": False,
        "error": "ValueError: unknown command 'dance'",
    }


def test_state_is_what_the_kernel_says(start):
    state = start().ask(cmd="state")["state"]
    assert set(state) == {"cpus", "celsius", "load_1min", "time"}
    assert abs(state["load_1min"] - os.getloadavg()[0]) < 2
    for cpu in state["cpus"].values():
        assert set(cpu) == {"mhz", "max_mhz", "governor"}


def test_only_answers_reach_standard_output_whatever_libraries_print(start, tmp_path):
    (tmp_path / "onnxruntime.py").write_text(NOISY_RUNTIME)
    agent = start(env={"PYTHONPATH": str(tmp_path)})
    assert agent.hello("onnxruntime")["runtime_version"] == "onnxruntime 0.0 (noisy)"
    answer = agent.ask(cmd="load", id="m", path="some.onnx")
    assert answer == {"ok": False, "error": "RuntimeError: cannot load: some.onnx"}
    rest, noise = agent.end()
    assert rest == ""
    for words in ("a banner of a library", "a line of a C++ logger", "loading some.onnx"):
        assert words in noise


def test_the_end_of_input_and_quit_end_the_agent(start):
    silent, told = start(), start()
    assert silent.end()[0] == ""
    told.process.stdin.write('{"cmd": "quit"}\n{"cmd": "state"}\n')
    assert told.end()[0] == ""
    assert silent.process.returncode == told.process.returncode == 0


def test_the_file_runs_alone_with_numpy_and_a_runtime_on_python_3_9():
    tree = ast.parse(AGENT.read_text(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])
    runtimes = {"onnxruntime", "ai_edge_litert", "tflite_runtime"}
    assert imported - set(sys.stdlib_module_names) == {"numpy"} | runtimes


def test_annotations_are_the_only_place_of_newer_syntax():
    # X | Y between types is evaluated on 3.9 unless annotations are postponed
    first = ast.parse(AGENT.read_text()).body[1]
    assert isinstance(first, ast.ImportFrom)
    assert (first.module, first.names[0].name) == ("__future__", "annotations")


def test_a_model_of_several_inputs_is_timed_but_not_run_on_images(start, runtime, tmp_path):
    op = OpSpec.make("add", (4, 6, 6), 4, summands=3)
    model_format = {"onnxruntime": "onnx", "litert": "tflite"}[runtime]
    conversion = Conversion.make([op], InitWeights(), model_format)
    model = ConversionCache(tmp_path).fill([conversion])[conversion]
    np.save(tmp_path / "in.npy", _images(model, 2))
    agent = start()
    agent.hello(runtime)
    assert agent.ask(cmd="load", id="sum", path=str(model))["ok"]
    timed = agent.ask(cmd="time", id="sum", min_runs=4, min_ms=0.0, warmup_runs=1)
    assert len(timed["ns"]) == 4
    refused = agent.ask(
        cmd="infer", id="sum", input=str(tmp_path / "in.npy"), output=str(tmp_path / "out.npy")
    )
    assert refused["ok"] is False
    assert "the model has 3 inputs; one image is expected" in refused["error"]

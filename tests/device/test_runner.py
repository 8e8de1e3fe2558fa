"""The local runner: targets, and an agent that refuses, hangs, dies or is let go of."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from hwnas.device import local as runner_module
from hwnas.device.device import load_device
from hwnas.device.local import LocalRunner
from hwnas.device.runner import make_target, open_runner
from hwnas.errors import DeviceError, UsageError

FAKE_AGENT = """
import json, os, sys, time
from pathlib import Path

Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
for line in sys.stdin:
    request = json.loads(line)
    {body}
    print(json.dumps({{"ok": True, "ns": [1500000, 2500000]}}), flush=True)
"""


@pytest.fixture
def agent_that(tmp_path, monkeypatch):
    """Replaces the agent by one that runs a statement before every answer."""

    def replace(statement: str) -> Path:
        path = tmp_path / "agent.py"
        path.write_text(FAKE_AGENT.format(body=statement))
        monkeypatch.setattr(runner_module, "AGENT", path)
        return path

    return replace


def _is_running(agent: Path) -> bool:
    try:
        os.kill(int(agent.with_suffix(".pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_target_takes_from_the_device_file_what_is_not_given(device):
    target = make_target(device, "litert")
    assert (target.threads, target.affinity, target.label) == (1, None, "litert-fp32-t1")
    other = make_target(device, "litert", threads=2, affinity="0,1")
    assert (other.threads, other.affinity, other.label) == (2, "0,1", "litert-fp32-t2-0_1")
    assert make_target(load_device("pixel-6"), "litert").affinity == "6-7"


def test_a_target_that_cannot_be_says_what_can(device):
    with pytest.raises(UsageError, match="no runtime 'tvm'; it has onnxruntime, litert"):
        make_target(device, "tvm")
    with pytest.raises(UsageError, match="precision 'int4' is not supported; allowed: fp32, int8"):
        make_target(device, "litert", "int4")
    for affinity in ("", "big", "7-4"):
        with pytest.raises(UsageError, match=f"CPU list such as .*, got {affinity!r}"):
            make_target(device, "litert", affinity=affinity)


@pytest.mark.parametrize("name", ["raspberry-pi-4", "pixel-6"])
def test_a_device_that_cannot_be_reached_yet_says_what_can(name):
    with pytest.raises(UsageError, match=r"reached by (ssh|adb), .*Next: run hwnas on the device"):
        open_runner(make_target(load_device(name), "litert"))


def test_the_agent_is_pinned_and_has_the_targets_threads(device):
    cpu = min(os.sched_getaffinity(0))
    with LocalRunner(make_target(device, "onnxruntime", affinity=str(cpu))) as runner:
        assert runner.info["cpus"] == [cpu]


def test_an_agent_that_refuses_to_start_is_an_error_and_leaves_no_process(device, agent_that):
    with pytest.raises(DeviceError, match=r"refused 'hello' : ValueError: CPU 1000 is not"):
        LocalRunner(make_target(device, "onnxruntime", affinity="1000"))
    agent = agent_that("print(json.dumps({'ok': False, 'error': 'no'}), flush=True)")
    with pytest.raises(DeviceError, match="refused 'hello' : no"):
        LocalRunner(make_target(device, "onnxruntime"))
    assert not _is_running(agent)
    gc.collect()  # a process or pipe left open would warn now


def test_times_are_milliseconds(target, agent_that):
    agent_that("pass")
    with LocalRunner(target) as runner:
        assert runner.time_ms("m", min_runs=1, min_ms=0) == [1.5, 2.5]


def test_an_agent_that_was_killed_is_reported_with_its_last_words(target, agent_that):
    agent = agent_that("""if request["cmd"] == "time":
        print("the kernel found no more memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)""")
    with LocalRunner(target) as runner:
        with pytest.raises(DeviceError, match=r"exit code -9\) at 'time'.*no more memory"):
            runner.time_ms("m", min_runs=1, min_ms=0)
        with pytest.raises(DeviceError, match="exit code -9"):
            runner.state()
    assert not _is_running(agent)
    gc.collect()


def test_an_agent_that_hangs_is_stopped_in_time(target, agent_that, monkeypatch):
    monkeypatch.setattr(runner_module, "ANSWER_TIMEOUT_S", 0.3)
    agent = agent_that('if request["cmd"] != "hello": time.sleep(60)')
    with LocalRunner(target) as runner:
        with pytest.raises(DeviceError, match="did not answer 'load' within 0 s and was stopped"):
            runner.load("m", Path("model.onnx"))
        assert not _is_running(agent)
        with pytest.raises(DeviceError, match="'state' was asked of an agent that has been closed"):
            runner.state()


def test_an_agent_that_never_says_hello_is_stopped(target, agent_that, monkeypatch):
    monkeypatch.setattr(runner_module, "START_TIMEOUT_S", 2.0)
    agent = agent_that("time.sleep(60)")
    with pytest.raises(DeviceError, match="did not answer 'hello' within 2 s"):
        LocalRunner(target)
    assert not _is_running(agent)
    gc.collect()


def test_an_agent_that_ignores_the_end_is_killed(target, agent_that, monkeypatch):
    monkeypatch.setattr(runner_module, "EXIT_TIMEOUT_S", 0.3)
    agent = agent_that("pass")
    agent.write_text(agent.read_text() + "time.sleep(60)\n")
    runner = LocalRunner(target)
    runner.close()
    assert not _is_running(agent)


def test_the_warm_up_runs_are_the_devices_and_the_flushing_as_asked(device, agent_that, tmp_path):
    agent_that('Path(__file__).with_suffix(".last").write_text(line)')
    protocol = device.protocol.model_copy(update={"warmup_runs": 5})
    target = make_target(device.model_copy(update={"protocol": protocol}), "onnxruntime")
    with LocalRunner(target) as runner:
        runner.time_ms("m", min_runs=4, min_ms=2.5, flush_mb=1.5)
    assert (
        '"min_runs": 4, "min_ms": 2.5, "warmup_runs": 5, "flush_mb": 1.5'
        in (tmp_path / "agent.last").read_text()
    )

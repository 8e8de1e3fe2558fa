"""Tasks run in processes; failures name their task. Tasks are functions of the standard library,
which every fresh process can import."""

from __future__ import annotations

import math
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.executor.local import TaskError, available_cores, run_tasks

# arrive, then wait until the other has arrived too: ends only if both run at the same time
MEET = """
import pathlib, sys, time
mine, other = (pathlib.Path(name) for name in sys.argv[1:])
mine.write_text("here")
deadline = time.monotonic() + 30
while not other.exists():
    assert time.monotonic() < deadline, "the other never came"
    time.sleep(0.01)
print(mine.name, end="")
"""


def collect(arriving: Iterator[tuple[str, float]], results: dict[str, float]) -> None:
    for key, result in arriving:
        results[key] = result


def test_all_results_come_each_with_its_key():
    tasks = {f"task{i}": (i, 10) for i in range(7)}
    expected = {f"task{i}": i + 10 for i in range(7)}
    assert dict(run_tasks(operator.add, tasks, workers=2)) == expected
    assert list(run_tasks(operator.add, tasks, workers=1)) == list(expected.items())


def test_no_tasks_give_no_results():
    assert list(run_tasks(operator.add, {}, workers=2)) == []


def test_tasks_run_at_the_same_time(tmp_path):
    places = {key: str(tmp_path / key) for key in ("a", "b")}
    command = [sys.executable, "-c", MEET]
    tasks = {
        "a": ([*command, places["a"], places["b"]],),
        "b": ([*command, places["b"], places["a"]],),
    }
    results = dict(run_tasks(subprocess.check_output, tasks, workers=2))
    assert results == {"a": b"a", "b": b"b"}


def test_tasks_run_in_other_processes_than_this_one():
    results = dict(run_tasks(os.getpid, {"a": (), "b": ()}, workers=2))
    assert os.getpid() not in results.values()


def test_one_task_runs_in_this_process_unless_it_is_to_be_isolated():
    assert dict(run_tasks(os.getpid, {"a": ()})) == {"a": os.getpid()}
    assert dict(run_tasks(os.getpid, {"a": ()}, isolate=True)) != {"a": os.getpid()}
    assert list(run_tasks(os.getpid, {}, isolate=True)) == []


def test_failing_tasks_are_named_and_the_others_results_are_kept():
    tasks = {"four": (4.0,), "negative": (-1.0,), "nine": (9.0,), "text": ("x",)}
    results: dict[str, float] = {}
    arriving = run_tasks(math.sqrt, tasks, workers=2)
    with pytest.raises(TaskError) as caught:
        collect(arriving, results)
    assert results == {"four": 2.0, "nine": 3.0}
    text = str(caught.value)
    assert text.startswith("2 task(s) failed:")
    assert "negative: ValueError" in text
    assert "text: TypeError" in text


def test_a_task_whose_process_dies_is_named():
    with pytest.raises(TaskError, match="dies: BrokenProcessPool: its process died"):
        list(run_tasks(os._exit, {"dies": (1,), "also": (1,)}, workers=2))


def test_the_cores_counted_are_those_this_process_may_use():
    assert available_cores() == len(os.sched_getaffinity(0))


WORK = """
import os, pathlib, time
def write_pid_and_wait(path):
    pathlib.Path(path).write_text(str(os.getpid()))
    time.sleep(60)
"""
PARENT = """
import sys
from work import write_pid_and_wait
from hwnas.executor.local import run_tasks
if __name__ == "__main__":
    list(run_tasks(write_pid_and_wait, {"a": (sys.argv[1],)}, isolate=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2)")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "parent.py").write_text(PARENT)
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(pid_file)],
        stderr=subprocess.DEVNULL,  # the resource tracker of the killed process complains
    )
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    while time.monotonic() < deadline + 10:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # dead, and not yet collected by whoever adopted it
        time.sleep(0.05)
    pytest.fail(f"worker {worker} outlived its parent")


def test_an_interrupted_caller_ends_running_tasks_at_once() -> None:
    # a shell's background process begins with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupt_amid_tasks()
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt_amid_tasks() -> None:
    results = run_tasks(time.sleep, dict.fromkeys("abcd", (60.0,)), workers=2)

    def interrupt() -> None:
        while len(multiprocessing.active_children()) < 2:
            time.sleep(0.02)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    thread.join()
    assert multiprocessing.active_children() == []
    assert time.monotonic() - begin < 30


def test_a_caller_that_has_enough_ends_the_other_tasks() -> None:
    tasks = {"quick": (0.0,), "slow": (60.0,), "never": (60.0,)}
    results = run_tasks(time.sleep, tasks, workers=2)
    assert next(results)[0] == "quick"
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < 10
    assert multiprocessing.active_children() == []


def test_nothing_of_an_ended_pool_is_left_for_the_interpreters_exit() -> None:
    """Its thread closes a pipe when it ends, which the exit of the interpreter writes to."""
    before = threading.active_count()
    results = run_tasks(time.sleep, {"quick": (0.0,), "slow": (60.0,)}, workers=2)
    next(results)
    results.close()
    assert threading.active_count() == before

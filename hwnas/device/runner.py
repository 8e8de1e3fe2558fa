"""Runners put models on a target and time them; the local one speaks to an agent process."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.device.device import Device, cpu_list, cpu_numbers
from hwnas.errors import DeviceError, UsageError
from hwnas.export.formats import Precision, precision_of

AGENT = Path(__file__).parent / "agent.py"
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
EXIT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Target:
    """What will be measured: a device with one runtime, thread count and pinning."""

    device: Device
    runtime: str
    precision: Precision
    threads: int
    affinity: str | None

    @property
    def label(self) -> str:
        """File-name form: ``litert-fp32-t1`` or ``litert-fp32-t1-4_7``."""
        pinned = f"-{self.affinity.replace(',', '_')}" if self.affinity else ""
        return f"{self.runtime}-{self.precision}-t{self.threads}{pinned}"


def make_target(
    device: Device,
    runtime: str,
    precision: str = "fp32",
    threads: int | None = None,
    affinity: str | None = None,
) -> Target:
    """Return the target, ``threads`` and ``affinity`` from the device file unless given.

    Raises:
        UsageError: the device file does not list the runtime, the precision is not supported, or
            ``affinity`` is no list of CPUs.
    """
    settings = device.runtimes.get(runtime)  # type: ignore[call-overload]
    if settings is None:
        raise UsageError(
            f"device {device.name} has no runtime {runtime!r}; it has "
            f"{', '.join(device.runtimes)}. Next: choose one, or add it to the device file"
        )
    checked = precision_of(precision)
    try:
        pinned = settings.affinity if affinity is None else cpu_list(affinity)
    except ValueError as error:
        raise UsageError(f"affinity {error}, got {affinity!r}") from None
    return Target(device, runtime, checked, threads or settings.threads, pinned)


class LocalRunner:
    """Times models on this machine in a process of their own, through the agent.

    Implements ``interfaces.Runner``. The process holds nothing but numpy and the runtime, so that
    neither torch's threads nor its allocator take part in what is measured.
    """

    def __init__(self, target: Target) -> None:
        self._warmup_runs = target.device.protocol.warmup_runs
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # a session of its own: Ctrl-C reaches only hwnas, which then ends the agent in order
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(AGENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": str(target.threads)},
        )
        affinity = cpu_numbers(target.affinity) if target.affinity else None
        try:
            self.info = self._ask(
                START_TIMEOUT_S,
                cmd="hello",
                runtime=target.runtime,
                threads=target.threads,
                affinity=affinity,
            )
        except BaseException:
            self.close()
            raise

    def _ask(self, timeout_s: float, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdin.closed:
            raise DeviceError(f"{request['cmd']!r} was asked of an agent that has been closed")
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
        except OSError:
            raise self._died(request) from None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                self._process.kill()
                self.close()
                raise DeviceError(
                    f"the agent did not answer {request['cmd']!r} within "
                    f"{timeout_s:.0f} s and was stopped"
                )
        line = self._process.stdout.readline()
        if not line:
            raise self._died(request)
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise DeviceError(
                f"the agent refused {request['cmd']!r} {request.get('path', '')}: {answer['error']}"
            )
        return answer

    def _died(self, request: dict[str, Any]) -> DeviceError:
        code = self._exit_code()
        self._log.seek(0)
        tail = self._log.read()[-2000:].decode(errors="replace").strip()
        return DeviceError(
            f"the agent ended (exit code {code}) at {request['cmd']!r} "
            f"{request.get('path', '')}. Its last words: {tail or 'none'}"
        )

    def load(self, model_id: str, model: Path) -> None:
        """Load a model file."""
        self._ask(ANSWER_TIMEOUT_S, cmd="load", id=model_id, path=str(model.resolve()))

    def time_ms(
        self, model_id: str, *, min_runs: int, min_ms: float, flush_mb: float = 0.0
    ) -> list[float]:
        """Run a loaded model until both minima are reached; one latency in ms per run."""
        answer = self._ask(
            ANSWER_TIMEOUT_S + min_ms / 1e3,
            cmd="time",
            id=model_id,
            min_runs=min_runs,
            min_ms=min_ms,
            warmup_runs=self._warmup_runs,
            flush_mb=flush_mb,
        )
        return [ns / 1e6 for ns in answer["ns"]]

    def state(self) -> dict[str, Any]:
        """Return frequencies, governors, temperatures and load now."""
        state: dict[str, Any] = self._ask(ANSWER_TIMEOUT_S, cmd="state")["state"]
        return state

    def unload(self, model_id: str) -> None:
        """Free a loaded model."""
        self._ask(ANSWER_TIMEOUT_S, cmd="unload", id=model_id)

    def _exit_code(self) -> int:
        """Wait for the agent to end, stopping it if it does not, and return its exit code."""
        try:
            return self._process.wait(timeout=EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """End the agent; safe to call twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # what an agent that died did not read
            self._process.stdin.close()
        self._exit_code()
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_runner(target: Target) -> LocalRunner:
    """Return a runner on ``target``'s device.

    Raises:
        UsageError: the device's transport is not there yet; names those that are.
    """
    if target.device.transport != "local":
        raise UsageError(
            f"device {target.device.name} is reached by {target.device.transport}, which this "
            "version cannot do; it measures devices with transport: local. Next: run hwnas on "
            "the device itself with --device host, or use a table measured there"
        )
    return LocalRunner(target)

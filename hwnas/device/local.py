"""The runner of this machine: it speaks to an agent process."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from hwnas.device.device import cpu_numbers
from hwnas.device.runner import Target
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import DeviceError

AGENT = Path(__file__).parent / "agent.py"
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
EXIT_TIMEOUT_S = 5.0


class LocalRunner:
    """Times models on this machine in a process of their own, through the agent.

    Implements ``protocols.Runner``. The process holds nothing but numpy and the runtime, so that
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
        module = RUNTIMES[target.runtime].agent
        try:
            self.info = self._ask(
                START_TIMEOUT_S,
                cmd="hello",
                runtime=target.runtime,
                threads=target.threads,
                affinity=affinity,
                module=str(module) if module else None,
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""A kill at any moment costs nothing but time: profiles and runs resume to what they would be.

Each trial starts `hwnas profile` (tiny, ONNX Runtime, calibration and validation networks) or
`hwnas run` (tiny, digits, a gate search with warm-up, a few short trainings), kills its whole
process group with SIGKILL at one to three random moments, resumes it to its end, and compares:

- profile: every (model, round) of the plan is in the samples file exactly once, what was on record
  at a kill is still there, and the table's rows are the statistics of these samples. Which networks
  validate depends on a pilot's timings, so two profiles are not compared with each other.
- run: against an unbroken run with the same configuration and *the same table* (profiled once
  before, so that predicted latencies, budget and search agree). Equal must be: the winner, the set
  of files, config.yaml and all weights and models byte for byte, every JSON file but for CLOCKS and
  MEASURED, and the journal's epochs (with the gates' entropy
  and latencies) and evaluations, once each. Times of day, durations and CPU seconds are
  clocks. Measured latencies are taken again where they are missing and are never equal; search
  keeps 30 % of the budget free, so that this cannot change which finalists are within it. The
  states of finished trainings hold clocks, the report and its figures show measurements: of these
  only the presence counts. Hidden files are what a kill left of a file being written whole.

Usage: python benchmarks/kill_and_resume.py [-n 10] [--seed 0] [--only profile|run]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hwnas.device.device import load_device
from hwnas.device.measurement import summarise
from hwnas.device.runner import make_target
from hwnas.io.journal import Journal, read_json
from hwnas.latency.drift.check import arch_of
from hwnas.latency.profile.plan import ProfilePlan, network_model_id, op_id
from hwnas.latency.profile.profiler import PILOT_ROUND
from hwnas.latency.table.files import load_table
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

HWNAS = [sys.executable, "-c", "from hwnas.cli import main; main()"]
CALIBRATE, VALIDATE = 8, 4
LATEST = 0.8  # of the unbroken command's time, which converts models that later trials find
CLOCKS = {"time", "started", "wall_s", "core_s", "device_s"}
MEASURED = {
    "measurement",
    "measured_ms",
    "round_medians_ms",
    "state_before",
    "state_after",
    "drift",
}
BYTES = {".safetensors", ".onnx", ".yaml"}
CONFIG = """\
schema: 1
space: tiny
data: digits
targets:
  - {{device: host, runtime: onnxruntime, table: {table}, budget_percentile: 35, headroom: 0.3}}
search:
  strategy: proxyless
  evaluations: 4
  supernet: {{calibration_images: 512, recipe: {{epochs: 8, batch_size: 64, lr: 0.2}}}}
  gates: {{warmup_epochs: 4}}
retrain: {{top: 2, recipe: {{epochs: 3}}}}
bench: {{baselines: []}}
formats: [onnx]
"""


@dataclass
class Trial:
    """One command that is killed and resumed."""

    command: Sequence[str]
    journal: Path
    environment: dict[str, str]
    kills_s: list[float] = field(default_factory=list)
    on_record: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        return subprocess.Popen(
            [*HWNAS, *self.command, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
        )

    def finish(self, *options: str) -> None:
        """Run the command to its end; a failure is a violation."""
        process = self.start(*options)
        _, said = process.communicate()
        if process.returncode != 0:
            self.violations.append(f"it ended with {said[-500:].strip()!r}")

    def interrupt(self, moments_s: Sequence[float]) -> None:
        """Kill the command at each of these moments after its (re)start, unless it ended before."""
        for number, moment_s in enumerate(moments_s):
            process = self.start(*(["--resume"] if number else []))
            try:
                process.communicate(timeout=moment_s)
                return
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            self.kills_s.append(moment_s)
            self.compare_records()

    def compare_records(self) -> None:
        """Add a violation unless what was on record at the last kill is there, unchanged."""
        now = Journal(self.journal).records()
        if now[: len(self.on_record)] != self.on_record:
            self.violations.append(f"{self.journal.name} lost what was on record")
        self.on_record = now

    def run_search(self, moments_s: Sequence[float]) -> None:
        """Kill, then resume to the end."""
        self.interrupt(moments_s)
        self.finish("--resume")
        self.compare_records()


def profile_command(out: Path) -> list[str]:
    """Return the profile that is killed."""
    return [
        "profile",
        "--device",
        "host",
        "--runtime",
        "onnxruntime",
        "--space",
        "tiny",
        "--calibrate",
        str(CALIBRATE),
        "--validate",
        str(VALIDATE),
        "--out",
        str(out),
    ]


def check_profile(out: Path) -> list[str]:
    """Return what is wrong with a finished profile's samples and table."""
    space = load_space("tiny")
    plan = ProfilePlan(space, make_target(load_device("host"), "onnxruntime"), CALIBRATE, VALIDATE)
    rounds = range(plan.target.device.protocol.rounds)
    table = load_table(out)
    ops = {op_id(op): op for op in plan.ops}
    networks = [network_model_id(space, arch_of(network)) for network in table.networks]
    wanted = {(name, number) for name in (*ops, *networks) for number in rounds}
    wanted |= {(name, PILOT_ROUND) for name in ops}
    visits = [
        r for r in Journal(Path(f"{out}.samples.jsonl")).records() if r["event"] == "repetition"
    ]
    found = Counter((r["model"], r["round"]) for r in visits)
    problems = []
    if set(found) != wanted:
        problems.append(f"{len(wanted - set(found))} visits lost, {len(set(found) - wanted)} more")
    if max(found.values()) > 1:
        problems.append(f"{sum(n - 1 for n in found.values())} visits repeated")
    runs = {(r["model"], r["round"]): r["runs_ms"] for r in visits}
    for name, op in ops.items():
        of_op = [runs[name, number] for number in rounds if (name, number) in runs]
        if table.entries[op].to_json() != summarise(of_op, table.header.protocol.reloads).to_json():
            problems.append(f"the row of {op} is not that of its samples")
    return problems


def without(value: Any, keys: set[str]) -> Any:
    """Return a JSON value without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(item, keys) for key, item in value.items() if key not in keys}
    return [without(item, keys) for item in value] if isinstance(value, list) else value


def files_of(run: Path) -> dict[str, Path]:
    """Return a run's files by their path in it, but for hidden ones."""
    return {
        str(path.relative_to(run)): path
        for path in sorted(run.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def evaluations(run: Path) -> list[Any]:
    """Return what a run's journal says of the search: its epochs, evaluations, kinds of stages."""
    records = Journal(run / "journal.jsonl").records()
    epochs = [r for r in records if r["event"] == "supernet_epoch"]
    found = sorted((r for r in records if r["event"] == "evaluation"), key=lambda r: r["index"])
    stages = sorted({r["stage"] for r in records if r["event"] == "stage"})
    return [*without(epochs, CLOCKS), *without(found, CLOCKS), stages]


def check_run(run: Path, unbroken: Path) -> list[str]:
    """Return how a resumed run differs from an unbroken one."""
    found, wanted = files_of(run), files_of(unbroken)
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is one more" for name in found if name not in wanted]
    for name in sorted(set(found) & set(wanted)):
        path = found[name]
        if path.suffix in BYTES and path.read_bytes() != wanted[name].read_bytes():
            problems.append(f"{name} has other bytes")
        elif path.suffix == ".json":
            here, there = (without(read_json(p), CLOCKS | MEASURED) for p in (path, wanted[name]))
            if here != there:
                problems.append(f"{name} differs at {', '.join(differences(here, there))}")
    if evaluations(run) != evaluations(unbroken):
        problems.append("the journal's evaluations or stages differ")
    return problems


def differences(here: Any, there: Any, place: str = "") -> list[str]:
    """Return the places at which two JSON values differ."""
    if isinstance(here, dict) and isinstance(there, dict) and set(here) == set(there):
        return [d for key in here for d in differences(here[key], there[key], f"{place}.{key}")]
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        return [
            d
            for i, pair in enumerate(zip(here, there, strict=True))
            for d in differences(*pair, f"{place}.{i}")
        ]
    return [] if here == there else [f"{place.lstrip('.')}: {here!r} for {there!r}"]


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run_search(
    name: str,
    make: Callable[[str], Trial],
    check: Callable[[str], list[str]],
    count: int,
    seed: int,
) -> int:
    """Do an unbroken trial, then ``count`` killed ones; return how many violate something."""
    unbroken = make("unbroken")
    whole_s = timed(unbroken.finish)
    if unbroken.violations:
        raise SystemExit(f"the unbroken {name} failed: {unbroken.violations[0]}")
    print(f"{name}: unbroken in {whole_s:.1f} s", flush=True)
    violated = 0
    for number in range(count):
        rng = stream(seed, f"kill {name}", number)
        moments_s = rng.uniform(0, LATEST * whole_s, rng.integers(1, 4)).round(3).tolist()
        trial = make(str(number))
        spent_s = timed(partial(trial.run_search, moments_s))
        if not trial.violations:
            trial.violations += check(str(number))
        kills = ", ".join(f"{moment_s:.2f} s" for moment_s in trial.kills_s) or "no moment"
        print(
            f"{name} {number}: killed at {kills}; done in {spent_s:.1f} s: "
            + ("; ".join(trial.violations) or "ok"),
            flush=True,
        )
        violated += bool(trial.violations)
    return violated


def main() -> None:
    """Carry out the trials; exit 1 on any violation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=10, help="trials of each command")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--only", choices=["profile", "run"], help="one of the two commands")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "HWNAS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

        def table(trial: str) -> Path:
            return folder / f"profile-{trial}.json"

        def profile(trial: str) -> Trial:
            return Trial(
                profile_command(table(trial)), Path(f"{table(trial)}.samples.jsonl"), environment
            )

        def run(trial: str) -> Trial:
            return Trial(
                ["run", str(folder / "config.yaml"), "--out", str(folder / trial)],
                folder / trial / "journal.jsonl",
                environment,
            )

        profile("cache").finish()  # converts once, so that trials are alike
        violated = 0
        if options.only != "run":
            violated += run_search(
                "profile", profile, lambda t: check_profile(table(t)), options.n, options.seed
            )
        (folder / "config.yaml").write_text(CONFIG.format(table=json.dumps(str(table("cache")))))
        if options.only != "profile":
            violated += run_search(
                "run",
                run,
                lambda t: check_run(folder / t, folder / "unbroken"),
                options.n,
                options.seed,
            )
        trials = options.n * (1 if options.only else 2)
        print(f"{trials - violated} of {trials} killed trials ended as if they had not been killed")
    sys.exit(1 if violated else 0)


if __name__ == "__main__":
    main()

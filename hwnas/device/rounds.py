"""Timing models in interleaved rounds, each repetition written to a file as it happens.

Every model is timed once a round (a repetition), in a new random order each round: drift of the
device then affects all models alike instead of becoming the error of one. Between the protocol's
reloads all models are freed and loaded again in another order, for other places in memory. A
repetition is appended to a samples file before the next begins; (model, round) is the unit of
resume.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import Measurement, reload_of_round, summarise
from hwnas.errors import InputError
from hwnas.io.journal import Journal
from hwnas.io.progress import report
from hwnas.protocols import Runner
from hwnas.rng import stream

RENAMED = {"loads": "reloads"}
"""Keys of the protocol in samples files written before they were renamed."""

EVENTS = ("repetition", "visit")
"""What the records of repetitions are called, and were called."""


def replicas_of(model_id: str, count: int) -> list[str]:
    """Return the names of ``count`` replicas of a model in samples files; the first is its own."""
    return [model_id, *(f"{model_id} {number}" for number in range(2, count + 1))]


class Samples(Protocol):
    """Where the timing loop puts repetitions, and which it finds done."""

    def has(self, model_id: str, round_number: int) -> bool:
        """Whether this repetition is done."""

    def add(self, model_id: str, round_number: int, runs_ms: Sequence[float]) -> None:
        """Record the runs of one repetition in ms."""

    def record_state(self, runner: Runner) -> None:
        """Record the device's state, if this keeps it."""


class MemoryLog:
    """The repetitions of a measurement that is not resumed. Implements :class:`Samples`."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[int, list[float]]] = defaultdict(dict)

    def has(self, model_id: str, round_number: int) -> bool:
        """Whether this repetition is done."""
        return round_number in self._runs[model_id]

    def add(self, model_id: str, round_number: int, runs_ms: Sequence[float]) -> None:
        """Record the runs of one repetition in ms."""
        self._runs[model_id][round_number] = list(runs_ms)

    def record_state(self, runner: Runner) -> None:
        """Do nothing: asking for the state would let the device rest between rounds."""

    def rounds(self, model_id: str) -> dict[int, list[float]]:
        """Return the runs in ms by round of one model."""
        return dict(self._runs[model_id])


class SampleLog:
    """The repetitions of a measurement in an append-only file, next to the file they become.

    Implements :class:`Samples`.

    Raises:
        InputError: the file holds repetitions of another target, protocol or seed.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._journal = Journal(path)
        self._runs: dict[str, dict[int, list[float]]] = defaultdict(dict)
        records = self._journal.records()
        if not records:
            self._journal.append({"event": "header", "header": dict(header)})
        elif records[0].get("event") != "header" or "header" not in records[0]:
            raise InputError(str(path), ["does not begin with the header of a samples file"])
        else:
            self._check(path, records[0]["header"], header)
        for record in records[1:]:
            if record.get("event") in EVENTS:
                self._runs[record["model"]][record["round"]] = record["runs_ms"]
        self.states = [r["state"] for r in records[1:] if r.get("event") == "state"]

    @staticmethod
    def _check(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        then = {**found, "protocol": _as_now(found.get("protocol"), wanted.get("protocol"))}
        problems = [
            f"{key} was {then.get(key)!r}, now it is {value!r}"
            for key, value in wanted.items()
            if then.get(key) != value
        ]
        if problems:
            raise InputError(
                str(path),
                problems,
                "its repetitions do not belong together with new "
                "ones: measure into another file, or restore what differs",
            )

    def has(self, model_id: str, round_number: int) -> bool:
        """Whether this repetition is on record."""
        return round_number in self._runs[model_id]

    def rounds(self, model_id: str) -> dict[int, list[float]]:
        """Return the runs in ms by round of one model."""
        return dict(self._runs[model_id])

    def add(self, model_id: str, round_number: int, runs_ms: Sequence[float]) -> None:
        """Record one repetition; it survives a kill of the process from here on."""
        runs = [round(ms, 6) for ms in runs_ms]
        record = {"event": EVENTS[0], "model": model_id, "round": round_number, "runs_ms": runs}
        self._journal.append(record, sync=False)
        self._runs[model_id][round_number] = runs

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Record the device's state, and force all repetitions so far to disk."""
        self._journal.append({"event": "state", "state": dict(state)})
        self.states.append(dict(state))

    def record_state(self, runner: Runner) -> None:
        """Record the device's state now, and force all repetitions so far to disk."""
        self.add_state(runner.state())

    def measurement(
        self, model_id: str, protocol: TimingProtocol, replicas: int = 1
    ) -> Measurement:
        """Return the measurement of one model from its repetitions in the protocol's rounds.

        Each of its ``replicas`` was loaded ``protocol.reloads`` times.
        """
        runs_ms = self.repetitions(model_id, protocol, replicas)
        return summarise(runs_ms, replicas * protocol.reloads)

    def repetitions(
        self, model_id: str, protocol: TimingProtocol, replicas: int = 1
    ) -> list[list[float]]:
        """Return the runs in ms of each repetition in the protocol's rounds, replica by replica.

        Those of one reload of one replica are next to each other.
        """
        return [
            self._runs[name][number]
            for name in replicas_of(model_id, replicas)
            for number in range(protocol.rounds)
        ]

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def _as_now(then: Any, now: Any) -> Any:
    """Return a protocol on record with today's keys, and the defaults of settings added since."""
    if not isinstance(then, dict) or not isinstance(now, dict):
        return then
    defaults = TimingProtocol().model_dump()
    return {
        **{key: value for key, value in defaults.items() if key in now},
        **{RENAMED.get(key, key): value for key, value in then.items()},
    }


@dataclass
class FixedRounds:
    """Rounds of given numbers, each with the reload that a protocol's rounds share out to it."""

    numbers: Sequence[int]
    protocol: TimingProtocol

    def planned(self) -> list[tuple[int, int]]:
        """Return number and reload of every round."""
        rounds, reloads = self.protocol.rounds, self.protocol.reloads
        return [(number, reload_of_round(number, rounds, reloads)) for number in self.numbers]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.planned())


@dataclass
class SpreadRounds:
    """At least ``num_rounds`` rounds, over the share of the protocol's ``spread_s`` they have.

    The rounds of the first reload go on until its share of the time has passed; each other reload
    then has as many.
    """

    num_rounds: int
    protocol: TimingProtocol

    def __post_init__(self) -> None:
        protocol = self.protocol
        self._share_s = protocol.spread_s * self.num_rounds / protocol.rounds / protocol.reloads
        if self._share_s:
            self.num_rounds = max(self.num_rounds, protocol.reloads)
        self._reloads = min(protocol.reloads, self.num_rounds)

    def _reload(self, number: int) -> int:
        return reload_of_round(number, self.num_rounds, self._reloads)

    def planned(self) -> list[tuple[int, int]]:
        """Return number and reload of every round, as far as is known."""
        return [(number, self._reload(number)) for number in range(self.num_rounds)]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        begun = time.monotonic()
        number = reload = 0
        while number < self.num_rounds:
            yield number, reload
            number += 1
            is_last = reload == 0 and self._reload(number) > 0
            if is_last and time.monotonic() - begun < self._share_s:
                self.num_rounds += self._reloads
            reload = self._reload(number)


def _time_in_rounds(
    runner: Runner,
    models: Mapping[str, Path],
    rounds: FixedRounds | SpreadRounds,
    log: Samples,
    *,
    seed: int,
    stage: str,
    flushed: Collection[str],
    cooldown_s: float,
) -> None:
    """Time every model once in each round, but for repetitions on record: the one timing loop.

    The order of a round depends only on the seed, the round's number and the models. The models of
    a reload are loaded before its first round, in a random order, and freed after its last.
    """
    protocol, names = rounds.protocol, sorted(models)
    missing: dict[int, set[str]] = defaultdict(set)  # reload to the models it has to load
    done = 0
    for number, reload in rounds.planned():
        new = {name for name in names if not log.has(name, number)}
        missing[reload] |= new
        done += len(names) - len(new)
    if any(missing.values()):
        log.record_state(runner)
    loaded = _Loaded(runner, models, seed)
    for number, reload in rounds:
        loaded.hold(reload, missing[reload])
        order = stream(seed, "visit order", number).permutation(len(names))
        todo = [names[i] for i in order if not log.has(names[i], number)]
        for name in todo:
            runs_ms = runner.time_ms(
                name,
                min_runs=protocol.min_runs,
                min_ms=protocol.min_visit_ms,
                flush_mb=protocol.flush_mb if name in flushed else 0.0,
            )
            log.add(name, number, runs_ms)
            done += 1
            report(stage, done, len(rounds.planned()) * len(names))
        if todo:
            log.record_state(runner)
            if cooldown_s:
                time.sleep(cooldown_s)
    loaded.free()


def record_in_rounds(
    runner: Runner,
    models: Mapping[str, Path],
    rounds: Sequence[int],
    protocol: TimingProtocol,
    log: SampleLog,
    *,
    seed: int,
    stage: str,
    replicas: Mapping[str, int] | None = None,
    flushed: Collection[str] = (),
) -> None:
    """Time every model once in each of ``rounds``, into a samples file.

    Args:
        runner: the target.
        models: model files by name.
        rounds: numbers of rounds; below 0 they choose what to measure and count to no measurement.
        protocol: how often, how long and with how many reloads.
        log: what it holds already is not timed again.
        seed: of the orders of models and of loading.
        stage: the name of the work in reports of progress.
        replicas: how many copies of a model are held at a time (1 unless given), each timed once a
            round. The place of a copy in memory moves its latency, which timing one copy more often
            would not show.
        flushed: models (operations) timed with the protocol's ``flush_mb``.
    """
    paths = {
        name: path
        for model, path in models.items()
        for name in replicas_of(model, (replicas or {}).get(model, 1))
    }
    _time_in_rounds(
        runner,
        paths,
        FixedRounds(rounds, protocol),
        log,
        seed=seed,
        stage=stage,
        flushed=flushed,
        cooldown_s=protocol.cooldown_s,
    )


def time_in_rounds(
    runner: Runner,
    models: Mapping[str, Path],
    rounds: int,
    protocol: TimingProtocol,
    *,
    stage: str,
    flushed: Collection[str] = (),
) -> dict[str, list[list[float]]]:
    """Time models in interleaved rounds, in memory.

    The rounds go on for their share of the protocol's ``spread_s``. There are no pauses: a
    processor that has slept is slower for a while.

    Returns:
        ``runs[name][round]`` in ms: ``rounds`` or more, of ``min(protocol.reloads, rounds)``
        reloads.
    """
    log = MemoryLog()
    spread = SpreadRounds(rounds, protocol)
    _time_in_rounds(
        runner, models, spread, log, seed=0, stage=stage, flushed=flushed, cooldown_s=0.0
    )
    return {name: list(log.rounds(name).values()) for name in sorted(models)}


class _Loaded:
    """The models that a runner holds, freed and loaded again from one reload to the next."""

    def __init__(self, runner: Runner, models: Mapping[str, Path], seed: int) -> None:
        self._runner, self._models, self._seed = runner, models, seed
        self._reload: int | None = None
        self._names: list[str] = []

    def hold(self, reload: int, names: Collection[str]) -> None:
        """Hold exactly ``names``, loaded for this reload, in a random order of its own."""
        if reload == self._reload:
            return
        self.free()
        ordered = sorted(names)
        order = stream(self._seed, "load order", reload).permutation(len(ordered))
        self._reload, self._names = reload, [ordered[index] for index in order]
        for name in self._names:
            self._runner.load(name, self._models[name])

    def free(self) -> None:
        """Free all models."""
        for name in self._names:
            self._runner.unload(name)
        self._names = []

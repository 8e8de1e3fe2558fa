"""Interleaved rounds of visits, each written down as it happens.

Every model is visited once a round, in a new random order each round: what drifts on the device
then hits all models alike, instead of becoming the error of one. Between the protocol's loads all
models are freed and loaded again in another order, for other places in memory. A visit is appended
to a samples file before the next begins; (model, round) is the unit of resume.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import Measurement, load_of_round, summarise
from hwnas.errors import InputError
from hwnas.io.journal import Journal
from hwnas.io.progress import report
from hwnas.protocols import Runner
from hwnas.rng import stream


def replicas_of(model_id: str, copies: int) -> list[str]:
    """Return the names, in samples files, of so many copies of a model: the first is its own."""
    return [model_id, *(f"{model_id} {number}" for number in range(2, copies + 1))]


class SampleLog:
    """The raw visits of a measurement, append-only, beside the file they become.

    Raises:
        InputError: the file holds visits of another target, protocol or seed.
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
            if record.get("event") == "visit":
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
                "its visits do not belong together with new "
                "ones: measure into another file, or restore what differs",
            )

    def has(self, model_id: str, round_number: int) -> bool:
        """Whether this visit is on record."""
        return round_number in self._runs[model_id]

    def rounds(self, model_id: str) -> dict[int, list[float]]:
        """Return the runs in ms by round of one model."""
        return dict(self._runs[model_id])

    def add(self, model_id: str, round_number: int, runs_ms: Sequence[float]) -> None:
        """Record one visit; it survives a kill of the process from here on."""
        runs = [round(ms, 6) for ms in runs_ms]
        record = {"event": "visit", "model": model_id, "round": round_number, "runs_ms": runs}
        self._journal.append(record, sync=False)
        self._runs[model_id][round_number] = runs

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Record the device's state, and force all visits so far to disk."""
        self._journal.append({"event": "state", "state": dict(state)})
        self.states.append(dict(state))

    def measurement(self, model_id: str, protocol: TimingProtocol, copies: int = 1) -> Measurement:
        """Return the measurement of one model from the visits of the protocol's rounds.

        ``copies``: how many of it there are, each of which is loaded ``protocol.loads`` times.
        """
        return summarise(self.visits(model_id, protocol, copies), copies * protocol.loads)

    def visits(self, model_id: str, protocol: TimingProtocol, copies: int = 1) -> list[list[float]]:
        """Return the runs in ms of each visit in the protocol's rounds, copy by copy.

        Those of one load of one copy then follow one another.
        """
        return [
            self._runs[name][number]
            for name in replicas_of(model_id, copies)
            for number in range(protocol.rounds)
        ]

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def _as_now(then: Any, now: Any) -> Any:
    """Return a protocol on record with the defaults of settings that did not exist then."""
    if not isinstance(then, dict) or not isinstance(now, dict):
        return then
    return {
        **{key: value for key, value in TimingProtocol().model_dump().items() if key in now},
        **then,
    }


def visit_in_rounds(
    runner: Runner,
    models: Mapping[str, Path],
    rounds: Sequence[int],
    protocol: TimingProtocol,
    log: SampleLog,
    *,
    seed: int,
    stage: str,
    copies: Mapping[str, int] | None = None,
    flushed: Collection[str] = (),
) -> None:
    """Visit every model in each of ``rounds``, skipping the visits on record.

    Once a round; those in ``copies``, on which much hangs, are loaded in so many copies
    (:func:`replicas_of`), each visited once a round: where in memory a copy lies moves its latency,
    and visiting one copy more often would not tell by how much. All copies are held at a time. The
    order of a round depends only on the seed, the round's number and the models. Those in
    ``flushed`` (operations) are timed with the protocol's ``flush_mb``.
    """
    paths = {
        copy: models[name]
        for name in models
        for copy in replicas_of(name, (copies or {}).get(name, 1))
    }
    names = sorted(paths)
    missing = [(r, name) for r in rounds for name in names if not log.has(name, r)]
    loaded = _Loaded(runner, paths, seed)
    if missing:
        log.add_state(runner.state())
    done, total = len(rounds) * len(names) - len(missing), len(rounds) * len(names)
    for number in rounds:
        load = load_of_round(number, protocol.rounds, protocol.loads)
        loaded.hold(
            load,
            {
                name
                for r, name in missing
                if load_of_round(r, protocol.rounds, protocol.loads) == load
            },
        )
        order = stream(seed, "visit order", number).permutation(len(names))
        todo = [names[i] for i in order if not log.has(names[i], number)]
        for name in todo:
            runs = runner.time_ms(
                name,
                min_runs=protocol.min_runs,
                min_ms=protocol.min_visit_ms,
                flush_mb=protocol.flush_mb if name in flushed else 0.0,
            )
            log.add(name, number, runs)
            done += 1
            report(stage, done, total)
        if todo:
            log.add_state(runner.state())
            time.sleep(protocol.cooldown_s)


def timed_in_rounds(
    runner: Runner,
    models: Mapping[str, Path],
    rounds: int,
    protocol: TimingProtocol,
    *,
    stage: str,
) -> dict[str, list[list[float]]]:
    """Visit models in interleaved rounds, in memory, and free them.

    The first load's rounds go on for its share of the protocol's ``spread_s``, and the other loads
    have as many: nothing waits, as a processor that has slept is slower for a while.

    Returns:
        ``runs[name][round]`` in ms: ``rounds`` or more, of ``min(protocol.loads, rounds)`` loads.
    """
    names = sorted(models)
    loaded = _Loaded(runner, models, 0)
    runs: dict[str, list[list[float]]] = {name: [] for name in names}
    share_s = protocol.spread_s * rounds / protocol.rounds / protocol.loads
    rounds = max(rounds, protocol.loads) if share_s else rounds
    loads = min(protocol.loads, rounds)
    load = number = 0
    begun = time.monotonic()
    while number < rounds:
        loaded.hold(load, names)
        for index in stream(0, "visit order", number).permutation(len(names)):
            name = names[index]
            runs[name].append(
                runner.time_ms(name, min_runs=protocol.min_runs, min_ms=protocol.min_visit_ms)
            )
            report(stage, sum(map(len, runs.values())), rounds * len(names))
        number += 1
        if (load == 0 and load_of_round(number, rounds, loads) > 0) or number == rounds == 1:
            passed_s = time.monotonic() - begun
            if passed_s < share_s:
                rounds += loads
        load = load_of_round(number, rounds, loads)
    loaded.hold(loads, ())
    return runs


class _Loaded:
    """The models that a runner holds, freed and loaded again from one load to the next."""

    def __init__(self, runner: Runner, models: Mapping[str, Path], seed: int) -> None:
        self._runner, self._models, self._seed = runner, models, seed
        self._load: int | None = None
        self._names: list[str] = []

    def hold(self, load: int, names: Collection[str]) -> None:
        """Hold exactly ``names``, of load number ``load``, in a random order of this load."""
        if load == self._load:
            return
        for name in self._names:
            self._runner.unload(name)
        ordered = sorted(names)
        order = stream(self._seed, "load order", load).permutation(len(ordered))
        self._load, self._names = load, [ordered[index] for index in order]
        for name in self._names:
            self._runner.load(name, self._models[name])

"""Latency on a new device from 10 or 20 timed networks: the transfer predictor and its peers.

Data: whole-network latencies of HELP (Lee et al., NeurIPS 2021), 27 devices, in DATA as
``nasbench201.npz`` and ``fbnet.npz`` (``arch``, ``device``, ``latency_ms``).

``nasbench201``: HELP's split. Sources: its nine training devices, the first 900 networks. Test: the
next 1,000, and target networks from the first 900, both cut to the target's 10 to 90 % band.
``fbnet``: the six tasks of NASFLAT (Akhauri and Abdelfattah, MLSys 2024; device sets of the file
correlation_trainer/device_task_list.py of abdelfattah-lab/nasflat_latency, numbers 0 to 5).
Sources: 800 random networks, others every ten draws; 20 random target networks; all others are
tested (NASFLAT tests the timed ones, too).
A timed network is never in the test set, and no source's latency of a tested network of nasbench201
is used. ``suggested`` rows: the networks to time are chosen by ``hwnas predict --suggest`` from a
random half of the networks the random ones are drawn from, without the cut to the band, which would
need the target's latencies.
``--develop`` does the same with each of HELP's nine training devices as the target in turn and the
other eight as sources, on their first 900 networks: what settings were chosen on.
Usage: python benchmarks/latency/few_shot.py DATA
       [--space nasbench201|fbnet] [--draws 50] [--develop]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.few_shot.comparison import accuracy_of, baselines, ceiling
from hwnas.latency.few_shot.feature_space import FeatureMatrix, FeatureSpace, Measured
from hwnas.latency.few_shot.process import FewShotProcess
from hwnas.latency.few_shot.suggest import suggest
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.cells.nasbench201 import from_strings

Floats = NDArray[np.float64]

PHONES_AND_MORE = (
    "silver_4114",
    "silver_4210r",
    "samsung_a50",
    "pixel3",
    "essential_ph_1",
    "samsung_s7",
)
HELP_SOURCES = {
    "nasbench201": ("1080ti_1", "1080ti_32", "1080ti_256", *PHONES_AND_MORE),
    "fbnet": ("1080ti_1", "1080ti_32", "1080ti_64", *PHONES_AND_MORE),
}
HELP_TARGETS = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
HELP_PUBLISHED = dict(zip(HELP_TARGETS, (0.987, 0.989, 0.985, 0.802, 0.890, 0.940), strict=True))

GPUS = tuple(
    f"{gpu}_{batch}"
    for gpu in ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
    for batch in (1, 32, 64)
)
TASKS = {
    "FD": (HELP_SOURCES["fbnet"], ("titanx_1", "titanx_32", "titanx_64", "gold_6240")),
    "F1": (
        ("2080ti_1", "essential_ph_1", "silver_4114", "titan_rtx_1", "titan_rtx_32"),
        ("eyeriss", "fpga", "raspi4", "samsung_a50", "samsung_s7"),
    ),
    "F2": (
        ("essential_ph_1", "gold_6226", "gold_6240", "pixel3", "raspi4"),
        ("1080ti_1", "1080ti_32", "2080ti_32", "titan_rtx_1", "titanxp_1"),
    ),
    "F3": (
        ("essential_ph_1", "pixel2", "pixel3", "raspi4", "samsung_s7"),
        ("1080ti_1", "1080ti_32", "2080ti_1", "titan_rtx_1", "titan_rtx_32"),
    ),
    "F4": (
        (
            "1080ti_64",
            "2080ti_1",
            "eyeriss",
            "gold_6226",
            "gold_6240",
            "raspi4",
            "samsung_s7",
            "silver_4210r",
            "titan_rtx_1",
            "titan_rtx_32",
        ),
        ("1080ti_1", "pixel2", "essential_ph_1"),
    ),
    "FA": (GPUS, ("gold_6226", "essential_ph_1", "samsung_s7", "pixel2")),
}
TASKS_PUBLISHED = {
    "HELP": (0.910, 0.370, 0.793, 0.543, 0.413, 0.799),
    "NASFLAT": (0.961, 0.577, 0.809, 0.871, 0.814, 0.734),
}

DRAWS_A_PART = 10  # that share the networks their sources are known by

Key = tuple[str, str, int]  # target (or task), predictor, networks timed
Scores = dict[Key, list[tuple[float, ...]]]


@dataclass(frozen=True)
class Case:
    """One target: rows of ``pool`` to time from, to suggest from, to test, and for the ceiling."""

    name: str
    basis: FeatureSpace
    pool: FeatureMatrix
    ms: Floats
    timed_from: NDArray[np.intp]
    suggested_from: NDArray[np.intp]
    tested: NDArray[np.intp]
    ceiling_from: NDArray[np.intp]


def band(rows: NDArray[np.intp], ms: Floats) -> NDArray[np.intp]:
    """Return the rows from the 10th to the 90th percentile of latency."""
    return rows[np.argsort(ms[rows])[len(rows) // 10 : len(rows) * 9 // 10]]


def nasbench_cases(data: Path, *, develop: bool) -> Iterator[Case]:
    """Yield a case per target of HELP's split."""
    loaded = np.load(data / "nasbench201.npz")
    space, codes = load_space("nasbench201"), from_strings(loaded["arch"][:1900])
    ms = dict(zip(loaded["device"].tolist(), loaded["latency_ms"].astype(float), strict=True))
    first, next_ones = np.arange(900), np.arange(900, 1900)
    sources = HELP_SOURCES["nasbench201"]
    for target in sources if develop else HELP_TARGETS:
        used = [device for device in sources if device != target]
        basis = FeatureSpace(space, {d: Measured(d, codes[first], ms[d][first]) for d in used})
        tested = band(first if develop else next_ones, ms[target])
        yield Case(
            target,
            basis,
            basis.pool(codes),
            ms[target],
            band(first, ms[target]),
            first,
            tested,
            band(first, ms[target]),
        )


def fbnet_cases(data: Path, part: int, *, develop: bool) -> Iterator[Case]:
    """Yield a case per task and target; ``part`` decides the sources' networks."""
    loaded = np.load(data / "fbnet.npz")
    space, codes = load_space("fbnet-cifar"), loaded["arch"].astype(np.int16)
    ms = dict(zip(loaded["device"].tolist(), loaded["latency_ms"].astype(float), strict=True))
    every = np.arange(len(codes))
    helps = HELP_SOURCES["fbnet"]
    tasks = (
        {f"dev {d}": (tuple(s for s in helps if s != d), (d,)) for d in helps} if develop else TASKS
    )
    chosen = stream(0, "few shot sources", part).choice(every, 800, replace=False)
    for task, (sources, targets) in tasks.items():
        basis = FeatureSpace(space, {d: Measured(d, codes[chosen], ms[d][chosen]) for d in sources})
        pool = basis.pool(codes)
        for target in targets:
            yield Case(f"{task} {target}", basis, pool, ms[target], every, every, every, every)


def score(case: Case, count: int, draw: int, scores: Scores, *, suggestions: bool) -> None:
    """Add the scores of one draw of ``count`` networks to time."""
    rng = stream(0, f"few shot {case.name} {count}", draw)
    ways = {"": rng.choice(case.timed_from, count, replace=False)}
    if suggestions:
        half = rng.choice(
            case.suggested_from, min(len(case.suggested_from) // 2, 1000), replace=False
        )
        ways["suggested, "] = half[suggest(case.pool.take(half), count)]
    for way, timed in ways.items():
        tested = np.setdiff1d(case.tested, timed)
        known, asked = case.pool.take(timed), case.pool.take(tested)
        predictor = FewShotProcess(known, case.ms[timed])
        expected = predictor.predict_ms(asked)
        checked = rng.permutation(len(tested))[:500]  # deviations cost more than expectations
        std = predictor.predict(asked.take(checked))[1]
        found = {"transfer": expected, **baselines(known, case.ms[timed], asked)}
        for name, values in found.items():
            z = ((case.ms[tested] - values)[checked] / std) if name == "transfer" else None
            accuracy = accuracy_of(values, case.ms[tested])
            scores.setdefault((case.name, way + name, count), []).append(
                (
                    accuracy.spearman,
                    accuracy.rmspe,
                    accuracy.within_5_percent,
                    accuracy.within_10_percent,
                    float("nan") if z is None else float(np.mean(np.abs(z) <= 2)),
                )
            )


def add_ceiling(case: Case, scores: Scores, counts: tuple[int, ...], draw: int) -> None:
    """Add the scores of a regression on 900 networks of the target alone."""
    rng = stream(0, f"few shot ceiling {case.name}", draw)
    timed = rng.permutation(case.ceiling_from)[:900]
    tested = np.setdiff1d(case.tested, timed)
    if not len(tested):
        return
    values = ceiling(case.basis, case.pool.take(timed), case.ms[timed], case.pool.take(tested))
    a = accuracy_of(values, case.ms[tested])
    for count in counts:
        scores.setdefault((case.name, f"many-sample ceiling ({len(timed)})", count), []).append(
            (a.spearman, a.rmspe, a.within_5_percent, a.within_10_percent, float("nan"))
        )


def report(scores: Scores, groups: dict[str, list[str]], count: int) -> dict[str, float]:
    """Print one line per predictor: Spearman by group, its mean and p10, errors; return means."""
    names = list(dict.fromkeys(name for _, name, n in scores if n == count))
    print(
        f"\n{count} networks timed. Spearman's rho by target; then over targets: mean, p10 of "
        "the draws, RMSPE, within 5 %, within 10 %, within 2 std"
    )
    print(
        f"{'':38s}"
        + " ".join(f"{group[-9:]:>9s}" for group in groups)
        + "     mean    p10  RMSPE    5 %   10 %  2 std"
    )
    means = {}
    for name in names:
        by_group = []
        for cases in groups.values():
            # (draws, figures): the mean over the targets of a task
            by_group.append(np.mean([scores[case, name, count] for case in cases], axis=0))
        rho = [group[:, 0].mean() for group in by_group]
        p10 = np.mean([np.percentile(group[:, 0], 10) for group in by_group])
        rest = np.mean([group[:, 1:].mean(axis=0) for group in by_group], axis=0)
        means[name] = float(np.mean(rho))
        print(
            f"{name:38s}"
            + " ".join(f"{value:9.3f}" for value in rho)
            + f"   {means[name]:.4f}  {p10:.3f}  {rest[0]:5.1%} "
            + " ".join(f"{value:6.1%}" for value in rest[1:])
        )
    return means


def main() -> None:
    """Run the protocols that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--space", choices=("nasbench201", "fbnet"))
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--develop", action="store_true")
    asked = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"{asked.draws} draws"
    )
    start = time.perf_counter()
    if asked.space in (None, "nasbench201"):
        scores: Scores = {}
        groups: dict[str, list[str]] = {}
        for case in nasbench_cases(asked.data, develop=asked.develop):
            groups[case.name] = [case.name]
            for count in (10, 20):
                for draw in range(asked.draws):
                    score(case, count, draw, scores, suggestions=True)
            if not asked.develop:
                add_ceiling(case, scores, (10, 20), 0)
        print(f"\nNAS-Bench-201, HELP's split, {time.perf_counter() - start:.0f} s")
        for count in (10, 20):
            report(scores, groups, count)
        if not asked.develop:
            print(
                "HELP, published (10 + 10 networks)    "
                + " ".join(f"{value:9.3f}" for value in HELP_PUBLISHED.values())
                + f"   {np.mean(list(HELP_PUBLISHED.values())):.4f}"
            )
    if asked.space in (None, "fbnet"):
        scores, groups = {}, {}
        for part in range(-(-asked.draws // DRAWS_A_PART)):
            for case in fbnet_cases(asked.data, part, develop=asked.develop):
                task = case.name if asked.develop else case.name.split()[0]
                if case.name not in groups.setdefault(task, []):
                    groups[task].append(case.name)
                first = part * DRAWS_A_PART
                for draw in range(first, min(first + DRAWS_A_PART, asked.draws)):
                    score(case, 20, draw, scores, suggestions=False)
                if not part:
                    add_ceiling(case, scores, (20,), 0)
        print(f"\nFBNet, six tasks, {time.perf_counter() - start:.0f} s")
        report(scores, groups, 20)
        if not asked.develop:
            for name, values in TASKS_PUBLISHED.items():
                print(
                    f"{name + ', published':38s}"
                    + " ".join(f"{v:9.3f}" for v in values)
                    + f"   {np.mean(values):.4f}"
                )


if __name__ == "__main__":
    main()

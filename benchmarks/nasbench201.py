"""Searches beside the exact optimum: NAS-Bench-201's accuracies, latencies of 27 devices.

For each device and budget (a percentile of the latency of all 15,625 codes) every strategy runs
with each seed; printed are the median regrets to the exact best network within the budget, in
points of top-1, after some numbers of evaluations, their ratio to random search's ("both 0" where
neither loses anything), and the p of a one-sided paired Wilcoxon test over the seeds (1 where all
seeds agree). At the end: in how many cells the medians keep the bars, in how many p < 0.01, and p
over all of them; against each of two random searches: `random` draws from [0.75, 1] x budget, as
`--strategy random` does, `uniform` from all networks within the budget, as others mostly do. For
comparison `most-macs` evaluates networks by falling multiply-accumulates and learns nothing.
NSGA-II is judged by its share of the exact hypervolume of accuracy and latency, beside pymoo's with
as many evaluations (pymoo's count codes). `evolution`, `rl` and `surrogate` have the prior by
multiply-accumulates (`search.prior: macs`, the default); `evolution-plain` and `rl-plain` are the
published algorithms under hard limits (`search.prior: none`).

The specialisation matrix takes the best network within each device's median budget to the others:
its latency there, and what it loses to that device's exact front at this latency.

An evaluation counts a network, not a code: codes whose cells differ only in dead edges are one
network, never asked for twice, and its accuracy is the mean over its codes (as `table:FILE` has
it). A code is within the budget by its own latency.

Files (see HW-NAS-Bench, Li et al., ICLR 2021; HELP, Lee et al., NeurIPS 2021; NATS-Bench, Dong et
al., TPAMI 2021): `nasbench201.npz` (arch, device, latency_ms), `nasbench201_cifar10_accuracy.npz`
(arch, test_accuracy_percent).
Usage: python benchmarks/nasbench201.py --data FOLDER [--devices pixel3 raspi4] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from hwnas.protocols import Codes, CodeSearcher
from hwnas.rng import stream
from hwnas.search.pareto import hypervolume, non_dominated
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import ListedFeasible
from hwnas.search.strategies.evolution import Evolution
from hwnas.search.strategies.local_search import LocalSearch
from hwnas.search.strategies.nsga2 import Nsga2
from hwnas.search.strategies.population import search_codes
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.search.strategies.rl import PolicySearch, PolicySettings
from hwnas.search.strategies.surrogate import Surrogate
from hwnas.space.catalogue import load_space
from hwnas.space.cells.nasbench201 import from_strings

Floats = NDArray[np.float64]
SPACE = load_space("nasbench201")
SHAPE = tuple(len(choice.options) for choice in SPACE.choices)
CODES: Codes = np.indices(SHAPE).reshape(len(SHAPE), -1).T.astype(np.int16)
DEVICES = ("pixel3", "raspi4", "samsung_a50", "1080ti_1")
BATCH = 10


class ByWork:
    """Asks for networks by falling multiply-accumulates, equals in random order.

    Implements ``protocols.CodeSearcher``.
    """

    def __init__(self, feasible: ListedFeasible, seed: int) -> None:
        self.codes, self.asked = feasible.top_by_macs(len(CODES), stream(seed, "by work")), 0

    def ask_codes(self, count: int) -> Codes:
        """Return the next ones."""
        first, self.asked = self.asked, self.asked + count
        return self.codes[first : first + count]

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Learn nothing."""


STRATEGIES: dict[str, Callable[[ListedFeasible, int], CodeSearcher]] = {
    "random": RandomSearch,
    "uniform": lambda feasible, seed: RandomSearch(feasible, seed, low_share=0.0),
    "most-macs": lambda feasible, seed: ByWork(feasible, seed),
    "evolution": lambda feasible, seed: _evolution(feasible, seed),
    "evolution-plain": Evolution,
    "surrogate": lambda feasible, seed: Surrogate(
        feasible, _evolution(feasible, seed), seed, prior=MacsPrior(feasible, seed)
    ),
    "surrogate-plain": lambda feasible, seed: Surrogate(feasible, Evolution(feasible, seed), seed),
    "local": LocalSearch,
    "rl": lambda feasible, seed: _rl(feasible, seed),
    "rl-plain": PolicySearch,
    "rl-ppo": lambda feasible, seed: _rl(feasible, seed, ppo=True),
    "rl-ppo-plain": lambda feasible, seed: PolicySearch(feasible, seed, PolicySettings(ppo=True)),
}
"""Those called plain are the published algorithms, the others have the prior by MACs."""


def _evolution(feasible: ListedFeasible, seed: int) -> Evolution:
    return Evolution(feasible, seed, prior=MacsPrior(feasible, seed))


def _rl(feasible: ListedFeasible, seed: int, *, ppo: bool = False) -> PolicySearch:
    settings = PolicySettings(ppo=ppo)
    return PolicySearch(feasible, seed, settings, prior=MacsPrior(feasible, seed))


BARS = {
    ("evolution", 200): 0.6,
    ("evolution", 500): 0.4,
    ("surrogate", 200): 0.35,
    ("rl", 500): 1.0,
    ("rl-ppo", 500): 1.0,
}
"""The largest median regret that is good enough, as a share of random search's."""
BASELINES = ("random", "uniform")


def flat(codes: Codes) -> NDArray[np.int64]:
    """Return the places of codes in CODES."""
    return np.asarray(np.ravel_multi_index(tuple(codes.T.astype(np.int64)), SHAPE))


@dataclass(frozen=True)
class Truth:
    """Top-1 in percent, ``(15625,)``, and milliseconds by device, in the order of CODES."""

    top1: Floats
    latency_ms: dict[str, Floats]


def load(folder: Path, accuracy_file: str, key: str) -> Truth:
    """Read the files; codes of one network get the mean of their accuracies."""
    latency = np.load(folder / "nasbench201.npz")
    accuracy = np.load(folder / accuracy_file)
    top1 = np.empty(len(CODES))
    top1[flat(from_strings(accuracy["arch"]))] = accuracy[key]
    _, of = np.unique(SPACE.network_keys(CODES), axis=0, return_inverse=True)
    means = np.bincount(of.ravel(), weights=top1) / np.bincount(of.ravel())
    order = np.empty(len(CODES), dtype=np.int64)
    order[flat(from_strings(latency["arch"]))] = np.arange(len(CODES))
    by_device = zip(
        latency["device"].tolist(), latency["latency_ms"][:, order].astype(float), strict=True
    )
    return Truth(means[of.ravel()], dict(by_device))


def feasible_of(latency_ms: Floats, budget_ms: float) -> ListedFeasible:
    """Return the space within a budget."""
    return ListedFeasible(SPACE, latency_ms.reshape(1, *SHAPE), np.array([budget_ms]))


def regrets(
    truth: Truth, feasible: ListedFeasible, name: str, seeds: int, evaluations: int
) -> Floats:
    """Return ``(seeds, evaluations)`` regrets in points of top-1."""
    best = truth.top1[flat(feasible.listed())].max()
    curves = np.empty((seeds, evaluations))
    for seed in range(seeds):
        _, scores = search_codes(
            STRATEGIES[name](feasible, seed),
            lambda codes: truth.top1[flat(codes)] / 100,
            evaluations,
            batch=BATCH,
        )
        curve = best - 100 * np.maximum.accumulate(scores[:, 0])
        curves[seed] = np.pad(curve, (0, evaluations - len(curve)), mode="edge")
    return curves


def volume_share(truth: Truth, latency_ms: Floats, found: NDArray[np.int64]) -> float:
    """Return the share of the exact hypervolume; reference: largest latency, median top-1."""
    exact = np.stack([latency_ms, -truth.top1], axis=1)
    reference = np.array([latency_ms.max(), -np.median(truth.top1)])
    return hypervolume(exact[found], reference) / hypervolume(exact, reference)


def pymoo_places(
    truth: Truth, latency_ms: Floats, seed: int, evaluations: int
) -> NDArray[np.int64]:
    """Return what pymoo's NSGA-II evaluates: integer variables, population 50, no duplicates."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    asked: list[NDArray[np.int64]] = []

    class Table(Problem):  # type: ignore[misc]
        def _evaluate(self, x, out, *args, **kwargs):  # type: ignore[no-untyped-def]
            rows = flat(x.astype(np.int16))
            asked.append(rows)
            out["F"] = np.stack([latency_ms[rows], -truth.top1[rows]], axis=1)

    problem = Table(n_var=len(SHAPE), n_obj=2, xl=0, xu=np.array(SHAPE) - 1, vtype=int)
    rounding = RoundingRepair()
    algorithm = NSGA2(
        pop_size=50,
        sampling=IntegerRandomSampling(),
        crossover=SBX(vtype=float, repair=rounding),
        mutation=PM(vtype=float, repair=rounding),
        eliminate_duplicates=True,
    )
    minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)
    return np.concatenate(asked)[:evaluations]


def fronts(truth: Truth, device: str, seeds: int, evaluations: int) -> None:
    """Print NSGA-II's and pymoo's shares of the exact hypervolume."""
    latency_ms = truth.latency_ms[device]
    order = np.lexsort((-truth.top1, latency_ms))
    rising = np.maximum.accumulate(truth.top1[order])
    steps = order[np.r_[True, np.diff(rising) > 0]]
    exact = non_dominated(np.stack([latency_ms[steps], -truth.top1[steps]], axis=1)).sum()
    feasible = feasible_of(latency_ms, float(latency_ms.max()))
    ours, theirs = [], []
    for seed in range(seeds):
        codes, _ = search_codes(
            Nsga2(feasible, seed),
            lambda codes: truth.top1[flat(codes)] / 100,
            evaluations,
            batch=25,
        )
        ours.append(volume_share(truth, latency_ms, flat(codes)))
        theirs.append(
            volume_share(truth, latency_ms, pymoo_places(truth, latency_ms, seed, evaluations))
        )
    print(
        f"{device}: exact front of {exact} networks; share of its hypervolume after "
        f"{evaluations} evaluations, median (least) of {seeds} seeds: nsga2 "
        f"{np.median(ours):.2%} ({min(ours):.2%}), pymoo {np.median(theirs):.2%} "
        f"({min(theirs):.2%})",
        flush=True,
    )


def test(ours: Floats, theirs: Floats) -> float:
    """Return the p of a one-sided paired Wilcoxon test that ours are less."""
    if (ours == theirs).all():
        return 1.0
    return float(wilcoxon(ours, theirs, alternative="less").pvalue)


def tell(name: str, curves: Floats, random: Floats, at: list[int]) -> str:
    """Return a strategy's part of a row: regret, ratio to random, p."""
    parts = []
    for number in at:
        ours, theirs = curves[:, number - 1], random[:, number - 1]
        mine, other = np.median(ours), np.median(theirs)
        text = f"{mine:.3f}"
        if name not in BASELINES:
            ratio = f"{mine / other:.2f}x" if other > 0 else "both 0" if mine == 0 else "random 0"
            text += f" ({ratio}, p {test(ours, theirs):.0e})"
        parts.append(f"@{number} {text}")
    return f"{name} " + " ".join(parts)


def summary(curves: dict[tuple[str, int], dict[str, Floats]]) -> None:
    """Print for each bar and baseline in how many cells it is kept, and the test over all cells."""
    for (name, number), bar in BARS.items():
        for baseline in BASELINES:
            cells = {
                cell: (of[name][:, number - 1], of[baseline][:, number - 1])
                for cell, of in curves.items()
                if name in of and of[name].shape[1] >= number
            }
            if not cells:
                continue
            missed = [
                f"{device} {q}%"
                for (device, q), (ours, theirs) in cells.items()
                if np.median(ours) > bar * np.median(theirs)
            ]
            clear = sum(test(ours, theirs) < 0.01 for ours, theirs in cells.values())
            every, others = (np.concatenate(parts) for parts in zip(*cells.values(), strict=True))
            print(
                f"{name} @{number} <= {bar} x {baseline}: {len(cells) - len(missed)} of "
                f"{len(cells)} cells (not {', '.join(missed) or 'any'}), p < 0.01 in {clear}; "
                f"mean regret {every.mean():.3f}, {baseline} {others.mean():.3f}, "
                f"p {test(every, others):.0e}"
            )


def specialisation(
    truth: Truth, devices: list[str], percentile: float
) -> tuple[Floats, Floats, Floats]:
    """Return what the row's network is on the column's device, ``(devices, devices)`` each.

    Its latency, that latency less the column's budget as a share of it, and the top-1 it loses
    there to the best network that is no slower. Each network is the best within its own device's
    budget, a percentile of that device's latency; of equals the fastest.
    """
    timed = np.stack([truth.latency_ms[device] for device in devices])
    budgets = np.percentile(timed, percentile, axis=1)
    best = [
        int(np.lexsort((times, np.where(times <= budget, -truth.top1, 0.0)))[0])
        for times, budget in zip(timed, budgets, strict=True)
    ]
    there = timed[:, best].T
    fronts_there = np.array(
        [
            [truth.top1[times <= ms].max() for times, ms in zip(timed, row, strict=True)]
            for row in there
        ]
    )
    return there, there / budgets - 1, fronts_there - truth.top1[best][:, None]


def draw(
    out: Path,
    curves: dict[tuple[str, int], dict[str, Floats]],
    matrix: tuple[Floats, Floats, Floats],
    devices: list[str],
    percentile: float,
) -> None:
    """Write the regret curves and the specialisation matrix as figures."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    columns = sorted({q for _, q in curves})
    rows = list(dict.fromkeys(d for d, _ in curves))
    figure, axes = plt.subplots(
        len(rows),
        len(columns),
        squeeze=False,
        sharex=True,
        figsize=(4 * len(columns), 3 * len(rows)),
        layout="constrained",
    )
    for (device, q), of in curves.items():
        axis = axes[rows.index(device), columns.index(q)]
        for name, values in of.items():
            axis.plot(np.arange(1, values.shape[1] + 1), np.median(values, axis=0), label=name)
        axis.set(
            title=f"{device}, {q}th percentile",
            xlabel="evaluations",
            ylabel="median regret (points)",
        )
        axis.set_yscale("symlog", linthresh=0.02)
    axes[0, 0].legend()
    figure.savefig(out / "regret.png", dpi=120)
    there, over, lost = matrix
    figure, axis = plt.subplots(
        figsize=(1.7 * len(devices) + 1.5, 1.1 * len(devices) + 1.5), layout="constrained"
    )
    image = axis.imshow(lost, cmap="viridis_r", aspect="auto")
    axis.set(
        xticks=range(len(devices)),
        yticks=range(len(devices)),
        xticklabels=devices,
        yticklabels=devices,
        xlabel="run on",
        ylabel="searched for",
        title=f"budgets at the {percentile:g}th percentile: latency and top-1 lost to the "
        "exact front there",
    )
    for i, j in np.ndindex(*lost.shape):
        dark = lost[i, j] > 0.5 * lost.max()
        axis.text(
            j,
            i,
            f"{there[i, j]:.1f} ms ({over[i, j]:+.0%})\n{lost[i, j]:.2f} points",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    figure.colorbar(image, label="points")
    figure.savefig(out / "specialisation.png", dpi=120)


def main() -> None:
    """Run all searches and print their regrets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/device-latency"))
    parser.add_argument("--accuracy", default="nasbench201_cifar10_accuracy.npz")
    parser.add_argument("--accuracy-key", default="test_accuracy_percent")
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("--percentiles", nargs="+", type=int, default=[20, 50, 80])
    parser.add_argument(
        "--strategies",
        nargs="+",
        choices=list(STRATEGIES),
        default=[
            "most-macs",
            "evolution",
            "evolution-plain",
            "surrogate",
            "local",
            "rl",
            "rl-plain",
        ],
    )
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--at", nargs="+", type=int, default=[200, 500])
    parser.add_argument("--front-evaluations", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    truth = load(args.data, args.accuracy, args.accuracy_key)
    curves: dict[tuple[str, int], dict[str, Floats]] = {}
    for device in args.devices:
        for q in args.percentiles:
            budget = float(np.percentile(truth.latency_ms[device], q))
            feasible, start = feasible_of(truth.latency_ms[device], budget), time.perf_counter()
            found: dict[str, Floats] = {}
            for name in [*BASELINES, *(s for s in args.strategies if s not in BASELINES)]:
                # the surrogate is judged at the first number only
                most = args.at[0] if name == "surrogate" else max(args.at)
                found[name] = regrets(truth, feasible, name, args.seeds, most)
            rows = [
                tell(name, values, found["random"], [n for n in args.at if n <= values.shape[1]])
                for name, values in found.items()
            ]
            print(
                f"{device} {q}% {budget:.3f} ms: "
                + "; ".join(rows)
                + f" [{time.perf_counter() - start:.0f} s]",
                flush=True,
            )
            curves[device, q] = found
        if args.front_evaluations:
            fronts(truth, device, min(args.seeds, 10), args.front_evaluations)
    summary(curves)
    matrix = specialisation(truth, args.devices, 50)
    print(
        "rows: the best within a device's median budget, run on (columns): latency in ms (over "
        "or below the budget there), top-1 lost to the exact front at that latency"
    )
    for device, *columns in zip(args.devices, *matrix, strict=True):
        print(
            f"{device:12} "
            + "; ".join(
                f"{ms:.1f} ({over:+.0%}) {lost:.2f}"
                for ms, over, lost in zip(*columns, strict=True)
            )
        )
    if args.out is not None:
        draw(args.out, curves, matrix, args.devices, 50)


if __name__ == "__main__":
    main()

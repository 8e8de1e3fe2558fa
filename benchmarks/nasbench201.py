"""Searches beside the exact optimum: NAS-Bench-201's accuracies, latencies of 27 devices.

For each device and budget (a percentile of the latency of all 15,625 codes) every strategy runs
with each seed; printed are the median regrets to the exact best network within the budget, in
points of top-1, after some numbers of evaluations, their ratio to random search's, and the p of a
one-sided paired Wilcoxon test over the seeds. NSGA-II is judged by its share of the exact
hypervolume of accuracy and latency, beside pymoo's with as many evaluations (pymoo's count codes).

An evaluation counts a network, not a code: codes whose cells differ only in dead edges are one
network, never asked for twice, and its accuracy is the mean over its codes (as `table:FILE` has
it). A code is within the budget by its own latency. Random search draws from [0.75, 1] x budget,
which is a better baseline than drawing from all networks within it.

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

from hwnas.interfaces import Codes, CodeSearcher
from hwnas.search.evolution import Evolution
from hwnas.search.feasible import ListedFeasible
from hwnas.search.local_search import LocalSearch
from hwnas.search.nsga2 import Nsga2
from hwnas.search.pareto import hypervolume, non_dominated
from hwnas.search.population import search_codes
from hwnas.search.random_search import RandomCodes
from hwnas.search.rl import PolicySearch
from hwnas.search.surrogate import Surrogate
from hwnas.space.catalogue import load_space

Floats = NDArray[np.float64]
SPACE = load_space("nasbench201")
SHAPE = tuple(len(choice.options) for choice in SPACE.choices)
CODES: Codes = np.indices(SHAPE).reshape(len(SHAPE), -1).T.astype(np.int16)
DEVICES = ("pixel3", "raspi4", "samsung_a50", "1080ti_1")
BATCH = 10

STRATEGIES: dict[str, Callable[[ListedFeasible, int], CodeSearcher]] = {
    "random": RandomCodes,
    "evolution": Evolution,
    "surrogate": lambda feasible, seed: Surrogate(feasible, Evolution(feasible, seed), seed),
    "local": LocalSearch,
    "rl": PolicySearch,
}


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
    options = {str(option): i for i, option in enumerate(SPACE.choices[0].options)}

    def places(archs: NDArray[np.str_]) -> NDArray[np.int64]:
        rows = [[options[edge.split("~")[0]] for node in arch.split("+")
                 for edge in node.strip("|").split("|")] for arch in archs.tolist()]
        return flat(np.array(rows, dtype=np.int16))

    top1 = np.empty(len(CODES))
    top1[places(accuracy["arch"])] = accuracy[key]
    _, of = np.unique(SPACE.network_keys(CODES), axis=0, return_inverse=True)
    means = np.bincount(of.ravel(), weights=top1) / np.bincount(of.ravel())
    order = np.empty(len(CODES), dtype=np.int64)
    order[places(latency["arch"])] = np.arange(len(CODES))
    by_device = zip(latency["device"].tolist(), latency["latency_ms"][:, order].astype(float),
                    strict=True)
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
        _, scores = search_codes(STRATEGIES[name](feasible, seed),
                                 lambda codes: truth.top1[flat(codes)] / 100, evaluations,
                                 batch=BATCH)
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
    algorithm = NSGA2(pop_size=50, sampling=IntegerRandomSampling(),
                      crossover=SBX(vtype=float, repair=rounding),
                      mutation=PM(vtype=float, repair=rounding), eliminate_duplicates=True)
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
        codes, _ = search_codes(Nsga2(feasible, seed),
                                lambda codes: truth.top1[flat(codes)] / 100, evaluations,
                                batch=25)
        ours.append(volume_share(truth, latency_ms, flat(codes)))
        theirs.append(volume_share(truth, latency_ms,
                                   pymoo_places(truth, latency_ms, seed, evaluations)))
    print(f"{device}: exact front of {exact} networks; share of its hypervolume after "
          f"{evaluations} evaluations, median (least) of {seeds} seeds: nsga2 "
          f"{np.median(ours):.2%} ({min(ours):.2%}), pymoo {np.median(theirs):.2%} "
          f"({min(theirs):.2%})", flush=True)


def tell(name: str, curves: Floats, random: Floats, at: list[int]) -> str:
    """Return a strategy's part of a row: regret, ratio to random, p."""
    parts = []
    for number in at:
        ours, theirs = curves[:, number - 1], random[:, number - 1]
        text = f"{np.median(ours):.3f}"
        if name != "random":
            ratio = np.median(ours) / np.median(theirs) if np.median(theirs) > 0 else np.nan
            differ = (ours != theirs).any()
            p = wilcoxon(ours, theirs, alternative="less").pvalue if differ else 1.0
            text += f" ({ratio:.2f}x, p {p:.0e})"
        parts.append(f"@{number} {text}")
    return f"{name} " + " ".join(parts)


def specialisation(truth: Truth, devices: list[str], percentile: float) -> Floats:
    """Return ``(devices, devices)``: top-1 lost on the column's device by the row's network.

    Each network is the best within its own device's budget, a percentile of that device's
    latency; NaN where it breaks the budget of the column's device.
    """
    budgets = {d: float(np.percentile(truth.latency_ms[d], percentile)) for d in devices}
    best = {d: int(np.where(truth.latency_ms[d] <= budgets[d], truth.top1, -1).argmax())
            for d in devices}
    lost = np.full((len(devices), len(devices)), np.nan)
    for i, row in enumerate(devices):
        for j, column in enumerate(devices):
            if truth.latency_ms[column][best[row]] <= budgets[column]:
                lost[i, j] = truth.top1[best[column]] - truth.top1[best[row]]
    return lost


def draw(out: Path, curves: dict[tuple[str, int], dict[str, Floats]],
         lost: Floats, devices: list[str], percentile: float) -> None:
    """Write the regret curves and the specialisation matrix as figures."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    columns = sorted({q for _, q in curves})
    rows = list(dict.fromkeys(d for d, _ in curves))
    figure, axes = plt.subplots(len(rows), len(columns), squeeze=False, sharex=True,
                                figsize=(4 * len(columns), 3 * len(rows)), layout="constrained")
    for (device, q), of in curves.items():
        axis = axes[rows.index(device), columns.index(q)]
        for name, values in of.items():
            axis.plot(np.arange(1, values.shape[1] + 1), np.median(values, axis=0), label=name)
        axis.set(title=f"{device}, {q}th percentile", xlabel="evaluations",
                 ylabel="median regret (points)")
        axis.set_yscale("symlog", linthresh=0.02)
    axes[0, 0].legend()
    figure.savefig(out / "regret.png", dpi=120)
    figure, axis = plt.subplots(figsize=(6, 5), layout="constrained")
    image = axis.imshow(lost, cmap="viridis_r")
    axis.set(xticks=range(len(devices)), yticks=range(len(devices)), xticklabels=devices,
             yticklabels=devices, xlabel="run on", ylabel="searched for",
             title=f"top-1 lost (points), budgets at the {percentile:g}th percentile")
    for i, j in np.ndindex(*lost.shape):
        text = "over budget" if np.isnan(lost[i, j]) else f"{lost[i, j]:.2f}"
        axis.text(j, i, text, ha="center", va="center", fontsize=8)
    figure.colorbar(image)
    figure.savefig(out / "specialisation.png", dpi=120)


def main() -> None:
    """Run all searches and print their regrets."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/device-latency"))
    parser.add_argument("--accuracy", default="nasbench201_cifar10_accuracy.npz")
    parser.add_argument("--accuracy-key", default="test_accuracy_percent")
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("--percentiles", nargs="+", type=int, default=[20, 50, 80])
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES),
                        default=["random", "evolution", "surrogate", "local"])
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
            for name in ["random", *(s for s in args.strategies if s != "random")]:
                # the surrogate is judged at the first number only
                most = args.at[0] if name == "surrogate" else max(args.at)
                found[name] = regrets(truth, feasible, name, args.seeds, most)
            rows = [tell(name, values, found["random"], [n for n in args.at
                                                         if n <= values.shape[1]])
                    for name, values in found.items()]
            print(f"{device} {q}% {budget:.3f} ms: " + "; ".join(rows)
                  + f" [{time.perf_counter() - start:.0f} s]", flush=True)
            curves[device, q] = found
        if args.front_evaluations:
            fronts(truth, device, min(args.seeds, 10), args.front_evaluations)
    lost = specialisation(truth, args.devices, 50)
    print("top-1 lost (points), rows: searched for, columns: run on; nan: over budget")
    print(np.array2string(lost, precision=2))
    if args.out is not None:
        draw(args.out, curves, lost, args.devices, 50)


if __name__ == "__main__":
    main()

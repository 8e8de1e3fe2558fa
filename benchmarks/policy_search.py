"""Reinforcement learning beside random search, where every network's accuracy is known.

NAS-Bench-201's CIFAR-10 accuracies and its networks' latencies on a device: regret, in points of
accuracy, to the best network within a budget. Budgets are quantiles of the device's latencies.
Beside `rl` and `rl-ppo` (hwnas.search.rl) and random search there is REINFORCE as it is usually
written: one softmax a choice, a moving baseline, plain gradient steps, and an evaluation spent on
whatever is drawn, with a reward of 0 where it breaks the limit.

Usage: python benchmarks/policy_search.py DATA --devices pixel2 --seeds 50
where DATA holds nasbench201.npz (arch, device, latency_ms) and nasbench201_cifar10_accuracy.npz
(arch, test_accuracy_percent).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from hwnas.interfaces import Codes
from hwnas.rng import stream
from hwnas.search.feasible import ListedFeasible
from hwnas.search.population import History, draw_new, search_codes
from hwnas.search.rl import PolicySearch, PolicySettings
from hwnas.space.catalogue import load_space
from hwnas.space.nasbench201 import from_strings

SPACE = load_space("nasbench201")
GRID = tuple(len(choice.options) for choice in SPACE.choices)
BATCH = 20
AT = (100, 200, 500)


@dataclass
class Problem:
    """A budget on a device; accuracies in percent, one per code."""

    feasible: ListedFeasible
    accuracy: np.ndarray

    @property
    def optimum(self) -> float:
        """The best accuracy within the budget."""
        return float(self.accuracy[self.feasible.values[0] <= self.feasible.maxima[0]].max())

    def score(self, codes: Codes) -> np.ndarray:
        """Return ``(num_archs,)`` accuracies."""
        return self.accuracy[tuple(codes.T.astype(int))]


@dataclass
class RandomCodes:
    """Random search: new networks, uniform over the window below the budget."""

    feasible: ListedFeasible
    seed: int

    def __post_init__(self) -> None:
        self.history = History(SPACE)

    def ask_codes(self, count: int) -> Codes:
        """Return the next networks."""
        rng = stream(self.seed, "random", self.history.num_asked)
        return self.history.ask(draw_new(self.feasible, self.history, count, rng))

    def tell_codes(self, codes: Codes, scores: np.ndarray) -> None:
        """Note the scores; they change nothing."""
        self.history.tell(codes, scores)


def found(searcher: object, problem: Problem) -> np.ndarray:
    """Return the best accuracy after each evaluation of a searcher within the limits."""
    _, scores = search_codes(searcher, problem.score, AT[-1], batch=BATCH)  # type: ignore[arg-type]
    return np.maximum.accumulate(scores[:, 0])


def naive_reinforce(problem: Problem, seed: int, lr: float = 0.1, decay: float = 0.9) -> np.ndarray:
    """Return the best accuracy after each evaluation; 10 where nothing fitted yet (a guess)."""
    rng, logits, baseline, best = stream(seed, "naive"), np.zeros((6, 5)), 0.0, []
    for _ in range(AT[-1]):
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        code = (probs.cumsum(axis=1) < rng.random((6, 1))).sum(axis=1).clip(max=4)
        row = code[None].astype(np.int16)
        accuracy = float(problem.score(row)[0]) if problem.feasible.within(row)[0] else 0.0
        logits += lr * (accuracy / 100 - baseline) * (np.eye(5)[code] - probs)
        baseline = decay * baseline + (1 - decay) * accuracy / 100
        best.append(accuracy)
    return np.maximum.accumulate(np.maximum(best, 10.0))


STRATEGIES: dict[str, Callable[[Problem, int], np.ndarray]] = {
    "random": lambda problem, seed: found(RandomCodes(problem.feasible, seed), problem),
    "naive": naive_reinforce,
    "rl": lambda problem, seed: found(PolicySearch(problem.feasible, seed), problem),
    "rl-ppo": lambda problem, seed: found(
        PolicySearch(problem.feasible, seed, PolicySettings(ppo=True)), problem),
}


def load(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return accuracies and each device's latencies, one axis per choice."""
    known = np.load(folder / "nasbench201_cifar10_accuracy.npz")
    timed = np.load(folder / "nasbench201.npz")

    def grid(archs: np.ndarray, values: np.ndarray) -> np.ndarray:
        out = np.full(GRID, np.nan)
        out[tuple(from_strings(archs).T.astype(int))] = values
        return out

    latency = {str(device): grid(timed["arch"], row.astype(np.float64))
               for device, row in zip(timed["device"], timed["latency_ms"], strict=True)}
    return grid(known["arch"], known["test_accuracy_percent"].astype(np.float64)), latency


def main() -> None:
    """Print one line per device, budget and strategy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--devices", default="pixel2,gold_6226")
    parser.add_argument("--quantiles", default="0.2,0.5,0.8")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=50)
    args = parser.parse_args()
    accuracy, latency = load(args.data)
    names = args.strategies.split(",")
    print(f"mean regret in points after {AT} evaluations, {args.seeds} seeds; p: Wilcoxon, paired, "
          f"of regret below random's at {AT[-1]}; s: process time of one search")
    every: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for device in args.devices.split(","):
        for share in map(float, args.quantiles.split(",")):
            budget = np.array([np.quantile(latency[device], share)])
            problem = Problem(ListedFeasible(SPACE, latency[device][None], budget), accuracy)
            for name in names:
                start = time.process_time()
                best = np.array([STRATEGIES[name](problem, seed) for seed in range(args.seeds)])
                seconds = (time.process_time() - start) / args.seeds
                every[name].append(problem.optimum - best[:, [at - 1 for at in AT]])
                print(f"{device:15} {share:.0%} {name:8} {_line(every[name][-1])} {seconds:5.2f} s"
                      f"{_compared(every, name)}", flush=True)
    for name in names:
        print(f"all {name:8} {_line(np.concatenate(every[name]))}")


def _line(regrets: np.ndarray) -> str:
    return " ".join(f"{value:6.3f}" for value in regrets.mean(axis=0))


def _compared(every: dict[str, list[np.ndarray]], name: str) -> str:
    if name == "random" or "random" not in every:
        return ""
    less = every[name][-1][:, -1] - every["random"][-1][:, -1]
    return f"  p {wilcoxon(less, alternative='less').pvalue:.1g}" if less.any() else "  p 1"


if __name__ == "__main__":
    main()

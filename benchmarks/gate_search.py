"""Does the gate search learn, and does it end at the budget?

`planted`: every option of `macro-cifar` gets a utility, neighbouring pairs interact, and gradients
are noisy; latencies are this machine's, measured first (ONNX Runtime). As all 6,561 codes can be
listed, the regret of the best of 16 candidates is known, at 20, 50 and 80 % of the latency range,
over 5 seeds, for both gradient forms and REINFORCE, beside gates left uniform with the same exact
derivation.

`pull`: real searches on images, by both gradient forms and at the same three budgets; printed are
the expected and the argmax network's latency over the target when the search ends, before anything
is derived.

Run:  python benchmarks/gate_search.py [planted|pull] [--data digits --space tiny --epochs 12]
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from hwnas.data import load_dataset
from hwnas.device.device import load_device
from hwnas.device.runner import make_target
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.plan import ProfilePlan
from hwnas.latency.profile.profiler import profile
from hwnas.nn.supernet import Supernet
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.search.gates.gate_search import GateRule, GateSearch, GateSettings
from hwnas.search.gates.proxyless import FullGradient, TwoPaths
from hwnas.search.gates.proxyless_rl import Reinforce
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space
from hwnas.train import Recipe, fit

SHARES = (0.2, 0.5, 0.8)
STEPS = 400
RULES: dict[str, Callable[[], GateRule]] = {
    "full": FullGradient,
    "two": TwoPaths,
    "rl": Reinforce,
}


class Planted:
    """Utilities that grow with work, of options and neighbouring pairs; the loss is minus them."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.seed = seed
        rng = stream(seed, "planted benchmark")
        self.single = []
        for factor in space.factors():
            if factor.choices:
                macs = np.array([0.0 if op is None else op.macs for op in factor.ops])
                self.single.append(np.log1p(macs / macs.max()) + rng.normal(0, 0.35, len(macs)))
        sizes = [len(values) for values in self.single]
        self.pair = [rng.normal(0, 0.1, two) for two in itertools.pairwise(sizes)]

    def utility(self, codes: np.ndarray) -> np.ndarray:
        """Return the utility of each code."""
        total = sum(values[codes[:, i]] for i, values in enumerate(self.single))
        for i, values in enumerate(self.pair):
            total = total + values[codes[:, i], codes[:, i + 1]]
        return np.asarray(total)

    def gate_gradients(
        self, path: Sequence[int], wanted: Sequence[Sequence[int]], step: int
    ) -> list[list[float]]:
        """Return dL/dg with noise of about the size of the differences."""
        rng, found = stream(self.seed, "noise", step), []
        for i, options in enumerate(wanted):
            row = []
            for option in options:
                value = self.single[i][option] + 0.5 * rng.normal()
                value += self.pair[i - 1][path[i - 1], option] if i else 0.0
                value += self.pair[i][option, path[i + 1]] if i < len(self.pair) else 0.0
                row.append(-float(value))
            found.append(row)
        return found

    def accuracies(self, paths: Sequence[Sequence[int]], step: int) -> list[float]:
        """Return utilities scaled to accuracies, with the noise of a batch."""
        noise = stream(self.seed, "accuracy", step).normal(0, 0.01, len(paths))
        return list(0.5 + 0.05 * self.utility(np.array(paths)) + noise)

    def network(self, path: Sequence[int]) -> nn.Module:
        """Return nothing to train."""
        return nn.Identity()

    def macs(self, path: Sequence[int]) -> int:
        """Count no work."""
        return 0


def measured(space: SearchSpace) -> LutPredictor:
    """Return the predictor of this machine's table of ``space``, measured now."""
    target = make_target(load_device("host"), "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("HWNAS_CACHE", str(Path(folder) / "cache"))
        table = profile(ProfilePlan(space, target, 8, 0), Path(folder) / "t.json")
    return LutPredictor(space, table)


def limited_at(predictor: LutPredictor, share: float) -> LimitedSpace:
    """Return the space with a budget at ``share`` of its latency range."""
    tables = {"t": predictor}
    free = LimitedSpace(predictor.space, (Limit("latency_ms", 1e9, "t"),), tables)
    low, high = free.extremes()
    limit = Limit("latency_ms", low + share * (high - low), "t")
    return LimitedSpace(predictor.space, (limit,), tables)


def planted() -> None:
    """Print regrets and latencies of searches on planted problems."""
    space = load_space("macro-cifar:stem_channels=8")
    predictor = measured(space)
    sizes = [len(choice.options) for choice in space.choices]
    codes = np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int16)
    latencies = predictor.predict_ms(codes)
    print(f"planted, {space.name}, table of this machine, {STEPS} architecture steps, 5 seeds")
    print(
        f"{'search':8} {'budget':>6} {'regret, % of the range':>40} {'E/T - 1, %':>16} "
        f"{'argmax/T - 1, %':>16}"
    )
    for name, share in itertools.product((*RULES, "uniform"), SHARES):
        regrets, expected, argmax = [], [], []
        for seed in range(5):
            limited, problem = limited_at(predictor, share), Planted(space, seed)
            settings = GateSettings(seed=seed, epochs=STEPS, warmup_epochs=0, steps_per_epoch=1)
            search = GateSearch(limited, problem, settings, RULES.get(name, FullGradient)())
            for step in range(0 if name == "uniform" else STEPS):
                search.architecture_step(step)
            utilities = problem.utility(codes)
            best = utilities[latencies <= search.target_ms].max()
            found = problem.utility(space.encode(search.candidates(16))).max()
            regrets.append(100 * (best - found) / np.ptp(utilities))
            record = search.after_epoch(1)
            expected.append(100 * (record["expected_ms"] / search.target_ms - 1))
            argmax.append(100 * (record["argmax_ms"] / search.target_ms - 1))
        listed = " ".join(f"{regret:5.2f}" for regret in regrets)
        print(
            f"{name:8} {share:6.0%} {listed} mean {np.mean(regrets):5.2f} "
            f"{min(expected):7.1f} {max(expected):7.1f} {min(argmax):8.1f} {max(argmax):7.1f}",
            flush=True,
        )


def pull(data: str, name: str, epochs: int, batch_size: int, lr: float) -> None:
    """Print where real searches end, relative to their target."""
    space = load_space(name)
    dataset = load_dataset(data, input_size=space.input_shape[1]).without_test()
    predictor = measured(space)
    steps = len(dataset.batch_sizes(("train",), batch_size=batch_size, training=True))
    print(f"pull, {dataset.name}, {space.name}, {epochs} epochs, 40 % of them warm-up")
    print(f"{'search':8} {'budget':>6} {'entropy':>8} {'E/T - 1':>8} {'argmax/T - 1':>12}")
    for rule, share in itertools.product(("full", "two"), SHARES):
        limited, supernet = limited_at(predictor, share), Supernet(space, seed=0)
        problem = SupernetProblem(supernet, dataset, batch_size=batch_size, seed=0)
        settings = GateSettings(
            seed=0, epochs=epochs, warmup_epochs=int(0.4 * epochs), steps_per_epoch=steps, every=2
        )
        search = GateSearch(limited, problem, settings, RULES[rule]())
        recipe = Recipe(epochs=epochs, batch_size=batch_size, lr=lr, warmup_epochs=0.5)
        fit(supernet, dataset, ("train",), recipe, seed=0, companion=search)
        record = search.after_epoch(epochs)
        print(
            f"{rule:8} {share:6.0%} {record['entropy']:8.3f} "
            f"{record['expected_ms'] / search.target_ms - 1:8.1%} "
            f"{record['argmax_ms'] / search.target_ms - 1:12.1%}",
            flush=True,
        )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("planted", "pull"), default="planted")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.3)
    options = parser.parse_args()
    if options.what == "planted":
        planted()
    else:
        pull(options.data, options.space, options.epochs, options.batch_size, options.lr)


if __name__ == "__main__":
    main()

"""How fast exact answers under limits are, beside a mixed-integer solver and rejection sampling.

On the `proxyless` space (21 blocks, 2e17 codes) with random additive latencies and scores:
(1) the best network within a latency limit, and within latency and params, beside HiGHS
(scipy.optimize.milp) on the same problem, whose optimum must agree; (2) the 100 best;
(3) 1,000 uniform samples of the window [0.92, 1] x budget at several budgets, beside drawing
uniform codes until 1,000 lie in the window (as Once-for-All's and SPOS' releases do), whose number
of draws is extrapolated from the exactly counted share.
Usage: python benchmarks/exact_answers.py [--problems 10]
"""

from __future__ import annotations

import argparse
import platform
import time
from itertools import islice

import numpy as np
from scipy.optimize import LinearConstraint, milp

from hwnas.additive.graph import Graph, Term, build_graph
from hwnas.additive.grid import num_codes
from hwnas.additive.optimum import ranked
from hwnas.additive.window import open_window, quantile
from hwnas.rng import stream
from hwnas.search.problem.limits import counted_terms
from hwnas.space.catalogue import load_space
from hwnas.space.codes import symbol_counts


def random_terms(sizes: list[int], base: list[Term], number: int) -> tuple[list[Term], list[Term]]:
    """Return a latency that follows ``base`` with 30 % noise, and random scores."""
    rng = stream(number, "benchmark")
    latency = [Term(t.choices, t.values * rng.uniform(0.7, 1.3, t.values.shape)) for t in base]
    score = [Term((i,), rng.normal(size=size)) for i, size in enumerate(sizes)]
    return latency, score


def by_solver(sizes: list[int], score: list[Term], costs: list[tuple[list[Term], float]]) -> float:
    """Return the optimum as HiGHS finds it: one binary variable per option."""
    gain = np.concatenate([term.values for term in score])
    one_each = np.zeros((len(sizes), len(gain)))
    place = 0
    for choice, size in enumerate(sizes):
        one_each[choice, place : place + size] = 1
        place += size
    constraints = [LinearConstraint(one_each, 1, 1)]
    for terms, limit in costs:
        fixed = sum(float(t.values) for t in terms if not t.choices)
        row = np.concatenate([t.values for t in terms if t.choices])
        constraints.append(LinearConstraint(row[None], -np.inf, limit - fixed))
    found = milp(
        -gain,
        constraints=constraints,
        integrality=np.ones_like(gain),
        bounds=(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    return float(-found.fun)


def best_of(graph: Graph, limits: list[tuple[int, float]], count: int) -> list[float]:
    """Return the scores of the ``count`` best codes."""
    most = [(index, graph.functions[index].floor(value)) for index, value in limits]
    return [graph.functions[0].value(r.score) for r in islice(ranked(graph, 0, most), count)]


def optima(problems: int) -> None:
    """Time the constrained best beside the solver."""
    space = load_space("proxyless")
    sizes = symbol_counts(space)
    macs = [Term(t.choices, t.values / 4e7) for t in counted_terms(space, "macs")]
    params = list(counted_terms(space, "params"))
    times: dict[str, list[float]] = {}
    for number in range(problems):
        latency, score = random_terms(sizes, macs, number)
        graph = build_graph(sizes, [score, latency, params])
        budget = float(quantile(graph, 1, np.array([0.2]))[0])
        most_params = float(quantile(graph, 2, np.array([0.3]))[0])
        cases = {
            "one limit": ([(1, budget)], [(latency, budget)]),
            "two limits": (
                [(1, budget), (2, most_params)],
                [(latency, budget), (params, most_params)],
            ),
        }
        for name, (limits, costs) in cases.items():
            start = time.perf_counter()
            ours = best_of(graph, limits, 1)[0]
            middle = time.perf_counter()
            theirs = by_solver(sizes, score, costs)
            end = time.perf_counter()
            assert abs(ours - theirs) < 1e-6, (ours, theirs)
            start_100 = time.perf_counter()
            best_of(graph, limits, 100)
            times.setdefault(name, []).append(middle - start)
            times.setdefault(f"{name}, HiGHS", []).append(end - middle)
            times.setdefault(f"{name}, 100 best", []).append(time.perf_counter() - start_100)
    for name in ("one limit", "two limits"):
        ours, theirs, hundred = (
            np.median(times[k]) * 1e3 for k in (name, f"{name}, HiGHS", f"{name}, 100 best")
        )
        print(
            f"best within {name:10s} {ours:7.1f} ms   HiGHS {theirs:7.1f} ms "
            f"({theirs / ours:.1f} x)   100 best {hundred:7.1f} ms"
        )


def windows() -> None:
    """Time window sampling beside rejection from uniform codes."""
    space = load_space("proxyless")
    sizes = symbol_counts(space)
    latency, _ = random_terms(
        sizes, [Term(t.choices, t.values / 4e7) for t in counted_terms(space, "macs")], 0
    )
    graph = build_graph(sizes, [latency])
    function, total = graph.functions[0], num_codes(graph)
    rng = stream(1, "benchmark")
    start = time.perf_counter()
    codes = np.stack([rng.integers(size, size=100_000) for size in sizes], axis=1)
    graph.totals(codes)
    draw_s = (time.perf_counter() - start) / 100_000
    for share in (0.5, 0.05, 1e-3, 1e-6):
        budget = float(quantile(graph, 0, np.array([share]))[0])
        start = time.perf_counter()
        window = open_window(graph, 0, function.ceil(0.92 * budget), function.floor(budget))
        window.sample(1000, rng)
        ours = time.perf_counter() - start
        inside = (window.num_low + window.num_high) / 2 / total
        print(
            f"budget at {share:7.4%} of codes: 1,000 samples of [0.92, 1] x budget in "
            f"{ours * 1e3:6.1f} ms, proved acceptance {window.acceptance:.2f}; by rejection "
            f"{1000 / inside * draw_s * 1e3:12.1f} ms"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10)
    options = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}; "
        f"medians of {options.problems} problems"
    )
    optima(options.problems)
    windows()


if __name__ == "__main__":
    main()

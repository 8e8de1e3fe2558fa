"""A user's own strategy, evaluator and space, registered from Python, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PLUGIN = """
import numpy as np
import hwnas
from hwnas.search.strategies.population import History, draw_new
from hwnas.rng import stream


class Uniform:
    def __init__(self, problem):
        self.problem, self.history = problem, History(problem.feasible.space)

    def ask_codes(self, count):
        rng = stream(self.problem.seed, "uniform", self.history.num_asked)
        return self.history.ask(draw_new(self.problem.feasible, self.history, count, rng, 0.0))

    def tell_codes(self, codes, scores):
        self.history.tell(codes, scores)


class Sum:
    source = "sum"

    def score(self, codes):
        return np.asarray(codes.sum(axis=1), dtype=float)


hwnas.register_strategy("uniform", "Uniform draws.", Uniform)
hwnas.register_evaluator("sum", "Sum of the options.", lambda context: Sum(), at_array_speed=True)
"""

SCRIPT = """
import hwnas

tiny = hwnas.load_space("tiny").definition
hwnas.register_space("small", "A second tiny.", lambda name, **params: tiny, {})
hwnas.load_plugin("plugin.py")
assert hwnas.load_space("small").num_archs == 1024
latency = hwnas.latency_model("tiny", "table.json")
limits: hwnas.Limits = {"latency_ms": (latency, 0.08)}
result = hwnas.search("small", limits, strategy="uniform", evaluate="sum", evaluations=30)
print(len(result.trials), result.best.score == max(trial.score for trial in result.trials))
try:
    hwnas.Study("small", limits, strategy="unifrom")
except hwnas.UsageError as error:
    print("uniform" in str(error))
"""


def test_what_is_registered_in_python_can_be_searched_with(shop):
    (shop / "plugin.py").write_text(textwrap.dedent(PLUGIN))
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["30", "True", "True"]

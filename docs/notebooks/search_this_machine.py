# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From this machine to a model within a budget
#
# This notebook profiles the machine it runs on, searches a small space with an accuracy function
# of its own, and measures the best network. Open it with jupytext or run it as a script.

# %%
import hwnas

space = hwnas.load_space("tiny")
space

# %% [markdown]
# ## Measure the operations
#
# Every operation of the space becomes a model file and is timed in a process of its own. Eight
# whole networks are timed as well: they calibrate the sum of operations.

# %%
table = hwnas.profile(space, "host", runtime="onnxruntime", calibrate=8, out="notebook-table.json")
latency = hwnas.latency_model(space, table)
table

# %%
fastest_ms, slowest_ms = latency.range_ms()
budget_ms = float(latency.quantiles([0.35])[0])
print(f"{fastest_ms:.3f} to {slowest_ms:.3f} ms; the budget is {budget_ms:.3f} ms")

# %% [markdown]
# ## Draw networks within the budget
#
# Draws are exactly uniform over the networks within the limit.

# %%
archs = space.sample(200, latency=latency, max_ms=budget_ms, seed=0)
assert latency.predict(archs).max() <= budget_ms

# %% [markdown]
# ## Search
#
# `accuracy` stands in for a training of yours: it is called with an architecture and returns a
# number, more being better.


# %%
def accuracy(arch):
    """Return a made-up accuracy that grows with MACs and saturates."""
    macs = float(space.macs([arch])[0])
    return macs / (macs + 2e6)


result = hwnas.search(
    space,
    {"latency_ms": (latency, budget_ms)},
    strategy="evolution",
    evaluate=accuracy,
    evaluations=60,
    seed=0,
)
result

# %%
figure = hwnas.plot.pareto(result)
figure

# %% [markdown]
# ## Export and measure

# %%
network = hwnas.build(space, result.best.arch)
bundle = hwnas.export(network, "notebook-bundle", formats=["onnx"])
measured = hwnas.bench(bundle, "host")
measured

# %%
print(f"predicted {result.best.latency_ms:.4f} ms, budget {budget_ms:.4f} ms")

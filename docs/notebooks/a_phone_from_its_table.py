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
# # A phone that is not on the desk
#
# Tables that others published come with hwnas. With one of them, networks are predicted, sampled
# and searched for a phone that you do not have. Predictions are plain sums of published rows: they
# are as good as their authors' were, and a warning says that they are not calibrated.

# %%
import warnings

import hwnas

warnings.simplefilter("ignore")  # every prediction here is of an uncalibrated table

# %%
space = hwnas.load_space("proxyless")
pixel = hwnas.latency_model(space, hwnas.load_table("pixel-1"))
pixel.range_ms()

# %% [markdown]
# ## Which budgets leave a choice?

# %%
for share, budget_ms in zip((0.05, 0.25, 0.5, 0.95), pixel.quantiles([0.05, 0.25, 0.5, 0.95])):
    print(f"{share:4.0%} of the networks are within {budget_ms:6.1f} ms")

# %% [markdown]
# ## Two limits at once
#
# The most multiply-accumulates that fit into 80 ms and 4 million parameters: a made-up goal, but
# one that shows how limits are combined.

# %%
limits = {"latency_ms": (pixel, 80.0), "params": 4e6}
result = hwnas.search(
    space,
    limits,
    strategy="local",
    evaluate=lambda arch: float(space.macs([arch])[0]) / 1e9,
    evaluations=80,
    seed=0,
)
result

# %%
hwnas.plot.network(space, result.best.arch)

# %% [markdown]
# ## A device without any table
#
# A few timed networks are enough for a first predictor. Here the timings are those of the table
# with noise, so that the error is known.

# %%
import numpy as np

rng = np.random.default_rng(0)
timed = space.sample(20, seed=1)
noisy = pixel.predict(timed) * rng.normal(1.0, 0.02, len(timed))
few_shot = hwnas.latency_model(space, measured=list(zip(timed, noisy.tolist())))
others = space.sample(200, seed=2)
error = few_shot.predict(others) / pixel.predict(others) - 1
print(f"mean error on 200 other networks: {np.abs(error).mean():.1%}")

"""How well do supernets rank networks, against trainings from scratch?

Networks of `macro-cifar:stem_channels=8` are drawn uniformly and trained from scratch (train +
arch, scored on test: the truth of this study, never seen by a search). Supernets are trained as
`examples/ranking_cifar10.yaml` trains them, `own` and `nested` with sandwich sampling, and beside
them `plain` ones: independent initial weights, uniform sampling. Printed are Kendall's tau of each,
of their means, of the mean over `own` and `nested` (what the example does), and of MACs, with the
tau of val against test accuracy of the same trainings as a ceiling. Everything is kept in --out and
continued from there; hours on two cores.

Run:  python benchmarks/supernet_ranking.py --data ./cifar10 --out runs/ranking-study
      [--networks 24] [--truth-epochs 3] [--copies 2] [--epochs 8]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from hwnas.arch import Arch
from hwnas.data import Dataset, load_dataset
from hwnas.io.journal import Journal
from hwnas.nn.build import build_layers, init_weights
from hwnas.nn.supernet import PathSampler, Sampling, Supernet, calibrate
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.train import Recipe, evaluate, fit

SPACE = load_space("macro-cifar:stem_channels=8")
RECIPE = Recipe(batch_size=128, lr=0.1, label_smoothing=0.0, warmup_epochs=0.3)
CALIBRATION_IMAGES = 1000


def recipe_of(epochs: int) -> Recipe:
    """Return the recipe of truth and supernets with this many epochs."""
    return Recipe(
        epochs=epochs,
        batch_size=RECIPE.batch_size,
        lr=RECIPE.lr,
        label_smoothing=RECIPE.label_smoothing,
        warmup_epochs=RECIPE.warmup_epochs,
    )


def truths(archs: list[Arch], dataset: Dataset, epochs: int, journal: Journal) -> dict[str, dict]:
    """Return the from-scratch scores of each architecture, training those not on record."""
    found = {r["arch_id"]: r for r in journal.records() if r["event"] == "truth"}
    for number, arch in enumerate(archs):
        if arch.arch_id in found:
            continue
        network = build_layers(SPACE.layers(arch), seed=number)
        fit(network, dataset, ("train", "arch"), recipe_of(epochs), seed=number)
        record = {
            "event": "truth",
            "arch_id": arch.arch_id,
            "test": evaluate(network, dataset, "test").top1,
            "val": evaluate(network, dataset, "val").top1,
        }
        journal.append(record)
        found[arch.arch_id] = record
        print(f"truth {number + 1}/{len(archs)}: {record['test']:.4f}", flush=True)
    return found


def scores(
    archs: list[Arch], dataset: Dataset, epochs: int, kind: str, seed: int, journal: Journal
) -> list[float]:
    """Return the top-1 of each architecture by one supernet, trained unless it is on record."""
    for record in journal.records():
        if (record["event"], record.get("kind"), record.get("seed")) == ("scores", kind, seed):
            return [record["top1"][arch.arch_id] for arch in archs]
    supernet = Supernet(SPACE, seed=seed, sharing="nested" if kind == "nested" else "own")
    if kind == "plain":
        init_weights(supernet, seed)
    sampling: Sampling = "uniform" if kind == "plain" else "sandwich"
    search = dataset.without_test()
    fit(
        supernet,
        search,
        ("train",),
        recipe_of(epochs),
        seed=seed,
        companion=PathSampler(supernet, seed, sampling),
    )
    top1 = {}
    for arch in archs:
        network = supernet.extract(arch)
        calibrate(network, search, num_images=CALIBRATION_IMAGES)
        top1[arch.arch_id] = evaluate(network, search, "val").top1
    journal.append({"event": "scores", "kind": kind, "seed": seed, "top1": top1})
    return list(top1.values())


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="./cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/ranking-study"))
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--truth-epochs", type=int, default=3)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    if not Path(options.data).is_dir():
        print(f"skipped: {options.data} is no folder. Put CIFAR-10 as images there, or give --data")
        return
    dataset = load_dataset(options.data, input_size=32)
    sizes = [len(choice.options) for choice in SPACE.choices]
    codes = stream(0, "ranking study").integers(0, sizes, (options.networks, len(sizes)))
    archs = list({a.arch_id: a for a in SPACE.decode(codes.astype(np.int16))}.values())
    with Journal(options.out / "study.jsonl") as journal:
        found = truths(archs, dataset, options.truth_epochs, journal)
        test = [found[arch.arch_id]["test"] for arch in archs]
        val = [found[arch.arch_id]["val"] for arch in archs]
        macs = [sum(op.macs for op in SPACE.layers(arch)) for arch in archs]
        rows = {"MACs": macs, "the same trainings, val": val}
        means = {}
        for kind in ("plain", "own", "nested"):
            every = [
                scores(archs, dataset, options.epochs, kind, seed, journal)
                for seed in range(options.copies)
            ]
            rows |= {f"{kind}, seed {seed}": one for seed, one in enumerate(every)}
            means[kind] = np.mean(every, axis=0)
            rows[f"{kind}, mean of {len(every)}"] = means[kind].tolist()
        rows["own and nested"] = ((means["own"] + means["nested"]) / 2).tolist()
    print(
        f"{len(archs)} networks, {options.truth_epochs} epochs each from scratch; supernets of "
        f"{options.epochs} epochs; torch {torch.__version__}"
    )
    for name, values in rows.items():
        print(f"{name:32} tau {kendalltau(values, test).statistic:.3f}")
    print(json.dumps({"test": test}))


if __name__ == "__main__":
    main()

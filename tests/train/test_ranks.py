"""Two processes that train one supernet together, over gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from hwnas.train import ranks

WORKER = """
import json, os, sys
import torch
from torch import distributed
torch.set_num_threads(1)
distributed.init_process_group("gloo")
from hwnas.data import load_dataset
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.space.catalogue import load_space
from hwnas.nn.supernet import PathSampler, Supernet
from hwnas.train import Recipe, fit
space = load_space("tiny:input_size=16,stem_channels=4")
data = load_dataset("digits", input_size=16)
net = Supernet(space, seed=0)
seen = []
class Sampler(PathSampler):
    def networks(self, step):
        found = super().networks(step)
        seen.append(self.macs)
        return found
result = fit(net, data, ("arch",), Recipe(epochs=2, batch_size=64, warmup_epochs=0), seed=0,
             checkpoint=__import__("pathlib").Path(sys.argv[1]), companion=Sampler(net, 0))
problem = SupernetProblem(net, data.without_test(), batch_size=32, seed=0)
grads = problem.gate_gradients((1, 0, 2, 3, 1), [[0, 1, 2, 3]] * 5, 0)
mine = problem.batch(0)[0].sum().item()
out = {"weights": [float(p.detach().double().sum()) for p in net.parameters()], "paths": seen,
       "images": result.images_trained, "grads": grads, "mine": mine}
open(f"{sys.argv[1]}.{distributed.get_rank()}.json", "w").write(json.dumps(out))
distributed.destroy_process_group()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ranks_train_the_same_paths_on_parts_of_each_batch_to_the_same_weights(
    tmp_path: Path,
) -> None:
    state, port = tmp_path / "state", str(_free_port())
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(state)],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
        )
        for rank in (0, 1)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    first, second = (json.loads((tmp_path / f"state.{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["paths"] == second["paths"]
    assert first["grads"] == second["grads"]
    assert first["images"] == second["images"] == 290  # of both ranks together, 2 epochs of 145
    assert first["mine"] != second["mine"]
    assert state.is_file()  # written by one rank


def test_alone_nothing_is_shared() -> None:
    value = torch.ones(3)
    ranks.average([value])
    assert (ranks.rank(), ranks.world_size(), ranks.total(7, torch.device("cpu"))) == (0, 1, 7)
    assert value.tolist() == [1, 1, 1]

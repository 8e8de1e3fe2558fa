"""The examples run as they are given, with less to do."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hwnas.data import load_dataset
from hwnas.device.device import load_device
from hwnas.executor.local import run_tasks
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table
from hwnas.latency.table.sums import read_sums
from hwnas.nn.supernet import Supernet
from hwnas.pipeline.commands.runs import whole_run
from hwnas.pipeline.config.run import RunConfig
from hwnas.rng import stream
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.space.catalogue import load_space

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def beside_the_examples(monkeypatch, tmp_path_factory):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path_factory.getbasetemp() / "example-models"))


def test_every_example_is_tested_here_and_says_how_it_is_run():
    here = Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".yaml"):
            assert f'"{path.name}"' in here
            assert re.search(rf"(hwnas|python) .*examples/{path.name}", path.read_text())


def test_profile_and_predict_writes_a_table_and_prints_what_it_predicts(tmp_path):
    table = tmp_path / "table.json"
    done = subprocess.run(
        [sys.executable, EXAMPLES / "profile_and_predict.py", table],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    predictor = LutPredictor(load_space("tiny"), load_table(table))
    assert predictor.source == "lut"
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        latency_ms, options = line.split(" ms  ")
        names = [choice.name for choice in predictor.space.choices]
        arch = predictor.space.arch(dict(zip(names, options.split(), strict=True)))
        assert float(latency_ms) == pytest.approx(predictor.predict_arch_ms(arch), abs=1e-4)


def test_importing_the_script_does_nothing(capsys):
    assert "main" in runpy.run_path(str(EXAMPLES / "profile_and_predict.py"), run_name="imported")
    assert capsys.readouterr().out == ""


def test_the_space_of_ones_own_is_the_one_its_comments_describe():
    space = load_space("examples/my_space.yaml")
    assert space.input_shape == (3, 64, 64)
    assert [choice.name for choice in space.choices] == [f"layer{i}" for i in range(1, 8)]
    assert load_space("examples/my_space.yaml:num_classes=5").num_classes == 5
    without_skip = [choice.name for choice in space.choices if "skip" not in choice.options]
    assert without_skip == ["layer1", "layer6"]  # the first of a stage, where it is not named
    assert (EXAMPLES / "my_space.yaml").is_file()


def test_the_run_on_images_of_ones_own_finds_a_model_for_them(tmp_path, monkeypatch):
    for number, name in enumerate(("ant", "bee")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(20):
            noise = stream(number, "image", index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "images" / name / f"{index}.jpg")
    given = yaml.safe_load((EXAMPLES / "own_images.yaml").read_text())
    assert RunConfig.model_validate_json(json.dumps(given))  # as it is given
    once = {"epochs": 1, "warmup_epochs": 0}
    quick = {
        **given,
        "data": str(tmp_path / "images"),
        "workers": 1,
        "targets": [{**given["targets"][0], "calibrate": 2, "device": _quick_host(tmp_path)}],
        "search": {"evaluations": 1, "recipe": once},
        "retrain": {"top": 1, "recipe": once},
        "bench": {"baselines": []},
    }

    def run_here(function, tasks, **_):  # a fresh process imports torch for seconds
        return run_tasks(function, {key: (task, 1) for key, (task, _) in tasks.items()}, workers=1)

    monkeypatch.setattr("hwnas.train.task.run_tasks", run_here)
    found = whole_run(RunConfig.model_validate_json(json.dumps(quick)), tmp_path / "run")
    assert found.winner.arch.space.startswith("my-space@")
    assert (tmp_path / "run" / found.winner.files["onnx"]).is_file()
    assert Path(found.report).is_file()


@pytest.mark.parametrize("name", ["cifar10.yaml", "ranking_cifar10.yaml"])
def test_the_cifar_examples_run_with_fewer_images_and_epochs(tmp_path, monkeypatch, name):
    for part, count in (("train", 30), ("test", 4)):
        for number in range(10):
            folder = tmp_path / "cifar10" / part / f"class{number}"
            folder.mkdir(parents=True)
            for index in range(count):
                noise = stream(number, part, index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{index}.jpg")
    given = yaml.safe_load((EXAMPLES / name).read_text())
    config = RunConfig.model_validate_json(json.dumps(given))  # as it is given
    assert config.data == "./cifar10"
    once = {"epochs": 1, "warmup_epochs": 0}
    search = {
        **given["search"],
        "evaluations": 2,
        "supernet": {
            **given["search"]["supernet"],
            "calibration_images": 64,
            "recipe": {"epochs": 2, "batch_size": 64, "warmup_epochs": 0},
        },
    }
    if "gates" in search:
        search["gates"] = {**search["gates"], "warmup_epochs": 1}
    else:
        search["supernet"] |= {"copies": 2, "recipe": {**search["supernet"]["recipe"], "epochs": 1}}
    target = {
        **given["targets"][0],
        "runtime": "onnxruntime",
        "calibrate": 2,
        "validate": 0,
        "device": _quick_host(tmp_path),
    }
    quick = {
        **given,
        "targets": [target],
        "search": search,
        "workers": 1,
        "data": str(tmp_path / "cifar10"),
        "retrain": {"top": 1, "recipe": once},
        "bench": {"baselines": []},
        "formats": ["onnx"],
    }

    def run_here(function, tasks, **_):
        return run_tasks(function, {key: (task, 1) for key, (task, _) in tasks.items()}, workers=1)

    monkeypatch.setattr("hwnas.train.task.run_tasks", run_here)
    monkeypatch.setattr("hwnas.search.evaluators.supernet_tasks.run_tasks", run_here)
    found = whole_run(RunConfig.model_validate_json(json.dumps(quick)), tmp_path / "run")
    assert (tmp_path / "run" / found.winner.files["onnx"]).is_file()


def test_the_papers_scale_in_the_comments_is_a_configuration():
    """The lines for a GPU, put in place of the others."""
    text = (EXAMPLES / "cifar10.yaml").read_text()
    block = text.partition("change these lines:\n")[2].partition("schema:")[0]
    changes = yaml.safe_load("\n".join(line[4:] for line in block.splitlines() if line.strip("# ")))
    given = yaml.safe_load(text)
    search = {**given["search"], **changes.pop("search")}
    config = RunConfig.model_validate_json(json.dumps({**given, **changes, "search": search}))
    assert (config.space, config.torch_device) == ("proxyless", "cuda")
    assert config.search.gates.alpha_lr == 0.001


def test_the_papers_scale_takes_steps_at_224_px():
    """A weight and an architecture step of the full space, on a few synthetic images."""
    space = load_space("proxyless:num_classes=10")
    supernet = Supernet(space)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    class Synthetic(SupernetProblem):
        def batch(self, step):
            return images.clone(), torch.tensor([1, 2])

    digits = load_dataset("digits", input_size=32)
    problem = Synthetic(supernet, digits, batch_size=2, seed=0)
    path = (0,) * 21
    loss = torch.nn.functional.cross_entropy(problem.network(path)(images), torch.tensor([1, 2]))
    loss.backward()
    assert all(p.grad is not None for p in problem.network(path).parameters())
    found = problem.gate_gradients(path, [[0, 1]] * 21, 0)
    assert np.isfinite(found).all()


def _quick_host(folder):
    """The host's device file with fewer and shorter visits."""
    device = load_device("host").model_dump(mode="json", by_alias=True)
    device["protocol"] = {"rounds": 2, "min_runs": 1, "min_visit_ms": 0.0}
    (folder / "host.yaml").write_text(yaml.safe_dump(device))
    return str(folder / "host.yaml")


def test_fbnet_sums_become_a_table(tmp_path):
    """The file's real form, with sums made from a table: 22 layers of 9 options."""
    space = load_space("fbnet-cifar")
    codes = stream(1, "sums").integers(9, size=(200, 22))
    times = stream(2, "sums").uniform(0.1, 0.5, 9)
    kinds = np.where(np.arange(9) == 8, 0.0, times)
    np.savez(
        tmp_path / "fbnet.npz",
        arch=codes.astype(np.int8),
        device=np.array(["a", "b"]),
        latency_ms=np.stack([kinds[codes].sum(axis=1) + 2.0] * 2).astype(np.float32),
    )
    run = [sys.executable, EXAMPLES / "fbnet_sums.py", tmp_path / "fbnet.npz"]
    lines = subprocess.run([*run, "b"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "b.jsonl").write_text(lines)
    sums = read_sums([tmp_path / "b.jsonl"], space)
    assert (sums.codes == codes).all()
    wrong = subprocess.run([*run, "c"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "it has a, b" in wrong.stderr

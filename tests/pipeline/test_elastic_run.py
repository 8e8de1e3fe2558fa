"""A run on a space of elastic resolution with a folder of scoped tables, from search to report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.errors import InputError, UsageError
from hwnas.latency.table.files import load_table, save_table
from hwnas.pipeline.checks import check_target
from hwnas.pipeline.commands.runs import export_run, retrain_run, search_run
from hwnas.pipeline.stages import retrain
from hwnas.report.page import write_report
from hwnas.space.catalogue import load_space, with_params
from hwnas.train.engine import fit
from hwnas.train.ofa_weights import expected_shapes, load_ofa_supernet
from hwnas.train.recipe import Recipe

SPACE = "ofa-mbv3:num_classes=3,width_mult=0.1"


@pytest.fixture
def folder(tmp_path, make_table):
    """Tables of two of the seven resolutions."""
    (tmp_path / "tables").mkdir()
    for resolution, factor in ((128, 1.0), (160, 0.7)):
        make_table(
            tmp_path / "tables" / f"{resolution}.json",
            space=SPACE,
            factor=factor,
            scope={"resolution": resolution},
        )
    return tmp_path / "tables"


@pytest.fixture
def config(folder, images, make_config):
    target = {
        "device": "host",
        "runtime": "onnxruntime",
        "table": str(folder),
        "budget_percentile": 30.0,
    }
    once = {"epochs": 1, "warmup_epochs": 0}
    return make_config(
        space=SPACE,
        data=str(images),
        targets=[target],
        search={"evaluations": 1, "recipe": once},
        retrain={"top": 1, "recipe": once},
    )


def test_budgets_limits_and_headroom_come_from_all_tables(config, folder, open_run, tmp_path):
    run = open_run(config, tmp_path / "run")
    [budget_ms] = run.problem.budgets_ms
    limits = run.problem.limits(budget_ms)
    assert (limits[0].metric, limits[0].table) == ("latency_ms", "table")
    share = run.problem.limited(limits).window(0.0, budget_ms)
    assert 0.28 < share.num_low / run.problem.limited(limits).num_codes < 0.32
    assert run.problem.headroom(0) == 0.024
    # the worst of the tables' errors decides
    table = load_table(folder / "160.json")
    fit = table.calibration[SPACE].model_copy(update={"mean_abs_rel_error": 0.02})
    save_table(type(table)(table.header, table.entries, {SPACE: fit}), folder / "160.json")
    assert open_run(config, tmp_path / "run").problem.headroom(0) == 0.04
    assert {(r.choice, r.option) for r in run.problem.limited(limits).restricted} == {
        ("resolution", r) for r in (144, 176, 192, 208, 224)
    }


def test_a_network_is_trained_on_images_of_its_own_resolution(config, open_run, tmp_path):
    run = open_run(config, tmp_path / "run")
    codes = run.space.repair(np.zeros((1, len(run.space.choices)), dtype=np.int16))
    codes[:, 0] = 2
    [arch] = run.space.decode(codes)
    task = retrain.retrain_task(run, Recipe(), run.space.network_id(arch), arch)
    assert task.layers[0].in_shape == (3, 160, 160)
    assert task.source.input_size == 224
    assert task.source.sized_for(task.layers).load().input_size == 160
    assert run.data.dataset_for(task.layers).preprocessing.input_size == 160
    rows = run.data.dataset_for(task.layers).rows["val"]
    assert rows.tolist() == run.data.dataset.rows["val"].tolist()


def test_search_retrain_export_and_report_follow_the_resolution(config, folder, tmp_path, content):
    path = tmp_path / "run"
    result = search_run(config, path).to_json()
    assert load_table(path / "table") == load_table(folder)
    assert len(load_table(path / "table").scopes) == 2
    assert not (path / "table.json").exists()
    assert {r["option"] for r in result["restricted"]} == {144, 176, 192, 208, 224}
    [answer] = result["answers"]
    assert answer["limits"][0]["table"] == "table"
    best = answer["best"]
    assert best["latency_ms"] <= answer["limits"][0]["max"]
    resolution = best["arch"]["choices"]["resolution"]
    assert resolution in (128, 160)
    retrained = retrain_run(path, top=1).to_json()
    assert retrained["finalists"][0]["arch_id"] == best["arch_id"]
    models = export_run(path, formats=("onnx",)).to_json()["models"]
    described = json.loads((Path(models[0]["path"]).parent / "arch.json").read_text())
    assert described["preprocessing"]["input_size"] == [resolution, resolution]
    write_report(path)
    page = (path / "report.html").read_text()
    assert "not calibrated" not in page
    assert "resolution=160" in page
    assert search_run(config, path, resume=True).to_json() == content(path, "result.json")


def test_a_folder_of_another_device_is_refused(config, folder, make_table):
    make_table(folder / "160.json", space=SPACE, scope={"resolution": 160}, device="pixel-6")
    with pytest.raises(InputError, match=r"160.json: device is 'pixel-6', but 'host'"):
        check_target(config.targets[0])


def test_a_space_without_an_input_size_says_which_parameters_it_has():
    with pytest.raises(
        InputError,
        match=r"'input_size' is not one of its parameters; they are "
        r"num_classes=1000, width_mult=1.0",
    ):
        with_params("ofa-mbv3", input_size=64)
    assert load_space(with_params(SPACE, num_classes=7)).num_classes == 7


@pytest.fixture
def supernet(tmp_path):
    """A checkpoint of Once-for-All's form with weights drawn at random, of 5 classes."""
    generator = torch.Generator().manual_seed(0)
    space = load_space("ofa-mbv3:num_classes=5,width_mult=0.1")
    state = {
        name: torch.zeros(()).long()
        if name.endswith("num_batches_tracked")
        else 0.2 * torch.rand(shape, generator=generator) + 0.1
        for name, shape in expected_shapes(space).items()
    }
    torch.save({"state_dict": state}, tmp_path / "supernet.pth")
    return tmp_path / "supernet.pth"


def test_retraining_begins_with_the_supernets_weights_but_for_other_classes(
    config, supernet, tmp_path, content, monkeypatch, said
):
    path = tmp_path / "run"
    search_run(config, path)
    begun = []
    monkeypatch.setattr(
        "hwnas.train.task.fit",
        lambda network, *a, **k: (
            begun.append({name: value.clone() for name, value in network.state_dict().items()})
            or fit(network, *a, **k)
        ),
    )
    found = retrain_run(path, init=supernet, lr=0.01).to_json()
    assert found["init"]["file"] == "supernet.pth"
    assert len(found["init"]["sha256"]) == 64
    assert any("5 classes, the data 3" in text for text in said)
    assert found["recipe"]["lr"] == 0.01
    space = load_space("ofa-mbv3:num_classes=5,width_mult=0.1")
    row = found["finalists"][0]
    share = load_ofa_supernet(supernet, space).extract(space.arch(row["arch"]["choices"]))
    *same, weight, bias = share.state_dict()
    first = begun[0]
    assert all(torch.equal(first[name], share.state_dict()[name]) for name in same)
    assert first[weight].shape[0] == 3
    assert first[bias].tolist() == [0.0, 0.0, 0.0]


def test_a_checkpoint_that_is_no_supernet_is_refused_with_all_that_lacks(
    config, supernet, tmp_path
):
    path = tmp_path / "run"
    search_run(config, path)
    state = torch.load(supernet, weights_only=True)["state_dict"]
    del state["first_conv.conv.weight"]
    state["extra"] = torch.zeros(1)
    torch.save({"state_dict": state}, tmp_path / "wrong.pth")
    with pytest.raises(InputError, match="2 problems") as caught:
        retrain_run(path, init=tmp_path / "wrong.pth")
    assert "first_conv.conv.weight: missing" in str(caught.value)
    assert "extra: unexpected" in str(caught.value)
    assert not (path / "retrained.json").exists()


def test_a_retraining_goes_on_only_as_it_was_begun(config, supernet, tmp_path, content):
    path = tmp_path / "run"
    search_run(config, path)
    finalist = content(path, "finalists.json")["answers"][0]["finalists"][0]
    state = path / "checkpoints" / f"{finalist['network_id']}.state"
    state.parent.mkdir(exist_ok=True)
    state.write_bytes(b"")
    with pytest.raises(UsageError, match="was begun from scratch"):
        retrain_run(path, init=supernet)
    state.unlink()
    first = retrain_run(path, init=supernet).to_json()
    (path / "retrained.json").unlink()
    with pytest.raises(UsageError, match="was begun with --init"):
        retrain_run(path)
    other = torch.load(supernet, weights_only=True)["state_dict"]
    other["first_conv.conv.weight"] += 1.0
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="begun with other weights"):
        retrain_run(path, init=tmp_path / "other.pth")
    assert (
        retrain_run(path, init=supernet).to_json()["finalists"][0]["val"]
        == first["finalists"][0]["val"]
    )

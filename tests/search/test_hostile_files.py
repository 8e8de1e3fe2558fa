"""Known accuracies, fitted predictors and published ones that are broken or meant to harm."""

from __future__ import annotations

import json
import pickle

import numpy as np

from hwnas.rng import stream
from hwnas.search.evaluators.table import TableScores
from hwnas.search.predictors.fitted import fit_predictor, load_fitted_predictor
from hwnas.search.predictors.ofa import load_ofa_predictor
from hwnas.space.catalogue import load_space
from tests.fuzzing import survives

SPACE = load_space("tiny")


def test_known_accuracies_never_break_their_reader(tmp_path):
    [arch] = SPACE.decode(np.zeros((1, 5), dtype=np.int16))
    line = json.dumps({"arch": arch.to_json(), "top1": 0.5}).encode()
    path = tmp_path / "t.jsonl"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        TableScores(path, SPACE).score(np.zeros((2, 5), dtype=np.int16))

    survives(read, line + b"\n", lines=True)


def test_fitted_predictors_never_break_their_reader(tmp_path):
    random = stream(0, "fuzz")
    codes = np.unique(random.integers(4, size=(40, 5)).astype(np.int16), axis=0)
    archs = SPACE.decode(codes)
    fit_predictor(SPACE, archs, random.uniform(0, 1, len(archs))).save(tmp_path / "p.json")
    valid = (tmp_path / "p.json").read_bytes()

    def read(payload: bytes) -> None:
        (tmp_path / "p.json").write_bytes(payload)
        scores = load_fitted_predictor(tmp_path / "p.json", SPACE).score(codes[:2])
        assert ((scores >= 0) & (scores <= 1)).all()

    survives(read, valid)


def test_published_predictors_never_break_their_reader(tmp_path):
    import torch

    torch.save({"0.weight": torch.zeros(2, 2)}, tmp_path / "p.pth")
    valid = (tmp_path / "p.pth").read_bytes()
    space = load_space("ofa-mbv3")

    def read(payload: bytes) -> None:
        (tmp_path / "p.pth").write_bytes(payload)
        try:
            load_ofa_predictor(tmp_path / "p.pth", space)
        except Exception as error:
            from hwnas.errors import HwnasError

            if not isinstance(error, HwnasError):
                raise

    survives(read, valid, is_json=False, examples=25)
    mark = tmp_path / "mark"

    class Harm:
        def __reduce__(self):
            import os

            return os.mkdir, (str(mark),)

    read(pickle.dumps(Harm()))
    assert not mark.exists()

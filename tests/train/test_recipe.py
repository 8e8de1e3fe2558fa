from __future__ import annotations

import itertools
import math

import pytest

from hwnas.errors import InputError
from hwnas.io.schemas import parse_model
from hwnas.train import Recipe, RecipeSchema


def test_the_learning_rate_rises_to_its_peak_then_falls_to_zero() -> None:
    recipe = Recipe(epochs=10, lr=0.2, warmup_epochs=2)
    rates = [recipe.lr_at(step, 7) for step in range(70)]
    assert rates[:14] == pytest.approx([0.2 * (n + 1) / 14 for n in range(14)])
    assert rates[14] == 0.2
    assert all(a > b for a, b in itertools.pairwise(rates[14:]))
    assert rates[14 + 28] == pytest.approx(0.1)  # half way down the cosine
    assert 0 < rates[-1] < 1e-3


def test_without_warmup_training_starts_at_the_peak() -> None:
    assert Recipe(epochs=2, lr=0.3, warmup_epochs=0).lr_at(0, 5) == 0.3


def test_warmup_may_last_the_whole_training() -> None:
    assert Recipe(epochs=2, lr=0.3, warmup_epochs=2).lr_at(9, 5) == pytest.approx(0.3)


def test_all_impossible_values_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Recipe(
            epochs=0,
            batch_size=1,
            lr=math.nan,
            weight_decay=-1.0,
            label_smoothing=1.0,
            grad_clip=math.inf,
        )
    named = [problem.split()[0] for problem in caught.value.problems]
    assert named == [
        "epochs",
        "batch_size",
        "lr",
        "weight_decay",
        "label_smoothing",
        "grad_clip",
        "warmup_epochs",
    ]


def test_a_run_file_spells_a_recipe_and_an_empty_one_is_the_default() -> None:
    assert parse_model(RecipeSchema, {}, what="recipe").recipe() == Recipe()
    model = parse_model(RecipeSchema, {"epochs": 3, "lr": 1, "augment": False}, what="recipe")
    assert model.recipe() == Recipe(epochs=3, lr=1.0, augment=False)
    assert RecipeSchema.of(model.recipe()) == model


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"lr": -1.0, "epochs": 0}, "lr must be above 0"),
        ({"augment": "yes"}, "augment"),
    ],
)
def test_a_wrong_recipe_in_a_file_is_refused(written: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_model(RecipeSchema, written, what="recipe")

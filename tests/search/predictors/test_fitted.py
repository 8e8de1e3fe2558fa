"""A predictor fitted to evaluated architectures, and its file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel as ScikitKernel

from hwnas.errors import InputError, UsageError
from hwnas.rng import stream
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.predictors.fitted import fit_predictor, load_fitted_predictor
from hwnas.search.strategies.population import random_codes
from hwnas.space.catalogue import load_space
from hwnas.stats.gp import hamming

SPACE = load_space("macro-cifar")


def _top1(codes):
    """An accuracy that each layer's option moves, with an interaction and some noise."""
    weights = stream(0, "weights").normal(0, 0.02, size=(codes.shape[1], 3))
    value = weights[np.arange(codes.shape[1]), codes].sum(axis=1)
    value += 0.03 * (codes[:, 0] == codes[:, 1])
    return 0.7 + value + 0.002 * np.sin(codes @ np.arange(3, 11))


@pytest.fixture(scope="module")
def networks():
    codes = np.unique(random_codes(SPACE, 160, stream(1, "codes")), axis=0)
    return codes[stream(2, "order").permutation(len(codes))]


@pytest.fixture(scope="module")
def fitted(networks):
    return fit_predictor(SPACE, SPACE.decode(networks[:100]), _top1(networks[:100]))


def test_it_ranks_networks_it_has_not_seen_about_as_well_as_it_says(fitted, networks):
    rest = networks[100:]
    tau = kendalltau(fitted.score(rest), _top1(rest)).statistic
    assert tau > 0.6
    assert fitted.kendall_tau == pytest.approx(tau, abs=0.2)


def test_it_says_little_where_there_is_nothing_to_learn(networks):
    luck = stream(3, "luck").random(len(networks))
    assert abs(fit_predictor(SPACE, SPACE.decode(networks), luck).kendall_tau) < 0.3


def test_means_and_deviations_are_those_of_scikit_learn(fitted, networks):
    class Ours(ScikitKernel):
        """The same kernel, on rows of codes and keys side by side."""

        def __init__(self):
            """Have no parameters to be optimised."""

        def __call__(self, X, Y=None, eval_gradient=False):
            Y = X if Y is None else Y
            half = X.shape[1] // 2
            value = fitted.kernel(
                hamming(X[:, :half], Y[:, :half]), hamming(X[:, half:], Y[:, half:])
            )
            return fitted._process._posterior.variance * value

        def diag(self, X):
            return np.full(len(X), fitted._process._posterior.variance)

        def is_stationary(self):
            return True

    def rows(codes):
        return np.concatenate([codes, SPACE.network_keys(codes)], axis=1).astype(float)

    oracle = GaussianProcessRegressor(
        Ours(), alpha=fitted._process._posterior.variance * fitted.kernel.noise, optimizer=None
    )
    spread = fitted.values.std()
    oracle.fit(rows(fitted.codes), (fitted.values - fitted.values.mean()) / spread)
    mean, deviation = oracle.predict(rows(networks[100:]), return_std=True)
    ours = fitted.predict(networks[100:])
    np.testing.assert_allclose(ours[0], fitted.values.mean() + spread * mean, rtol=1e-9)
    np.testing.assert_allclose(ours[1], spread * deviation, rtol=1e-6)


def test_it_is_less_sure_of_what_is_far_from_what_it_saw(fitted):
    seen = fitted.predict(fitted.codes)[1].mean()
    unseen = fitted.predict(random_codes(SPACE, 100, stream(9, "far")))[1].mean()
    assert seen < unseen


def test_its_file_gives_it_back_also_for_another_width(fitted, networks, tmp_path):
    fitted.save(tmp_path / "p.json")
    again = load_fitted_predictor(tmp_path / "p.json", SPACE)
    np.testing.assert_array_equal(again.score(networks), fitted.score(networks))
    other = load_fitted_predictor(tmp_path / "p.json", load_space("macro-cifar:stem_channels=8"))
    np.testing.assert_array_equal(other.score(networks), fitted.score(networks))
    found = dict(PredictorEvaluator(SPACE, again).evaluate(SPACE.decode(networks[:3])))
    assert found[1].objectives["top1"].value == again.score(networks[:3])[1]
    assert found[1].objectives["top1_std"].value == again.predict(networks[:3])[1][1]


def test_codes_of_one_network_count_once_with_their_mean():
    # identities of equal shape leave no trace wherever they stand
    base = {c.name: "mb3_k3" for c in SPACE.choices}
    pair = [SPACE.arch({**base, "layer4": "identity"}), SPACE.arch({**base, "layer5": "identity"})]
    assert SPACE.network_id(pair[0]) == SPACE.network_id(pair[1])
    codes = np.unique(random_codes(SPACE, 40, stream(5, "few")), axis=0)
    top1 = np.concatenate([_top1(codes), [0.5, 0.6]])
    found = fit_predictor(SPACE, [*SPACE.decode(codes), *pair], top1)
    keys = SPACE.network_keys(found.codes).tolist()
    own = keys.index(SPACE.network_keys(SPACE.encode(pair))[0].tolist())
    assert found.values[own] == pytest.approx(0.55)


def test_too_few_networks_are_refused(networks):
    with pytest.raises(UsageError, match="20 networks or more"):
        fit_predictor(SPACE, SPACE.decode(networks[:19]), _top1(networks[:19]))
    with pytest.raises(UsageError, match="different"):
        fit_predictor(SPACE, SPACE.decode(networks[:30]), np.full(30, 0.5))


def test_all_problems_of_a_file_are_told_at_once(fitted, tmp_path):
    path = tmp_path / "p.json"
    fitted.save(path)
    content = json.loads(path.read_text())
    content["networks"][2]["top1"] = 1.5
    content["kernel"]["noise"] = -1
    content["extra"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="3 problems"):
        load_fitted_predictor(path, SPACE)
    fitted.save(path)
    content = json.loads(path.read_text())
    content["networks"][4]["choices"]["layer1"] = "mb9"
    content["networks"][7]["choices"].pop("layer2")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_fitted_predictor(path, SPACE)
    assert "networks.4: " in str(caught.value)
    assert "networks.7: choice 'layer2' is missing" in str(caught.value)
    fitted.save(path)
    with pytest.raises(UsageError, match="not of tiny"):
        load_fitted_predictor(path, load_space("tiny"))


def test_a_kernel_that_cannot_be_factorised_and_no_number_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["networks"][1] = content["networks"][0]
    content["kernel"]["noise"] = 1e-300
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"kernel\.noise"):
        load_fitted_predictor(tmp_path / "p.json", SPACE)
    content["kernel"]["noise"] = 1e-4
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert np.isfinite(load_fitted_predictor(tmp_path / "p.json", SPACE).score(fitted.codes)).all()


def test_an_infinite_score_is_a_failed_evaluation(fitted):
    class Overflowing:
        source = "predictor"

        def score(self, codes):
            return np.full(len(codes), np.inf)

    ((_, found),) = PredictorEvaluator(SPACE, Overflowing()).evaluate(
        SPACE.decode(fitted.codes[:1])
    )
    assert found.error
    assert not found.objectives

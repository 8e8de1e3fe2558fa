from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import hwnas


def all_codes(space: hwnas.Space) -> np.ndarray:
    sizes = [len(choice.options) for choice in space.choices]
    return np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int16)


def test_a_space_prints_its_sizes(space):
    assert repr(space) == (
        "Space('tiny', 5 choices, 1,024 architectures, input 3x32x32, 10 classes)"
    )
    assert "<th" in space._repr_html_()
    assert "mb3_k5" in space._repr_html_()


def test_spaces_are_equal_by_name():
    assert hwnas.load_space("tiny") == hwnas.load_space("tiny:num_classes=10")
    assert hwnas.load_space("tiny") != hwnas.load_space("tiny:num_classes=5")
    assert len({hwnas.load_space("tiny"), hwnas.load_space("tiny")}) == 1


@pytest.mark.parametrize("name", ["ofa-mbv3", "nasbench201"])
def test_samples_are_valid_architectures_of_any_space(name):
    space = hwnas.load_space(name)
    archs = space.sample(20, seed=3)
    assert all(space.arch(arch.choices) == arch for arch in archs)
    assert (
        space.macs(archs) == [sum(op.macs for op in space.layers(arch)) for arch in archs]
    ).all()
    assert (
        space.params(archs) == [sum(op.params for op in space.layers(arch)) for arch in archs]
    ).all()


def test_samples_are_uniform_over_the_architectures_within_the_limit(space, latency):
    codes = all_codes(space)
    inside = space.decode(codes)
    inside = [a for a, ms in zip(inside, latency.predict(inside), strict=True) if ms <= 0.05]
    assert 20 < len(inside) < 200
    drawn = space.sample(100 * len(inside), latency=latency, max_ms=0.05, seed=1)
    place = {arch.arch_id: n for n, arch in enumerate(inside)}
    counts = np.bincount([place[arch.arch_id] for arch in drawn], minlength=len(inside))
    assert chisquare(counts).pvalue > 1e-3


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.01, 1.0), seed=st.integers(0, 99), count=st.integers(0, 50))
def test_every_sample_is_within_the_limit(space, latency, share, seed, count):
    fastest, slowest = latency.range_ms()
    max_ms = fastest + share * (slowest - fastest)
    archs = space.sample(count, latency=latency, max_ms=max_ms, seed=seed)
    assert len(archs) == count
    assert (latency.predict(archs) <= max_ms + 1e-12).all()
    assert archs == space.sample(count, latency=latency, max_ms=max_ms, seed=seed)


def test_distinct_samples_are_distinct_networks_and_end(space, latency):
    archs = space.sample(2000, distinct=True)
    assert len({space.network_id(arch) for arch in archs}) == len(archs) == space.num_archs
    few = space.sample(10**6, latency=latency, max_ms=0.05, distinct=True)
    assert (latency.predict(few) <= 0.05).all()
    assert 20 < len(few) < 200


def test_several_limits_hold_together(space, latency):
    archs = space.sample(200, limits={"latency_ms": (latency, 0.09), "params": 30_000})
    assert latency.predict(archs).max() <= 0.09
    assert space.params(archs).max() <= 30_000


def test_wrong_uses_say_what_to_do(space, latency):
    with pytest.raises(hwnas.UsageError, match="belong together"):
        space.sample(1, latency=latency)
    with pytest.raises(hwnas.UsageError, match="limited twice"):
        space.sample(1, latency=latency, max_ms=1.0, limits={"latency_ms": (latency, 2.0)})
    with pytest.raises(hwnas.InfeasibleError, match="Next: raise the limit"):
        space.sample(1, latency=latency, max_ms=0.001)
    other = hwnas.load_space("tiny:num_classes=5").sample(1)
    with pytest.raises(hwnas.InputError, match="of space 'tiny:num_classes=5'"):
        space.macs(other)


class Reversed:
    """A space of a user's own: tiny with another name."""

    def __init__(self) -> None:
        self._tiny = hwnas.load_space("tiny").definition

    def __getattr__(self, name):
        return getattr(self._tiny, name)


def test_an_object_that_implements_the_protocol_has_all_methods(latency):
    space = hwnas.Space(Reversed())
    assert space.num_archs == 1024
    assert len(space.sample(5, latency=latency, max_ms=0.08)) == 5
    assert hwnas.search(Reversed(), {}, evaluate=lambda arch: 1.0, evaluations=4).best.score == 1.0

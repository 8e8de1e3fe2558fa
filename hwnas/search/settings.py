"""Settings of strategies and evaluators, as a run's ``search:`` section holds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hwnas.io.schemas import FileSchema


class GatesConfig(FileSchema):
    """How the gates of proxyless and proxyless-rl are trained together with the supernet's weights.

    ``warmup_epochs`` (null: 40 % of the supernet's epochs) train weights only; then an architecture
    step follows every ``every`` weight steps. ``alpha_lr`` null is chosen by the number of
    architecture steps. ``gradient`` is read by proxyless; proxyless-rl reads the number of networks
    ``samples`` scored in a step, the form of the ``reward`` and ``reward_weight`` (the exponent of
    product, the factor of absolute; null: 0.1).
    """

    warmup_epochs: Annotated[int, Field(ge=0)] | None = None
    every: Annotated[int, Field(ge=1, le=10_000)] = 1
    alpha_lr: Annotated[float, Field(gt=0, le=1)] | None = None
    gradient: Literal["two", "full"] = "two"
    samples: Annotated[int, Field(ge=2, le=1000)] = 8
    reward: Literal["absolute", "product"] = "absolute"
    reward_weight: Annotated[float, Field(ge=0, le=100)] | None = None


class ControllerConfig(FileSchema):
    """How the controller of strategy rl learns: ``reinforce``, or ``ppo`` (clipped steps).

    ``reward_weight`` is the exponent w of MnasNet's reward accuracy x (budget / latency)^w; with 0
    the reward is the accuracy, within the hard limits.
    """

    algorithm: Literal["reinforce", "ppo"] = "reinforce"
    reward_weight: Annotated[float, Field(ge=0, le=10)] = 0.0


class HalvingConfig(FileSchema):
    """Successive halving of scratch evaluations: one in ``eta`` is trained ``eta`` times as long.

    The shortest training has ``least_epochs`` or more, the longest those of ``search.recipe``.
    """

    eta: Annotated[int, Field(ge=2, le=10)] = 3
    least_epochs: Annotated[int, Field(ge=1)] = 1

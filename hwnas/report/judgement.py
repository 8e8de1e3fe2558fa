"""What a run has shown: the winner's budget, and its accuracy against what costs no search."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hwnas.artifacts.winner import PairedPart, ScorePart, WinnerFile
from hwnas.stats.shares import Interval, difference_interval, paired_difference_interval


class Level(str, Enum):
    """How a verdict is meant: only a good one may be shown in green."""

    GOOD = "good"
    UNDECIDED = "undecided"
    BAD = "bad"
    OPEN = "open"


@dataclass(frozen=True)
class Comparison:
    """The winner's accuracy on ``test`` minus another network's, with its 95 % interval.

    ``paired``: the interval counts on which images the two differ; else it takes the accuracies as
    independent and is too wide.
    """

    name: str
    other_top1: float
    difference: float
    interval: Interval
    paired: bool

    @property
    def is_better(self) -> bool:
        """The whole interval is above zero."""
        return self.interval[0] > 0

    @property
    def is_worse(self) -> bool:
        """The whole interval is below zero."""
        return self.interval[1] < 0

    @property
    def images_needed(self) -> float | None:
        """How many times as many images would decide a difference of this size, roughly.

        The half width of an interval falls with the root of the number of images. None where the
        difference is decided, or is zero.
        """
        if self.is_better or self.is_worse or self.difference == 0:
            return None
        half = (self.interval[1] - self.interval[0]) / 2
        return (half / self.difference) ** 2


@dataclass(frozen=True)
class Judgement:
    """The facts a verdict is made of; ``guess`` is what a network that learnt nothing reaches.

    ``guess`` is the larger of chance (1 / number of classes) and the share of the most frequent
    class of ``test``; None where the run does not hold them. ``is_at_budget``: the measured latency
    differs from the budget by less than the measurement repeats to.
    """

    level: Level
    holds_budget: bool | None = None
    is_at_budget: bool = False
    guess: float | None = None
    chance: float | None = None
    majority: float | None = None
    is_above_guess: bool | None = None
    is_random: bool = False
    random: Comparison | None = None
    baseline: Comparison | None = None

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those that the run allows: with random search, with the best baseline."""
        return tuple(one for one in (self.random, self.baseline) if one is not None)


def judge(
    winner: WinnerFile | None, *, is_random: bool = False, repeatability: float | None = None
) -> Judgement:
    """Weigh the winner's measured latency and its accuracy on ``test``.

    Good: within the budget, above guessing, better than random search (the best on ``val`` of
    random networks from the same latency window, trained alike), and not worse than the best
    baseline within the budget. Bad: over the budget, not above guessing, or worse than one of the
    two. Undecided: a difference whose 95 % interval holds zero, or no random network to compare
    with. Open: not measured or not tested yet. A search that is random itself (``is_random``) must
    be better than the best baseline instead. A latency that differs from the budget by less than
    ``repeatability`` (relative; of the measurement's two halves) leaves the budget undecided.
    """
    if winner is None or winner.measured_ms is None:
        return Judgement(Level.OPEN)
    holds = winner.measured_ms <= winner.budget_ms
    is_at = abs(winner.measured_ms / winner.budget_ms - 1) < (repeatability or 0.0)
    if winner.test is None:
        return Judgement(Level.OPEN, holds, is_at)
    chance, majority = _guesses(winner)
    known = [share for share in (chance, majority) if share is not None]
    guess = max(known, default=None)
    above = None if guess is None else winner.test.ci95[0] > guess
    random, baseline = _random(winner, winner.test), _best_baseline(winner, winner.test)
    found = [one for one in (random, baseline) if one is not None]
    if (not holds and not is_at) or above is False or any(one.is_worse for one in found):
        level = Level.BAD
    elif is_at or (rival := baseline if is_random else random) is None or not rival.is_better:
        level = Level.UNDECIDED
    else:
        level = Level.GOOD
    return Judgement(
        level, holds, is_at, guess, chance, majority, above, is_random, random, baseline
    )


def _guesses(winner: WinnerFile) -> tuple[float | None, float | None]:
    images = winner.test_images
    if images is None:
        return None, None
    return 1 / images.num_classes, images.majority


def _random(winner: WinnerFile, test: ScorePart) -> Comparison | None:
    drawn = winner.random_baseline
    if drawn is None:
        return None
    plural = "s" if drawn.num_networks != 1 else ""
    name = f"the best of {drawn.num_networks} random network{plural}"
    if drawn.arch_id == winner.arch_id:
        name += ", which is the same network"
    return _compared(name, test, drawn.test_top1, drawn.paired)


def _best_baseline(winner: WinnerFile, test: ScorePart) -> Comparison | None:
    """Compare with the baseline within the budget that is best on ``val``, as the winner is."""
    rivals = [model for model in winner.baselines if model.measured_ms <= winner.budget_ms]
    if not rivals:
        return None
    best = max(rivals, key=lambda model: model.val_top1)
    return _compared(best.name, test, best.test_top1, best.paired)


def _compared(name: str, test: ScorePart, other: float, paired: PairedPart | None) -> Comparison:
    interval = (
        difference_interval(test.top1, other, test.num_images)
        if paired is None
        else paired_difference_interval(paired.only_winner, paired.only_other, test.num_images)
    )
    return Comparison(name, other, test.top1 - other, interval, paired is not None)

"""The answer in words: whether the winner holds its budget, and whether it is a good network."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.artifacts.base import JsonObject
from hwnas.artifacts.training import InitPart
from hwnas.artifacts.winner import WinnerFile
from hwnas.report.judgement import Comparison, Judgement, Level, judge
from hwnas.report.model import RunFacts, limits_text
from hwnas.report.text import integer, ms, percent, plain
from hwnas.stats.shares import half_width

FEW_IMAGES = 100
"""Images of ``val`` below which accuracies that differ by up to 10 points cannot be told apart."""


MAX_FACTOR = 50
"""A larger factor of images is no advice."""


@dataclass(frozen=True)
class Verdict:
    """The answer to 'is this a good result?': its level, its words, and what would help."""

    level: Level
    headline: str
    sentences: tuple[str, ...]
    help: tuple[str, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the object that ``--json`` prints."""
        return {
            "level": self.level.value,
            "headline": _spaced(self.headline),
            "sentences": [_spaced(sentence) for sentence in self.sentences],
            "help": list(self.help),
        }

    def lines(self) -> list[str]:
        """Return the lines that a terminal shows."""
        helps = [f"What would help: {'; '.join(self.help)}."] if self.help else []
        return [_spaced(line) for line in (self.headline, *self.sentences)] + helps


def _spaced(text: str) -> str:
    return text.replace("\u00a0", " ")


def init_words(init: InitPart | None) -> str:
    """Return how a network got its weights, to follow its name."""
    if init is None:
        return "trained from scratch"
    done = "fine-tuned from" if init.fine_tuned else "untrained, with the weights of"
    return f"{done} {init.file}{f' ({init.arch})' if init.arch else ''}"


def verdict(facts: RunFacts) -> Verdict:
    """Judge the run by what was measured: latency on the device, and accuracy on ``test``."""
    winner = facts.winner
    if winner is None:
        return _open_verdict(facts)
    if winner.measured_ms is None:
        return Verdict(
            Level.OPEN,
            "A winner is chosen, but was not measured on the device.",
            (
                f"Its predicted latency is {ms(winner.predicted_ms)} against a budget of "
                f"{ms(winner.budget_ms)}; a budget is judged on a measurement only.",
            ),
        )
    judged = judge(
        winner,
        is_random=facts.setting("search", "strategy") == "random",
        repeatability=_repeatability(facts, winner),
    )
    share = winner.measured_ms / winner.budget_ms - 1
    sentences = [
        f"Measured {ms(winner.measured_ms)} is {percent(abs(share))} "
        f"{'below' if share <= 0 else 'above'} the budget of {ms(winner.budget_ms)}.",
        *_margin(facts, winner, abs(share)),
        *_guessing(judged, winner),
        *(_comparison(one) for one in judged.comparisons),
        *_no_random(judged, winner),
        *_few_images(facts),
        *_ranking(winner),
        *_first_try(winner),
        *_origin(facts, winner),
    ]
    helps = _helps(judged, facts, winner)
    return Verdict(judged.level, _headline(judged, winner), tuple(sentences), helps)


def _headline(judged: Judgement, winner: WinnerFile) -> str:
    """Name what decides the level, the worst first."""
    measured = f"measured {ms(winner.measured_ms)} against {ms(winner.budget_ms)}"
    if not judged.holds_budget and not judged.is_at_budget:
        return f"The winner misses the budget: {measured}."
    holds = f"The winner holds the budget ({measured})"
    if judged.is_at_budget:
        holds = f"Whether the winner holds the budget is not decided ({measured})"
    if winner.test is None:
        return f"{holds}; its accuracy is not tested yet."
    if judged.is_above_guess is False:
        return f"{holds}, but is not better than guessing: test top-1 {percent(winner.test.top1)}."
    for one in judged.comparisons:
        if one.is_worse:
            return f"{holds}, but is less accurate than {_kind(one, judged)}."
    if judged.is_at_budget:
        return f"{holds}: the measurement repeats to no better than that."
    if judged.is_random:
        rival = judged.baseline
        if rival is None or not rival.is_better:
            return f"{holds}; the search was random, and is not shown to be better than a baseline."
        return f"{holds} and is more accurate than the best baseline within it, {rival.name}."
    if judged.random is None:
        return f"{holds}; no random networks were trained to compare its accuracy with."
    if not judged.random.is_better:
        return f"{holds}, but is not better than random search."
    return f"{holds} and is more accurate than random search: test top-1 " + (
        f"{percent(winner.test.top1)} against {percent(judged.random.other_top1)}."
    )


def _kind(one: Comparison, judged: Judgement) -> str:
    return "random search" if one is judged.random else f"the baseline {one.name}"


def _guessing(judged: Judgement, winner: WinnerFile) -> list[str]:
    """Compare with a network that has learnt nothing."""
    test = winner.test
    if test is None:
        return []
    said = (
        f"Test top-1 is {percent(test.top1)} (95 % interval {percent(test.ci95[0])} to "
        f"{percent(test.ci95[1])}, {integer(test.num_images)} images)"
    )
    if judged.chance is None:
        return [f"{said}."]
    guesses = f"chance is {percent(judged.chance)}"
    if judged.majority is not None and judged.majority > 1.05 * judged.chance:
        guesses += f", always answering the most frequent class gives {percent(judged.majority)}"
    end = "" if judged.is_above_guess else ", which is within this interval or above it"
    return [f"{said}; {guesses}{end}."]


def _comparison(one: Comparison) -> str:
    """Say how far apart two accuracies are, and whether so many images show it."""
    low, high = (points(value) for value in one.interval)
    difference = f"{points(one.difference)} points (95 % interval {low} to {high})"
    if one.is_better or one.is_worse:
        relation = "more" if one.is_better else "less"
        return (
            f"It is {relation} accurate on test than {one.name} ({percent(one.other_top1)}): "
            f"{difference}."
        )
    return (
        f"It is not shown to be better or worse than {one.name} ({percent(one.other_top1)}): "
        f"{difference}."
    )


def _no_random(judged: Judgement, winner: WinnerFile) -> list[str]:
    if judged.random is not None or winner.test is None or judged.is_random:
        return []
    return ["No random networks were trained by the same recipe: whether the search pays is open."]


def _few_images(facts: RunFacts) -> list[str]:
    """Say what a small ``val`` cannot decide: it ranks the finalists."""
    trained = facts.retrained.finalists if facts.retrained else ()
    number = next((one.val.num_images for one in trained), None)
    if not number or number >= FEW_IMAGES:
        return []
    best = max(one.val.top1 for one in trained)
    below = 100 * half_width(number, min(max(best, 0.05), 0.95))
    by = next((one.val.folds for one in trained), None)
    what = f"in a cross-validation of {by} folds" if by else "of val"
    return [
        f"Finalists were ranked on {number} images {what}, which decides nothing between "
        f"accuracies less than about {below:.0f} points apart."
    ]


def _helps(judged: Judgement, facts: RunFacts, winner: WinnerFile) -> tuple[str, ...]:
    """Say what would help, where it would."""
    if winner.test is None or judged.level is Level.GOOD:
        return ()
    found = []
    if judged.is_at_budget:
        found.append(
            "a longer measurement of the winner's file on an idle device (--spread 120 of hwnas "
            "bench), or a larger headroom"
        )
    elif not judged.holds_budget:
        found.append("a larger headroom, or a table calibrated on today's device")
    undecided = [one.images_needed for one in judged.comparisons if one.images_needed is not None]
    if judged.is_above_guess is False:
        found.append("more epochs: a network at this level has learnt nothing yet")
        if winner.init is None:
            found.append("published weights to start from (--init FILE)")
        found.append("a look at the labels, if more epochs change nothing")
    elif judged.level is Level.UNDECIDED or any(one.is_worse for one in judged.comparisons):
        if undecided and min(undecided) < MAX_FACTOR:
            found.append(f"about {max(2.0, min(undecided)):.0f} times as many test images")
        found.append(
            "a strategy that learns (--strategy evolution)"
            if judged.is_random
            else "more evaluations, and more epochs for each, in the search"
        )
        if winner.init is None:
            found.append("published weights to start from (--init FILE)")
        if judged.random is None and not judged.is_random:
            found.append("random networks to compare with (retrain.random_baseline: true)")
    return tuple(found)


def points(fraction: float) -> str:
    """Return a difference of two accuracies in points with its sign: ``+1.2``, ``−0.4``."""
    return f"{100 * fraction:+.1f}".replace("-", "−")


def _open_verdict(facts: RunFacts) -> Verdict:
    answers = facts.result.answers if facts.result else ()
    sentences = tuple(
        f"Under {limits_text(answer.limits)} the search prefers {answer.best.arch_id}, with a "
        f"predicted latency of {ms(answer.best.latency_ms)}."
        for answer in answers
        if answer.best is not None
    )
    return Verdict(
        Level.OPEN, "Not answered yet: no winner has been measured on the device.", sentences
    )


def _repeatability(facts: RunFacts, winner: WinnerFile) -> float | None:
    row = facts.measured(winner.arch_id)
    return row.measurement.repeatability if row else None


def _margin(facts: RunFacts, winner: WinnerFile, share: float) -> list[str]:
    repeats = _repeatability(facts, winner)
    if repeats is None or share >= repeats:
        return []
    return [
        f"This margin is smaller than the measurement's own repeatability ({percent(repeats)}),"
        " so another session may judge otherwise."
    ]


def _origin(facts: RunFacts, winner: WinnerFile) -> list[str]:
    """Say where the winner's weights are from, and what its latency was predicted for."""
    sentences = []
    if winner.init is not None:
        sentences.append(
            f"The winner was {init_words(winner.init)}; random networks likewise where the file "
            "holds theirs; baselines were trained from scratch."
        )
    searched, trained = facts.result.space if facts.result else None, winner.arch.space
    if searched is not None and searched != trained:
        sentences.append(
            f"Latencies were predicted for {plain(searched)}; what was trained, exported "
            f"and measured is of {plain(trained)}: the heads differ."
        )
    return sentences


def _first_try(winner: WinnerFile) -> list[str]:
    """Say how many finalists were within the budget when measured, without a second search."""
    tried = winner.first_try
    if tried is None or not tried.of:
        return []
    return [
        f"First-try hit rate: {tried.within} of {tried.of} finalists were within the "
        "budget when measured."
    ]


def _ranking(winner: WinnerFile) -> list[str]:
    if not winner.rejected:
        return ["It was the first finalist in rank."] if winner.first_finalist_passed else []
    listed = "; ".join(
        f"{one.arch_id} ({ms(one.measured_ms)}{f': {one.reason}' if one.reason else ''})"
        for one in winner.rejected
    )
    number = len(winner.rejected)
    return [
        f"{number} finalist{'s' if number > 1 else ''} of higher rank "
        f"{'were' if number > 1 else 'was'} rejected after measuring: {listed}."
    ]

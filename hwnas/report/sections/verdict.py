"""The answer in words: whether the winner holds its budget, and how it compares."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.artifacts.training import InitPart
from hwnas.artifacts.winner import ScorePart, WinnerFile
from hwnas.report.model import RunFacts, limits_text
from hwnas.report.text import ms, percent, plain, significant


@dataclass(frozen=True)
class Verdict:
    """The answer to 'did it hold the budget?': ``kind`` is yes, no or open."""

    kind: str
    headline: str
    sentences: tuple[str, ...]


def init_words(init: InitPart | None) -> str:
    """Return how a network got its weights, to follow its name."""
    if init is None:
        return "trained from scratch"
    done = "fine-tuned from" if init.fine_tuned else "untrained, with the weights of"
    return f"{done} {init.file}{f' ({init.arch})' if init.arch else ''}"


def verdict(facts: RunFacts) -> Verdict:
    """Judge the run by the winner's latency measured on the device, never by the prediction."""
    winner = facts.winner
    if winner is None:
        return _open_verdict(facts)
    if winner.measured_ms is None:
        return Verdict(
            "open",
            "A winner is chosen, but was not measured on the device.",
            (
                f"Its predicted latency is {ms(winner.predicted_ms)} against a budget of "
                f"{ms(winner.budget_ms)}; a budget is judged on a measurement only.",
            ),
        )
    share = winner.measured_ms / winner.budget_ms - 1
    holds = share <= 0
    headline = (
        f"{'The winner holds the budget' if holds else 'The winner misses the budget'}: measured "
        f"{ms(winner.measured_ms)} against {ms(winner.budget_ms)}."
    )
    sentences = [
        f"That is {percent(abs(share))} {'below' if holds else 'above'} the budget.",
        *_margin(facts, winner, abs(share)),
        *_ranking(winner),
        *_first_try(winner),
        *_origin(facts, winner),
        *_against_baselines(winner),
        *_against_random(winner),
    ]
    return Verdict("yes" if holds else "no", headline, tuple(sentences))


def _open_verdict(facts: RunFacts) -> Verdict:
    answers = facts.result.answers if facts.result else ()
    sentences = tuple(
        f"Under {limits_text(answer.limits)} the search prefers {answer.best.arch_id}, with a "
        f"predicted latency of {ms(answer.best.latency_ms)}."
        for answer in answers
        if answer.best is not None
    )
    return Verdict(
        "open", "Not answered yet: no winner has been measured on the device.", sentences
    )


def _margin(facts: RunFacts, winner: WinnerFile, share: float) -> list[str]:
    row = facts.measured(winner.arch_id)
    repeats = row.measurement.repeatability if row else None
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


def _against_baselines(winner: WinnerFile) -> list[str]:
    """Compare with the best baseline that holds the budget, on the same test images."""
    rivals = [
        (model.test_top1, model.name)
        for model in winner.baselines
        if model.test_top1 is not None
        and model.measured_ms is not None
        and model.measured_ms <= winner.budget_ms
    ]
    if not rivals or winner.test is None:
        return []
    best, name = max(rivals)
    relation, inside = _compared(winner.test, best)
    return [
        f"On the test split it is {relation} the best measured baseline within the budget "
        f"({name}, {percent(best)}).{inside}"
    ]


def _against_random(winner: WinnerFile) -> list[str]:
    """Compare with the best of the random networks, trained by the same recipe."""
    drawn = winner.random_baseline
    if drawn is None or winner.test is None:
        return []
    relation, inside = _compared(winner.test, drawn.test_top1)
    return [
        f"It is {relation} the best of {drawn.num_networks} random networks trained by the "
        f"same recipe ({percent(drawn.test_top1)}).{inside}"
    ]


def _compared(test: ScorePart, other: float) -> tuple[str, str]:
    """Return how the winner compares with another accuracy, and a note where that may be chance."""
    points = 100 * (test.top1 - other)
    inside = (
        " That model is within the winner's 95 % interval."
        if test.ci95 and (test.ci95[0] <= other <= test.ci95[1])
        else ""
    )
    relation = (
        "as good as"
        if abs(points) < 0.05
        else f"{significant(abs(points), 2)} points {'above' if points > 0 else 'below'}"
    )
    return relation, inside

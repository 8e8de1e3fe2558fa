"""The best practices of NAS research, answered from the run itself, 'no' where it is no.

Questions after the checklist of Lindauer & Hutter, "Best Practices for Scientific Research on
Neural Architecture Search", JMLR 21(243), 2020, in our words; its 16 points in its three groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.artifacts.training import RecipePart
from hwnas.report.model import RunFacts
from hwnas.report.sections.verdict import init_words
from hwnas.report.text import percent, plain, runtime_text, seconds, signed_percent

RELEASE, COMPARE, REPORT = "Releasing code", "Comparing methods", "Reporting details"


@dataclass(frozen=True)
class Practice:
    """One point of the checklist: ``answer`` is yes, partly, no or not applicable."""

    group: str
    question: str
    answer: str
    reason: str


def practices(facts: RunFacts) -> tuple[Practice, ...]:
    """Return the 16 points, each answered by what the run's files show."""
    return (*_release(facts), *_comparison(facts), *_reporting(facts))


def _release(facts: RunFacts) -> list[Practice]:
    version = f"hwnas {facts.env.hwnas}" if facts.env else "hwnas, version not recorded in the run"
    code = "yes" if facts.env else "partly"
    space = facts.result.space if facts.result else facts.setting("space")
    own = "@" in str(space) or ".yaml" in str(space)
    retrained = facts.retrained
    strategy = facts.setting("search", "strategy")
    return [
        Practice(
            RELEASE,
            "Is the code that trains and scores the final architectures released?",
            code,
            f"It is part of {version}.",
        ),
        Practice(
            RELEASE,
            "Is the code of the search space released?",
            "no" if space is None else "partly" if own else code,
            "The run does not name its space."
            if space is None
            else f"{space} is described by a file of its own: publish it with the run."
            if own
            else f"{space} is part of {version}.",
        ),
        Practice(
            RELEASE,
            "Are the hyperparameters and seeds of the final training given?",
            "yes" if retrained else "no",
            f"Recipe {_recipe(retrained.recipe)}, seed {retrained.seed}, in retrained.json."
            + (f" They were {init_words(retrained.init)}." if retrained.init else "")
            if retrained
            else "No finalist has been trained yet.",
        ),
        Practice(
            RELEASE,
            "Is the code of the search method released?",
            code if strategy else "no",
            f"Strategy {plain(strategy)} is part of {version}."
            if strategy
            else "The configuration names no strategy.",
        ),
        Practice(
            RELEASE,
            "Are the hyperparameters and seeds of the search given?",
            "yes" if strategy and facts.setting("seed") is not None else "no",
            f"config.yaml holds every setting; seed {plain(facts.setting('seed'))}."
            if strategy
            else "There is no resolved configuration in the run.",
        ),
    ]


def _recipe(recipe: RecipePart) -> str:
    """Return the settings of a recipe in words."""
    return ", ".join(f"{name} {plain(value)}" for name, value in recipe.to_json().items())


def _comparison(facts: RunFacts) -> list[Practice]:
    baselines = facts.winner.baselines if facts.winner else ()
    trained = [model for model in baselines if model.val_top1 is not None]
    kinds = {row.kind for row in facts.bench.rows} if facts.bench else set()
    timed_together = {"finalist", "baseline"} <= kinds
    return [
        Practice(
            COMPARE,
            "Do all compared methods share data, splits, space and training code?",
            "partly" if trained else "not applicable",
            f"One search method ran; {len(trained)} of {len(baselines)} baselines have "
            "accuracies on the same splits, their notes say how they were trained."
            if trained
            else "One search method ran, and nothing was trained for comparison.",
        ),
        _confounders(facts),
        Practice(COMPARE, "Were ablations run?", "no", "A run holds one configuration."),
        Practice(
            COMPARE,
            "Was the evaluation protocol the same for all that is compared?",
            "yes" if timed_together else "no",
            "Finalists and baselines were timed in one session by one protocol."
            if timed_together
            else "No session timed finalists and baselines together.",
        ),
        Practice(
            COMPARE,
            "Was performance over time compared?",
            "partly" if facts.evaluations else "no",
            f"journal.jsonl orders all {len(facts.evaluations)} evaluations with their cost; "
            "no other method ran to compare with."
            if facts.evaluations
            else "The journal holds no evaluation.",
        ),
        _random_search(facts),
        _seeds(facts),
        _benchmark(facts),
    ]


def _confounders(facts: RunFacts) -> Practice:
    question = "Were hardware, library versions and other confounders controlled?"
    bench = facts.bench
    if bench is None:
        return Practice(COMPARE, question, "no", "Nothing was measured on the device yet.")
    where = (
        f"All on {bench.device} with {runtime_text(bench.runtime, bench.runtime_version)}, "
        f"{plain(bench.threads)} thread(s)"
    )
    if bench.drift is None:
        return Practice(
            COMPARE, question, "partly", f"{where}; drift since profiling was not measured."
        )
    ratio = bench.drift.ratio
    small = abs(ratio - 1) <= 0.05
    return Practice(
        COMPARE,
        question,
        "yes" if small else "partly",
        f"{where}; anchors drifted by {signed_percent(ratio - 1)} since profiling.",
    )


def _random_search(facts: RunFacts) -> Practice:
    question = "Was the method compared with random search?"
    strategy = facts.setting("search", "strategy")
    if strategy == "random":
        return Practice(COMPARE, question, "not applicable", "This run is a random search.")
    drawn = facts.winner.random_baseline if facts.winner else None
    if drawn is not None:
        return Practice(
            COMPARE,
            question,
            "yes",
            f"Random networks of the same window ({drawn.num_networks}) were trained by the "
            f"finalists' recipe; the best on val has {percent(drawn.test_top1)} on test.",
        )
    return Practice(
        COMPARE,
        question,
        "no",
        "Repeat the run with search.strategy: random and the same number of evaluations.",
    )


def _seeds(facts: RunFacts) -> Practice:
    seed = facts.result.seed if facts.result else facts.setting("seed")
    return Practice(
        COMPARE,
        "Were experiments repeated, and their seeds given?",
        "no",
        f"One seed ({plain(seed)}): nothing here shows how results vary with it.",
    )


def _benchmark(facts: RunFacts) -> Practice:
    question = "Were tabular or surrogate benchmarks used for a deeper evaluation?"
    evaluator = str(facts.setting("search", "evaluator") or "")
    kind = evaluator.partition(":")[0]
    if kind in ("table", "predictor"):
        return Practice(
            COMPARE, question, "partly", f"The search took its scores from {evaluator}, once."
        )
    return Practice(COMPARE, question, "no", "The search scored networks that it trained.")


def _reporting(facts: RunFacts) -> list[Practice]:
    present = {
        "environment": facts.env is not None,
        "configuration": bool(facts.config),
        "measuring protocol": facts.bench is not None and bool(facts.bench.protocol),
    }
    absent = [name for name, there in present.items() if not there]
    stages = {stage.stage for stage in facts.stages}
    absent_stages = [
        name for name in ("profile", "search", "retrain", "export", "bench") if name not in stages
    ]
    total = sum(stage.wall_s for stage in facts.stages)
    return [
        Practice(
            REPORT,
            "Is it reported how hyperparameters were tuned, and at what cost?",
            "no",
            "The run used its recipe as given; how that was chosen is not recorded.",
        ),
        Practice(
            REPORT,
            "Is the time of the whole method given, not of the search alone?",
            "yes" if not absent_stages else "partly" if stages else "no",
            f"{seconds(total)} in all, by stage in the cost ledger."
            if not absent_stages
            else f"Not in the ledger: {', '.join(absent_stages)}.",
        ),
        Practice(
            REPORT,
            "Are all details of the experimental setup given?",
            "yes" if not absent else "partly" if len(absent) < len(present) else "no",
            "Environment, configuration and measuring protocol are on this page."
            if not absent
            else f"Missing: {', '.join(absent)}.",
        ),
    ]

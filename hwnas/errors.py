"""The kinds of error a user can meet; each message states the rule, the value and the next step."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN_PROBLEMS = 10
"""Problems of one file in a message; a person reads no more, and ``problems`` holds the rest."""


class HwnasError(Exception):
    """Base of every error hwnas raises on purpose; the command line prints it without a trace.

    ``reason`` is the message without ``next_step``, for errors that pass it on.
    """

    exit_code = 1

    def __init__(self, reason: str = "", *, next_step: str = "") -> None:
        self.reason = reason
        self.next_step = next_step
        super().__init__(f"{reason}. Next: {next_step}" if next_step else reason)


class UsageError(HwnasError):
    """A command was used in a way it does not support; exit code 2."""

    exit_code = 2


def _shown(problems: Sequence[str]) -> list[str]:
    """Return the problems that a message lists: of every kind some, as its last words tell it."""
    if len(problems) <= SHOWN_PROBLEMS + 1:
        return list(problems)
    kinds = [problem.rpartition(": ")[2] for problem in problems]
    of_each = max(1, SHOWN_PROBLEMS // len(set(kinds)))
    seen: dict[str, int] = {}
    shown = []
    for problem, kind in zip(problems, kinds, strict=True):
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= of_each:
            shown.append(problem)
    return shown[:SHOWN_PROBLEMS]


class InputError(HwnasError):
    """A file or value given by the user is wrong; ``problems`` holds *all* that were found in it.

    The message shows up to SHOWN_PROBLEMS, some of every kind, and the number of the others.
    """

    def __init__(self, what: str, problems: Sequence[str], next_step: str = "") -> None:
        self.what = what
        self.problems = tuple(problems)
        lines = [f"{what}: {len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"]
        shown = _shown(self.problems)
        lines += [f"  - {problem}" for problem in shown]
        if len(shown) < len(self.problems):
            lines.append(f"  - and {len(self.problems) - len(shown)} more like these")
        if next_step:
            lines.append(f"Next: {next_step}")
        super().__init__("\n".join(lines))
        self.next_step = next_step

    def __reduce__(self) -> tuple[type[InputError], tuple[str, tuple[str, ...], str]]:
        """Rebuild from the three parts, so that the error survives the way out of a process."""
        return type(self), (self.what, self.problems, self.next_step)


class MissingPackageError(HwnasError, ImportError):
    """A package of an extra is not installed; names the extra that brings it."""


class HwnasWarning(UserWarning):
    """Base of every warning of hwnas; the command line shows these, and libraries' on --verbose."""


class InfeasibleError(HwnasError):
    """No network of the space meets the limits; raised before any work is done."""


class MissingRowError(HwnasError):
    """A latency table has no row for an operation; names the nearest rows and how to measure."""


class DeviceError(HwnasError):
    """A target could not be reached, or failed while it worked."""


class StorageError(HwnasError):
    """A file could not be written (permission, full disk); what was written before is kept."""

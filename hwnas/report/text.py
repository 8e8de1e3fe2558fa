"""Numbers as a reader wants them: the digits that mean something, with their unit.

A value that is absent is a dash; NaN and infinities never reach the page (``model`` drops them).
"""

from __future__ import annotations

import re

ABSENT = "–"
SPACE = "\u00a0"  # between number and unit: a line never breaks there
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` to ``digits`` significant digits or to ones, without an exponent."""
    if value == 0:
        return "0"
    exponent = int(f"{value:e}".rpartition("e")[2])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def ms(value: float | None) -> str:
    """Return milliseconds with three significant digits and their unit."""
    return ABSENT if value is None else f"{significant(value)}{SPACE}ms"


def percent(fraction: float | None, decimals: int = 1) -> str:
    """Return a fraction of one in percent."""
    return ABSENT if fraction is None else f"{100 * fraction:.{decimals}f}{SPACE}%"


def count(value: float | None, unit: str = "") -> str:
    """Return a large number with k, M, G, T or P: ``3.41 M``; whole below a thousand."""
    if value is None:
        return ABSENT
    named = f"{SPACE}{unit}" if unit else ""
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{significant(value / factor)}{SPACE}{letter}{named}"
    return f"{value:.0f}{named}"


def large(value: float | None) -> str:
    """Return a count of any size: ``1,024``, and from a million on ``6.4×10¹⁷``."""
    if value is None:
        return ABSENT
    if value < 1e6:
        return f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def signed_percent(fraction: float) -> str:
    """Return a relative difference in percent with its sign: ``+1.2 %``, ``−0.4 %``."""
    return f"{100 * fraction:+.1f}{SPACE}%".replace("-", "−")


def integer(value: int | None) -> str:
    """Return a whole number with its thousands apart."""
    return ABSENT if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """Return a duration: ``0.42 s``, ``5 min 7 s``, ``3 h 20 min``."""
    if value is None:
        return ABSENT
    if value < 60:
        return f"{significant(value, 2 if value < 10 else 3)}{SPACE}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def size(num_bytes: int | None) -> str:
    """Return a file's size in kB or MB (powers of ten)."""
    if num_bytes is None:
        return ABSENT
    mega = num_bytes >= 1e6
    return f"{num_bytes / (1e6 if mega else 1e3):.3g}{SPACE}{'MB' if mega else 'kB'}"


def tiny(value: float | None) -> str:
    """Return a very small number with an exponent, two digits: ``1.2e-06``."""
    return ABSENT if value is None else f"{value:.1e}"


def plain(value: object) -> str:
    """Return any plain value of a file as text: yes and no for truth values, short floats."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)


def printable(text: str) -> str:
    """Return ``text`` with the replacement character for every character that XML forbids."""
    return _UNPRINTABLE.sub("\ufffd", text)


def runtime_text(runtime: object, version: str | None) -> str:
    """Return a runtime with its version, which may begin with the runtime's own name."""
    name = plain(runtime)
    if not version:
        return name
    return version if version.startswith(name) else f"{name} {version}"

"""Intervals of shares: of one accuracy, and of the difference of two on the same images."""

from __future__ import annotations

import math

Interval = tuple[float, float]
_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def binomial_interval(num_right: int, num_images: int) -> Interval:
    """Return the exact 95 % interval of a share (Clopper and Pearson, Biometrika 1934)."""
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(num_right, num_images).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def wilson_interval(share: float, num_images: int) -> Interval:
    """Return the 95 % score interval of a share (Wilson, JASA 1927)."""
    z2 = _Z95**2 / num_images
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z95 / (1 + z2) * math.sqrt(share * (1 - share) / num_images + z2 / (4 * num_images))
    return centre - half, centre + half


def difference_interval(first: float, second: float, num_images: int) -> Interval:
    """Return a 95 % interval of ``first - second``, two shares of ``num_images`` each.

    The shares count as independent: method 10 of Newcombe (Statistics in Medicine 17, 1998, 873).
    Shares on the same images differ less by chance, so that the interval is too wide for them:
    where it is known on which images they differ, use :func:`paired_difference_interval`.
    """
    low1, high1 = wilson_interval(first, num_images)
    low2, high2 = wilson_interval(second, num_images)
    difference = first - second
    return (
        difference - math.hypot(first - low1, high2 - second),
        difference + math.hypot(high1 - first, second - low2),
    )


def paired_difference_interval(only_first: int, only_second: int, num_images: int) -> Interval:
    """Return a 95 % interval of the difference of two shares on the same images.

    ``only_first`` images count for the first alone, ``only_second`` for the second alone (Bonett
    and Price, Journal of Educational and Behavioral Statistics 37, 2012, eq. 6).
    """
    first, second = ((count + 1) / (num_images + 2) for count in (only_first, only_second))
    difference = first - second
    half = _Z95 * math.sqrt((first + second - difference**2) / (num_images + 2))
    return max(-1.0, difference - half), min(1.0, difference + half)


def half_width(num_images: int, share: float = 0.5) -> float:
    """Return half of the 95 % interval of an accuracy near ``share``, as a fraction."""
    return _Z95 * math.sqrt(share * (1 - share) / num_images)

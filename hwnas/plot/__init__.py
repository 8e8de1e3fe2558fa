"""Figures of results, networks and tables: every function returns a matplotlib figure.

Example:
    >>> import hwnas
    >>> space = hwnas.load_space("tiny")
    >>> [arch] = space.sample(1)
    >>> hwnas.plot.network(space, arch).savefig("network.png")
"""

from hwnas.plot.figures import breakdown, calibration, network, pareto

__all__ = ["breakdown", "calibration", "network", "pareto"]

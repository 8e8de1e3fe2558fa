"""The search problem: limits, feasible networks, what a search starts from."""

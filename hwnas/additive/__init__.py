"""Exact answers over sums of terms: extremes, counts, uniform samples in a window, best codes."""

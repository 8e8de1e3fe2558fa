"""Searching under limits: exact answers over additive parts, strategies, evaluators."""

"""Latency of operations that no table holds, predicted from the rows of others."""

"""Latency tables: measured, published, or solved from sums."""

"""Latency of networks as calibrated sums of table rows."""

"""Latency of networks on a device without a table, from a few measured networks."""

"""Measuring a device: the profiler, the networks it times, missing heads."""

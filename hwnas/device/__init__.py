"""Devices: how a target is described, reached and timed."""

"""Measuring on devices, and predicting from what was measured."""

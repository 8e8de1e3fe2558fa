"""Engines that run many independent tasks."""

"""Registries: what can be chosen by name, and how third parties add to it."""

from hwnas.plugins.registry import Entry, Registry

__all__ = ["Entry", "Registry"]

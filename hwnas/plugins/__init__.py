"""Registries: what can be chosen by name, and how third parties add to it."""

from hwnas.plugins.loading import load_plugin
from hwnas.plugins.registry import Entry, Registry

__all__ = ["Entry", "Registry", "load_plugin"]

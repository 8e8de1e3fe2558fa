"""Torch modules: networks, supernets and published weights."""

"""Fixtures of these tests."""

from tests.measuring import (
    cache,
    device,
    device_file,
    disk,
    fake_runner,
    make_header,
    measurement,
    models,
    random_table,
    target,
    tiny,
)

__all__ = [
    "cache",
    "device",
    "device_file",
    "disk",
    "fake_runner",
    "make_header",
    "measurement",
    "models",
    "random_table",
    "target",
    "tiny",
]

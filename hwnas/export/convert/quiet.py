"""Keeping what converters say to themselves: their progress and the messages of their C++ parts."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

_PROGRESS_SWITCH = "LITERT_TORCH_SHOW_PROGRESS"


@contextlib.contextmanager
def held_back_output() -> Iterator[BinaryIO]:
    """Keep the converter's progress off stdout; catch what its C++ parts write to stderr."""
    before = os.environ.get(_PROGRESS_SWITCH)
    os.environ[_PROGRESS_SWITCH] = "n"
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            yield log
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        if before is None:
            del os.environ[_PROGRESS_SWITCH]
        else:
            os.environ[_PROGRESS_SWITCH] = before

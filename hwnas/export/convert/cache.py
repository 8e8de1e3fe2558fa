"""The content-addressed cache of converted models that profile, export and bench share.

``<root>/conversions/<key>.json`` names a file of ``blobs/`` by its SHA-256. A blob is written
before the entry that names it, both whole, and never changes: a kill leaves either no entry or a
complete one, and two processes that fill one cache cannot mix their files. torch is imported only
when something is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from platformdirs import user_cache_path
from pydantic import Field, ValidationError

from hwnas.errors import HwnasError, UsageError
from hwnas.executor.local import TaskError, available_cores, run_tasks
from hwnas.export.convert.conversion import Conversion
from hwnas.export.convert.convert import model_bytes, settle_worker
from hwnas.export.formats import FORMATS, PRECISIONS, ConversionError, Format, Precision
from hwnas.io.journal import write_json, write_whole
from hwnas.io.schemas import FileSchema

DEFAULT_LIMIT_GB = 5.0
IN_USE_S = 24 * 3600.0
"""A command that lasts longer reads its files again through the cache, which converts them anew."""

_DIGEST = re.compile(r"[0-9a-f]{64}\.")


class EntrySchema(FileSchema):
    """An entry of the cache: which blob a key means, and what it is, for a reader's eye."""

    schema_: Literal[1] = Field(alias="schema")
    description: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: int


def default_root() -> Path:
    """Return the cache's folder: $HWNAS_CACHE, or the platform's folder for caches of hwnas.

    On Linux that is hwnas in $XDG_CACHE_HOME or ~/.cache. Version 0.1 used this folder on every
    platform; where it exists, and the platform's own does not, it is still used.
    """
    own = os.environ.get("HWNAS_CACHE")
    if own:
        return Path(own)
    root = user_cache_path("hwnas", appauthor=False)
    shared = os.environ.get("XDG_CACHE_HOME")
    earlier = (Path(shared) if shared else Path.home() / ".cache") / "hwnas"
    return earlier if earlier.is_dir() and not root.is_dir() else root


def limit_bytes() -> int:
    """Return how much a cache may hold: $HWNAS_CACHE_GB, or DEFAULT_LIMIT_GB.

    Raises:
        UsageError: the variable is not a number of at least 0.
    """
    text = os.environ.get("HWNAS_CACHE_GB", "")
    try:
        gigabytes = float(text or DEFAULT_LIMIT_GB)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < math.inf:
        raise UsageError(
            f"HWNAS_CACHE_GB is {text!r}: a number of GB of at least 0 is allowed",
            next_step=f"set another one, or unset it for {DEFAULT_LIMIT_GB:g}",
        )
    return int(gigabytes * 1e9)


class CacheSize(NamedTuple):
    """How much a cache holds: conversions on record, model files, and their bytes."""

    num_conversions: int
    num_files: int
    num_bytes: int


class ConversionCache:
    """Converted models by :attr:`Conversion.key`; what is damaged counts as missing.

    ``made`` counts the files that this object wrote, by precision: an int8 file that needed its
    fp32 one counts in both.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root
        self.made: dict[Precision, int] = dict.fromkeys(PRECISIONS, 0)

    def size(self) -> CacheSize:
        """Return how much the cache holds."""
        entries, blobs = self._files()
        return CacheSize(len(entries), len(blobs), sum(blob.stat().st_size for blob in blobs))

    def clear(self) -> CacheSize:
        """Delete all converted models; return how much that was. Other files are not touched."""
        size = self.size()
        entries, blobs = self._files()
        for file in (*entries, *blobs):  # entries first: an entry never names a deleted file
            file.unlink(missing_ok=True)
        return size

    def trim(self, max_bytes: int, *, in_use_s: float = IN_USE_S) -> CacheSize:
        """Delete the models used longest ago until ``max_bytes`` are left; return what is deleted.

        Those used within ``in_use_s`` seconds stay, since a command may be reading them.
        """
        entries, blobs = self._files()
        used = {blob: stat for blob in blobs if (stat := _stat(blob)) is not None}
        excess = sum(stat.st_size for stat in used.values()) - max_bytes
        deleted: dict[str, int] = {}
        oldest = time.time() - in_use_s
        for blob, stat in sorted(used.items(), key=lambda item: item[1].st_mtime):
            if excess <= 0 or stat.st_mtime > oldest:
                break
            deleted[blob.name.partition(".")[0]] = stat.st_size
            excess -= stat.st_size
        if not deleted:
            return CacheSize(0, 0, 0)
        stale = [path for path in entries if _named_blob(path) in deleted]
        gone = [blob for blob in used if blob.name.partition(".")[0] in deleted]
        for file in (*stale, *gone):  # entries first: an entry never names a deleted file
            file.unlink(missing_ok=True)
        return CacheSize(len(stale), len(gone), sum(deleted.values()))

    def _files(self) -> tuple[list[Path], list[Path]]:
        """Return the files of entries and of models, by their names."""
        entries = (self.root / "conversions").glob("*.json")
        blobs = (self.root / "blobs").glob("*.*")
        return (
            [path for path in entries if _DIGEST.match(path.name)],
            [path for path in blobs if _DIGEST.match(path.name)],
        )

    def path(self, conversion: Conversion) -> Path | None:
        """Return the whole, verified model file, or None if it has to be converted."""
        try:
            entry = EntrySchema.model_validate_json(_entry_path(self.root, conversion).read_bytes())
            blob = _blob_path(self.root, entry.sha256, conversion.format)
            digest = hashlib.sha256(blob.read_bytes()).hexdigest()
        except (OSError, ValidationError):  # what hinders reading stops the writing, with a message
            return None
        if digest != entry.sha256:
            return None
        with contextlib.suppress(OSError):  # the cache may be another user's
            os.utime(blob)  # used now: trim() keeps it
        return blob

    def fill(
        self,
        conversions: Iterable[Conversion],
        *,
        workers: int | None = None,
        on_done: Callable[[Conversion], None] | None = None,
    ) -> dict[Conversion, Path]:
        """Convert what is missing and return the file of every conversion, in their order.

        ``workers`` (None: the cores) is the most processes used; a small job runs in this one.
        ``on_done`` is called once for each conversion as its file is there, cached ones first.

        Raises:
            ConversionError: names every conversion that failed; all others are kept.
            UsageError: HWNAS_CACHE_GB is no size.
        """
        limit = limit_bytes()
        wanted = list(dict.fromkeys(conversions))
        found: dict[Conversion, Path] = {}
        failures: list[str] = []
        try:
            for conversion, outcome in self._outcomes(wanted, workers):
                if isinstance(outcome, Path):
                    found[conversion] = outcome
                    if on_done:
                        on_done(conversion)
                else:
                    failures.append(f"{conversion}: {outcome}")
        except TaskError as error:
            failures.append(str(error))
        if failures:
            raise ConversionError(_failure_text(failures, len(found), len(wanted), self.root))
        if any(self.made.values()):
            with contextlib.suppress(OSError):
                self.trim(limit)
        return {conversion: found[conversion] for conversion in wanted}

    def _outcomes(
        self, wanted: list[Conversion], workers: int | None
    ) -> Iterator[tuple[Conversion, Path | str]]:
        """Yield each conversion with its file, or with the reason why there is none."""
        missing = []
        for conversion in wanted:
            cached = self.path(conversion)
            if cached is None:
                missing.append(conversion)
            else:
                yield conversion, cached
        # int8 files are made from fp32 ones, which then are in the cache as well
        sources = {
            conversion: conversion.float_form for conversion in missing if conversion.is_quantised
        }
        floats = [
            c
            for c in dict.fromkeys([*missing, *sources.values()])
            if not c.is_quantised and (c in missing or self.path(c) is None)
        ]
        failed = {}
        for conversion, outcome in self._make(floats, workers):
            if isinstance(outcome, str):
                failed[conversion] = outcome
            if conversion in missing:
                yield conversion, outcome
        for conversion, source in sources.items():
            if source in failed:
                yield conversion, failed[source]
        yield from self._make([c for c, source in sources.items() if source not in failed], workers)

    def _make(
        self, conversions: list[Conversion], workers: int | None
    ) -> Iterator[tuple[Conversion, Path | str]]:
        """Yield each conversion, of which none is cached, with its new file or the reason."""
        # biggest first, so that the processes end together
        missing = sorted(conversions, key=_seconds, reverse=True)
        for conversion, outcome in self._made(
            missing, min(workers or available_cores(), len(missing))
        ):
            self.made[conversion.precision] += isinstance(outcome, Path)
            yield conversion, outcome

    def _made(
        self, missing: list[Conversion], count: int
    ) -> Iterator[tuple[Conversion, Path | str]]:
        if not _pays_off(missing, count):
            for conversion in missing:
                yield conversion, _convert(self.root, conversion)
            return
        by_task = {f"{conversion} [{conversion.key[:12]}]": conversion for conversion in missing}
        tasks = {name: (self.root, conversion) for name, conversion in by_task.items()}
        for name, outcome in run_tasks(_convert_in_worker, tasks, workers=count):
            yield by_task[name], outcome


_QUANTIZE_SECONDS = 0.02
_POOL_SECONDS = 4.0  # starting processes that import torch and a converter once more


def _seconds(conversion: Conversion) -> float:
    """Estimate how long a conversion takes; the graph's size decides, not the tensors'."""
    per_layer = (
        _QUANTIZE_SECONDS if conversion.is_quantised else FORMATS[conversion.format].layer_seconds
    )
    return len(conversion.layers) * per_layer


def _pays_off(conversions: Sequence[Conversion], workers: int) -> bool:
    """Return whether processes save more than it takes to start them."""
    if workers <= 1:
        return False
    return sum(map(_seconds, conversions)) * (1 - 1 / workers) > _POOL_SECONDS


def _convert_in_worker(root: Path, conversion: Conversion) -> Path | str:
    if not conversion.is_quantised:  # quantising needs none of what is imported
        settle_worker(conversion.format)
    return _convert(root, conversion)


def _convert(root: Path, conversion: Conversion) -> Path | str:
    """Convert, add the entry, and return its file, or the reason (text crosses processes)."""
    source = None
    if conversion.is_quantised:
        source = ConversionCache(root).path(conversion.float_form)
    try:
        payload = model_bytes(conversion, source)
        digest = hashlib.sha256(payload).hexdigest()
        blob = _blob_path(root, digest, conversion.format)
        write_whole(blob, payload)
        entry = EntrySchema(
            schema=1, description=str(conversion), sha256=digest, bytes=len(payload)
        )
        write_json(_entry_path(root, conversion), entry.model_dump(by_alias=True))
    except HwnasError as error:
        return str(error)
    return blob


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # another process has deleted it
        return None


def _named_blob(entry: Path) -> str | None:
    try:
        return EntrySchema.model_validate_json(entry.read_bytes()).sha256
    except (OSError, ValidationError):
        return None


def _entry_path(root: Path, conversion: Conversion) -> Path:
    return root / "conversions" / f"{conversion.key}.json"


def _blob_path(root: Path, digest: str, model_format: Format) -> Path:
    return root / "blobs" / f"{digest}.{model_format}"


def _failure_text(failures: Sequence[str], num_done: int, num_wanted: int, root: Path) -> str:
    lines = [
        f"{num_wanted - num_done} of {num_wanted} conversions failed; the other {num_done} "
        f"are kept in {root}:"
    ]
    lines += [f"  - {failure}" for failure in failures]
    lines.append("Next: repair what is named; a repeated command converts only what is missing.")
    return "\n".join(lines)

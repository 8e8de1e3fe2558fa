"""``hwnas cache clear``."""

from __future__ import annotations

from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb


@verb("hwnas cache clear")
def clear() -> None:
    """Delete all converted models of the cache.

    Later commands convert again what they need.
    """
    from hwnas.export.convert.cache import ConversionCache

    cache = ConversionCache()
    size = cache.clear()
    print_text(f"{cache.root}: deleted {size.num_files} files, {size.num_bytes / 1e6:.1f} MB")

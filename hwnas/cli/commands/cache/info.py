"""``hwnas cache info``."""

from __future__ import annotations

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_text
from hwnas.cli.verbs import verb


@verb("hwnas cache info --json")
def info(as_json: AsJson = False) -> None:
    """Show where the cache is and how much it holds."""
    from hwnas.export.convert.cache import ConversionCache, limit_bytes

    cache, limit = ConversionCache(), limit_bytes()
    size = cache.size()
    if as_json:
        print_json({"folder": str(cache.root), **size._asdict(), "limit_bytes": limit})
        return
    print_text(
        f"{cache.root}: {size.num_conversions} conversions in {size.num_files} files, "
        f"{size.num_bytes / 1e6:.1f} MB of at most {limit / 1e9:g} GB (HWNAS_CACHE_GB)"
    )

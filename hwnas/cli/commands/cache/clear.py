"""``hwnas cache clear``."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb


@verb("hwnas cache clear --keep-gb 1")
def clear(
    keep_gb: Annotated[
        float | None,
        typer.Option(help="Keep so many GB of the models used last.", min=0.0),
    ] = None,
) -> None:
    """Delete converted models, all or those used longest ago.

    Later commands convert again what they need. The cache does this itself
    above HWNAS_CACHE_GB (5 GB unless set), to models not used for a day.
    """
    from hwnas.export.convert.cache import ConversionCache

    cache = ConversionCache()
    size = cache.clear() if keep_gb is None else cache.trim(int(keep_gb * 1e9), in_use_s=0.0)
    print_text(f"{cache.root}: deleted {size.num_files} files, {size.num_bytes / 1e6:.1f} MB")

"""Images with four fixed splits: sources, splits, augmentation, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.data.dataset import Dataset, Preprocessing, load_dataset
    from hwnas.data.splits import SPLITS

__all__ = ["SPLITS", "Dataset", "Preprocessing", "load_dataset"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: whoever needs one module loads no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hwnas.data import dataset, splits

    return getattr(splits if name == "SPLITS" else dataset, name)

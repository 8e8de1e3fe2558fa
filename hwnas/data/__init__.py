"""Images with four fixed splits: sources, splits, augmentation, batches."""

from hwnas.data.dataset import Dataset, Preprocessing, load_dataset
from hwnas.data.splits import SPLITS

__all__ = ["SPLITS", "Dataset", "Preprocessing", "load_dataset"]

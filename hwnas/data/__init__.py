"""Images with fixed splits: sources, splits, batches."""

"""The stages of a run: search, retrain, export, bench, select."""

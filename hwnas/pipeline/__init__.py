"""The whole flow for one configuration: profile, search, retrain, export, bench, report."""

"""Accuracy predictors and priors."""

"""Fitting a model: one run from configuration and images to weights, and everything around its steps."""

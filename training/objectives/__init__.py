"""The evidence lower bound, its parts, and its Monte-Carlo estimators."""

"""The evidence lower bound, its parts, and its Monte-Carlo estimators."""

from training.objectives.elbo import ObjectiveTerms, elbo_terms

__all__ = ["ObjectiveTerms", "elbo_terms"]

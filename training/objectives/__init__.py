"""The evidence lower bound, its parts, and its Monte-Carlo estimators."""

from training.objectives.elbo import ObjectiveTerms, beta_at, elbo_terms

__all__ = ["ObjectiveTerms", "beta_at", "elbo_terms"]

"""Estimators on codes, features and scores, each held by a test to an answer found without it.

Knows arrays and scikit-learn. Knows nothing of models, files, pictures or protocols: what is fed in, and
how it is told, is decided in `training.evaluation.report`.
"""

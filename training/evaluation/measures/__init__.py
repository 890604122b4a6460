"""Estimators on codes, features and scores; a test compares each with an independent answer.

Knows arrays and scikit-learn. Knows nothing of models, files, plots or protocols:
`training.evaluation.report` chooses the inputs and describes the results.
"""

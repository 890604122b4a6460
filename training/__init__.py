"""The trainer: data, models, objective, fit, evaluation and export. Knows torch; never serves."""

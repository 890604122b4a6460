"""Priors fitted after training: Gaussian mixtures, selection, calibration by a judge, files."""

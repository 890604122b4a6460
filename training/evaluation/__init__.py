"""Evaluation: figures with their protocols, measures, and reports."""

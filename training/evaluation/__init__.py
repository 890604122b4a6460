"""How good a model is: figures with their protocols, measures, and reports."""

"""The run directory: its files, its weights, and the provenance of a run."""

"""The run directory: its files, the weights it keeps, and the provenance of a run."""

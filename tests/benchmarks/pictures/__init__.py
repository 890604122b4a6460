"""Trains the recipe for one's own pictures on many sets, and compares with PCA: `make bench-pictures`."""

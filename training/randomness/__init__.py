"""Random numbers that depend on the seed and the place of use alone, on every device."""

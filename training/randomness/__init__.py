"""Random numbers that depend only on the seed and the place of use, on every device."""

"""The models that come with the package, by name."""

from __future__ import annotations

#: Sorted, as a store lists them.
BUNDLED_MODELS = ("fashion", "mnist", "mnist-2d", "mnist-ae")

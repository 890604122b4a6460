"""Examples that work without changes, for the default model.

Knows shapes. Knows nothing of requests or the computations of a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Strokes of a figure seven on a 7 × 7 grid, scaled to the size of the model.
_SEVEN = ("0000000", "0111110", "0000010", "0000100", "0001000", "0010000", "0010000")


@dataclass(frozen=True)
class ExampleModel:
    """Name and sizes of the default model, so that the examples work without changes."""

    name: str = "mnist"

    image_shape: tuple[int, int, int] = (1, 28, 28)
    latent_size: int = 32


def example_image(model: ExampleModel) -> list[list[list[int]]]:
    """One image (C, H, W) of zeros and ones: a seven."""
    channels, height, width = model.image_shape
    plane = [[int(_SEVEN[7 * y // height][7 * x // width]) for x in range(width)] for y in range(height)]
    return [plane] * channels


def example_latent(model: ExampleModel) -> list[float]:
    """One z, well within the prior."""
    return [round(0.5 - (i % 5) * 0.25, 2) for i in range(model.latent_size)]


def example_rows(rows: int, model: ExampleModel, *, is_images: bool) -> list[Any]:
    """Several of either."""
    if is_images:
        return [example_image(model)] * rows
    # Rotated row by row: the two ends of a path must differ.
    latent = example_latent(model)
    return [latent[::-1] if row % 2 else latent for row in range(rows)]

"""The shapes of images and latents, and the remedies for others.

Knows axes. Knows neither JSON nor npy: both use this module, so that both accept the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.codecs.describe import shape_text
from service.codecs.errors import InvalidValue


@dataclass(frozen=True)
class Axes:
    """The rows of a model's input: their name in messages and the fixed sizes of one row."""

    where: str
    row: tuple[int, ...]
    is_image: bool = True
    """Whether a row of three axes has channels; otherwise it is a latent."""

    @functools.cached_property
    def forms(self) -> tuple[tuple[int, ...], ...]:
        """Possible sizes of one row: for one channel its axis may be left out, and a latent may be flat."""
        if self._is_grey:
            return (self.row, self.row[1:])
        return (self.row,) if self.is_image or len(self.row) == 1 else (self.row, (math.prod(self.row),))

    @property
    def text(self) -> str:
        """`(N, 1, 28, 28) or (N, 28, 28)`."""
        return " or ".join(shape_text(("N", *form)) for form in self.forms)

    @property
    def _is_grey(self) -> bool:
        return self.is_image and len(self.row) == 3 and self.row[0] == 1

    def accept(self, shape: tuple[int, ...], *, max_rows: int, is_file: bool = False) -> tuple[int, ...]:
        """The full shape (N, *row) for `shape`, which may have another one of `forms`.

        Args:
            shape: The actual shape.
            max_rows: Maximum number of rows.
            is_file: The remedy speaks of NumPy rather than of lists.

        Raises:
            InvalidValue: Another shape, no rows, or too many.
        """
        if not self.takes(shape):
            raise InvalidValue(
                self.where,
                f"shape {self.text}",
                f"shape {shape_text(shape)}",
                self.remedy(shape, is_file=is_file),
            )
        self.check_count(shape[0], max_rows=max_rows)
        return (shape[0], *self.row)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether `shape` is N rows in one of `forms`."""
        return bool(shape) and shape[1:] in self.forms

    def check_count(self, count: int, *, max_rows: int) -> None:
        """Check for 1 … max_rows rows.

        Raises:
            InvalidValue: There are none, or too many.
        """
        if not 1 <= count <= max_rows:
            remedy = "Send at least one." if count == 0 else "Send them in several requests."
            raise InvalidValue(self.where, f"1 to {max_rows} entries", str(count), remedy)

    def is_channels_last(self, shape: tuple[int, ...]) -> bool:
        """Whether `shape` is that of images with their channels last."""
        return self.is_image and len(self.row) == 3 and shape[1:] == (*self.row[1:], self.row[0]) != self.row

    def remedy(self, shape: tuple[int, ...], *, is_file: bool = False) -> str:
        """The remedy for a shape that is not accepted."""
        if shape in self.forms:
            return (
                "Add the first axis: array[None]."
                if is_file
                else "Wrap it in a list, even a single one: [...]."
            )
        if self.is_channels_last(shape):
            return "Put the channels first."
        return f"Send {self.text}."


def image_axes(shape: Sequence[int]) -> Axes:
    """For images of (C, H, W)."""
    return _axes("images", tuple(shape))


def latent_axes(size: int | Sequence[int], *, where: str = "z") -> Axes:
    """For latents of `size` numbers, or of that shape, which a body calls `where`."""
    return _axes(where, (size,) if isinstance(size, int) else tuple(size), is_image=False)


@functools.lru_cache(maxsize=64)  # models have few different shapes, and every request needs one
def _axes(where: str, row: tuple[int, ...], *, is_image: bool = True) -> Axes:
    return Axes(where, row, is_image)

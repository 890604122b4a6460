"""A JPEG or WebP file, reduced to its pixels.

Knows nothing of either format.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MinimalPicture:
    """A picture with a sound structure and a harmless size, not decoded yet."""

    width: int
    height: int
    file: bytes
    """A file of the parts for the pixels."""
    exif: bytes
    """The first EXIF block, unread; empty if there is none."""

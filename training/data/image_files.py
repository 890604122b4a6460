"""One PNG, JPEG or WebP file: what it is, and its pixels as training wants them.

Knows Pillow. Knows nothing of folders, labels or models. Sizes are read before anything is unpacked. Colour
becomes grey by ITU-R BT.601 luma, grey becomes colour by repetition and transparent pixels become black, as
in the server, so that a file sent to `/encode` is the image that training saw.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from training.data.on_disk import ImageShape

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
#: Pictures that somebody would miss if they were silently left out.
OTHER_SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".pbm", ".pgm", ".ppm", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "WEBP")
#: A photograph of 50 megapixels takes 150 MB while it is read.
MAX_FILE_PIXELS = 50_000_000
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA")
#: Orientations of EXIF that lie on their side.
_ON_THEIR_SIDE = (5, 6, 7, 8)


class BadImageError(Exception):
    """A file cannot be used; the message is the reason, to be listed with those of others."""


@dataclass(frozen=True)
class Conversion:
    """What is done to every file; 0 leaves it as it is."""

    side: int = 0
    """Of the square that the file's middle is scaled to."""
    channels: int = 0
    """1 grey, 3 colour."""


def read_shape(path: Path, conversion: Conversion) -> ImageShape:
    """(C, H, W) that the file has once converted; nothing is unpacked.

    Raises:
        BadImageError: It is no such file, too large, animated, or of more bits than can be used.
    """
    with _opened(path) as picture:
        width, height = picture.size
        if _orientation(picture) in _ON_THEIR_SIDE:
            width, height = height, width
        if conversion.side:
            width = height = conversion.side
        return conversion.channels or (1 if picture.mode in _GREY_MODES else 3), height, width


def read_pixels(path: Path, image_shape: ImageShape) -> npt.NDArray[np.uint8]:
    """The pixels, scaled to (C, H, W) where the file has another size.

    Raises:
        BadImageError: The file is damaged.
    """
    channels, height, width = image_shape
    with _opened(path) as opened:
        _scale_transparent_grey(opened)
        upright = ImageOps.exif_transpose(opened) if _orientation(opened) != 1 else opened
        if "transparency" in upright.info or upright.mode in ("LA", "PA", "RGBA"):
            transparent = upright.convert("RGBA")
            black = Image.new("RGBA", transparent.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, transparent).convert("RGB")
        picture = upright.convert("L" if channels == 1 else "RGB")
        if picture.size != (width, height):
            # The server's filter: a triangle widened by the shrink factor, so that nothing flickers.
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
    return pixels[np.newaxis] if channels == 1 else np.moveaxis(pixels, -1, 0)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file with its header read and found harmless; whatever Pillow objects to becomes one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which has no part in the pixels
            with Image.open(path, formats=_FORMATS) as picture:
                _check(picture)
                yield picture
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error and others
        raise BadImageError(
            f"cannot be read as PNG, JPEG or WebP ({type(error).__name__}: {str(error)[:120]})"
        ) from error


def _check(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_FILE_PIXELS:
        raise BadImageError(f"{width} × {height} pixels; at most {MAX_FILE_PIXELS:,} are unpacked")
    if picture.format in ("PNG", "WEBP") and getattr(picture, "n_frames", 1) > 1:
        raise BadImageError("animated; save one frame of it")
    if picture.mode not in (*_GREY_MODES, *_COLOUR_MODES):
        raise BadImageError(f"pixels of mode {picture.mode}; save it as grey or RGB of 8 bits")
    if _raw_mode(picture) == "RGB;16B" and "transparency" in picture.info:
        # Pillow keeps 8 of the 16 bits, and then other colours are transparent as well.
        raise BadImageError("a transparent colour of 16 bits; save it with an alpha channel or 8 bits")


def _scale_transparent_grey(picture: Image.Image) -> None:
    """Pillow scales grey levels of fewer bits to 8, but not the level that is transparent."""
    key = picture.info.get("transparency")
    bits = {"L;2": 2, "L;4": 4, "L": 8}.get(_raw_mode(picture))
    if picture.format == "PNG" and bits is not None and isinstance(key, int):
        most = (1 << bits) - 1
        picture.info["transparency"] = (key & most) * (255 // most)


def _raw_mode(picture: Image.Image) -> str:
    """How the file stores a pixel, in Pillow's words; empty once the pixels are unpacked."""
    tiles = getattr(picture, "tile", [])  # only those that come from a file have it
    arguments = tiles[0].args if tiles else None
    return arguments if isinstance(arguments, str) else ""


def _orientation(picture: Image.Image) -> int:
    """Which way up a photograph is, by EXIF; 1 is as it lies."""
    if picture.format not in ("JPEG", "MPO"):
        return 1
    return int(picture.getexif().get(ExifTags.Base.Orientation, 1))

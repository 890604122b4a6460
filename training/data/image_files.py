"""One image file: its header, and its pixels for training.

Knows Pillow. Knows nothing of folders, labels or models. It reads sizes before it decodes pixels.
`model_store.pictures` contains the steps from samples to pixels, which the server uses too, so that a file
sent to `/encode` equals the image in training.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from model_store.manifest import Preprocessing
from model_store.pictures import Picture, exif_orientation, prepared_levels, upright_size
from training.data.memory_map import ImageShape

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
#: Image formats that a user would miss if they were silently skipped.
OTHER_SUFFIXES = (".avif", ".heic", ".heif", ".jp2", ".pbm", ".pgm", ".ppm")
#: For messages.
FORMATS_IN_WORDS = "PNG, JPEG, WebP, TIFF, BMP or GIF"
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
#: From a file with several images in one of these formats, the first is read: a page, a frame.
_FIRST_OF_MANY = ("TIFF", "GIF")
#: A photograph of 50 megapixels needs 150 MB during decoding.
MAX_FILE_PIXELS = 50_000_000
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX")
#: From 16-bit colour Pillow keeps the high byte. A second decoding with swapped byte order returns the low
#: byte. Raw mode of a file → raw mode with swapped bytes.
_LOW_BYTES = {
    f"{colours};16{order}": f"{colours};16{other}"
    for colours in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
#: Grey and alpha of 16 bits, which Pillow calls RGBA.
_DEEP_GREY_AND_ALPHA = "LA;16B"
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


class BadImageError(Exception):
    """A file is unusable; the message is the reason, for a list of all such files."""


@dataclass(frozen=True)
class Conversion:
    """The conversion of every file; 0 leaves a property unchanged."""

    side: int = 0
    """Side of the square to which the file's middle is scaled."""
    channels: int = 0
    """1 grey, 3 colour."""
    ground: Literal["black", "white"] = "black"
    """The colour under transparent pixels."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The conversion steps, as a manifest describes them."""
        return Preprocessing(fit="crop", ground=self.ground, levels=256)


@dataclass(frozen=True)
class Header:
    """Properties of a file from its header."""

    shape: ImageShape
    """(C, H, W) after conversion."""
    pictures: int
    """Pages or frames; the first is read."""
    is_transparent: bool
    """Whether some of its pixels may be transparent."""


def read_header(path: Path, conversion: Conversion) -> Header:
    """Read the header; no pixels are decoded.

    Raises:
        BadImageError: The file is in no known format, too large, animated, or has an unsupported kind of
            pixel.
    """
    with _opened(path) as picture:
        width, height = upright_size(*picture.size, _orientation(picture))
        if conversion.side:
            width = height = conversion.side
        channels = conversion.channels or (1 if _is_grey(picture) else 3)
        has_alpha = picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info
        return Header((channels, height, width), _pictures(picture), has_alpha)


def read_pixels(
    path: Path, image_shape: ImageShape, conversion: Conversion = Conversion()
) -> npt.NDArray[np.uint8]:
    """The pixels, cropped and scaled to (C, H, W) if the file has another size.

    Raises:
        BadImageError: The file is damaged.
    """
    with _opened(path) as opened:
        return prepared_levels(_unpacked(path, opened), image_shape, conversion.preprocessing)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file whose header is harmless; every exception of Pillow becomes one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about odd metadata, which does not affect the pixels
            with Image.open(path, formats=_FORMATS) as picture:
                _check(picture)
                yield picture
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error and others
        # Pillow repeats the whole path, which the list of bad files already contains.
        reason = str(error).replace(str(path), path.name)[:120]
        raise BadImageError(
            f"not readable as {FORMATS_IN_WORDS} ({type(error).__name__}: {reason})"
        ) from error


def _check(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_FILE_PIXELS:
        raise BadImageError(f"{width} × {height} pixels; the maximum is {MAX_FILE_PIXELS:,}")
    if picture.format not in _FIRST_OF_MANY and picture.format != "MPO" and _pictures(picture) > 1:
        raise BadImageError("animated; save one frame of it")
    if picture.mode not in (*_GREY_MODES, *_COLOUR_MODES):
        raise BadImageError(f"pixels of mode {picture.mode}; save it as grey or RGB of 8 or 16 bits")


def _is_grey(picture: Image.Image) -> bool:
    if picture.format == "GIF" and picture.mode == "P":
        # A GIF has a palette even if it is grey.
        palette = picture.getpalette() or []
        return palette[0::3] == palette[1::3] == palette[2::3]
    return picture.mode in _GREY_MODES or _raw_mode(picture) == _DEEP_GREY_AND_ALPHA


def _pictures(picture: Image.Image) -> int:
    return int(getattr(picture, "n_frames", 1))


def _unpacked(path: Path, picture: Image.Image) -> Picture:
    """The samples, and the file's own metadata about them."""
    orientation = _orientation(picture)
    transparent = _transparent(picture)
    samples, most = _samples(path, picture)
    return Picture(
        samples[:, :, np.newaxis] if samples.ndim == 2 else samples,
        most,
        orientation,
        transparent if samples.ndim == 2 or samples.shape[2] == 3 else None,
    )


def _samples(path: Path, picture: Image.Image) -> tuple[npt.NDArray[np.integer[Any]], int]:
    """Whole numbers (H, W) or (H, W, bands), and the number that means 1."""
    raw = _raw_mode(picture)
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint16)
        # Pillow converts a white of 0 to a white of 255, but not for samples of 16 bits.
        return 65535 - levels if _tiff_tag(picture, _PHOTOMETRIC) == _WHITE_IS_ZERO else levels, 65535
    if raw in _LOW_BYTES:
        low = _reread(path, mode=picture.mode, raw=_LOW_BYTES[raw])
        return np.asarray(picture).astype(np.uint16) << 8 | low, 65535
    if raw == _DEEP_GREY_AND_ALPHA:
        # Pillow has no other byte order for these modes: it reads their four bytes as RGBA.
        four = _reread(path, mode="RGBA", raw="RGBA").astype(np.uint16)
        return four[:, :, 0::2] << 8 | four[:, :, 1::2], 65535
    bits = _tiff_tag(picture, _BITS_PER_SAMPLE) or ()
    if any(each > 8 for each in bits):
        raise BadImageError(f"a TIFF of {max(bits)} bits stored as {raw}; save it as PNG, or with 8 bits")
    if picture.mode in ("P", "PA"):
        has_alpha = picture.mode == "PA" or "transparency" in picture.info
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    elif picture.mode in ("1", "RGBX"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return np.asarray(picture), 255


def _reread(path: Path, *, mode: str, raw: str) -> npt.NDArray[np.uint8]:
    """The pixels of the same file, decoded with another raw mode."""
    with Image.open(path, formats=_FORMATS) as picture:
        picture._mode = mode
        picture.tile = [tile._replace(args=_with_raw_mode(tile.args, raw)) for tile in picture.tile]
        return np.asarray(picture)


def _with_raw_mode(arguments: Any, raw: str) -> Any:
    """PNG passes the raw mode alone; TIFF and others pass it as the first of several arguments."""
    return raw if isinstance(arguments, str) else (raw, *arguments[1:])


def _transparent(picture: Image.Image) -> tuple[int, ...] | None:
    """The single transparent grey level or colour, in samples of 8 or 16 bits; None if there is none."""
    key = picture.info.get("transparency")
    if isinstance(key, int) and picture.mode in _GREY_MODES:
        # Pillow scales grey levels of fewer bits to 8, but not the transparent level.
        bits = {"1": 1, "L;2": 2, "L;4": 4, "I;16B": 16}.get(_raw_mode(picture), 8)
        most = (1 << bits) - 1
        return ((key & most) * ((255 if bits <= 8 else most) // most),)
    if isinstance(key, tuple) and picture.mode == "RGB":
        most = 65535 if _raw_mode(picture) == "RGB;16B" else 255
        return tuple(sample & most for sample in key)
    return None


def _tiff_tag(picture: Image.Image, tag: int) -> Any:
    """The value of a TIFF tag, or None if the file has no such tag or is no TIFF."""
    return picture.tag_v2.get(tag) if isinstance(picture, TiffImagePlugin.TiffImageFile) else None


def _raw_mode(picture: Image.Image) -> str:
    """The raw mode of the file, as Pillow calls it; empty after decoding."""
    tiles = getattr(picture, "tile", [])  # only images from a file have it
    arguments = tiles[0].args if tiles else None
    if isinstance(arguments, tuple) and arguments:
        arguments = arguments[0]
    return arguments if isinstance(arguments, str) else ""


def _orientation(picture: Image.Image) -> int:
    """Orientation of a photograph by EXIF; 1 means upright. Pillow itself rotates a TIFF.

    A PNG stores the block before the pixels (PNG specification, third edition, table 7).
    """
    exif = picture.info.get("exif", b"")
    return exif_orientation(exif) if isinstance(exif, bytes) else 1

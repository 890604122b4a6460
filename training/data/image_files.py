"""One picture file: what it is, and its pixels as training wants them.

Knows Pillow. Knows nothing of folders, labels or models. Sizes are read before anything is unpacked. The
steps from samples to pixels are those of `model_store.pictures`, which the server takes too, so that a file
sent to `/encode` is the image that training saw.
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
#: Pictures that somebody would miss if they were silently left out.
OTHER_SUFFIXES = (".avif", ".heic", ".heif", ".jp2", ".pbm", ".pgm", ".ppm")
#: For messages.
FORMATS_IN_WORDS = "PNG, JPEG, WebP, TIFF, BMP or GIF"
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
#: Of a file with many pictures in one of these, the first is read: a page, a frame.
_FIRST_OF_MANY = ("TIFF", "GIF")
#: A photograph of 50 megapixels takes 150 MB while it is read.
MAX_FILE_PIXELS = 50_000_000
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX")
#: Pillow keeps the high byte of 16 bits of colour. Unpacked once more as if its bytes were in the other
#: order, a file gives the low byte. The raw mode of a file → the one that gives the low byte.
_LOW_BYTES = {
    f"{colours};16{order}": f"{colours};16{other}"
    for colours in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
#: Grey and alpha of 16 bits, which Pillow calls RGBA.
_DEEP_GREY_AND_ALPHA = "LA;16B"
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


class BadImageError(Exception):
    """A file cannot be used; the message is the reason, to be listed with those of others."""


@dataclass(frozen=True)
class Conversion:
    """What is done to every file; 0 leaves it as it is."""

    side: int = 0
    """Of the square that the file's middle is scaled to."""
    channels: int = 0
    """1 grey, 3 colour."""
    ground: Literal["black", "white"] = "black"
    """What transparent pixels become."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The steps, as a manifest states them."""
        return Preprocessing(fit="crop", ground=self.ground, levels=256)


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is unpacked."""

    shape: ImageShape
    """(C, H, W) once converted."""
    pictures: int
    """Pages or frames; the first is read."""
    is_transparent: bool
    """Whether some of its pixels may be."""


def read_header(path: Path, conversion: Conversion) -> Header:
    """What the file holds; nothing is unpacked.

    Raises:
        BadImageError: It is no such file, too large, animated, or of a kind of pixel that cannot be used.
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
    """The pixels, cut and scaled to (C, H, W) where the file has another size.

    Raises:
        BadImageError: The file is damaged.
    """
    with _opened(path) as opened:
        return prepared_levels(_unpacked(path, opened), image_shape, conversion.preprocessing)


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
        # Pillow repeats the whole path, which the list of bad files has.
        reason = str(error).replace(str(path), path.name)[:120]
        raise BadImageError(
            f"cannot be read as {FORMATS_IN_WORDS} ({type(error).__name__}: {reason})"
        ) from error


def _check(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_FILE_PIXELS:
        raise BadImageError(f"{width} × {height} pixels; at most {MAX_FILE_PIXELS:,} are unpacked")
    if picture.format not in _FIRST_OF_MANY and picture.format != "MPO" and _pictures(picture) > 1:
        raise BadImageError("animated; save one frame of it")
    if picture.mode not in (*_GREY_MODES, *_COLOUR_MODES):
        raise BadImageError(f"pixels of mode {picture.mode}; save it as grey or RGB of 8 or 16 bits")


def _is_grey(picture: Image.Image) -> bool:
    if picture.format == "GIF" and picture.mode == "P":
        # A GIF has a palette even where it is grey.
        palette = picture.getpalette() or []
        return palette[0::3] == palette[1::3] == palette[2::3]
    return picture.mode in _GREY_MODES or _raw_mode(picture) == _DEEP_GREY_AND_ALPHA


def _pictures(picture: Image.Image) -> int:
    return int(getattr(picture, "n_frames", 1))


def _unpacked(path: Path, picture: Image.Image) -> Picture:
    """The samples, and what the file says of them."""
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
        # Pillow turns white that is 0 into white that is 255, but not where a sample has 16 bits.
        return 65535 - levels if _tiff_tag(picture, _PHOTOMETRIC) == _WHITE_IS_ZERO else levels, 65535
    if raw in _LOW_BYTES:
        low = _reread(path, mode=picture.mode, raw=_LOW_BYTES[raw])
        return np.asarray(picture).astype(np.uint16) << 8 | low, 65535
    if raw == _DEEP_GREY_AND_ALPHA:
        # Pillow has no other order for these: their four bytes are read as those of RGBA.
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
    """The pixels of the same file, unpacked as if it stored them in another way."""
    with Image.open(path, formats=_FORMATS) as picture:
        picture._mode = mode
        picture.tile = [tile._replace(args=_with_raw_mode(tile.args, raw)) for tile in picture.tile]
        return np.asarray(picture)


def _with_raw_mode(arguments: Any, raw: str) -> Any:
    """PNG states the raw mode alone, TIFF and others as the first of several arguments."""
    return raw if isinstance(arguments, str) else (raw, *arguments[1:])


def _transparent(picture: Image.Image) -> tuple[int, ...] | None:
    """The one grey level or colour that is transparent, in samples of 8 or 16 bits; None without one."""
    key = picture.info.get("transparency")
    if isinstance(key, int) and picture.mode in _GREY_MODES:
        # Pillow scales grey levels of fewer bits to 8, but not the level that is transparent.
        bits = {"1": 1, "L;2": 2, "L;4": 4, "I;16B": 16}.get(_raw_mode(picture), 8)
        most = (1 << bits) - 1
        return ((key & most) * ((255 if bits <= 8 else most) // most),)
    if isinstance(key, tuple) and picture.mode == "RGB":
        most = 65535 if _raw_mode(picture) == "RGB;16B" else 255
        return tuple(sample & most for sample in key)
    return None


def _tiff_tag(picture: Image.Image, tag: int) -> Any:
    """Its value, or None where the file states none or is no TIFF."""
    return picture.tag_v2.get(tag) if isinstance(picture, TiffImagePlugin.TiffImageFile) else None


def _raw_mode(picture: Image.Image) -> str:
    """How the file stores a pixel, in Pillow's words; empty once the pixels are unpacked."""
    tiles = getattr(picture, "tile", [])  # only those that come from a file have it
    arguments = tiles[0].args if tiles else None
    if isinstance(arguments, tuple) and arguments:
        arguments = arguments[0]
    return arguments if isinstance(arguments, str) else ""


def _orientation(picture: Image.Image) -> int:
    """Which way up a photograph is, by EXIF; 1 is as it lies. Pillow itself turns a TIFF.

    In a PNG the block comes before the pixels (PNG specification, third edition, table 7).
    """
    exif = picture.info.get("exif", b"")
    return exif_orientation(exif) if isinstance(exif, bytes) else 1

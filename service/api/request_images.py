"""Pictures in a request body to images of a model.

Knows the picture codecs, limits and the preprocessing of a manifest. Knows nothing of requests or engines.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.drawing import NoFigure
from model_store.echo import echo
from model_store.manifest import UNSTATED_PREPROCESSING, Preprocessing
from model_store.pictures import (
    Fit,
    Picture,
    Prepared,
    Treatment,
    exif_orientation,
    prepared_image,
    upright_size,
)
from service.codecs.errors import CodecError, Defect, InvalidValue, PictureTooLarge
from service.codecs.jpeg_segments import PIXELS_IN_ONE
from service.codecs.picture_reader import still_picture
from service.codecs.shapes import image_axes
from service.http.parameters import Limits

#: Headers of an answer to pictures.
PICTURE_HEADER: Final = "X-Picture"
WARNING_HEADER: Final = "X-Warning"
#: All pictures of one request together may have so many times the pixels of the largest one.
PICTURES_AT_MOST: Final = 8
_UPRIGHT: Final = 1
#: Groups of equal pictures that a header describes.
_MOST_DESCRIBED: Final = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """The choices of a client."""

    resize: bool = False
    """Accept any size."""
    fit: Fit | None = None
    """The way from any size to that of the model; None: as the model was trained, `contain` if its manifest
    does not state it."""
    invert: bool | None = False
    """None: if the ground looks inverted."""

    @classmethod
    def of(cls, resize: bool, fit: Fit | None, invert: str | None) -> Reading:
        """The parameters `resize`, `fit` and `invert` of a request."""
        return cls(resize, fit, {"auto": None, "yes": True, "true": True}.get(invert or "no", False))


def read_pictures(
    pictures: Sequence[bytes],
    pixels: Sequence[int],
    *,
    shape: tuple[int, ...],
    limits: Limits,
    preprocessing: Preprocessing,
    reading: Reading,
    is_one: bool,
    name: str = "images",
    file_names: Sequence[str] = (),
    check: Callable[[], None],
) -> tuple[NDArray[np.float32], tuple[Treatment, ...]]:
    """One image for each picture.

    Args:
        pictures: The files.
        pixels: The stated number of pixels of each.
        shape: (C, H, W) of an image.
        limits: Of the server.
        preprocessing: The preprocessing in the model's manifest.
        reading: The choices of the client.
        is_one: The body is the picture itself: errors do not name its place.
        name: Of the array, for messages.
        file_names: Of the pictures, for messages, or none.
        check: Called before each picture; it raises if the result is no longer wanted.

    Returns:
        Images, float32 (N, C, H, W) in [0, 1], and what was done to each.

    Raises:
        CodecError: See `read_picture`.
        InvalidValue: Too many pictures.
        PictureTooLarge: Too many pixels in all of them.
    """
    _refuse_too_many(len(pictures), sum(pixels), shape, limits)
    images = np.empty((len(pictures), *shape), np.float32)
    treatments = []
    for index, picture in enumerate(pictures):
        check()
        try:
            done = read_picture(
                picture,
                shape=shape,
                max_pixels=max(limits.max_picture_pixels, shape[1] * shape[2]),
                preprocessing=preprocessing,
                reading=reading,
            )
        except CodecError as error:
            file_name = file_names[index] if file_names else ""
            raise error if is_one else at_image(error, index, name, file_name) from None
        images[index] = done.image
        treatments.append(done.treatment)
    return images, tuple(treatments)


def _refuse_too_many(count: int, pixels: int, shape: tuple[int, ...], limits: Limits) -> None:
    """Bound the time and the memory of all pictures together."""
    image_axes(shape).check_count(count, max_rows=limits.max_images)
    most = max(1, limits.max_values // math.prod(shape))
    if count > most:
        raise InvalidValue(
            "images",
            f"at most {most} pictures for images of {' × '.join(map(str, shape))}",
            str(count),
            "Send them in several requests.",
        )
    most = PICTURES_AT_MOST * limits.max_picture_pixels
    if count > 1 and pixels > most:
        raise PictureTooLarge(
            "images",
            f"at most {most} pixels in all pictures together",
            str(pixels),
            "Send them in several requests, or scale them down.",
        )


def read_picture(
    data: bytes,
    *,
    shape: tuple[int, ...],
    max_pixels: int,
    preprocessing: Preprocessing = UNSTATED_PREPROCESSING,
    reading: Reading = Reading(),
) -> Prepared:
    """One image from a PNG of any colour type and depth, a JPEG or a WebP.

    Grey becomes colour by repetition; colour becomes grey by ITU-R BT.601 luma. Transparent pixels become the
    ground of the preprocessing, after inversion too. A transparent colour is compared at the depth of the
    file. The orientation of EXIF is applied.

    Args:
        data: The whole file.
        shape: (C, H, W) of the result, C 1 or 3.
        max_pixels: Maximum number of pixels to decode, checked before. A JPEG of up to four times as many
            is decoded at half its width and height.
        preprocessing: The preprocessing in the model's manifest.
        reading: The choices of the client.

    Returns:
        float32 (C, H, W) in [0, 1], and what was done.

    Raises:
        MalformedBody: None of these formats, or a broken file.
        PictureTooLarge: More than `max_pixels`.
        InvalidValue: Another size than H × W where none is accepted, an animation, C other than 1 or 3, or no
            figure for `mnist`.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise InvalidValue(
            "body",
            f"an image of {channels} channels",
            "a picture, which has 1 or 3",
            "Send the image as application/x-npy or JSON.",
        )
    # A picture is never halved to less than the model's image, nor if it has just that size.
    may_be_halved = PIXELS_IN_ONE * height * width <= max_pixels
    still = still_picture(data, max_pixels=max_pixels, may_be_halved=may_be_halved)
    orientation = exif_orientation(still.exif) if still.exif else _UPRIGHT
    upright = upright_size(still.width, still.height, orientation)
    if not reading.resize and reading.fit is None and upright != (width, height):
        raise InvalidValue(
            "body",
            f"a {still.kind} of {width} × {height} pixels",
            f"{upright[0]} × {upright[1]}",
            "Send that size, or add ?resize=true, or choose how with ?fit=contain, cover, stretch or mnist.",
        )
    read = still.read()
    picture = Picture(read.samples, read.most, orientation, read.transparent)
    fit = reading.fit or usual_fit(preprocessing)
    try:
        done = prepared_image(picture, shape, preprocessing, fit=fit, invert=reading.invert)
    except NoFigure:
        raise _no_figure(preprocessing, reading) from None
    if done.treatment.size == upright:
        return done
    return Prepared(done.image, done.treatment._replace(size=upright, decoded=done.treatment.size))


def _no_figure(how: Preprocessing, reading: Reading) -> InvalidValue:
    lighter = "lighter" if how.ground == "black" else "darker"
    remedy = "Is it empty? Draw a figure, or choose another fit."
    if reading.invert is not None:
        state = "dark on light" if how.ground == "black" else "light on dark"
        remedy = f"Send invert=auto if the picture is {state}. {remedy}"
    return InvalidValue("body", f"a figure {lighter} than its ground, for fit=mnist", "none", remedy)


def usual_fit(how: Preprocessing) -> Fit | None:
    """The way of a picture that a client does not choose; None: that of the preprocessing."""
    return "contain" if how == UNSTATED_PREPROCESSING else None


def at_image(error: CodecError, index: int, name: str, file_name: str = "") -> CodecError:
    """The error of one of several pictures, which names it."""
    of_file = f" in the file {echo(file_name)}" if file_name else ""
    defects = [
        Defect(f"{name}[{index}]", each.expected, each.got + of_file, each.remedy)
        if each.where == "body"
        else each
        for each in error.defects
    ]
    first, *others = defects
    return type(error)(first.where, first.expected, first.got, first.remedy, others=others)


@functools.lru_cache(maxsize=64)  # most pictures of a client are treated alike
def picture_headers(
    treatments: tuple[Treatment, ...], *, ground: str | None
) -> tuple[tuple[bytes, bytes], ...]:
    """What was done to the pictures, and a warning about those that look inverted.

    Args:
        treatments: Of each picture, in the order of the images.
        ground: `black` or `white`, the ground that the model expects; None: no warning.
    """
    if not treatments:
        return ()
    headers = [(PICTURE_HEADER.lower().encode(), ", ".join(_described(treatments)).encode("ascii"))]
    suspects = [f"images[{i}]" for i, each in enumerate(treatments) if each.looks_inverted]
    if suspects and ground is not None:
        more = len(suspects) - _MOST_DESCRIBED
        listed = ", ".join(suspects[:_MOST_DESCRIBED]) + (f" and {more} more" if more > 0 else "")
        light = "dark on a light ground" if ground == "black" else "light on a dark ground"
        other = "light on a dark one" if ground == "black" else "dark on a light one"
        text = f"{listed}: looks {light}, and the model expects {other}; send invert=auto, yes or no"
        headers.append((WARNING_HEADER.lower().encode(), text.encode("ascii")))
    return tuple(headers)


def _described(treatments: Sequence[Treatment]) -> Iterator[str]:
    """Equal neighbours are described once; the rest is counted."""
    groups = [(each, sum(1 for _ in same)) for each, same in groupby(treatments)]
    for each, count in groups[:_MOST_DESCRIBED]:
        width, height = each.size
        facts = [
            f"{width}x{height}",
            *([f"decoded={each.decoded[0]}x{each.decoded[1]}"] if each.decoded else []),
            f"fit={each.fit or 'none'}",
            f"resampling={'antialias' if each.fit else 'none'}",
            f"inverted={'yes' if each.is_inverted else 'no'}",
            *([f"orientation={each.orientation}"] if each.orientation != _UPRIGHT else []),
            *([f"count={count}"] if count > 1 else []),
        ]
        yield "; ".join(facts)
    rest = sum(count for _, count in groups[_MOST_DESCRIBED:])
    if rest:
        yield f"others; count={rest}"

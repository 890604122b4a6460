"""A PNG in a request body to one image of a model.

Knows the PNG codec and the preprocessing of a manifest. Knows nothing of requests or engines.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import UNSTATED_PREPROCESSING, Preprocessing
from model_store.pictures import Picture, exif_orientation, prepared_image, upright_size
from service.codecs.errors import InvalidValue
from service.codecs.images import MAX_PIXELS_IN, read_samples
from service.codecs.png_chunks import minimal_png

_UPRIGHT: Final = 1


def decode_png(
    data: bytes,
    *,
    shape: tuple[int, ...],
    preprocessing: Preprocessing = UNSTATED_PREPROCESSING,
    resize: bool = False,
    invert: bool = False,
    max_pixels: int = MAX_PIXELS_IN,
) -> NDArray[np.float32]:
    """One image from a PNG of any colour type and depth.

    Grey becomes colour by repetition; colour becomes grey by ITU-R BT.601 luma. Transparent pixels become the
    ground of the preprocessing, after inversion too. A transparent colour is compared at the depth of the
    file. The orientation in an eXIf chunk is applied.

    Args:
        data: The whole file.
        shape: (C, H, W) of the result, C 1 or 3.
        preprocessing: The preprocessing in the model's manifest.
        resize: Accept any size, and crop or stretch it to H × W by `preprocessing`.
        invert: Dark on light becomes light on dark: v → 1 - v.
        max_pixels: Maximum number of pixels of the file, checked before it is decoded.

    Returns:
        float32, shape (1, C, H, W), in [0, 1].

    Raises:
        MalformedBody: Not a PNG, or a broken one.
        PictureTooLarge: More than `max_pixels`.
        InvalidValue: Another size than H × W without `resize`, an animation, or C other than 1 or 3.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise InvalidValue(
            "body",
            f"an image of {channels} channels",
            "a PNG, which has 1 or 3",
            "Send the image as application/x-npy or JSON.",
        )
    png = minimal_png(data, max_pixels=max_pixels)
    orientation = exif_orientation(png.exif) if png.exif else _UPRIGHT
    upright = upright_size(png.header.width, png.header.height, orientation)
    if not resize and upright != (width, height):
        raise InvalidValue(
            "body",
            f"a PNG of {width} × {height} pixels",
            f"{upright[0]} × {upright[1]}",
            "Send that size, or add ?resize=true.",
        )
    read = read_samples(png)
    picture = Picture(read.samples, read.most, orientation, read.transparent)
    return prepared_image(picture, shape, preprocessing, invert=invert)[np.newaxis]

"""Images and latents from JSON values and npy files; arrays to npy and npz.

The only entrance to the number codecs: parsing is in `strict_json.py`, nested lists in `nested_lists.py`,
files in `npy.py`. Knows shapes and ranges. Knows nothing of models or HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue
from service.codecs.fast_json import plain_rows
from service.codecs.nested_lists import array_from_nested, nesting
from service.codecs.npy import decode_npy, encode_npy, encode_npz, npy_header, shape_in_npy
from service.codecs.npz_reader import read_npz
from service.codecs.ranges import finite_float32, unit_interval
from service.codecs.shapes import Axes, image_axes, latent_axes
from service.codecs.strict_json import parse_json_object

__all__ = [
    "decode_latents",
    "decode_npy",
    "encode_npy",
    "encode_npz",
    "images_from_json",
    "latents_from_json",
    "npy_header",
    "parse_json_object",
    "plain_images",
    "plain_latents",
    "read_npz",
    "shape_in_npy",
]


def images_from_json(
    value: object, shape: Sequence[int], *, max_images: int, is_bounded: bool = True
) -> NDArray[np.float32]:
    """Images from nested lists of numbers in [0, 1], (N, C, H, W), or (N, H, W) if C is 1.

    Args:
        value: The result of the JSON parser.
        shape: (C, H, W) of one image.
        max_images: Maximum number of images.
        is_bounded: Whether the numbers are pixels in [0, 1], or any finite ones.

    Returns:
        float32, C-contiguous, shape (N, C, H, W).

    Raises:
        InvalidValue: Up to ten defects, each with its index path.
    """
    axes = image_axes(shape)
    within = unit_interval if is_bounded else finite_float32
    return within(_array(value, axes, max_images), where=axes.where)


def latents_from_json(
    value: object, size: int | Sequence[int], *, max_images: int, where: str = "z"
) -> NDArray[np.float32]:
    """Latents from a list of lists of `size` finite numbers, which a body calls `where`.

    Args:
        value: The result of the JSON parser.
        size: Number of values of one latent, or its shape.
        max_images: Maximum number of latents.
        where: Their name in messages.

    Returns:
        float32, C-contiguous, shape (N, *size).

    Raises:
        InvalidValue: Up to ten defects, each with its index path.
    """
    axes = latent_axes(size, where=where)
    return finite_float32(_array(value, axes, max_images), where=axes.where)


def plain_images(
    body: bytes | bytearray, shape: Sequence[int], *, max_images: int, is_bounded: bool = True
) -> NDArray[np.float32] | None:
    """The result of `images_from_json` for a body that is exactly `{"images": [...]}`, read in one step.

    None for anything unusual, valid or not: then read it the strict way.

    Raises:
        InvalidValue: Pixels outside [0, 1], as `images_from_json`.
    """
    axes = image_axes(shape)
    rows = plain_rows(body, "images", axes.forms, max_rows=max_images)
    within = unit_interval if is_bounded else finite_float32
    return None if rows is None else within(rows.reshape(-1, *shape), where=axes.where)


def plain_latents(
    body: bytes | bytearray, size: int | Sequence[int], *, max_images: int
) -> NDArray[np.float32] | None:
    """The same for `{"z": [...]}` and `latents_from_json`."""
    axes = latent_axes(size)
    rows = plain_rows(body, "z", axes.forms, max_rows=max_images)
    return None if rows is None else finite_float32(rows.reshape(-1, *axes.row), where=axes.where)


def decode_latents(
    values: NDArray[np.floating[Any]], size: int | Sequence[int], *, max_images: int, where: str = "z"
) -> NDArray[np.float32]:
    """Latents from an array of any float type, (N, *size) or flat.

    Returns:
        float32, C-contiguous, shape (N, *size).

    Raises:
        InvalidValue: Another shape, or a number that is not finite.
    """
    axes = latent_axes(size, where=where)
    full = axes.accept(values.shape, max_rows=max_images, is_file=True)
    return finite_float32(values.reshape(full), where=axes.where)


def _array(value: object, axes: Axes, max_rows: int) -> NDArray[np.float64]:
    """float64 of shape (N, *row); the nesting of the first row selects the form."""
    if not isinstance(value, list):
        raise InvalidValue(
            axes.where, f"lists of numbers, {axes.text}", describe(value), f"Send {axes.text}."
        )
    full = (len(value), *axes.row)
    lengths, bottom = nesting(value, deepest=len(full) + 1)
    other = next((form for form in axes.forms[1:] if len(form) == len(lengths) - 1), None)
    if value and (len(lengths) != len(full) or axes.is_channels_last(lengths)) and other is None:
        shape_is_all = isinstance(bottom, list) or type(bottom) in (int, float)
        deeper = "at least " if len(lengths) > len(full) else ""
        raise InvalidValue(
            axes.where,
            f"lists nested as {axes.text}",
            f"{shape_text(lengths) if shape_is_all else describe(bottom)}, {deeper}{len(lengths)} deep",
            axes.remedy(lengths),
        )
    axes.check_count(len(value), max_rows=max_rows)
    sizes = full if other is None else (full[0], *other)
    return array_from_nested(value, sizes, where=axes.where).reshape(full)

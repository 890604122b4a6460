"""Images and latents from JSON values and npy files; arrays to npy and npz.

The only entrance to the number codecs: parsing is in `strict_json.py`, nested lists in `nested_lists.py`,
files in `npy.py`. Knows shapes and ranges. Knows nothing of models or HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue
from service.codecs.fast_json import plain_rows
from service.codecs.nested_lists import array_from_nested, nesting
from service.codecs.npy import decode_npy, encode_npy, encode_npz, npy_header
from service.codecs.npz_reader import read_npz
from service.codecs.ranges import finite_float32, unit_interval
from service.codecs.shapes import Axes, image_axes, latent_axes
from service.codecs.strict_json import parse_json_object

__all__ = [
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
]


def images_from_json(value: object, shape: Sequence[int], *, max_images: int) -> NDArray[np.float32]:
    """Images from nested lists of numbers in [0, 1], (N, C, H, W), or (N, H, W) if C is 1.

    Args:
        value: The result of the JSON parser.
        shape: (C, H, W) of one image.
        max_images: Maximum number of images.

    Returns:
        float32, C-contiguous, shape (N, C, H, W).

    Raises:
        InvalidValue: Up to ten defects, each with its index path.
    """
    axes = image_axes(shape)
    return unit_interval(_array(value, axes, max_images), where=axes.where)


def latents_from_json(value: object, size: int, *, max_images: int, where: str = "z") -> NDArray[np.float32]:
    """Latents from a list of lists of `size` finite numbers, which a body calls `where`.

    Returns:
        float32, C-contiguous, shape (N, size).

    Raises:
        InvalidValue: Up to ten defects, each with its index path.
    """
    axes = latent_axes(size, where=where)
    return finite_float32(_array(value, axes, max_images), where=axes.where)


def plain_images(
    body: bytes | bytearray, shape: Sequence[int], *, max_images: int
) -> NDArray[np.float32] | None:
    """The result of `images_from_json` for a body that is exactly `{"images": [...]}`, read in one step.

    None for anything unusual, valid or not: then read it the strict way.

    Raises:
        InvalidValue: Pixels outside [0, 1], as `images_from_json`.
    """
    axes = image_axes(shape)
    rows = plain_rows(body, "images", axes.forms, max_rows=max_images)
    return None if rows is None else unit_interval(rows.reshape(-1, *shape), where=axes.where)


def plain_latents(body: bytes | bytearray, size: int, *, max_images: int) -> NDArray[np.float32] | None:
    """The same for `{"z": [...]}` and `latents_from_json`."""
    axes = latent_axes(size)
    rows = plain_rows(body, "z", axes.forms, max_rows=max_images)
    return None if rows is None else finite_float32(rows, where=axes.where)


def _array(value: object, axes: Axes, max_rows: int) -> NDArray[np.float64]:
    """float64 of shape (N, *row); the nesting of the first row selects the form."""
    if not isinstance(value, list):
        raise InvalidValue(
            axes.where, f"lists of numbers, {axes.text}", describe(value), f"Send {axes.text}."
        )
    full = (len(value), *axes.row)
    lengths, bottom = nesting(value, deepest=len(full) + 1)
    grey = len(full) == 4 and axes.row[0] == 1 and len(lengths) == 3
    if value and (len(lengths) != len(full) or axes.is_channels_last(lengths)) and not grey:
        shape_is_all = isinstance(bottom, list) or type(bottom) in (int, float)
        deeper = "at least " if len(lengths) > len(full) else ""
        raise InvalidValue(
            axes.where,
            f"lists nested as {axes.text}",
            f"{shape_text(lengths) if shape_is_all else describe(bottom)}, {deeper}{len(lengths)} deep",
            axes.remedy(lengths),
        )
    axes.check_count(len(value), max_rows=max_rows)
    sizes = (full[0], *full[2:]) if grey else full
    return array_from_nested(value, sizes, where=axes.where).reshape(full)

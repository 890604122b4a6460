"""Latents between a remote program and a model: packed in patches, scaled, shifted, of any size.

Knows shapes and factors. Knows nothing of requests or of running a model.

    z = latents / scaling_factor + shift_factor            to decode, in this order
    latents = (z - shift_factor) · scaling_factor          after encoding
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store import LatentSpec
from service.api.remote.query import RemoteQuery
from service.codecs.describe import shape_text
from service.codecs.errors import InvalidValue
from service.engine import LoadedModel, TileBounds, Tiles, plan_decoding
from service.http.problems import Item, ProblemError

#: Side of the patches that Flux packs into channels, and the pixels of each patch's side.
_PATCH: Final = 2
_PACKED_AXES: Final = 3


def unpacked(latents: NDArray[Any], query: RemoteQuery, *, factor: int) -> NDArray[Any]:
    """Latents (N, C, h, w) from packed ones, (N, h/2 · w/2, 4 C); others as they are.

    Args:
        latents: As they came.
        query: Has the size of the image, which a packed shape does not tell.
        factor: Pixels of the image for each latent.

    Raises:
        InvalidValue: The size is missing, or does not fit the number of patches.
    """
    if latents.ndim != _PACKED_AXES:
        return latents
    if query.height is None or query.width is None:
        raise InvalidValue(
            "height and width",
            "both, because the latents are packed (three axes)",
            "one" if query.height or query.width else "none",
            "Send the size of the image.",
        )
    rows, columns = (side // (_PATCH * factor) for side in (query.height, query.width))
    count, patches, values = latents.shape
    if rows * columns != patches or values % (_PATCH * _PATCH):
        raise InvalidValue(
            "shape",
            f"({count}, {rows * columns}, a multiple of {_PATCH * _PATCH}) for an image of {query.width} × "
            f"{query.height}",
            shape_text(latents.shape),
            "Correct height and width.",
        )
    channels = values // (_PATCH * _PATCH)
    split = latents.reshape(count, rows, columns, channels, _PATCH, _PATCH)
    return split.transpose(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * _PATCH, columns * _PATCH)


def for_decoder(
    latents: NDArray[Any], query: RemoteQuery, model: LoadedModel, *, bounds: TileBounds
) -> tuple[NDArray[np.float32], LoadedModel | Tiles]:
    """Latents as the decoder takes them, flat, and the version or the tiles for their size.

    Raises:
        InvalidValue: Another shape than the model has.
        InvalidInput: A size that the model does not decode, or not in the tiles that were asked for.
        ProblemError: The model's own factors were asked for, and it has none.
    """
    shape = model.latent_shape
    factor = model.image_shape[1] // shape[1] if len(shape) == _PACKED_AXES else 1
    latents = unpacked(latents, query, factor=factor)
    # Of several sizes, those of the channels have to agree; the plan looks at the others.
    fixed = len(shape) if model.sizes is None else 1
    if latents.ndim != 1 + len(shape) or latents.shape[1 : 1 + fixed] != shape[:fixed]:
        raise InvalidValue(
            "shape",
            f"latents {shape_text(('N', *shape))} of '{model.label}'",
            shape_text(latents.shape),
            "GET /models/{name} states the shape of its latents.",
        )
    plan = plan_decoding(model, latents.shape, tile=query.tile, bounds=bounds, where="shape")
    z = np.ascontiguousarray(latents, dtype=np.float32)
    divide, add = _normalisation(query, model)
    with np.errstate(over="ignore"):  # an infinite value is refused with the others
        if divide is not None:
            z = z / divide
        if add is not None:
            z = z + add
    return np.ascontiguousarray(z, np.float32).reshape(len(z), -1), plan


def from_encoder(z: NDArray[np.float32], query: RemoteQuery, model: LoadedModel) -> NDArray[np.float32]:
    """Latents as a remote program stores them, in their own shape."""
    latents = z.reshape(len(z), *model.latent_shape)
    divide, add = _normalisation(query, model)
    if add is not None:
        latents = latents - add
    if divide is not None:
        latents = latents * divide
    return np.ascontiguousarray(latents, np.float32)


Factor = NDArray[np.float32] | np.float32 | None


def _normalisation(query: RemoteQuery, model: LoadedModel) -> tuple[Factor, Factor]:
    """The factor that latents are divided by, and the shift that is added."""
    if not query.own_scaling:
        return _number(query.scaling_factor), _number(query.shift_factor)
    latent: LatentSpec | None = model.manifest.latent
    if latent is not None and latent.mean is not None and latent.std is not None:
        axes = (1, -1, *[1] * (len(model.latent_shape) - 1))
        std, mean = (np.asarray(each, np.float32).reshape(axes) for each in (latent.std, latent.mean))
        return np.asarray((latent.scaling_factor or 1.0) / std, np.float32), mean
    if latent is None or latent.scaling_factor is None:
        raise ProblemError.of_item(
            "invalid-parameter",
            Item(
                "query: do_scaling",
                "a model with a scaling factor of its own",
                f"'{model.label}', which has none",
                "Send scaling_factor, or leave out do_scaling.",
            ),
        )
    shift = query.shift_factor if query.shift_factor is not None else latent.shift_factor
    return _number(latent.scaling_factor), _number(shift)


def _number(value: float | None) -> np.float32 | None:
    return None if value is None else np.float32(value)

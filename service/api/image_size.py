"""The size of the images that a request is about, if the model accepts several.

Knows shapes, headers of files and the rule of a model's sizes. Knows nothing of the content of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_store.imported import image_shape_of
from model_store.pictures import exif_orientation, upright_size
from service.codecs.describe import shape_text
from service.codecs.errors import CodecError, InvalidValue
from service.codecs.picture_reader import still_picture
from service.engine import LoadedModel


def of_images(model: LoadedModel, shape: Sequence[int], *, where: str = "images") -> LoadedModel:
    """The version for images of the stated shape; the version itself if the shape is wrong in another way.

    Args:
        model: A version.
        shape: (N, C, H, W), or (N, H, W) for one channel, as a body states it.
        where: Name of the array, for messages.

    Raises:
        InvalidValue: The model does not accept this size.
    """
    channels = model.image_shape[0]
    is_stated = len(shape) == 4 and shape[1] == channels
    if not is_stated and not (len(shape) == 3 and channels == 1):
        return model
    return _of_size(model, shape[-2], shape[-1], where=where)


def of_latents(model: LoadedModel, shape: Sequence[int], *, where: str = "z") -> LoadedModel:
    """The same for the stated shape of latents, (N, c, h, w)."""
    default = model.latent_shape
    if len(shape) != 4 or shape[1] != default[0]:
        return model
    _, height, width = image_shape_of(shape[1:], default_image=model.image_shape, default_latent=default)
    return _of_size(model, height, width, where=where)


def of_picture(model: LoadedModel, picture: bytes, *, max_pixels: int) -> LoadedModel:
    """The same for the size of a picture file; the version itself if the file cannot be read."""
    try:
        still = still_picture(picture, max_pixels=max_pixels)
    except CodecError:
        return model  # reading it reports the fault
    orientation = exif_orientation(still.exif) if still.exif else 1
    width, height = upright_size(still.width, still.height, orientation)
    return _of_size(model, height, width, where="body")


def _of_size(model: LoadedModel, height: int, width: int, *, where: str) -> LoadedModel:
    found = model.of_size(height, width)
    if found is not None:
        return found
    sizes = model.manifest.image.sizes
    assert sizes is not None, "a model of one size has no other"
    raise InvalidValue(
        where,
        f"images with sides from {sizes.least} to {sizes.most} pixels, multiples of {sizes.multiple}",
        f"{shape_text((height, width))} (height, width)",
        "Scale or pad them to such a size; a picture may be scaled with ?resize=true.",
    )

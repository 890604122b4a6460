"""The limits of the server, and how many rows of a model one request can contain.

Knows /limits, /models and the number of values of an image or latent. Knows nothing of files or operations.
Each is asked for once in the life of a client, and only for more than one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from vae_client.answers import Limit, ModelSummary
from vae_client.context import Context
from vae_client.images_in import Batch, ImagesLike, PictureBatch, Room, batches_of
from vae_client.wire import Call, Plan

#: Pictures of one request together may have so many times the pixels of one.
_PICTURES_IN_ONE = 8


def limits(context: Context) -> Plan[dict[str, Limit]]:
    """Every limit of the server, by name."""
    answer = yield Call("GET", "/limits")
    found: dict[str, Limit] = {each["name"]: each for each in answer.json()["limits"]}
    context.limits = found
    return found


def known_limit(context: Context, name: str) -> Plan[int]:
    """One limit, which is asked for once in the life of a client."""
    found = yield from _limit(context, name)
    assert found is not None, f"every server has {name}"
    return found


def _limit(context: Context, name: str) -> Plan[int | None]:
    """The same; None if the server has no such limit, because it is older."""
    if context.limits is None:
        yield from limits(context)
    assert context.limits is not None
    return int(context.limits[name]["value"]) if name in context.limits else None


def summary(context: Context) -> Plan[ModelSummary]:
    """The version that answered last or, before any answer, the one that the client's reference means."""
    reference = context.answered or context.model
    if reference is None:
        answer = yield Call("GET", "/models")
        reference = str(answer.json()["default"])
    if reference not in context.summaries:
        answer = yield Call("GET", f"/models/{quote(reference, safe='@')}")
        found: ModelSummary = answer.json()
        context.summaries[reference] = context.summaries[found["model"]] = found
    return context.summaries[reference]


def rows_in_one(context: Context, row: Sequence[int] = (), *, is_latent: bool = False) -> Plan[int]:
    """Most images, or latents, of one request or whole answer.

    Args:
        context: That of the client.
        row: Shape of one image; an empty one stands for the image of the model.
        is_latent: `row` is the shape of a latent, whose image counts.
    """
    most = yield from known_limit(context, "max_images")
    return (yield from _by_values(context, most, "max_values", row, is_latent=is_latent))


def rows_in_one_stream(context: Context) -> Plan[int]:
    """Most images of one streamed answer."""
    most = yield from known_limit(context, "max_stream_images")
    return (yield from _by_values(context, most, "max_stream_values", ()))


def _by_values(
    context: Context, most: int, name: str, row: Sequence[int], *, is_latent: bool = False
) -> Plan[int]:
    most_values = yield from _limit(context, name)
    if most_values is None:
        return most
    is_image = bool(row) and not is_latent
    values = math.prod(row) if is_image else values_of(row, (yield from summary(context)))
    return max(1, min(most, most_values // values))


def values_of(latent: Sequence[int], model: ModelSummary) -> int:
    """Values of the image of one latent, or of the latent if it has more.

    Args:
        latent: Its shape; an empty or flat one stands for the latent of an image of the usual size.
        model: The version.
    """
    image = math.prod(model["image_shape"])
    size = model["latent_size"]
    if len(latent) > 1:
        # A model of open sizes decodes each position of a latent to as many pixels.
        image = image * math.prod(latent) // size
        size = math.prod(latent)
    return max(1, image, size)


def latent_rank(model: ModelSummary) -> int:
    """Axes of one latent: 1, if the version has no other shape."""
    return len(model.get("latent_shape", [model["latent_size"]]))


def room(context: Context, share: int, batches: Sequence[Batch], *, is_scaled: bool) -> Plan[Room]:
    """What one request may contain; see `fitting`."""
    values = yield from _limit(context, "max_values")
    picture_values: int | None = None
    channels = 1
    if values is not None and any(isinstance(batch, PictureBatch) for batch in batches):
        model = yield from summary(context)
        imported = model.get("imported")
        has_sizes = imported is not None and imported["sizes"] is not None
        channels = model["image_shape"][0]
        picture_values = None if has_sizes and not is_scaled else values_of((), model)
    return Room(
        images=(yield from known_limit(context, "max_images")),
        values=values,
        channels=channels,
        picture_values=picture_values,
        body_bytes=(yield from known_limit(context, "max_body_bytes")) // share,
        pixels=(yield from known_limit(context, "max_picture_pixels")) * _PICTURES_IN_ONE,
    )


def fitting(
    context: Context, images: ImagesLike, query: dict[str, Any], *, share: int = 1
) -> Plan[list[Batch]]:
    """Images as batches that one request each can contain.

    Args:
        context: That of the client.
        images: Anything that is an image.
        query: Parameters of the request, of which `fit` and `resize` scale pictures to the model's size.
        share: 2 leaves half of the body for something else.
    """
    batches = batches_of(images)
    if len(batches) == 1 and len(batches[0]) == 1:
        return batches
    is_scaled = query.get("fit") is not None or bool(query.get("resize"))
    most = yield from room(context, share, batches, is_scaled=is_scaled)
    return [part for batch in batches for part in batch.cut(most)]

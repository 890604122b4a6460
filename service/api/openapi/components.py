"""The schemas of arrays in `components.schemas`, which several operations share.

Arrays are described here and parsed elsewhere: their numbers go through orjson and NumPy. Knows shapes as
numbers. Knows nothing of requests or models.
"""

from __future__ import annotations

from service.api.openapi.examples import ExampleModel
from service.api.schema import Components, Schema
from service.engine import LATENT_BOUND
from service.http.parameters import Limits

#: The server computes with 32 bits; a client needs no more for a pixel.
_PIXEL: Schema = {"type": "number", "format": "float", "minimum": 0, "maximum": 1}
_LATENT: Schema = {"type": "number", "format": "float"}


def add_arrays(components: Components, limits: Limits, model: ExampleModel) -> None:
    """Add the arrays of requests and responses.

    Lengths that differ between models are described in words, for the default one, and not as bounds.
    """
    axes = (("image", limits.max_images), ("channel", None), ("row", None), ("pixel", None))
    images = _array("Images", *axes, leaf=_PIXEL, description="(N, C, H, W), each pixel in [0, 1].")
    # (N, H, W) is no second schema: a choice between arrays is no type in Java, and a poor one elsewhere.
    images_in = _array(
        "ImagesIn",
        *axes,
        leaf=_PIXEL,
        description="(N, C, H, W), each pixel a number in [0, 1]. "
        f"(C, H, W) of {model.name} is {model.image_shape}. With one channel, (N, H, W) works too.",
    )
    inner = len(model.latent_shape[1:])
    latents = _array(
        "Latents",
        ("latent", limits.max_images),
        *[("dimension", None)] * (1 + inner),
        leaf=_LATENT,
        description="(N, latent), one row per image." if not inner else "(N, latent_shape), one per image.",
    )
    latents_in = latents_schema(
        "LatentsIn",
        limits.max_images,
        description=f"(N, latent), one row per image. A row of {model.name} has {model.latent_size} numbers."
        if not inner
        else f"(N, latent_shape), one per image. The latents of {model.name} are {model.latent_shape}.",
        axes=1 + inner,
    )
    for schema in (images, images_in, latents, latents_in):
        components.add("schemas", schema["title"], schema)


def latents_schema(title: str, most: int, *, description: str, axes: int = 1) -> Schema:
    """Latents that a body holds, at most `most` of them, each of `axes` axes."""
    return _array(
        title,
        ("latent", most),
        *[("dimension", None)] * axes,
        leaf={**_LATENT, "minimum": -LATENT_BOUND, "maximum": LATENT_BOUND},
        description=description,
    )


def _array(title: str, *axes: tuple[str, int | None], leaf: Schema, description: str) -> Schema:
    """Nested arrays, outermost axis first; None is a length that the model fixes."""
    schema = leaf
    for name, most in reversed(axes):
        schema = {"type": "array", "items": schema, "minItems": 1, "title": f"{name}s"}
        if most is not None:
            schema["maxItems"] = most
    return {**schema, "title": title, "description": description}

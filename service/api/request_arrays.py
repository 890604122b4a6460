"""The arrays and parameters of a request body, in whichever kind they come.

Knows kinds of body, codecs and the sizes that a model states. Knows nothing of what an operation does with
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.api.parameters import ImagesQuery
from service.api.request_images import decode_png
from service.codecs.tensors import (
    decode_npy,
    images_from_json,
    latents_from_json,
    parse_json_object,
    plain_images,
    plain_latents,
)
from service.engine import LoadedModel
from service.http.parameters import Limits, Parameters, read_object
from service.http.problems import Item, ProblemError
from service.http.request_body import Body, BodyKind

Floats = NDArray[np.float32]

#: Longest bodies that are read on the event loop, in bytes: about half a millisecond of work each. A PNG is
#: short and its pixels many.
_QUICK_BODY_BYTES: Final = {BodyKind.JSON: 65_536, BodyKind.NPY: 1_048_576, BodyKind.PNG: 2_048}


@dataclass(frozen=True)
class ArrayIn:
    """An array that a body may hold."""

    name: str
    """Its key in a JSON body."""
    axes: str
    """Its shape, for people."""
    component: str
    """Name of its schema in the OpenAPI document."""
    as_npy: str
    """What an npy file of it holds, for people."""
    is_images: bool
    """Whether a row is an image rather than a latent."""

    def row(self, model: LoadedModel) -> tuple[int, ...]:
        """Shape of one row."""
        return model.image_shape if self.is_images else (model.latent_size,)


IMAGES: Final = ArrayIn(
    name="images",
    axes="(N, C, H, W)",
    component="ImagesIn",
    as_npy="uint8 0 to 255 or float 0 to 1, (N, C, H, W), or (N, H, W) for one channel.",
    is_images=True,
)
Z: Final = ArrayIn(
    name="z",
    axes="(N, latent)",
    component="LatentsIn",
    as_npy="float32 or float64 (N, latent).",
    is_images=False,
)


def is_quick_to_read(body: Body) -> bool:
    """Whether a body may be read on the event loop."""
    return len(body.data) <= _QUICK_BODY_BYTES[body.kind]


def read_parameters(body: Body, parameters: type[Parameters], limits: Limits) -> Parameters:
    """The parameters of a JSON body that holds no arrays."""
    return read_object(parse_json_object(body.data, max_values=0), parameters, limits)


class BodyReader:
    """Reads the bodies of one operation."""

    def __init__(
        self,
        arrays: Sequence[ArrayIn],
        parameters: type[Parameters],
        limits: Limits,
        *,
        is_optional: bool = False,
    ) -> None:
        """Reads bodies of one of `arrays`, and of JSON the `parameters` too.

        Args:
            arrays: Of which a body holds exactly one. A PNG and npy hold the first.
            parameters: What a JSON body may hold besides.
            limits: Bounds from the settings.
            is_optional: Whether a body may be blank, or hold none of the arrays.
        """
        self._arrays = tuple(arrays)
        self._by_name = {array.name: array for array in arrays}
        self._parameters = parameters
        self._limits = limits
        self._is_optional = is_optional
        #: What a body without parameters stands for.
        self.none_in_body = read_object({}, parameters, limits)

    def read(self, body: Body, model: LoadedModel, query: object) -> tuple[Mapping[str, Floats], Parameters]:
        """The array of a body by its name, none if it may be left out, and the parameters of a JSON body.

        `images` are float32 (N, C, H, W) in [0, 1], `z` float32 (N, latent).

        Args:
            body: Of a kind that the operation takes.
            model: Whose sizes the arrays must have.
            query: Says how a PNG is to be read, where one may come.
        """
        if body.kind is BodyKind.JSON:
            return self._read_json(body, model)
        if body.kind is BodyKind.PNG:
            assert isinstance(query, ImagesQuery), "paths that take a PNG say how it is read"
            x = decode_png(
                bytes(body.data),
                shape=model.image_shape,
                preprocessing=model.manifest.image.preprocessing,
                resize=query.resize,
                invert=query.invert,
            )
            return {IMAGES.name: x}, self.none_in_body
        array = self._arrays[0]
        most = self._limits.max_images
        if not array.is_images:
            most = max(most, self._limits.max_stream_images)
        return {array.name: decode_npy(body.data, array.row(model), max_images=most)}, self.none_in_body

    def _read_json(self, body: Body, model: LoadedModel) -> tuple[Mapping[str, Floats], Parameters]:
        """Every key is known, and one of them at most is an array."""
        if self._is_optional and body.is_blank:
            return {}, self.none_in_body
        most = self._limits.max_images
        for array in self._arrays:  # the short way, for a body that holds nothing but that
            rows = (
                plain_images(body.data, model.image_shape, max_images=most)
                if array.is_images
                else plain_latents(body.data, model.latent_size, max_images=most)
            )
            if rows is not None:
                return {array.name: rows}, self.none_in_body
        row_size = max(math.prod(array.row(model)) for array in self._arrays)
        values = parse_json_object(body.data, max_values=most * row_size)
        parameters = read_object(values, self._parameters, self._limits, also=self._by_name)
        there = self._only_array(values)
        if there is None:
            return {}, parameters
        value = values[there.name]
        rows = (
            images_from_json(value, model.image_shape, max_images=most)
            if there.is_images
            else latents_from_json(value, model.latent_size, max_images=most)
        )
        return {there.name: rows}, parameters

    def _only_array(self, values: Mapping[str, object]) -> ArrayIn | None:
        """Which of the arrays a JSON body holds; None: none, where that is allowed.

        Raises:
            ProblemError: None where there must be one, or more than one.
        """
        there = [array for array in self._arrays if array.name in values]
        if len(there) == 1 or (not there and self._is_optional):
            return there[0] if there else None
        several = " or ".join(f"{array.name} {array.axes}" for array in self._arrays)
        first = self._arrays[0]
        raise ProblemError.of_item(
            "invalid-value",
            Item(
                f"body: {' or '.join(self._by_name)}",
                f"an array of numbers, {several if len(self._arrays) > 1 else first.axes}",
                "both" if there else "nothing",
                f'Send {{"{first.name}": [...]}}.',
            ),
        )

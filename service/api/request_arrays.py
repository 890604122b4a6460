"""The arrays and parameters of a request body of any kind.

Knows kinds of body, codecs and the sizes of a model. Knows nothing of the work of an operation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
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
    read_npz,
)
from service.engine import LoadedModel
from service.http.parameters import Limits, Parameters, read_object
from service.http.problems import Item, ProblemError
from service.http.request_body import Body, BodyKind

Floats = NDArray[np.float32]

#: Maximum sizes of bodies that are read on the event loop, in bytes: about half a millisecond of work each. A
#: PNG is short and has many pixels.
_QUICK_BODY_BYTES: Final = {
    BodyKind.JSON: 65_536,
    BodyKind.NPY: 1_048_576,
    BodyKind.NPZ: 1_048_576,
    BodyKind.PNG: 2_048,
}
#: Maximum size of an npy file without its numbers.
_NPY_HEAD_BYTES: Final = 8_192
_LONGEST_NUMBER_BYTES: Final = 8


@dataclass(frozen=True)
class ArrayIn:
    """An array in a body."""

    name: str
    """Its key in a JSON body."""
    axes: str
    """Its shape, for people."""
    component: str | None
    """Name of its schema in the OpenAPI document; None: that of latents with its own bound."""
    as_npy: str
    """The contents of an npy file of it, for people."""
    is_images: bool
    """Whether a row is an image rather than a latent."""
    max_rows: int | None = None
    """Most rows; None: `max_images` of the settings."""

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
    """The parameters of a JSON body without arrays."""
    return read_object(parse_json_object(body.data, max_values=0), parameters, limits)


class BodyReader:
    """Reads the bodies of one operation."""

    def __init__(
        self,
        arrays: Sequence[ArrayIn],
        parameters: type[Parameters],
        limits: Limits,
        *,
        company: Sequence[ArrayIn] = (),
        is_optional: bool = False,
    ) -> None:
        """Reads bodies of one of `arrays`, each of `company`, and in JSON `parameters` too.

        Args:
            arrays: A body contains exactly one of these. A PNG and npy contain the first.
            parameters: Further keys of a JSON body.
            limits: Bounds from the settings.
            company: Arrays that a body must contain as well, all of them.
            is_optional: Whether a body may be blank, or contain none of the arrays.
        """
        self._arrays = tuple(arrays)
        self._company = tuple(company)
        self._by_name = {array.name: array for array in (*arrays, *company)}
        self._parameters = parameters
        self._limits = limits
        self._is_optional = is_optional
        #: The meaning of a body without parameters.
        self.none_in_body = read_object({}, parameters, limits)

    def read(self, body: Body, model: LoadedModel, query: object) -> tuple[Mapping[str, Floats], Parameters]:
        """The arrays of a body by name, none if they may be left out, and the parameters of a JSON body.

        First the one of which there is one, then those that come with it.

        `images` are float32 (N, C, H, W) in [0, 1], everything else float32 (N, latent).

        Args:
            body: A body of an accepted kind.
            model: The model that determines the sizes of the arrays.
            query: Parameters for reading a PNG, if PNG is accepted.
        """
        if body.kind is BodyKind.JSON:
            return self._read_json(body, model)
        if body.kind is BodyKind.NPZ:
            return self._read_npz(body, model), self.none_in_body
        if body.kind is BodyKind.PNG:
            assert isinstance(query, ImagesQuery), "paths that accept a PNG have parameters for reading it"
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

    def _read_npz(self, body: Body, model: LoadedModel) -> Mapping[str, Floats]:
        """Each array under its name, as numpy.savez writes them."""
        most_bytes = _LONGEST_NUMBER_BYTES * self._most_numbers(model) + _NPY_HEAD_BYTES * len(self._by_name)
        files = read_npz(body.data, self._by_name, max_bytes=most_bytes)
        return {
            array.name: decode_npy(
                files[array.name], array.row(model), max_images=self._most(array), where=array.name
            )
            for array in self._chosen(files)
        }

    def _read_json(self, body: Body, model: LoadedModel) -> tuple[Mapping[str, Floats], Parameters]:
        """Every key is known."""
        if self._is_optional and body.is_blank:
            return {}, self.none_in_body
        # The short way, for a body that holds nothing but one array.
        for array in self._arrays if not self._company else ():
            rows = (
                plain_images(body.data, model.image_shape, max_images=self._limits.max_images)
                if array.is_images
                else plain_latents(body.data, model.latent_size, max_images=self._limits.max_images)
            )
            if rows is not None:
                return {array.name: rows}, self.none_in_body
        values = parse_json_object(body.data, max_values=self._most_numbers(model))
        parameters = read_object(values, self._parameters, self._limits, also=self._by_name)
        return {
            array.name: self._rows_of(array, values[array.name], model) for array in self._chosen(values)
        }, parameters

    def _rows_of(self, array: ArrayIn, value: object, model: LoadedModel) -> Floats:
        most = self._most(array)
        if array.is_images:
            return images_from_json(value, model.image_shape, max_images=most)
        return latents_from_json(value, model.latent_size, max_images=most, where=array.name)

    def _most(self, array: ArrayIn) -> int:
        return self._limits.max_images if array.max_rows is None else array.max_rows

    def _most_numbers(self, model: LoadedModel) -> int:
        """Numbers of the largest body."""

        def numbers(array: ArrayIn) -> int:
            return self._most(array) * math.prod(array.row(model))

        return max(map(numbers, self._arrays)) + sum(map(numbers, self._company))

    def _chosen(self, there: Collection[str]) -> list[ArrayIn]:
        """The arrays that a body holds: one of those of which it holds one, then those that come with it.

        Raises:
            ProblemError: The body contains no array although it is required, or more than one.
        """
        chosen = [array for array in self._arrays if array.name in there]
        if len(chosen) != 1 and (chosen or not self._is_optional):
            raise _not_one(self._arrays, got="both" if chosen else "nothing")
        for array in self._company:
            if array.name not in there:
                raise _not_one((array,), got="nothing")
        return [*chosen, *self._company]


def _not_one(arrays: Sequence[ArrayIn], *, got: str) -> ProblemError:
    """The problem of a body that does not contain exactly one of these arrays."""
    several = " or ".join(f"{array.name} {array.axes}" for array in arrays)
    first = arrays[0]
    return ProblemError.of_item(
        "invalid-value",
        Item(
            f"body: {' or '.join(array.name for array in arrays)}",
            f"an array of numbers, {several if len(arrays) > 1 else first.axes}",
            got,
            f'Send {{"{first.name}": [...]}}.',
        ),
    )

"""The arrays and parameters of a request body of any kind.

Knows kinds of body, codecs and the sizes of a model. Knows nothing of the work of an operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.pictures import Treatment
from service.api.parameters import ImagesQuery
from service.api.request_contents import Contents, contents_of
from service.api.request_images import Reading, read_pictures
from service.codecs.tensors import (
    decode_npy,
    images_from_json,
    latents_from_json,
    parse_json_object,
    plain_images,
    plain_latents,
    read_npz,
)
from service.codecs.zip_reader import names_in_zip
from service.engine import LoadedModel
from service.http.parameters import Limits, Parameters, read_fields, read_object
from service.http.problems import Item, ProblemError
from service.http.request_body import Body, BodyKind

Floats = NDArray[np.float32]

#: Maximum sizes of bodies that are read on the event loop, in bytes: about half a millisecond of work each.
#: Pictures are short and have many pixels: `Contents.is_quick` decides about them.
_QUICK_BODY_BYTES: Final = {
    BodyKind.JSON: 65_536,
    BodyKind.NPY: 1_048_576,
    BodyKind.NPZ: 1_048_576,
    BodyKind.FORM: 65_536,
    BodyKind.ZIP: 16_384,
}
_ARCHIVES: Final = (BodyKind.NPZ, BodyKind.ZIP)
_NUMBERS: Final = (BodyKind.JSON, BodyKind.NPY)
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


@dataclass(frozen=True, slots=True)
class Read:
    """The content of a body, checked."""

    arrays: Mapping[str, Floats]
    """By name, none if they may be left out: first the one of which there is one, then those that come with
    it. `images` are float32 (N, C, H, W) in [0, 1], everything else float32 (N, latent)."""
    parameters: Parameters
    """Those of a JSON body or of a form."""
    treatments: tuple[Treatment, ...] = ()
    """What was done to each picture."""


def is_quick_to_open(body: Body) -> bool:
    """Whether a body may be taken apart on the event loop, or read if it contains numbers alone."""
    return len(body.data) <= _QUICK_BODY_BYTES.get(body.kind, len(body.data))


def is_of_numbers(body: Body) -> bool:
    """Whether a body has one part, of numbers."""
    return body.kind in _NUMBERS


def read_parameters(
    body: Body, parameters: type[Parameters], limits: Limits, *, in_query: Collection[str] = ()
) -> Parameters:
    """The parameters of a JSON body without arrays; `in_query` as of `BodyReader`."""
    return read_object(parse_json_object(body.data, max_values=0), parameters, limits, in_query=in_query)


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
        in_query: Collection[str] = (),
    ) -> None:
        """Reads bodies of one of `arrays`, each of `company`, and in JSON `parameters` too.

        Args:
            arrays: A body contains exactly one of these. A PNG and npy contain the first.
            parameters: Further keys of a JSON body.
            limits: Bounds from the settings.
            company: Arrays that a body must contain as well, all of them.
            is_optional: Whether a body may be blank, or contain none of the arrays.
            in_query: Parameters that only the query may contain, for messages.
        """
        self._arrays = tuple(arrays)
        self._company = tuple(company)
        self._by_name = {array.name: array for array in (*arrays, *company)}
        self._parameters = parameters
        self._limits = limits
        self._is_optional = is_optional
        self._in_query = in_query
        #: The meaning of a body without parameters.
        self.none_in_body = read_object({}, parameters, limits)

    def read(self, body: Body, model: LoadedModel) -> Read:
        """Arrays and parameters of a body of numbers alone, JSON or npy.

        Args:
            body: A body of an accepted kind.
            model: The model that determines the sizes of the arrays.
        """
        if body.kind is BodyKind.JSON:
            return Read(*self._read_json(body, model))
        array = self._arrays[0]
        most = model.max_batch
        if not array.is_images:
            most = max(most, self._limits.max_stream_images)
        return Read({array.name: decode_npy(body.data, array.row(model), max_images=most)}, self.none_in_body)

    def open(self, body: Body, model: LoadedModel) -> Contents:
        """The files and fields of any other body, not decoded yet."""
        limits = self._limits
        if body.kind in _ARCHIVES and self._is_of_arrays(body):
            names = self._by_name
            most_bytes = _LONGEST_NUMBER_BYTES * self._most_numbers(model) + _NPY_HEAD_BYTES * len(names)
            return Contents(arrays=read_npz(body.data, names, max_bytes=most_bytes))
        return contents_of(body, self._by_name, limits)

    def _is_of_arrays(self, body: Body) -> bool:
        """Whether the names in an archive are those of npz: words, with or without `.npy`."""
        names = names_in_zip(body.data, max_files=self._limits.max_images)
        if names is None:
            return body.kind is BodyKind.NPZ
        return all("." not in name.removesuffix(".npy") for name in names)

    def read_contents(
        self, contents: Contents, model: LoadedModel, query: object, check: Callable[[], None]
    ) -> Read:
        """Arrays, pictures and parameters of an opened body.

        Args:
            contents: The files and fields.
            model: The model that determines the sizes of the arrays.
            query: Parameters for reading pictures, if there are any.
            check: Raises if the result is no longer wanted; called before each picture.
        """
        parameters = read_fields(
            contents.fields, self._parameters, self._limits, also=self._by_name, in_query=self._in_query
        )
        there = [*contents.arrays, *([IMAGES.name] if contents.pictures else [])]
        chosen = self._chosen(there)
        arrays: dict[str, Floats] = {}
        treatments: tuple[Treatment, ...] = ()
        for array in chosen:
            if array.name not in contents.arrays:
                arrays[array.name], treatments = self._read_pictures(contents, model, query, check)
                continue
            data, most = contents.arrays[array.name], self._most(array, model)
            arrays[array.name] = decode_npy(data, array.row(model), max_images=most, where=array.name)
        return Read(arrays, parameters, treatments)

    def _read_pictures(
        self, contents: Contents, model: LoadedModel, query: object, check: Callable[[], None]
    ) -> tuple[Floats, tuple[Treatment, ...]]:
        """One image for each picture."""
        assert isinstance(query, ImagesQuery), "paths that accept pictures have parameters for reading them"
        return read_pictures(
            contents.pictures,
            contents.pixels,
            shape=model.image_shape,
            limits=self._limits,
            preprocessing=model.manifest.image.preprocessing,
            reading=Reading.of(query.resize, query.fit, query.invert),
            is_one=contents.is_one_picture,
            file_names=contents.file_names,
            check=check,
        )

    def _read_json(self, body: Body, model: LoadedModel) -> tuple[Mapping[str, Floats], Parameters]:
        """Every key is known."""
        if self._is_optional and body.is_blank:
            return {}, self.none_in_body
        # The short way, for a body that holds nothing but one array.
        for array in self._arrays if not self._company else ():
            most = self._most_in_json(array, model, body)
            rows = (
                plain_images(body.data, model.image_shape, max_images=most)
                if array.is_images
                else plain_latents(body.data, model.latent_size, max_images=most)
            )
            if rows is not None:
                return {array.name: rows}, self.none_in_body
        most_numbers = min(self._most_numbers(model), self._limits.max_json_values)
        values = parse_json_object(body.data, max_values=most_numbers)
        parameters = read_object(
            values, self._parameters, self._limits, also=self._by_name, in_query=self._in_query
        )
        return {
            array.name: self._rows_of(array, values[array.name], model, body)
            for array in self._chosen(values)
        }, parameters

    def _rows_of(self, array: ArrayIn, value: object, model: LoadedModel, body: Body) -> Floats:
        most = self._most_in_json(array, model, body)
        if array.is_images:
            return images_from_json(value, model.image_shape, max_images=most)
        return latents_from_json(value, model.latent_size, max_images=most, where=array.name)

    def _most(self, array: ArrayIn, model: LoadedModel) -> int:
        return model.max_batch if array.max_rows is None else array.max_rows

    def _most_in_json(self, array: ArrayIn, model: LoadedModel, body: Body) -> int:
        """Most rows of an array in this body.

        Raises:
            ProblemError: `invalid-value`: one row has more numbers than JSON may have.
        """
        most = self._most(array, model)
        if len(body.data) <= self._limits.max_json_values:
            return most  # a number needs a digit and a comma
        numbers = math.prod(array.row(model))
        most = min(most, self._limits.max_json_values // numbers)
        if not most:
            raise ProblemError.of_item(
                "invalid-value",
                Item(
                    array.name,
                    f"at most {self._limits.max_json_values} numbers in JSON",
                    f"rows of {numbers}",
                    "Send application/x-npy.",
                ),
            )
        return most

    def _most_numbers(self, model: LoadedModel) -> int:
        """Numbers of the largest body."""

        def numbers(array: ArrayIn) -> int:
            return self._most(array, model) * math.prod(array.row(model))

        return max(map(numbers, self._arrays)) + sum(map(numbers, self._company))

    def _chosen(self, there: Collection[str]) -> list[ArrayIn]:
        """The arrays that a body holds: one of those of which it holds one, then those that come with it.

        Raises:
            ProblemError: The body contains no array although it is required, or more than one.
        """
        chosen = [array for array in self._arrays if array.name in there]
        if len(there) > len(set(there)):
            raise _not_one(chosen, got="pictures and an array")
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

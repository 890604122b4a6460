"""The arrays and parameters of a request body of any kind.

Knows kinds of body, codecs and the sizes of a model. Knows nothing of the work of an operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.pictures import Treatment
from service.api.image_size import of_images, of_latents, of_picture
from service.api.parameters import ImagesQuery
from service.api.request_contents import Contents, contents_of
from service.api.request_images import Reading, read_pictures
from service.codecs.errors import InvalidValue
from service.codecs.nested_lists import nesting
from service.codecs.safetensors_file import latents_in_safetensors
from service.codecs.tensors import (
    decode_latents,
    decode_npy,
    images_from_json,
    latents_from_json,
    parse_json_object,
    plain_images,
    plain_latents,
    read_npz,
    shape_in_npy,
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
    BodyKind.SAFETENSORS: 1_048_576,
    BodyKind.FORM: 65_536,
    BodyKind.ZIP: 16_384,
}
_ARCHIVES: Final = (BodyKind.NPZ, BodyKind.ZIP)
_NUMBERS: Final = (BodyKind.JSON, BodyKind.NPY, BodyKind.SAFETENSORS)
#: Maximum size of an npy file without its numbers.
_NPY_HEAD_BYTES: Final = 8_192
_LONGEST_NUMBER_BYTES: Final = 8
_MOST_AXES: Final = 8


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
        return model.image_shape if self.is_images else model.latent_shape

    def of_size(self, model: LoadedModel, shape: Sequence[int]) -> LoadedModel:
        """The version for the size that the stated shape of this array implies."""
        if model.sizes is None:
            return model
        return (of_images if self.is_images else of_latents)(model, shape, where=self.name)


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


class Read(NamedTuple):
    """The content of a body, checked."""

    arrays: Mapping[str, Floats]
    """By name, none if they may be left out: first the one of which there is one, then those that come with
    it. `images` are float32 (N, C, H, W) in [0, 1], everything else float32 (N, latent), flat."""
    parameters: Parameters
    """Those of a JSON body or of a form."""
    treatments: tuple[Treatment, ...] = ()
    """What was done to each picture."""
    model: LoadedModel | None = None
    """The version for the size of these images, if that is another one."""


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
        """Arrays and parameters of a body of numbers alone, JSON, npy or safetensors.

        Args:
            body: A body of an accepted kind.
            model: The model that determines the sizes of the arrays.
        """
        if body.kind is BodyKind.JSON:
            return self._read_json(body, model)
        array = self._arrays[0]
        if body.kind is BodyKind.SAFETENSORS:
            shape, values = latents_in_safetensors(body.data, array.name)
            model = array.of_size(model, shape)
            most = self._most_in_file(array, model)
            z = decode_latents(values, array.row(model), max_images=most, where=array.name)
            return Read({array.name: _flat(z)}, self.none_in_body, model=model)
        if model.sizes is not None:
            model = array.of_size(model, shape_in_npy(body.data))
        rows = self._from_npy(array, body.data, model, most=self._most_in_file(array, model))
        return Read({array.name: rows}, self.none_in_body, model=model)

    def _most_in_file(self, array: ArrayIn, model: LoadedModel) -> int:
        """Most rows in a file of numbers: latents may be as many as a long response has images."""
        return model.max_batch if array.is_images else max(model.max_batch, self._limits.max_stream_images)

    def _from_npy(
        self, array: ArrayIn, data: bytes | bytearray, model: LoadedModel, *, most: int, where: str = "z"
    ) -> Floats:
        rows = decode_npy(
            data,
            array.row(model),
            max_images=most,
            where=where,
            is_image=array.is_images,
            is_bounded=model.queued.is_bounded,
        )
        return rows if array.is_images else _flat(rows)

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
        if model.sizes is not None:
            model = self._of_size(contents, chosen, model, query)
        arrays: dict[str, Floats] = {}
        treatments: tuple[Treatment, ...] = ()
        for array in chosen:
            if array.name not in contents.arrays:
                arrays[array.name], treatments = self._read_pictures(contents, model, query, check)
                continue
            data, most = contents.arrays[array.name], self._most(array, model)
            arrays[array.name] = self._from_npy(array, data, model, most=most, where=array.name)
        return Read(arrays, parameters, treatments, model)

    def _of_size(
        self, contents: Contents, chosen: Sequence[ArrayIn], model: LoadedModel, query: object
    ) -> LoadedModel:
        """The version for the size of the first array; pictures to be scaled have the default size."""
        for array in chosen[:1]:
            if array.name in contents.arrays:
                return array.of_size(model, shape_in_npy(contents.arrays[array.name]))
            is_scaled = isinstance(query, ImagesQuery) and (query.resize or query.fit is not None)
            if not is_scaled:
                return of_picture(model, contents.pictures[0], max_pixels=self._limits.max_picture_pixels)
        return model

    def _read_pictures(
        self, contents: Contents, model: LoadedModel, query: object, check: Callable[[], None]
    ) -> tuple[Floats, tuple[Treatment, ...]]:
        """One image for each picture."""
        assert isinstance(query, ImagesQuery), "paths that accept pictures have parameters for reading them"
        if not model.queued.is_bounded:
            raise InvalidValue(
                "body",
                f"numbers, because the values of '{model.label}' are no pixels",
                "a picture",
                "Send application/x-npy or JSON.",
            )
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

    def _read_json(self, body: Body, model: LoadedModel) -> Read:
        """Every key is known."""
        if self._is_optional and body.is_blank:
            return Read({}, self.none_in_body)
        # The short way, for a body that holds nothing but one array.
        for array in self._arrays if not self._company else ():
            most = self._most_in_json(array, model, body)
            rows = (
                plain_images(
                    body.data, model.image_shape, max_images=most, is_bounded=model.queued.is_bounded
                )
                if array.is_images
                else plain_latents(body.data, model.latent_shape, max_images=most)
            )
            if rows is not None:
                return Read({array.name: rows if array.is_images else _flat(rows)}, self.none_in_body)
        most_numbers = min(self._most_numbers(model), self._limits.max_json_values)
        values = parse_json_object(body.data, max_values=most_numbers)
        parameters = read_object(
            values, self._parameters, self._limits, also=self._by_name, in_query=self._in_query
        )
        chosen = self._chosen(values)
        if model.sizes is not None and chosen:
            lengths, _ = nesting(values[chosen[0].name], deepest=_MOST_AXES)
            model = chosen[0].of_size(model, lengths)
        arrays = {array.name: self._rows_of(array, values[array.name], model, body) for array in chosen}
        return Read(arrays, parameters, model=model)

    def _rows_of(self, array: ArrayIn, value: object, model: LoadedModel, body: Body) -> Floats:
        most = self._most_in_json(array, model, body)
        if array.is_images:
            bounded = model.queued.is_bounded
            return images_from_json(value, model.image_shape, max_images=most, is_bounded=bounded)
        return _flat(latents_from_json(value, model.latent_shape, max_images=most, where=array.name))

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
            sizes, row = model.manifest.image.sizes, math.prod(array.row(model))
            # A single image may have the largest size.
            largest = 0 if sizes is None else sizes.most**2 * row // math.prod(model.image_shape[1:])
            return max(self._most(array, model) * row, largest)

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


def _flat(latents: Floats) -> Floats:
    """Latents as the engine has them, (N, latent)."""
    return latents if latents.ndim == 2 else latents.reshape(len(latents), -1)


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

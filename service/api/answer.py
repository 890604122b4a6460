"""The answer of an operation as a class: its facts, then its arrays, in the order of its JSON.

Knows names, types and the formats that follow from them. Knows nothing of requests or of writing a response.
One class is the return value of a handler, the schema in the OpenAPI document and the type of a client. Only
the numbers of arrays are written separately, by orjson and NumPy (`responses`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.api.schema import OF_EACH
from service.engine import LARGEST_SEED
from service.http.document import COMPONENT
from service.http.negotiation import Format

#: Images, float32 (N, C, H, W) in [0, 1].
Images = Annotated[NDArray[np.float32], WithJsonSchema({COMPONENT: "Images"})]
#: Latents, or arrays of their shape, float32 (N, latent).
Latents = Annotated[NDArray[np.float32], WithJsonSchema({COMPONENT: "Latents"})]
#: One number for each image, float64 (N,).
PerImage = Annotated[
    NDArray[np.float64], WithJsonSchema({"type": "array", "items": {"type": "number"}, OF_EACH: True})
]
#: Whether something holds for each image, bool (N,).
FlagPerImage = Annotated[
    NDArray[np.bool_], WithJsonSchema({"type": "array", "items": {"type": "boolean"}, OF_EACH: True})
]
#: The seed of a response.
SeedFact = Annotated[int, Field(ge=0, le=LARGEST_SEED, examples=[7])]


@dataclass(frozen=True)
class Header:
    """A header that contains a fact of the answer."""

    name: str
    description: str

    @functools.cached_property
    def raw(self) -> bytes:
        """The name in the response."""
        return self.name.lower().encode("ascii")


class Answer(BaseModel):
    """Parent of every answer. A field with a default is left out of an answer without a value for it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    headers: ClassVar[Mapping[str, Header]] = MappingProxyType({})
    """Facts that are headers as well, in the order of the headers."""
    as_npz: ClassVar[str] = (
        "The arrays of the JSON answer as float32, its numbers and the prior, as numpy.savez does."
    )
    """The contents of this answer's npz."""
    array_names: ClassVar[tuple[str, ...]] = ()
    """Fields with arrays."""
    latent_names: ClassVar[tuple[str, ...]] = ()
    """Those of them that have the shape of latents."""
    fact_names: ClassVar[tuple[str, ...]] = ()
    """The other fields."""
    optional_facts: ClassVar[tuple[str, ...]] = ()
    """Those of them that are left out without a value."""
    formats: ClassVar[tuple[Format, ...]] = ()
    """Formats of such an answer, the default first."""

    model: Annotated[str, Field(examples=["mnist@4"])]
    """Label of the version that answered."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Sort the fields once, not for each answer."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.array_names = tuple(n for n, field in cls.model_fields.items() if _is_array(field.annotation))
        cls.latent_names = tuple(
            name for name in cls.array_names if _is_of_latents(cls.model_fields[name].metadata)
        )
        cls.fact_names = tuple(name for name in cls.model_fields if name not in cls.array_names)
        cls.optional_facts = tuple(n for n in cls.fact_names if not cls.model_fields[n].is_required())
        cls.formats = _formats(cls)

    def with_latents_of(self, shape: tuple[int, ...]) -> Self:
        """The same answer with latents of this shape instead of flat ones."""
        values = self.__dict__
        update = {name: values[name].reshape(-1, *shape) for name in self.latent_names}
        return self.model_copy(update=update)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays, by name."""
        values = self.__dict__
        return {name: values[name] for name in self.array_names if values[name] is not None}

    @property
    def facts(self) -> dict[str, object]:
        """All other fields, by name."""
        values = self.__dict__
        return {name: values[name] for name in self.fact_names}


def _is_array(annotation: Any) -> bool:
    return get_origin(annotation) is np.ndarray or any(map(_is_array, get_args(annotation)))


def _is_of_latents(metadata: list[Any]) -> bool:
    schemas = [each.json_schema for each in metadata if isinstance(each, WithJsonSchema)]
    return any(schema is not None and schema.get(COMPONENT) == "Latents" for schema in schemas)


def _is_per_image(annotation: Any, metadata: list[Any]) -> bool:
    schemas = [each.json_schema for each in metadata if isinstance(each, WithJsonSchema)]
    if any(schema is not None and OF_EACH in schema for schema in schemas):
        return True
    return any(_is_per_image(None, list(getattr(each, "__metadata__", ()))) for each in get_args(annotation))


def _formats(answer: type[Answer]) -> tuple[Format, ...]:
    """Images allow pictures and npy; one number for each image allows a table; arrays allow JSON and npz.

    Latents alone allow safetensors: they are what a trainer caches.
    """
    if "images" in answer.array_names:
        return (Format.JSON, Format.PNG, Format.JPEG, Format.WEBP, Format.NPY, Format.NPZ, Format.TEXT)
    fields = (answer.model_fields[name] for name in answer.array_names)
    if all(_is_per_image(field.annotation, field.metadata) for field in fields):
        return (Format.JSON, Format.NPZ, Format.TEXT)
    is_latents = bool(answer.latent_names)
    return (Format.JSON, Format.NPZ, *((Format.SAFETENSORS,) if is_latents else ()))

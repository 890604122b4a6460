"""The part of a manifest about images: their shape and range, and how an image file becomes one.

Knows what the manifest states. Knows nothing of pixels; `pictures` converts them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.imported import OpenSizes
from model_store.strict_model import FiniteFloat, StrictModel, never_null


class Preprocessing(StrictModel):
    """The conversion of an image file into one image: the same in training and in serving.

    The orientation of EXIF comes first, then the ground of transparent pixels, `fit`, grey or colour, and
    `levels`. SPEC.md, section 13, describes each step.
    """

    fit: Literal["crop", "stretch"]
    """`crop`: scale the largest middle part with the image's proportions. `stretch`: scale each axis
    separately."""
    ground: Literal["black", "white"]
    """The colour under transparent pixels."""
    levels: Literal[256] | None
    """256: pixels are rounded to whole levels 0 to 255, as training stores them. null: they are not
    rounded."""


#: The conversion of served images before manifests stated it, and still for those versions.
UNSTATED_PREPROCESSING = Preprocessing(fit="stretch", ground="black", levels=None)


class ImageSpec(StrictModel):
    """The form of one image: channels first, real values within `range`."""

    shape: tuple[
        Annotated[int, Field(ge=1, le=16)],
        Annotated[int, Field(ge=1, le=1024)],
        Annotated[int, Field(ge=1, le=1024)],
    ]
    """(channels, height, width); with `sizes`, that of images whose size is not stated."""
    range: tuple[FiniteFloat, FiniteFloat] | None = (0.0, 1.0)
    """The graphs' values of black and white; null: the values are no pixels and have no bounds. Only an
    imported model may state another range than [0, 1]."""
    preprocessing: Annotated[
        Preprocessing, Field(exclude_if=lambda stated: stated == UNSTATED_PREPROCESSING)
    ] = UNSTATED_PREPROCESSING
    """From schema version 3 on. An earlier version has no such key and means `stretch`, `black` and null."""
    sizes: Annotated[
        OpenSizes | None,
        Field(exclude_if=lambda sizes: sizes is None, json_schema_extra=never_null),
    ] = None
    """From schema version 5 on: the other sizes that the graphs accept. Without the key there are none."""

    @model_validator(mode="after")
    def _preprocessing_is_stated_once(self) -> ImageSpec:
        if "preprocessing" in self.model_fields_set and self.preprocessing == UNSTATED_PREPROCESSING:
            raise ValueError(
                "preprocessing: expected no key, because its value is the meaning of earlier "
                "versions without one"
            )
        return self

    @model_validator(mode="after")
    def _range_has_an_extent(self) -> ImageSpec:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range: expected two increasing numbers, got {list(self.range)}")
        return self

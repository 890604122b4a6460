"""The part of a manifest about the preview of a version.

Knows numbers and shapes. Knows nothing of the arrays, which `preview` reads from a file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.name_types import Label
from model_store.strict_model import StrictModel, Text

#: Limits of a preview: a map with more points is a blot, and a person recognises a thumbnail of this size.
MAX_PREVIEW_IMAGES = 500
MAX_THUMBNAIL_SIDE = 64


class PreviewSpec(StrictModel):
    """Posterior means of some real images, for people who look at the model.

    `preview.npz` contains them, with the images as thumbnails.
    """

    file: Literal["preview.npz"] = "preview.npz"
    images: Annotated[int, Field(ge=1, le=MAX_PREVIEW_IMAGES)]
    labels: Annotated[tuple[Label, ...], Field(max_length=1000)]
    """The labels that the images have; empty if they have none."""
    thumbnail: tuple[
        Annotated[int, Field(ge=1, le=16)],
        Annotated[int, Field(ge=1, le=MAX_THUMBNAIL_SIDE)],
        Annotated[int, Field(ge=1, le=MAX_THUMBNAIL_SIDE)],
    ]
    """(channels, height, width) of one of them."""
    protocol: Text
    """Choice of the images, and the images whose KL was averaged."""

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> PreviewSpec:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: expected each label once")
        return self

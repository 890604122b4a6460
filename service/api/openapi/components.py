"""Everything under `components.schemas`: arrays, and the documents that several paths share.

Arrays are described here and parsed elsewhere: their numbers go through orjson and NumPy. Knows shapes as
numbers. Knows nothing of requests or models.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from service.api.native.models import LoadFailure, Metric, ModelSummary
from service.api.openapi.examples import ExampleModel
from service.api.schema import Schema, reference, schema_of
from service.engine import LATENT_BOUND
from service.http.parameters import Limits
from service.http.problem_documents import OpenInferenceProblem, Problem

#: Documents that others refer to by name.
SHARED: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {"ModelSummary": ModelSummary, "Metric": Metric, "LoadFailure": LoadFailure}
)


def component_schemas(limits: Limits, model: ExampleModel) -> dict[str, Schema]:
    """Everything under `components.schemas` that does not depend on a path.

    Lengths that differ between models are described in words, for the default one, and not as bounds.
    """
    return {
        "Images": _array(
            ("image", limits.max_images),
            ("channel", None),
            ("row", None),
            ("pixel", None),
            leaf={"type": "number", "minimum": 0, "maximum": 1},
            description="(N, C, H, W), each pixel in [0, 1].",
        ),
        "ImagesIn": {
            "description": "(N, C, H, W), or (N, H, W) for one channel; each pixel a number in [0, 1]. "
            f"(C, H, W) of {model.name} is {model.image_shape}.",
            "anyOf": [
                reference("Images"),
                _array(
                    ("image", limits.max_images),
                    ("row", None),
                    ("pixel", None),
                    leaf={"type": "number", "minimum": 0, "maximum": 1},
                    description="(N, H, W) for a model of one channel.",
                ),
            ],
        },
        "Latents": _array(
            ("latent", limits.max_images),
            ("dimension", None),
            leaf={"type": "number"},
            description="(N, latent), one row per image.",
        ),
        "LatentsIn": latents_schema(
            limits.max_images,
            description=(
                f"(N, latent), one row per image. A row of {model.name} has {model.latent_size} numbers."
            ),
        ),
        "Problem": {**schema_of(Problem), "description": inspect.getdoc(Problem)},
        "OpenInferenceProblem": {
            **schema_of(OpenInferenceProblem),
            "description": inspect.getdoc(OpenInferenceProblem),
        },
        **{name: schema_of(document, components=SHARED) for name, document in SHARED.items()},
    }


def latents_schema(most: int, *, description: str) -> Schema:
    """Latents that a body holds, at most `most` of them."""
    return _array(
        ("latent", most),
        ("dimension", None),
        leaf={"type": "number", "minimum": -LATENT_BOUND, "maximum": LATENT_BOUND},
        description=description,
    )


def _array(*axes: tuple[str, int | None], leaf: Schema, description: str) -> Schema:
    """Nested arrays, outermost axis first; None is a length that the model fixes."""
    schema = leaf
    for name, most in reversed(axes):
        schema = {"type": "array", "items": schema, "minItems": 1, "title": f"{name}s"}
        if most is not None:
            schema["maxItems"] = most
    return {**schema, "description": description}

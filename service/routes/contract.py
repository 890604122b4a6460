"""What each path of the native API takes and gives, declared once.

The routes read it to parse and to answer, the OpenAPI document is generated from it, and a test
compares it with the README. Knows names and types; knows nothing of how anything is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from service.bodies import BodyKind
from service.negotiation import Form
from service.schemas.base import Scalars
from service.schemas.native import (
    Drawing,
    ImagesQuery,
    NoParameters,
    ReconstructQuery,
    ReconstructScalars,
    SampleQuery,
    SampleScalars,
)

IMAGE_FORMS = (Form.JSON, Form.PNG, Form.NPY, Form.NPZ, Form.TEXT)
ARRAY_FORMS = (Form.JSON, Form.NPZ)

#: What any path can answer, whatever it does.
EVERYWHERE = (
    "malformed-request",
    "method-not-allowed",
    "body-too-large",
    "head-too-large",
    "receipt-timeout",
    "too-many-connections",
    "internal-error",
    "shutting-down",
)
_WITH_MODEL = (
    "invalid-parameter",
    "unknown-model",
    "model-unavailable",
    "form-not-available",
)
_WITH_RUN = (*_WITH_MODEL, "inference-failed", "too-busy", "deadline-exceeded")
_WITH_BODY = ("malformed-body", "body-too-large", "media-type-not-supported", "invalid-value")

_AS_FILE: Mapping[BodyKind, str] = MappingProxyType(
    {
        BodyKind.JSON: "-d @images.json",
        BodyKind.PNG: "--data-binary @digit.png",
        BodyKind.NPY: "--data-binary @images.npy",
    }
)


@dataclass(frozen=True)
class Operation:
    """One path and what it means."""

    path: str
    methods: tuple[str, ...]
    summary: str
    description: str
    query: type[Scalars]
    forms: tuple[Form, ...]
    """Forms of the answer, the default first. Each is also a suffix of the path."""
    gives: tuple[str, ...]
    """Arrays in the answer, in the order of its JSON."""
    problems: tuple[str, ...]
    """Codes of `problems.PROBLEMS` that it can answer, beside `EVERYWHERE`."""
    bodies: Mapping[BodyKind, str] = field(default_factory=dict)
    """Kinds of body that POST takes, each with curl's argument for it."""
    takes: str | None = None
    """Name of the array in a JSON body."""
    body_scalars: type[Scalars] = NoParameters
    """Parameters that a JSON body may hold beside the array."""
    seeded: bool = False
    """Whether the answer can depend on a seed, which is then told in `X-Seed`."""


ENCODE = Operation(
    path="/encode",
    methods=("POST",),
    summary="Images to their posterior: mu and logvar",
    description="The diagonal Gaussian q(z|x) of each image: its mean `mu` and the log of its variance, "
    "`logvar` = log σ². No randomness is involved.",
    query=ImagesQuery,
    forms=ARRAY_FORMS,
    gives=("mu", "logvar"),
    problems=_WITH_RUN + _WITH_BODY,
    bodies=_AS_FILE,
    takes="images",
)

DECODE = Operation(
    path="/decode",
    methods=("POST",),
    summary="Latents to images",
    description="The decoder's mean image of each row of `z`. No randomness is involved.",
    query=Drawing,
    forms=IMAGE_FORMS,
    gives=("images",),
    problems=_WITH_RUN + _WITH_BODY,
    bodies=MappingProxyType({BodyKind.JSON: "-d @z.json", BodyKind.NPY: "--data-binary @z.npy"}),
    takes="z",
)

SAMPLE = Operation(
    path="/sample",
    methods=("GET", "POST"),
    summary="New images, drawn from a prior",
    description="Draws z from a prior and decodes it: from N(0, temperature² I) with `standard`; with "
    "`fitted` from a mixture of Gaussians that was fitted to the training images, whose spread the "
    "temperature scales; with a `label` from the mixture of its images alone. The same seed gives the same "
    "bytes for ever: image *i* of a seed does not depend on `n`, on other requests or on a restart. "
    "Parameters come in the query, or, by POST, in a JSON object; one that comes in both is refused.",
    query=SampleQuery,
    forms=IMAGE_FORMS,
    gives=("z", "images"),
    problems=(*_WITH_RUN, "no-prior", "unknown-label", *_WITH_BODY),
    bodies=MappingProxyType({BodyKind.JSON: '-d \'{"n": 4, "seed": 7}\''}),
    body_scalars=SampleScalars,
    seeded=True,
)

RECONSTRUCT = Operation(
    path="/reconstruct",
    methods=("POST",),
    summary="Images through the model and back",
    description="Encodes each image, takes z = mu (or, with `sample`, z = mu + sigma * eps) and decodes it. "
    "`sample` and `seed` come in the query, or in the JSON object beside `images`; one in both is refused.",
    query=ReconstructQuery,
    forms=IMAGE_FORMS,
    gives=("z", "images"),
    problems=_WITH_RUN + _WITH_BODY,
    bodies=_AS_FILE,
    takes="images",
    body_scalars=ReconstructScalars,
    seeded=True,
)

MODELS = Operation(
    path="/models",
    methods=("GET",),
    summary="What is loaded, and what failed to load",
    description="Every loaded version with its aliases, and every version that was refused, with the reason.",
    query=NoParameters,
    forms=(Form.JSON,),
    gives=(),
    problems=("invalid-parameter", "form-not-available"),
)

MODEL = Operation(
    path="/models/{name}",
    methods=("GET",),
    summary="One model: its manifest facts and metrics",
    description="`name` is a name, `name@version` or `name@alias`. Each metric carries its protocol.",
    query=NoParameters,
    forms=(Form.JSON,),
    gives=(),
    problems=("invalid-parameter", "unknown-model", "model-unavailable", "form-not-available"),
)

NATIVE = (SAMPLE, ENCODE, DECODE, RECONSTRUCT, MODELS, MODEL)

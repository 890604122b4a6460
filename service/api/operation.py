"""What each path of the native API takes and gives, declared once.

The routes read it to parse and to answer, the OpenAPI document is generated from it, and a test
compares it with the README. Knows names and types; knows nothing of how anything is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from service.api.latent_path_parameters import (
    InterpolateParameters,
    InterpolateQuery,
    TraverseParameters,
    TraverseQuery,
)
from service.api.parameters import (
    Drawing,
    ImagesQuery,
    NoParameters,
    ReconstructParameters,
    ReconstructQuery,
    SampleParameters,
    SampleQuery,
)
from service.api.score_parameters import ScoreParameters, ScoreQuery
from service.http.negotiation import Format
from service.http.parameters import Parameters
from service.http.request_body import BodyKind

IMAGE_FORMS = (Format.JSON, Format.PNG, Format.NPY, Format.NPZ, Format.TEXT)
ARRAY_FORMS = (Format.JSON, Format.NPZ)

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
    query: type[Parameters]
    forms: tuple[Format, ...]
    """Forms of the answer, the default first. Each is also a suffix of the path."""
    gives: tuple[str, ...]
    """Arrays in the answer, in the order of its JSON."""
    problems: tuple[str, ...]
    """Codes of `problems.PROBLEMS` that it can answer, beside `EVERYWHERE`."""
    bodies: Mapping[BodyKind, str] = field(default_factory=dict)
    """Kinds of body that POST takes, each with curl's argument for it."""
    takes: tuple[str, ...] = ()
    """Names of the arrays in a JSON body, of which it holds exactly one."""
    body_scalars: type[Parameters] = NoParameters
    """Parameters that a JSON body may hold beside the array."""
    seeded: bool = False
    """Whether the answer can depend on a seed, which is then told in `X-Seed`."""
    gives_sometimes: tuple[str, ...] = ()
    """Arrays that come after `gives`, if they were asked for."""
    rows: int | None = None
    """How many rows the array in a body has, where that is fixed."""
    is_body_optional: bool = False
    """Whether a body may be left out, or hold no array."""
    example: Mapping[str, object] = field(default_factory=dict)
    """Parameters in the document's example of a JSON body."""


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
    takes=("images",),
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
    takes=("z",),
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
    body_scalars=SampleParameters,
    seeded=True,
    example=MappingProxyType({"n": 4, "seed": 7}),
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
    takes=("images",),
    body_scalars=ReconstructParameters,
    seeded=True,
)

INTERPOLATE = Operation(
    path="/interpolate",
    methods=("POST",),
    summary="Images on the way between two",
    description="Decodes latents on the way from one end to the other: between two images, from mu to mu, or "
    "between two rows of `z`. The first and the last image are those that /decode gives for the ends, byte "
    "for byte. No randomness is involved. A PNG shows all in one row unless `columns` says otherwise.",
    query=InterpolateQuery,
    forms=IMAGE_FORMS,
    gives=("z", "images"),
    problems=_WITH_RUN + _WITH_BODY,
    bodies=MappingProxyType({BodyKind.JSON: "-d @ends.json", BodyKind.NPY: "--data-binary @images.npy"}),
    takes=("images", "z"),
    body_scalars=InterpolateParameters,
    rows=2,
    example=MappingProxyType({"steps": 8}),
)

TRAVERSE = Operation(
    path="/traverse",
    methods=("GET", "POST"),
    summary="Images along one or two latent dimensions",
    description="Decodes a grid: one or two latent dimensions take values on both sides of 0, every other "
    "one stays where mu of the image that was sent, or the one row of `z`, or the origin has it. Of two "
    "dimensions, the first changes from row to row and the second along each, in the arrays as in a PNG. No "
    "randomness is involved.",
    query=TraverseQuery,
    forms=IMAGE_FORMS,
    gives=("z", "images"),
    problems=_WITH_RUN + _WITH_BODY,
    bodies=_AS_FILE,
    takes=("images", "z"),
    body_scalars=TraverseParameters,
    rows=1,
    is_body_optional=True,
    example=MappingProxyType({"steps": 5}),
)

SCORE = Operation(
    path="/score",
    methods=("POST",),
    summary="How likely the model finds each image",
    description="For each image the terms of the evidence lower bound, `elbo` = -(`reconstruction_nll` + "
    "`kl`), with one z drawn from the posterior, and with `importance_samples` the importance-weighted bound "
    "`log_px` (arXiv:1509.00519, equation 8), which on average lies no further below log p(x), and comes "
    "nearer as K grows. All are estimates by `seed`, in nats under the prior N(0, I).\n\n"
    "What they do not prove: that an image is unusual. Images unlike any in training can score better than "
    "those of training (arXiv:1810.09136), so a score is no evidence of an anomaly. They compare images "
    "under one version with one binarisation, and nothing else: other versions may have another likelihood, "
    "and for a Gaussian one these are densities, which may be positive.",
    query=ScoreQuery,
    forms=(Format.JSON, Format.NPZ, Format.TEXT),
    gives=("reconstruction_nll", "kl", "elbo", "bits_per_dim"),
    gives_sometimes=("log_px", "bits_per_dim_iw"),
    problems=(*_WITH_RUN, "no-density", *_WITH_BODY),
    bodies=_AS_FILE,
    takes=("images",),
    body_scalars=ScoreParameters,
    seeded=True,
    example=MappingProxyType({"importance_samples": 16, "seed": 7}),
)

MODELS = Operation(
    path="/models",
    methods=("GET",),
    summary="What is loaded, and what failed to load",
    description="Every loaded version with its aliases, and every version that was refused, with the reason.",
    query=NoParameters,
    forms=(Format.JSON,),
    gives=(),
    problems=("invalid-parameter", "form-not-available"),
)

MODEL = Operation(
    path="/models/{name}",
    methods=("GET",),
    summary="One model: its manifest facts and metrics",
    description="`name` is a name, `name@version` or `name@alias`. Each metric carries its protocol.",
    query=NoParameters,
    forms=(Format.JSON,),
    gives=(),
    problems=("invalid-parameter", "unknown-model", "model-unavailable", "form-not-available"),
)

NATIVE = (SAMPLE, ENCODE, DECODE, RECONSTRUCT, INTERPOLATE, TRAVERSE, SCORE, MODELS, MODEL)

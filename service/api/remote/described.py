"""The paths of the remote VAE in the OpenAPI document: parameters, bodies, answers and problems.

Knows names and schemas. Knows nothing of requests; `query` reads what is declared here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Final

from service.api.remote.query import (
    IMAGE_FORMATS,
    LARGEST_FACTOR,
    LARGEST_SIDE,
    OF_DECODE,
    OF_ENCODE,
    OUTPUT_TYPES,
    SMALLEST_FACTOR,
)
from service.api.resource import QueryParameter, Resource
from service.api.schema import Schema
from service.codecs.raw_tensor import DTYPES, MOST_AXES
from service.engine import LARGEST_SEED, TILE
from service.references import MAX_REFERENCE_CHARACTERS, REFERENCE_PATTERN

DECODE: Final = "/remote/decode"
ENCODE: Final = "/remote/encode"
#: Whether a decoded image was computed in tiles: `exact` or `approximate`. Absent: in one run.
TILED_HEADER: Final = "X-Tiled"
TENSOR: Final = "tensor/binary"
#: The type of a body is not looked at: diffusers sends `tensor/binary`, or none.
ANY: Final = "application/octet-stream"
_PROBLEMS: Final = (
    *("invalid-parameter", "unknown-model", "model-unavailable", "no-graph", "inference-failed", "too-busy"),
    *("deadline-exceeded", "malformed-body", "invalid-value"),
)


def _words(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _whole(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _number(least: float, most: float) -> Schema:
    return {"type": "number", "minimum": least, "maximum": most}


def _file(media_type: str, description: str) -> Schema:
    return {
        "type": "string",
        "format": "binary",
        "contentMediaType": media_type,
        "description": description,
    }


_DESCRIBED: Final = (
    QueryParameter(
        "model",
        "`name`, `name@version` or `name@alias`. Left out: the default model.",
        {"type": "string", "maxLength": MAX_REFERENCE_CHARACTERS, "pattern": REFERENCE_PATTERN},
    ),
    QueryParameter(
        "shape",
        "Shape of the tensor in the body, one parameter for each axis, the batch first.",
        {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": MOST_AXES},
    ),
    QueryParameter("dtype", "Number format of the tensor.", _words(*DTYPES) | {"default": "float32"}),
    QueryParameter(
        "scaling_factor",
        "Stored latents are (z - shift_factor) · scaling_factor. Left out: not scaled.",
        _number(SMALLEST_FACTOR, LARGEST_FACTOR),
    ),
    QueryParameter("shift_factor", "See scaling_factor.", _number(-LARGEST_FACTOR, LARGEST_FACTOR)),
    QueryParameter(
        "do_scaling",
        "`True`: by the factors of the model, if none is sent. `False`: never. In any case, or 1 and 0.",
        {"type": "boolean"},
    ),
    QueryParameter("image_format", "Format of a picture.", _words(*IMAGE_FORMATS) | {"default": "jpg"}),
    QueryParameter(
        "output_type",
        "`pil`: one picture, or pixels in [0, 1] if `Accept` has tensor/binary. `pt`: a tensor in [-1, 1].",
        _words(*OUTPUT_TYPES) | {"default": "pil"},
    ),
    QueryParameter(
        "partial_postprocess",
        "With `pt`: levels of uint8, (N, H, W, C).",
        {"type": "boolean", "default": False},
    ),
    QueryParameter("height", "Of the image in pixels, for packed latents.", _whole(1, LARGEST_SIDE)),
    QueryParameter("width", "Of the image in pixels, for packed latents.", _whole(1, LARGEST_SIDE)),
    QueryParameter(
        "tile",
        "`auto`: tiles where one run would exceed `max_run_pixels` of GET /limits or the longest side of the "
        "model. `exact`: tiles that equal one run, or 422. `off`: one run, or 422.",
        _words(*TILE) | {"default": "auto"},
    ),
    QueryParameter(
        "sample",
        "Draw each latent from its posterior by `seed`, instead of its mean.",
        {"type": "boolean", "default": False},
    ),
    QueryParameter("seed", "Of the draw. Left out: a random one.", _whole(0, LARGEST_SEED)),
)


def _query(names: Collection[str], *required: str) -> tuple[QueryParameter, ...]:
    """The parameters of these names, in the order of the table."""
    return tuple(
        dataclasses.replace(parameter, is_required=parameter.name in required)
        for parameter in _DESCRIBED
        if parameter.name in names
    )


_TENSOR_OF_ANSWER: Final = _file(
    TENSOR, "Numbers, little-endian and row by row, as the headers `shape` and `dtype` say."
)
_KEYS: Final = "If the server requires keys, a key may also be the password of Basic authentication."
DECODE_RESOURCE: Final = Resource(
    path=DECODE,
    operation_id="remote_decode",
    tag="remote",
    method="POST",
    summary="Latents of a program of diffusers to an image",
    description=f"As `remote_decode` of diffusers sends it. {_KEYS}",
    query=_query(OF_DECODE, "shape"),
    body={ANY: _file(ANY, "The latents, little-endian and row by row: (N, c, h, w), or packed.")},
    answer={
        "image/jpeg": _file("image/jpeg", "One picture."),
        "image/png": _file("image/png", "One picture."),
        "image/webp": _file("image/webp", "One picture, without losses."),
        TENSOR: _TENSOR_OF_ANSWER,
    },
    headers=("X-Model", "shape", "dtype", TILED_HEADER),
    problems=_PROBLEMS,
)
ENCODE_RESOURCE: Final = Resource(
    path=ENCODE,
    operation_id="remote_encode",
    tag="remote",
    method="POST",
    summary="A picture or a tensor to latents for a program of diffusers",
    description=f"As `remote_encode` of diffusers sends it, with or without a Content-Type. {_KEYS}",
    query=_query(OF_ENCODE),
    body={
        ANY: _file(
            ANY,
            "A PNG, JPEG or WebP of any mode; with `shape` and `dtype` a tensor (N, C, H, W) in [-1, 1], "
            "little-endian and row by row, or of uint8.",
        )
    },
    answer={TENSOR: _TENSOR_OF_ANSWER},
    headers=("X-Model", "X-Seed", "shape", "dtype"),
    problems=(*_PROBLEMS, "no-prior"),
)

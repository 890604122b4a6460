"""The paths of the protocol over HTTP, for the routes and for the OpenAPI document.

Knows paths, documents and problems. Knows nothing of requests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from service.api.open_inference.metadata import (
    IndexEntry,
    Live,
    ModelConfig,
    ModelMetadata,
    ModelNameList,
    ModelReady,
    Ready,
    ServerMetadata,
)
from service.api.open_inference.statistics import StatisticsList
from service.api.resource import JSON, PathParameter, Resource
from service.api.schema import Schema, schema_of
from service.http.document import Document
from service.references import MODEL_NAME_PATTERN

TAG: Final = "open-inference"
OCTETS: Final = "application/octet-stream"
_NAME: Final = PathParameter(
    "model",
    "`NAME`, `NAME-encoder`, `NAME-decoder` or `NAME-sampler` for a model NAME of the store.",
    {"type": "string", "pattern": MODEL_NAME_PATTERN},
)
_SAMPLER: Final = dataclasses.replace(_NAME, example_suffix="-sampler")
_VERSION: Final = PathParameter(
    "version", "Number of a version.", {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}, example="1"
)
_OF_MODEL: Final = ("unknown-model", "model-unavailable", "no-prior")
_ADMINISTRATION: Final = (
    *("administration-off", "insufficient-scope", "host-not-allowed", "origin-not-allowed"),
    *("unknown-model", "model-unavailable", "no-prior"),
)
_INFERENCE: Final = (
    *_OF_MODEL,
    *("malformed-body", "invalid-value", "unknown-label"),
    *("media-type-not-supported", "inference-failed", "too-busy", "deadline-exceeded"),
)
#: Some clients send null for what they leave out.
_PARAMETERS: Final[Schema] = {"type": ["object", "null"], "additionalProperties": True}
_DATATYPE: Final[Schema] = {"type": "string", "enum": ["FP32", "INT64", "BYTES", "FP16", "BF16"]}
_SHAPE: Final[Schema] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 1,
    "maxItems": 8,
}
REQUEST: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"], "maxLength": 1024, "description": "Returned in the response."},
        "parameters": {
            **_PARAMETERS,
            "description": "`timeout` in microseconds, `priority`, `binary_data_output`; of a sampler "
            "`temperature`, `prior` and `label`; with `image` `resize` and `invert`.",
        },
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 16,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "shape": _SHAPE,
                    "datatype": _DATATYPE,
                    "parameters": {**_PARAMETERS, "description": "`binary_data_size` in bytes."},
                    "data": {
                        "type": "array",
                        "description": "The values, row by row, flat or nested as the shape. An `image` "
                        "is a file in base64.",
                    },
                },
                "required": ["name", "shape", "datatype"],
                "additionalProperties": False,
            },
        },
        "outputs": {
            "type": ["array", "null"],
            "maxItems": 16,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "parameters": {**_PARAMETERS, "description": "`binary_data`: true for bytes."},
                },
                "required": ["name"],
            },
            "description": "Left out: all outputs of the model.",
        },
    },
    "required": ["inputs"],
}
_RESPONSE: Final[Schema] = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string", "description": "The version that answered."},
        "id": {"type": "string"},
        "parameters": {**_PARAMETERS, "description": "Of a sampler: temperature, prior and label."},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "shape": _SHAPE,
                    "datatype": {"type": "string"},
                    "parameters": _PARAMETERS,
                    "data": {"type": "array", "items": {"type": "number"}, "description": "Flat."},
                },
                "required": ["name", "shape", "datatype"],
            },
        },
    },
    "required": ["model_name", "model_version", "outputs"],
}
_BINARY: Final[Schema] = {"type": "string", "format": "binary"}


def _resource(
    path: str,
    operation_id: str,
    summary: str,
    answer: Mapping[str, type[Document] | Schema],
    **rest: Any,
) -> Resource:
    name = _SAMPLER if path.endswith("/infer") else _NAME
    parameters = tuple(each for each in (name, _VERSION) if f"{{{each.name}}}" in path)
    return Resource(
        path=path,
        operation_id=f"v2_{operation_id}",
        tag=rest.pop("tag", TAG),
        summary=summary,
        answer=answer,
        parameters=parameters,
        is_open_inference=True,
        **rest,
    )


SERVER: Final = _resource(
    "/v2", "server", "The server, and its extensions of the protocol.", {JSON: ServerMetadata}
)
LIVE: Final = _resource("/v2/health/live", "live", "Is the process alive?", {JSON: Live})
READY: Final = _resource(
    "/v2/health/ready", "ready", "Can it answer?", {JSON: Ready}, problems=("not-ready",)
)
MODELS: Final = _resource("/v2/models", "models", "Names of all models.", {JSON: ModelNameList})
ALL_STATISTICS: Final = _resource(
    "/v2/models/stats", "all_stats", "Statistics of all models.", {JSON: StatisticsList}
)


def _of_model(
    rest: str, operation_id: str, summary: str, answer: Mapping[str, type[Document] | Schema], **more: Any
) -> tuple[Resource, Resource]:
    """The path of the default version, and that of a stated one."""
    more.setdefault("problems", _OF_MODEL)
    whole, of_version = (
        _resource(f"/v2/models/{{model}}{between}{rest}", operation_id + suffix, summary, answer, **more)
        for between, suffix in (("", ""), ("/versions/{version}", "_of_version"))
    )
    return whole, of_version


MODEL: Final = _of_model("", "model", "Versions, inputs and outputs of a model.", {JSON: ModelMetadata})
MODEL_READY: Final = _of_model("/ready", "model_ready", "Can a model answer?", {JSON: ModelReady})
CONFIG: Final = _of_model("/config", "config", "The configuration of a model.", {JSON: ModelConfig})
STATISTICS: Final = _of_model("/stats", "stats", "Statistics of a model.", {JSON: StatisticsList})
INFER: Final = _of_model(
    "/infer",
    "infer",
    "Run a model.",
    {JSON: _RESPONSE, OCTETS: _BINARY},
    problems=_INFERENCE,
    method="POST",
    description=(
        "A body is JSON, or JSON and then the bytes of tensors, with the length of the JSON in "
        "`Inference-Header-Content-Length`. Bytes are little-endian and row-major. An output that is not "
        "requested is not computed. `Content-Encoding` may be gzip or deflate."
    ),
    body={JSON: REQUEST, OCTETS: _BINARY},
    body_example={"inputs": [{"name": "seed", "shape": [2], "datatype": "INT64", "data": [7, 8]}]},
    headers=("Inference-Header-Content-Length", "X-Model"),
)
INDEX: Final = _resource(
    "/v2/repository/index",
    "index",
    "Every model and version in memory, and those that cannot be served.",
    {JSON: {"type": "array", "items": schema_of(IndexEntry)}},
    method="POST",
    problems=("malformed-body", "invalid-value"),
    body={JSON: {"type": "object", "properties": {"ready": {"type": "boolean"}}}},
    body_example={"ready": True},
    is_body_optional=True,
)
_DONE: Final[Schema] = {"type": "object"}
LOAD: Final = _resource(
    "/v2/repository/models/{model}/load",
    "load",
    "Load the store's versions of a name now.",
    {JSON: _DONE},
    method="POST",
    tag="administration",
    problems=_ADMINISTRATION,
    note="Requires administration. The four models of a name are loaded together.",
)
UNLOAD: Final = _resource(
    "/v2/repository/models/{model}/unload",
    "unload",
    "Serve no version of a name until it is loaded again.",
    {JSON: _DONE},
    method="POST",
    tag="administration",
    problems=_ADMINISTRATION,
    note="Requires administration. The store does not change. A restarted server serves the name again.",
)
RESOURCES: Final = (
    *(SERVER, LIVE, READY, MODELS, ALL_STATISTICS),
    *MODEL,
    *MODEL_READY,
    *CONFIG,
    *STATISTICS,
    *INFER,
    *(INDEX, LOAD, UNLOAD),
)

"""The paths of the protocol over HTTP, for the routes and for the OpenAPI document.

Knows paths, documents and problems. Knows nothing of requests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from service.api.open_inference.metadata import (
    IndexEntry,
    ModelConfig,
    ModelMetadata,
    ModelNameList,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.api.open_inference.statistics import StatisticsList
from service.api.resource import JSON, PathParameter, Resource
from service.api.schema import Schema, reference
from service.http.document import COMPONENT, Document
from service.references import MODEL_NAME_PATTERN

TAG: Final = "open-inference"
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
_PARAMETERS: Final[Schema] = {
    COMPONENT: "InferenceParameters",
    "type": "object",
    "additionalProperties": True,
    "description": "Values by name.",
}
#: Some clients send null for what they leave out.
_PARAMETERS_IN: Final[Schema] = {"anyOf": [_PARAMETERS, {"type": "null"}]}
_DATATYPE: Final[Schema] = {
    COMPONENT: "Datatype",
    "type": "string",
    "enum": ["FP32", "INT64", "BYTES", "FP16", "BF16"],
}
_SHAPE: Final[Schema] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 1,
    "maxItems": 8,
}
_INPUT: Final[Schema] = {
    COMPONENT: "InferenceInput",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": _SHAPE,
        "datatype": _DATATYPE,
        "parameters": {**_PARAMETERS_IN, "description": "`binary_data_size` in bytes."},
        "data": {
            "type": "array",
            "items": {},
            "description": "The values, row by row, flat or nested as the shape. An `image` is a file in "
            "base64.",
        },
    },
    "required": ["name", "shape", "datatype"],
    "additionalProperties": False,
}
_REQUESTED_OUTPUT: Final[Schema] = {
    COMPONENT: "InferenceRequestedOutput",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "parameters": {**_PARAMETERS_IN, "description": "`binary_data`: true for bytes."},
    },
    "required": ["name"],
}
_REQUEST: Final[Schema] = {
    COMPONENT: "InferenceRequest",
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"], "maxLength": 1024, "description": "Returned in the response."},
        "parameters": {
            **_PARAMETERS_IN,
            "description": "`timeout` in microseconds, `priority`, `binary_data_output`; of a sampler "
            "`temperature`, `prior` and `label`; with `image` `resize` and `invert`.",
        },
        "inputs": {"type": "array", "minItems": 1, "maxItems": 16, "items": _INPUT},
        "outputs": {
            "type": ["array", "null"],
            "maxItems": 16,
            "items": _REQUESTED_OUTPUT,
            "description": "Left out: all outputs of the model.",
        },
    },
    "required": ["inputs"],
}
_RESPONSE: Final[Schema] = {
    COMPONENT: "InferenceResponse",
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string", "description": "The version that answered."},
        "id": {"type": "string", "description": "That of the request."},
        "parameters": {
            **reference("InferenceParameters"),
            "description": "Of a sampler: temperature, prior and label.",
        },
        "outputs": {
            "type": "array",
            "items": {
                COMPONENT: "InferenceOutput",
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "shape": _SHAPE,
                    "datatype": _DATATYPE,
                    "parameters": _PARAMETERS,
                    "data": {"type": "array", "items": {"type": "number"}, "description": "Flat."},
                },
                "required": ["name", "shape", "datatype"],
            },
        },
    },
    "required": ["model_name", "model_version", "outputs"],
    "examples": [
        {
            "model_name": "mnist-sampler",
            "model_version": "1",
            "parameters": {"temperature": 1.0, "prior": "standard"},
            "outputs": [
                {"name": "z", "datatype": "FP32", "shape": [2, 2], "data": [0.41, -1.27, 0.08, 0.93]}
            ],
        }
    ],
}
_INDEX: Final[Schema] = {
    COMPONENT: "RepositoryIndex",
    "type": "array",
    "items": IndexEntry,
    "examples": [[{"name": "mnist", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}]],
}
_INDEX_REQUEST: Final[Schema] = {
    COMPONENT: "RepositoryIndexRequest",
    "type": "object",
    "properties": {"ready": {"type": "boolean", "description": "Only versions that can answer."}},
}
_DONE: Final[Schema] = {
    COMPONENT: "RepositoryChanged",
    "type": "object",
    "description": "An empty object.",
    "examples": [{}],
}


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
    "/v2",
    "server",
    "The server, and its extensions of the protocol.",
    {JSON: ServerMetadata},
    description="Name and version of the server. A client may ask for what the extensions name.",
)
LIVE: Final = _resource(
    "/v2/health/live",
    "live",
    "Is the process alive?",
    {JSON: ServerLive},
    description="Answers while the process runs, as `/livez` does.",
)
READY: Final = _resource(
    "/v2/health/ready",
    "ready",
    "Can it answer?",
    {JSON: ServerReady},
    description="Answers 200 while the default model can answer, as `/readyz` does.",
    problems=("not-ready",),
)
MODELS: Final = _resource(
    "/v2/models",
    "models",
    "Names of all models.",
    {JSON: ModelNameList},
    description="The four models of each loaded name.",
)
ALL_STATISTICS: Final = _resource(
    "/v2/models/stats",
    "all_stats",
    "Statistics of all models.",
    {JSON: StatisticsList},
    description="Requests, runs and times of each version in memory, since the start of the server.",
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


MODEL: Final = _of_model(
    "",
    "model",
    "Versions, inputs and outputs of a model.",
    {JSON: ModelMetadata},
    description="Names, datatypes and shapes of the tensors, and every version in the store.",
)
MODEL_READY: Final = _of_model(
    "/ready",
    "model_ready",
    "Can a model answer?",
    {JSON: ModelReady},
    description="Answers 200 if the version can answer, and loads it for that if necessary.",
)
CONFIG: Final = _of_model(
    "/config",
    "config",
    "The configuration of a model.",
    {JSON: ModelConfig},
    description="As Triton describes a model: its tensors, the largest batch and the version.",
)
STATISTICS: Final = _of_model(
    "/stats",
    "stats",
    "Statistics of a model.",
    {JSON: StatisticsList},
    description="Requests, runs and times since the start of the server.",
)
INFER: Final = _of_model(
    "/infer",
    "infer",
    "Run a model.",
    {JSON: _RESPONSE},
    problems=_INFERENCE,
    method="POST",
    description=(
        "Request and response are JSON. Each may be `application/octet-stream` instead: JSON and then the "
        "bytes of tensors, with the length of the JSON in `Inference-Header-Content-Length`. A response is "
        "that if the request wants outputs as bytes, by `binary_data` or `binary_data_output`. Bytes are "
        "little-endian and row-major. An output that is not requested is not computed. `Content-Encoding` "
        "may be gzip or deflate."
    ),
    body={JSON: _REQUEST},
    body_example={
        "inputs": [{"name": "seed", "shape": [2], "datatype": "INT64", "data": [7, 8]}],
        "outputs": [{"name": "z"}],
    },
    headers=("Inference-Header-Content-Length", "X-Model"),
)
INDEX: Final = _resource(
    "/v2/repository/index",
    "index",
    "Every model and version in memory, and those that cannot be served.",
    {JSON: _INDEX},
    method="POST",
    description="Each entry is one version of one of the four models of a name.",
    problems=("malformed-body", "invalid-value"),
    body={JSON: _INDEX_REQUEST},
    body_example={"ready": True},
    is_body_optional=True,
)
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

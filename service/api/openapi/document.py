"""The OpenAPI 3.1 document: every path, parameter, body, form, status and header.

Generated from what the routes themselves read (`routes.contract`, `schemas`, `problems`), so that it cannot
promise what they do not do. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from service.api.openapi.components import (
    ExampleModel,
    Schema,
    answer_schema,
    component_schemas,
    limits_schema,
    list_of,
    model_facts_schema,
    models_schema,
    parameter_schemas,
    problem_row_schema,
    reload_schema,
    seed_fact,
    status_schema,
)
from service.api.openapi.metadata import FACTS
from service.api.openapi.request_bodies import json_body
from service.api.operation import (
    DECODE,
    EVERYWHERE,
    MODEL,
    MODELS,
    NATIVE,
    RECONSTRUCT,
    SAMPLE,
    SCORE,
    Operation,
)
from service.api.operators.limits_table import LimitRow
from service.codecs.images import MAX_PIXELS_IN
from service.http.negotiation import Format
from service.http.parameters import Limits, Parameters
from service.http.problems import MEDIA_TYPE, PROBLEMS, ProblemKind, statuses, with_prefix
from service.http.request_body import BodyKind
from service.references import REFERENCE_PATTERN
from service.security.access import is_open

_DESCRIPTION = """\
A variational autoencoder behind HTTP: encode images, decode latents, draw new images, reconstruct, go from
one image to another and along latent dimensions, score.

A suffix (`.json`, `.png`, `.npy`, `.npz`, `.txt`) or an `Accept` header chooses the form of an answer; the
suffix wins, and JSON is the default. `?model=` chooses the model. Every error is a problem body (RFC 9457)
whose `code` is one of those at `/problems`. Nothing is coerced and nothing unknown is ignored;
only the paths for operators and people ignore a query.

A body without a Content-Type, or with the one that `curl --data` sends by itself, is known by how it begins.
"""
_BINARY: Mapping[Format, str] = {
    Format.PNG: "One image, or a contact sheet, row by row.",
    Format.NPY: "`images`, float32 (N, C, H, W), as numpy.save writes it.",
    Format.NPZ: "The arrays of the JSON answer as float32, its numbers and the prior, as numpy.savez does.",
}
_FIGURES_AS_NPZ = "The arrays of the JSON answer as float64, and its numbers, as numpy.savez writes them."
_PLAIN_HEADERS = {
    "X-Request-Id": "Id in the server's log: the client's own if that is 1 to 64 of A-Z a-z 0-9 . _ : -",
    "Server-Timing": "Milliseconds spent reading, waiting, parsing, running and encoding, and in total.",
    "X-Model": "Label of the version that answered, `name@version`. On errors: if known by then.",
    "X-Seed": "The seed behind the answer; sent again, it gives the same bytes. On errors: if known by then.",
    "X-Temperature": "The temperature behind the answer.",
    "X-Prior": "The prior that was drawn from: `standard` or `fitted`.",
    "X-Label": "The label whose images were asked for, percent-encoded, if any was.",
    "X-Z": "For one image of at most 128 latents: its z, comma-separated.",
    "Allow": "Methods that the path takes.",
    "Accept-Post": "Media types that the path takes.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "Bearer, and why the key that was sent is not enough.",
}
#: What a page of another origin may read of an answer, where `cors_origins` lets it.
EXPOSED_HEADERS = tuple(_PLAIN_HEADERS)
#: Problems that can arise once the model is chosen, or the seed, which the answer then tells.
_AFTER_THE_CHOICE = {
    "malformed-body",
    "invalid-value",
    "inference-failed",
    "model-unavailable",
    "too-busy",
    "deadline-exceeded",
}
_HEADERS_BY_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Post",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def openapi_document(
    limits: Limits,
    *,
    version: str,
    model: ExampleModel | None = None,
    keys_required: bool = False,
    hosts_restricted: bool = False,
    prefix: str = "",
    limit_rows: Iterable[LimitRow] = (),
) -> dict[str, Any]:
    """The whole document.

    Args:
        limits: Bounds from the settings, stated as maxima.
        version: Version of the package.
        model: Name and sizes of the default model, for examples that work with it.
        keys_required: Whether this server takes API keys.
        hosts_restricted: Whether everything but the probes refuses hosts that it does not know.
        prefix: Path that a proxy puts before every path here, `/vae`, where it is known.
        limit_rows: What `GET /limits` tells.
    """
    model = model or ExampleModel()
    everywhere = (*EVERYWHERE, "host-not-allowed") if hosts_restricted else EVERYWHERE
    builder = _Builder(limits, model, tuple(limit_rows), everywhere, prefix=prefix)
    paths: dict[str, Any] = {}
    for operation in NATIVE:
        paths[operation.path] = builder.path_item(operation, suffixed=False)
        if len(operation.forms) > 1:
            paths[operation.path + ".{suffix}"] = builder.path_item(operation, suffixed=True)
    paths |= builder.operator_paths() | builder.administration_paths() | builder.people_paths()
    builder.add_access(paths, keys_required=keys_required)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vae-service",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        # Relative to the address of the document, which includes a prefix that this server does not know.
        "servers": [{"url": prefix or "."}],
        # An empty requirement beside the other one says that it may be left out.
        "security": [{"key": []}] if keys_required else [{}, {"key": []}],
        "tags": [
            {"name": "model", "description": "What a variational autoencoder does."},
            {"name": "operation", "description": "For whoever runs the server."},
            {"name": "administration", "description": "What changes a running server."},
            {"name": "people", "description": "Help and documentation."},
        ],
        "paths": paths,
        "components": {
            "schemas": component_schemas(limits, model),
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in _PLAIN_HEADERS.items()
            },
            "responses": builder.problem_responses,
            "securitySchemes": {"key": _KEY_SCHEME},
        },
    }


class _Builder:
    """Builds path items and gathers the problem responses they refer to."""

    def __init__(
        self,
        limits: Limits,
        model: ExampleModel,
        limit_rows: tuple[LimitRow, ...],
        everywhere: tuple[str, ...],
        *,
        prefix: str,
    ) -> None:
        self._limits = limits
        self._model = model
        self._limit_rows = limit_rows
        self._everywhere = everywhere
        self._prefix = prefix
        self.problem_responses: dict[str, Schema] = {}

    def path_item(self, operation: Operation, *, suffixed: bool) -> Schema:
        return {
            method.lower(): self._native(operation, method, suffixed=suffixed) for method in operation.methods
        }

    def operator_paths(self) -> Schema:
        return {
            "/livez": self._simple("livez", "operation", "Is the process alive?", status_schema("alive")),
            "/readyz": self._simple(
                "readyz",
                "operation",
                "Can it answer? The default model reproduced its golden vectors.",
                status_schema("ready", reason=True),
                problems=("not-ready",),
            ),
            "/metrics": self._simple(
                "metrics",
                "operation",
                "Prometheus text, format 0.0.4.",
                {"type": "string"},
                media="text/plain",
            ),
        }

    def administration_paths(self) -> Schema:
        parameter = _path_parameter(
            "name", "Name of a model.", {"type": "string", "pattern": REFERENCE_PATTERN}, self._model.name
        )
        path = self._simple(
            "reload",
            "administration",
            "Load what the store has for this name now.",
            reload_schema(),
            problems=(
                "invalid-parameter",
                "administration-off",
                "insufficient-scope",
                "host-not-allowed",
                "origin-not-allowed",
                "unknown-model",
            ),
            parameters=[parameter],
        )
        path["get"]["description"] = (
            "Takes a key of the scope `admin` where keys are required, and administration to be on. A "
            "version that cannot be loaded is told under `failures`; what answered before goes on answering."
        )
        return {"/models/{name}/reload": {"post": path["get"]}}

    def people_paths(self) -> Schema:
        text: Schema = {"type": "string"}
        code = _path_parameter(
            "code", "Code of a problem.", {"type": "string", "enum": list(PROBLEMS)}, "not-ready"
        )
        problems = self._simple(
            "problems",
            "people",
            "Every problem that an answer can tell of.",
            list_of("problems", problem_row_schema()),
            problems=("form-not-available",),
        )
        problems["get"]["responses"]["200"]["content"]["text/plain"] = {"schema": text}
        limits = self._simple(
            "limits",
            "people",
            "Every limit: its value, what happens beyond it, and which setting changes it.",
            limits_schema(),
        )
        content = limits["get"]["responses"]["200"]["content"]["application/json"]
        content["example"] = {"limits": [row.document() for row in self._limit_rows]}
        return {
            "/limits": limits,
            "/": self._simple("help", "people", "Commands that work.", text, media="text/plain"),
            "/docs": self._simple("docs", "people", "This page.", text, media="text/html"),
            "/openapi.json": self._simple("openapi", "people", "This document.", {"type": "object"}),
            "/problems": problems,
            "/problems/{code}": self._simple(
                "problem",
                "people",
                "One of them.",
                problem_row_schema(),
                problems=("unknown-path",),
                parameters=[code],
            ),
        }

    def add_access(self, paths: Schema, *, keys_required: bool) -> None:
        """What takes no key says so, the rest says how one is refused, and administration says which."""
        for path, item in paths.items():
            for operation in item.values():
                if is_open(path):
                    operation["security"] = []
                    continue
                refused = self._problems(("missing-key", "unknown-key"))
                operation["responses"] = dict(sorted({**operation["responses"], **refused}.items()))
                if keys_required and "administration" in operation["tags"]:
                    operation["security"] = [{"key": ["admin"]}]

    def _native(self, operation: Operation, method: str, *, suffixed: bool) -> Schema:
        name = operation.path.strip("/").replace("/{name}", "_by_name")
        parameters = (
            []
            if not suffixed
            else [
                _path_parameter(
                    "suffix",
                    "Format of the answer; wins over Accept.",
                    {"type": "string", "enum": [form.suffix for form in operation.forms]},
                    operation.forms[0].suffix,
                )
            ]
        )
        if operation is MODEL:
            parameters.append(
                _path_parameter(
                    "name",
                    "`name`, `name@version` or `name@alias`.",
                    {"type": "string", "pattern": REFERENCE_PATTERN},
                    self._model.name,
                )
            )
        parameters += self._query_parameters(operation.query)
        described: Schema = {
            "operationId": "_".join(filter(None, (name, method.lower(), "as" if suffixed else ""))),
            "tags": ["model"],
            "summary": operation.summary,
            "description": operation.description,
            "parameters": parameters,
            "responses": {
                "200": self._answer(operation),
                **self._problems((*operation.problems, *self._everywhere)),
            },
        }
        if method == "POST":
            described["requestBody"] = self._request_body(operation)
        return described

    def _answer(self, operation: Operation) -> Schema:
        headers = ["X-Request-Id", "Server-Timing"]
        if operation is not MODELS:
            headers.append("X-Model")
        if operation.seeded:
            headers += ["X-Seed", "X-Z"] if "z" in operation.gives else ["X-Seed"]
        if operation is SAMPLE:
            headers += ["X-Temperature", "X-Prior", "X-Label"]
        content: Schema = {}
        for form in operation.forms:
            if form is Format.JSON:
                content[form.media_type] = {"schema": self._json_answer(operation)}
            elif form is Format.TEXT:
                content[form.media_type] = {
                    "schema": {
                        "type": "string",
                        "description": "Braille, at most 14 × 7 characters per image."
                        if "images" in operation.gives
                        else "A table with a line for each image, for people.",
                    }
                }
            else:
                told = _FIGURES_AS_NPZ if operation is SCORE else _BINARY[form]
                content[form.media_type] = {"schema": _binary(form.media_type, told)}
        return {"description": operation.summary + ".", "headers": _header_refs(headers), "content": content}

    def _json_answer(self, operation: Operation) -> Schema:
        if operation is MODELS:
            return models_schema()
        if operation is MODEL:
            return model_facts_schema()
        facts: dict[str, Schema] = {}
        if operation is SAMPLE:
            facts = {
                "prior": {
                    "type": "string",
                    "enum": ["standard", "fitted"],
                    "description": "What z was drawn from.",
                },
                "label": {"type": ["string", "null"], "description": "Whose images were asked for."},
                "seed": seed_fact(nullable=False),
                "temperature": {"type": "number", "description": "Factor on the noise."},
            }
        elif operation is RECONSTRUCT:
            facts = {
                "sample": {"type": "boolean", "description": "Whether z was drawn rather than set to mu."},
                "seed": seed_fact(nullable=True),
            }
        else:
            facts = FACTS.get(operation.path, {})
        return answer_schema(operation.gives, facts, sometimes=operation.gives_sometimes)

    def _request_body(self, operation: Operation) -> Schema:
        content: Schema = {}
        for kind in operation.bodies:
            if kind is BodyKind.JSON:
                content[kind.media_type] = json_body(
                    operation.takes,
                    operation.body_scalars,
                    self._limits,
                    self._model,
                    rows=operation.rows,
                    is_optional=operation.is_body_optional,
                    example=operation.example,
                )
            elif kind is BodyKind.PNG:
                content[kind.media_type] = {
                    "schema": _binary(
                        kind.media_type,
                        "One image, of exactly the model's size unless `resize` is true, and then of at "
                        f"most {MAX_PIXELS_IN:,} pixels, which is 256 × 256. The orientation of EXIF is "
                        "obeyed, and the size is that of the upright picture.",
                    )
                }
            else:
                content[kind.media_type] = {
                    "schema": _binary(
                        kind.media_type,
                        "float32 or float64 (N, latent)."
                        if operation is DECODE
                        else "uint8 0 to 255 or float 0 to 1, (N, C, H, W), or (N, H, W) for one channel.",
                    )
                }
        return {"required": bool(operation.takes) and not operation.is_body_optional, "content": content}

    def _query_parameters(self, model: type[Parameters]) -> list[Schema]:
        parameters = []
        for name, schema in parameter_schemas(model, self._limits).items():
            rest = {key: value for key, value in schema.items() if key not in ("description", "examples")}
            parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "description": schema["description"],
                    "schema": rest,
                    **({"style": "form", "explode": False} if rest["type"] == "array" else {}),
                }
            )
        return parameters

    def _simple(
        self,
        operation_id: str,
        tag: str,
        summary: str,
        schema: Schema,
        *,
        media: str = "application/json",
        problems: tuple[str, ...] = (),
        parameters: Iterable[Schema] = (),
    ) -> Schema:
        """A path that takes GET, without a body; a query is ignored. Probes take any host."""
        everywhere = EVERYWHERE if tag == "operation" else self._everywhere
        described: Schema = {
            "operationId": operation_id,
            "tags": [tag],
            "summary": summary,
            "parameters": list(parameters),
            "responses": {
                "200": {
                    "description": summary,
                    "headers": _header_refs(["X-Request-Id", "Server-Timing"]),
                    "content": {media: {"schema": schema}},
                },
                **self._problems((*problems, *everywhere)),
            },
        }
        return {"get": described}

    def _problems(self, codes: Iterable[str]) -> Schema:
        """One response per status, each described once under `components.responses`."""
        references: Schema = {}
        for status, rows in sorted(statuses(codes).items()):
            name = f"{status}_" + "_or_".join(row.code for row in rows)
            self.problem_responses.setdefault(name, _problem_response(status, rows, self._prefix))
            references[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return references


_KEY_SCHEME: Schema = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, of the scope `use` or `admin`, where the server takes keys.",
}


def _problem_response(status: int, rows: tuple[ProblemKind, ...], prefix: str) -> Schema:
    headers = ["X-Request-Id", "Server-Timing", *_HEADERS_BY_STATUS.get(status, ())]
    if any(row.code in _AFTER_THE_CHOICE for row in rows):
        headers += ["X-Model", "X-Seed"]
    return {
        "description": "\n\n".join(f"`{row.code}`: {row.title}. {row.remedy}" for row in rows),
        "headers": _header_refs(headers),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {row.code: {"value": _problem_example(row, prefix)} for row in rows},
            }
        },
    }


def _problem_example(row: ProblemKind, prefix: str) -> Schema:
    return {
        "type": f"{prefix}/problems/{row.code}",
        "title": row.title,
        "status": row.status,
        "code": row.code,
        "detail": row.title + ".",
        "remedy": with_prefix(row.remedy, prefix),
        "request_id": "9f2c1d7a40b3e856",
        "errors": [],
    }


def _path_parameter(name: str, description: str, schema: Schema, example: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def _binary(media_type: str, description: str) -> Schema:
    return {"type": "string", "format": "binary", "contentMediaType": media_type, "description": description}


def _header_refs(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}

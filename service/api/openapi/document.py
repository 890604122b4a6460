"""The OpenAPI 3.1 document: every path, parameter, body, format, status and header.

Generated from the tables that the routes themselves read (operations, resources, problems), so that it cannot
promise anything that they do not do. Knows nothing of requests.

Design: FastAPI is the application (lifespan, exception handlers, telemetry). It generates neither the routes
nor this document, because all paths here share steps that its routes would repeat or do differently:

- One parser reads a parameter from the query and from a JSON body. It coerces nothing, rejects unknown,
  repeated and doubly given names, and takes bounds from the settings. FastAPI ignores unknown query
  parameters, coerces text, and fixes bounds when a class is defined.
- Every error is a problem body that never repeats a body of the request. FastAPI documents its own 422 for
  each route with parameters, and its handler returns the input.
- A suffix of the path or `Accept` chooses the format before a body is read, and HEAD is answered wherever GET
  is. A FastAPI route has one path, one response class and no HEAD.
- One dictionary look-up before any router finds the busiest paths (`service.http.fast_routes`). A FastAPI
  route that only reads its body costs 140 µs of processor time, one of Starlette 64, bare ASGI 43.

If FastAPI generated only the paths of plain documents, the two halves of the document would need patches to
agree on problems, headers, security and schemas. Its one benefit, a pydantic class that is value and schema
at once, is available as `service.http.document.Document` with `service.api.schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from service.api.openapi.components import add_arrays
from service.api.openapi.examples import ExampleModel
from service.api.openapi.headers import header_components
from service.api.openapi.operations import OperationPaths
from service.api.openapi.problem_responses import EVERYWHERE, ProblemResponses
from service.api.openapi.resources import ResourcePaths
from service.api.operation import Operation
from service.api.resource import Resource
from service.api.schema import Components, Schema
from service.http.document import Document
from service.http.parameters import Limits
from service.security.access import is_open

_DESCRIPTION: Final = """\
A variational autoencoder behind HTTP: encode images, decode latents, draw new images, reconstruct, go from
one image to another and along latent dimensions, score.

A suffix (`.json`, `.png`, `.jpg`, `.webp`, `.npy`, `.npz`, `.txt`) or an `Accept` header chooses the form of
an answer; the suffix wins, and JSON is the default. This document describes the JSON at the path without a
suffix, and every other form at a path of its own, so that each path has one media type. `?model=` chooses the
model.

Every error is a problem body (RFC 9457) whose `code` is one of those at `/problems`. Nothing is coerced and
nothing unknown is ignored; only the paths for operators and people ignore a query.

A body without a Content-Type, or with the one that `curl --data` sends by itself, is known by how it begins.
"""
_KEY_SCHEME: Final[Schema] = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, of the scope `use` or `admin`, if the server requires keys.",
}
_TAGS: Final = (
    {"name": "model", "description": "The operations of a variational autoencoder."},
    {
        "name": "formats",
        "description": "The same operations with pictures, npy, npz and text as their answers.",
    },
    {
        "name": "open-inference",
        "description": "The Open Inference Protocol, version 2, for clients of Triton and KServe. Each model "
        "NAME of the store is four models here: NAME takes `x` and returns `mu`, `logvar` and `x_hat`, "
        "NAME-encoder and NAME-decoder are its halves, and NAME-sampler takes `seed` and returns `z` and "
        '`x_hat`. Its errors are `{"error": ...}` with the code of the problem. Shared memory, and settings '
        "of traces and of the log, are refused with `not-supported`.",
    },
    {
        "name": "remote",
        "description": "The remote VAE of diffusers, for its `remote_decode` and `remote_encode`, unchanged.",
    },
    {"name": "operation", "description": "For the operator of the server."},
    {"name": "administration", "description": "Changes of a running server."},
    {"name": "people", "description": "Help and documentation."},
)


def openapi_document(
    operations: Iterable[Operation[Any, Any]],
    resources: Iterable[Resource],
    limits: Limits,
    *,
    version: str,
    model: ExampleModel | None = None,
    keys_required: bool = False,
    hosts_restricted: bool = False,
    prefix: str = "",
    examples: Mapping[str, Document],
) -> dict[str, Any]:
    """The whole document.

    Args:
        operations: The operations of the models.
        resources: Every other path.
        limits: Bounds from the settings, stated as maxima.
        version: Version of the package.
        model: Name and sizes of the default model, for examples that work with it.
        keys_required: Whether this server requires API keys.
        hosts_restricted: Whether all paths except the probes reject unknown hosts.
        prefix: Path that a proxy puts before every path here, such as `/vae`, if it is known.
        examples: Example responses of this server's resources, by path.
    """
    model = model or ExampleModel()
    everywhere = (*EVERYWHERE, "host-not-allowed") if hosts_restricted else EVERYWHERE
    components = Components()
    add_arrays(components, limits, model)
    problems = ProblemResponses(components, prefix=prefix)
    of_operations = OperationPaths(limits, model, problems, everywhere, components)
    of_resources = ResourcePaths(model, problems, everywhere, components)
    paths: Schema = {}
    for operation in operations:
        paths |= of_operations.of(operation)
    for resource in resources:
        paths |= of_resources.of(resource, example=examples.get(resource.path))
    _add_access(paths, problems, keys_required=keys_required)
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
        # The empty alternative means that the key may be left out.
        "security": [{"key": []}] if keys_required else [{}, {"key": []}],
        "tags": list(_TAGS),
        "paths": paths,
        "components": {
            "schemas": components.parts("schemas"),
            "parameters": components.parts("parameters"),
            "headers": header_components(),
            "requestBodies": components.parts("requestBodies"),
            "responses": components.parts("responses"),
            "examples": components.parts("examples"),
            "securitySchemes": {"key": _KEY_SCHEME},
        },
    }


def _add_access(paths: Schema, problems: ProblemResponses, *, keys_required: bool) -> None:
    """Declare the security of each path: none, a key, or a key with the scope admin."""
    for path, item in paths.items():
        for operation in item.values():
            if is_open(path):
                operation["security"] = []
                continue
            is_v2 = path.startswith("/v2")
            refused = problems.of(("missing-key", "unknown-key"), open_inference=is_v2)
            operation["responses"] = dict(sorted({**operation["responses"], **refused}.items()))
            if keys_required and "administration" in operation["tags"]:
                operation["security"] = [{"key": ["admin"]}]

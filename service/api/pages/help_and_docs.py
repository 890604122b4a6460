"""Pages for people: the help at /, the OpenAPI page at /docs, and the table of problems.

This server provides everything that a page needs: the policy of /docs allows no other. None has parameters,
and a query is ignored, because links collect them (`/?utm_source=…`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.pages.docs_page import CONTENT_SECURITY_POLICY, PAGE
from service.api.pages.playground_page import PlaygroundRoutes
from service.api.resource import JSON, PathParameter, Resource, text
from service.api.responses import document_response
from service.api.routing import route
from service.api.schema import reference
from service.app_state import AppState
from service.http.caching import Reuse
from service.http.document import COMPONENT, json_bytes
from service.http.headers import joined_header
from service.http.negotiation import Format, choose_format
from service.http.problem_documents import ProblemRow, problem_row, problem_table
from service.http.problems import PROBLEMS, ProblemError, table_text
from service.http.public_address import prefix_of
from service.http.request_body import base_url

HELP = """\
A variational autoencoder behind HTTP. Default model: {model}

Draw
  curl {url}/sample.txt
  curl '{url}/sample.txt?n=5&seed=7&temperature=0.8'
  curl -o digits.png '{url}/sample.png?n=64&seed=7&scale=4'
  curl '{url}/sample?n=2&seed=7'
  curl -H 'Content-Type: application/json' -d '{{"n": 2, "seed": 7}}' {url}/sample
{by_label}
Send images: JSON, PNG, JPEG, WebP or npy
  curl -o digit.png '{url}/sample.png?seed=7'
  curl -H 'Content-Type: image/png' --data-binary @digit.png {url}/reconstruct.txt
  curl -H 'Content-Type: image/png' --data-binary @digit.png {url}/encode
  curl -F images=@digit.png -F images=@digit.png '{url}/encode?fit=contain&invert=auto'
  curl -o digits.npy '{url}/sample.npy?n=5&seed=7'
  curl -H 'Content-Type: application/x-npy' --data-binary @digits.npy '{url}/reconstruct.txt?sample=true'

Go from one image to another, and along latent dimensions
  curl -o two.npy '{url}/sample.npy?n=2&seed=7'
  curl -H 'Content-Type: application/x-npy' --data-binary @two.npy {url}/interpolate.txt
  curl {url}/traverse.txt
  curl -o grid.png '{url}/traverse.png?dims=0,1&scale=2'

Ask how likely an image is; a score is no proof that one is unusual
  curl -H 'Content-Type: image/png' --data-binary @digit.png '{url}/score.txt?importance_samples=16'

Send latents: JSON or npy
  curl -H 'Content-Type: application/json' -d '{{"z": [{zeros}]}}' {url}/decode.txt

Find the nearest of stored latents
  curl -H 'Content-Type: application/json' -d '{{"z": [{zeros}], "latents": [{zeros}]}}' {url}/nearest

Look around
  curl {url}/models
  curl {url}/models/{model}
  curl {url}/readyz
  curl {url}/livez
  curl {url}/metrics
  curl {url}/problems

{url}/docs describes every body, parameter, status and header.
A suffix (.json .png .jpg .webp .npy .npz .txt) or an Accept header chooses the form.
?model= chooses the model.
"""

_ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}


HELP_PAGE: Final = Resource(
    path="/",
    operation_id="help",
    tag="people",
    summary="Working commands, and the playground.",
    description="Commands to paste, for the address of the request. Browsers, whose Accept header prefers "
    "HTML, receive the playground: a page that calls this API.",
    # The page is for no program, and a path of the document answers in one media type.
    answer={"text/plain": text(HELP.partition("{model}")[0] + "mnist\n\nDraw\n  curl …")},
)
DOCS: Final = Resource(
    path="/docs",
    operation_id="docs",
    tag="people",
    summary="This page.",
    description="The document as a page, which loads nothing from other servers.",
    answer={"text/html": text("<!DOCTYPE html>…")},
)
OPENAPI: Final = Resource(
    path="/openapi.json",
    operation_id="openapi",
    tag="people",
    summary="This document.",
    description="OpenAPI 3.1. Paths are relative to its address, or begin with the prefix of a proxy.",
    answer={
        JSON: {
            COMPONENT: "OpenApiDocument",
            "type": "object",
            "additionalProperties": True,
            "examples": [{"openapi": "3.1.0"}],
        }
    },
)
PROBLEM_TABLE: Final = Resource(
    path="/problems",
    operation_id="problems",
    tag="people",
    summary="Every problem.",
    description="Status, code, meaning and remedy, as text. With `Accept: application/json`, the same as "
    "JSON: an object whose `problems` are the documents of `/problems/{code}`.",
    answer={"text/plain": text("\n".join(table_text().splitlines()[:2]) + "\n")},
    problems=("form-not-available",),
)
PROBLEM: Final = Resource(
    path="/problems/{code}",
    operation_id="problem",
    tag="people",
    summary="One problem.",
    description="The document behind the `type` of a problem body.",
    answer={JSON: ProblemRow},
    problems=("unknown-path",),
    parameters=(PathParameter("code", "Code of a problem.", reference("ProblemCode"), "not-ready"),),
)


class HelpAndDocsRoutes:
    """Pages of one application."""

    resources = (HELP_PAGE, DOCS, OPENAPI, PROBLEM_TABLE, PROBLEM)

    def __init__(
        self,
        app_state: AppState,
        document: Callable[[str], dict[str, Any]],
        playground: PlaygroundRoutes | None = None,
    ) -> None:
        """Keep the parts of the pages.

        Args:
            app_state: The state of the application.
            document: Returns the OpenAPI document for a prefix; its examples depend on the loaded model.
            playground: The page for browsers; None: they receive the text as well.
        """
        self._app_state = app_state
        self._playground = playground
        self._document = document
        self._assets = _assets_directory()

    def routes(self) -> list[Route]:
        """The help, the documentation with its files, the OpenAPI document and the problems."""
        return [
            *route(HELP_PAGE.path, self.help),
            *route(DOCS.path, self.docs),
            *route("/docs/{asset}", self.asset),  # part of a page, and of no interface
            *route(OPENAPI.path, self.openapi),
            *route(PROBLEM_TABLE.path, self.problems),
            *route(PROBLEM.path, self.problem),
        ]

    async def help(self, request: Request) -> Response:
        """Text with working commands, for the address that the client used; for browsers the playground."""
        self._app_state.address.report_ignored(request.scope)
        if self._playground is not None and (page := self._playground.page(request)) is not None:
            return page
        model = self._app_state.registry.peek(None)
        text = HELP.format(
            url=base_url(request),
            model=self._app_state.registry.default,
            # Without a model the command cannot work anyway, and a single number shows its form.
            zeros=[0] * (model.latent_size if model else 1),
            by_label=_by_label(base_url(request), model.labels) if model else "",
        )
        vary = {"Vary": "Accept"} if self._playground is not None else None
        return document_response(text.encode(), "text/plain", reuse=Reuse.ASKING, headers=vary)

    async def docs(self, request: Request) -> Response:
        """The page of Swagger UI, whose script this server provides."""
        self._app_state.address.report_ignored(request.scope)
        return document_response(
            PAGE.encode(),
            "text/html",
            reuse=Reuse.ASKING,
            headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"},
        )

    async def asset(self, request: Request) -> Response:
        """Two files, looked up by name: a path never leads to the disk.

        Always whole. Starlette's own file response accepts Range headers, and rejects invalid ones in plain
        text, whereas every error here is a problem body.
        """
        name = request.path_params["asset"]
        if name not in _ASSETS:
            raise ProblemError("unknown-path", "Only the files of GET /docs are here.")
        data = await self._app_state.pool.run((self._assets / name).read_bytes)
        return document_response(data, _ASSETS[name], reuse=Reuse.FILE)

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document."""
        document = self._document(prefix_of(request.scope))
        return document_response(json_bytes(document), reuse=Reuse.ASKING)

    async def problems(self, request: Request) -> Response:
        """The table of problems, as text for people and as JSON for programs that request it."""
        accept = joined_header(request.scope, b"accept")
        if choose_format(suffix=None, accept=accept, forms=(Format.TEXT, Format.JSON)) is Format.TEXT:
            text = table_text(prefix_of(request.scope))
            return document_response(
                text.encode(), "text/plain", reuse=Reuse.ASKING, headers={"Vary": "Accept"}
            )
        table = problem_table(prefix=prefix_of(request.scope))
        return document_response(table, reuse=Reuse.ASKING, headers={"Vary": "Accept"})

    async def problem(self, request: Request) -> Response:
        """The document behind the `type` of a problem body."""
        kind = PROBLEMS.get(request.path_params["code"])
        if kind is None:
            raise ProblemError("unknown-path", "No problem has that code; GET /problems lists them.")
        row = problem_row(kind, prefix=prefix_of(request.scope))
        return document_response(row, reuse=Reuse.ASKING)


def _by_label(url: str, labels: Sequence[str]) -> str:
    """The command for a label, if the model has labels."""
    return f"  curl '{url}/sample.txt?n=5&label={quote(labels[0], safe='')}'\n" if labels else ""


def _assets_directory() -> Path:
    """Directory of the installed Swagger UI files; the package with the files is not imported."""
    found = find_spec("fastapi_offline")
    assert found is not None, "fastapi-offline is a dependency of this package"
    (place,) = found.submodule_search_locations or [""]
    return Path(place) / "static"

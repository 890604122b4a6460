"""The problem of a path that no endpoint has, with the likely reason.

Knows paths and routes. Knows nothing of models or bodies.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.routing import Route

from service.http.problems import ProblemError
from service.http.public_address import ROOT, prefix_of
from service.setting_values import ROOT_PATH

_TEXT: Final = "No endpoint has this path."
#: Longer paths, and those with other characters, are no slip of a person.
_PLAIN: Final = re.compile(r"/[A-Za-z0-9._~@/-]{0,99}")
#: Prefixes of proxies have few parts.
_MOST_PARTS: Final = 3


def unknown_path(request: Request) -> ProblemError:
    """The problem, with a hint at the prefix of a proxy."""
    path = request.scope["path"]
    hint = ""
    if _PLAIN.fullmatch(path):
        routes = [route for route in request.app.router.routes if isinstance(route, Route)]
        hint = _without_prefix(request, path, routes)
    return ProblemError("unknown-path", f"{_TEXT} {hint}".rstrip())


def _without_prefix(request: Request, path: str, routes: list[Route]) -> str:
    """For a proxy that passes its prefix on, although the setting `root_path` does not name it."""
    told = prefix_of(request.scope)
    if ROOT in request.scope or (told and not path.startswith(f"{told}/")):
        return ""
    if _first_part(path) in {_first_part(route.path) for route in routes}:
        return ""
    parts = path.split("/")[1:]
    for count in range(1, min(_MOST_PARTS, len(parts) - 1) + 1):
        prefix, rest = "/" + "/".join(parts[:count]), "/" + "/".join(parts[count:])
        if re.fullmatch(ROOT_PATH, prefix) and _exists(rest, routes):
            return f"If a proxy added {prefix}, the operator of the server sets VAE_ROOT_PATH={prefix}."
    return ""


def _first_part(path: str) -> str:
    """`/sample.png` and `/sample/x` → `sample`."""
    return path.removeprefix("/").partition("/")[0].partition(".")[0]


def _exists(path: str, routes: list[Route]) -> bool:
    return any(route.path_regex.match(path) for route in routes)

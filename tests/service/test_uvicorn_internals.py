"""What the server uses of uvicorn beyond its documented interface, by name, and that uvicorn still has it.

uvicorn documents `Config` and `Server.run`. The rest may change with any minor version, so `pyproject.toml`
allows one of them, and an upgrade begins here.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES: dict[str, type[Any]] = {
    "protocol": HttpToolsProtocol,
    "cycle": RequestResponseCycle,
    "flow": FlowControl,
    "server": uvicorn.Server,
    "server_state": ServerState,
    "config": uvicorn.Config,
    "lifespan": LifespanOn,
}
#: Every undocumented name that `service` reads, sets, calls or overrides, by the class that has it.
USED: dict[str, set[str]] = {
    "protocol": {
        *("client", "connections", "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope"),
        *("timeout_keep_alive", "transport", "url"),
        *("connection_lost", "connection_made", "data_received", "eof_received"),
        *("on_body", "on_header", "on_headers_complete", "on_message_begin", "on_message_complete", "on_url"),
        "send_400_response",
    },
    "cycle": {
        *("chunked_encoding", "default_headers", "disconnected", "expected_content_length", "flow"),
        *("keep_alive", "message_event", "more_body", "on_response", "response_complete"),
        *("response_started", "scope", "transport", "waiting_for_100_continue"),
        *("receive", "send"),
    },
    "flow": {"drain", "pause_reading", "resume_reading", "write_paused"},
    "server": {
        *("config", "force_exit", "handle_exit", "lifespan", "server_state", "servers"),
        *("shutdown", "started", "startup"),
    },
    "server_state": {"connections", "tasks"},
    "config": {"http_protocol_class"},
    "lifespan": {"shutdown", "state"},
}
#: Our classes that inherit from uvicorn's: file, class, and which of the above they are.
INHERIT = (
    ("service/http/protocol.py", "ProblemProtocol", "protocol"),
    ("service/http/request_cycle.py", "Cycle", "cycle"),
    ("service/process/server.py", "Server", "server"),
)
WHAT_TO_DO = (
    "Read how uvicorn {version} does the same, adapt service/http/protocol.py, service/http/request_cycle.py "
    "or service/process/server.py, run tests/service/http and `make test-hard`, and list the new names here."
)


def of_uvicorn(kind: str) -> set[str]:
    """Names that a class of uvicorn has: methods, class attributes, and what its methods set on `self`."""
    found = set(dir(CLASSES[kind])) - set(dir(object))
    for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(CLASSES[kind])))):
        if isinstance(node, ast.ClassDef) and node.name == CLASSES[kind].__name__:
            found |= {
                each.attr
                for each in ast.walk(node)
                if isinstance(each, ast.Attribute)
                and isinstance(each.ctx, ast.Store)
                and isinstance(each.value, ast.Name)
                and each.value.id == "self"
            }
    return found


def class_of(source: str, name: str) -> ast.ClassDef:
    (found,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    return found


def uses(ours: ast.ClassDef, kind: str) -> Iterable[tuple[str, str]]:
    """(which class of uvicorn, name) of what one of our classes uses, whoever else has such a name."""
    for method in ours.body:
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            yield kind, method.name
    for node in ast.walk(ours):
        if isinstance(node, ast.Attribute):
            holder = node.value
            name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
            if name in ("self", "each", "protocol"):
                yield kind, node.attr
            elif name in CLASSES:
                yield name, node.attr


def private_uses(source: str, name: str, kind: str) -> set[tuple[str, str]]:
    """Those of `uses` that uvicorn has, and that no class of ours or of Python's has given it."""
    return {
        (which, attribute)
        for which, attribute in uses(class_of(source, name), kind)
        if attribute in of_uvicorn(which) and not attribute.startswith("__")
    }


@pytest.mark.parametrize("kind", USED)
def test_uvicorn_still_has_every_private_name_that_is_used(kind: str) -> None:
    missing = sorted(USED[kind] - of_uvicorn(kind))
    assert missing == [], (
        f"uvicorn {version('uvicorn')}: {CLASSES[kind].__qualname__} has no {', '.join(missing)}. "
        + WHAT_TO_DO.format(version=version("uvicorn"))
    )


def test_every_private_name_that_is_used_is_listed() -> None:
    found: set[tuple[str, str]] = set()
    for file, name, kind in INHERIT:
        found |= private_uses((REPOSITORY / file).read_text(), name, kind)
    listed = {(kind, name) for kind, names in USED.items() for name in names}
    assert found == listed, f"add to USED: {sorted(found - listed)}; remove: {sorted(listed - found)}"


def test_a_use_that_is_not_listed_is_found() -> None:
    source = "class Ours:\n    def on_url(self): self.tasks = self.cycle.body or self.nothing_of_uvicorn\n"
    assert private_uses(source, "Ours", "protocol") == {
        ("protocol", "on_url"),
        ("protocol", "tasks"),
        ("protocol", "cycle"),
        ("cycle", "body"),
    }


def test_uvicorn_is_imported_where_these_tests_look_alone() -> None:
    importing = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "service").rglob("*.py")
        if any(
            (isinstance(node, ast.Import) and any(each.name.startswith("uvicorn") for each in node.names))
            or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("uvicorn"))
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert importing == {file for file, _, _ in INHERIT}


def test_objects_of_uvicorn_are_made_as_the_server_makes_them() -> None:
    parameters = inspect.signature(HttpToolsProtocol.__init__).parameters
    assert {"config", "server_state", "app_state"} <= set(parameters)
    # A cycle becomes ours by its class alone, which Python allows while both are laid out in the same way.
    cycle = RequestResponseCycle.__new__(RequestResponseCycle)
    assert not hasattr(cycle, "__slots__")
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"


def test_one_minor_version_of_uvicorn_is_allowed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (requirement,) = (each for each in project["dependencies"] if each.startswith("uvicorn"))
    minor = ".".join(version("uvicorn").split(".")[:2])
    assert requirement == f"uvicorn~={minor}.0", f"these names were checked for {minor}: pin that"

"""Applications in this process, and a notebook of what was asked of them and what they answered.

Knows ASGI, `create_app` and `Settings`. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from http_calls import http_scope

from recorded.payloads import Payload, json_of
from recorded.transcript import NOTHING_VARIES, Answer, Headers, Varying, answer_lines, request_lines
from service.app import create_app
from service.settings import Settings

_HOST: Final = ("host", "localhost:8000")
#: Variables of these beginnings change what the service or a library does.
_OF_THE_ENVIRONMENT: Final = ("VAE_", "OTEL_", "PROMETHEUS_", "prometheus_")
_TYPE: Final = "< content-type: "
_LENGTH: Final = "< content-length: "
#: `type`, `title`, `status`, `code`, `detail`, `remedy`, `request_id`, `errors`.
_LINES_OF_A_PROBLEM: Final = 8
#: The longest that a setting allows: a store that changes meanwhile is not noticed by itself.
NEVER_S: Final = 3600.0


def plain_environment() -> dict[str, str]:
    """The environment without what would configure the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_ENVIRONMENT)}
    return {**kept, "COLUMNS": "100", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}


@contextlib.contextmanager
def only(environment: Mapping[str, str]) -> Iterator[None]:
    """This process with another environment for a moment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Notebook:
    """The lines of one topic."""

    store: Path
    """Of the models of `recorded.models`; nothing changes it."""
    scratch: Path
    """An empty directory of this topic alone."""
    lines: list[str] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)
    _headers: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The file that is compared."""
        return "\n".join(self.lines).strip("\n") + "\n"

    @property
    def places(self) -> Varying:
        """For answers that name a directory."""
        return Varying(texts={str(self.scratch): "<scratch>", str(self.store): "<store>"})

    def heading(self, text: str) -> None:
        """A line for readers."""
        self.lines += ["", f"=== {text}", ""]

    def note(self, request: Iterable[str], answer: Iterable[str], end: str = "") -> None:
        """One exchange. What many answers have in common is shown the first time only."""
        lines = self._with_known_problem(self._with_known_headers(list(answer)))
        self.lines += [*request, *lines, *filter(None, [end]), ""]

    def _with_known_headers(self, answer: list[str]) -> list[str]:
        """In one line, if the last answer of this status and type had the same headers, length apart."""
        end = answer.index("<")
        headers = answer[1:end]
        of_type = next((line for line in headers if line.startswith(_TYPE)), "")
        length = next((line for line in headers if line.startswith(_LENGTH)), "")
        shape = [_LENGTH if line == length else line for line in headers]
        known = self._headers.get((answer[0], of_type))
        self._headers[answer[0], of_type] = shape
        if shape != known or not of_type:
            return answer
        named = ", ".join(line.removeprefix("< ") for line in (of_type, length) if line)
        return [f"{answer[0]} as above, {named}", *answer[end:]]

    def _with_known_problem(self, answer: list[str]) -> list[str]:
        """Without type, title, status, remedy and id of a problem, if the topic has shown them before."""
        at = next((at for at, line in enumerate(answer) if line.startswith('<  "type": ')), None)
        if at is None or len(answer) < at + _LINES_OF_A_PROBLEM:
            return answer
        code, detail = answer[at + 3], answer[at + 4]
        if self.is_told("\n".join([*answer[at : at + 4], *answer[at + 5 : at + 7]])):
            errors = _without_sentence(detail, answer[at + 7 : -1])
            return [*answer[:at], code.replace("<  ", "<  … "), detail, "<  …", *errors, answer[-1]]
        return answer

    def is_told(self, text: str) -> bool:
        """Whether this topic has shown a text before; from now on it has."""
        is_told = text in self._told
        self._told.add(text)
        return is_told

    @contextlib.contextmanager
    def application(self, about: str, **settings: Any) -> Iterator[Application]:
        """A running application over the store, unless `settings` name another."""
        self.heading(about)
        chosen = {"model_store": self.store, "threads": 1, "store_poll_s": NEVER_S, **settings}
        with Application(self, chosen) as application:
            yield application


def _without_sentence(detail: str, errors: list[str]) -> list[str]:
    """`errors[]` of a problem; in one word, if it is one item and `detail` is the sentence of its parts."""
    try:
        (told,) = json.loads("{" + detail[1:].strip().rstrip(",") + "}").values()
        ((item,),) = json.loads("{" + " ".join(line[1:].strip() for line in errors) + "}").values()
    except (TypeError, ValueError):
        return errors
    if list(item) == ["where", "expected", "got", "remedy"]:
        where, expected, got, remedy = item.values()
        if told == f"{where}: expected {expected}, got {got}. {remedy}":
            return ['<  "errors": [the parts of detail]']
    return errors


class Application:
    """One running application; every call of it is noted."""

    def __init__(self, notebook: Notebook, settings: Mapping[str, Any]) -> None:
        self._notebook = notebook
        with only(plain_environment()):
            self._app = create_app(Settings(**settings))
        self._loop = asyncio.new_event_loop()
        self._lifespan = self._app.router.lifespan_context(self._app)

    def __enter__(self) -> Application:
        self._loop.run_until_complete(self._lifespan.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._lifespan.__aexit__(None, None, None))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def get(self, target: str, **headers: str) -> Answer:
        """GET; an underscore in the name of a header stands for a hyphen."""
        return self.ask("GET", target, _named(headers))

    def post(self, target: str, payload: Payload | object, **headers: str) -> Answer:
        """POST of a payload, or of a document as JSON."""
        sent = payload if isinstance(payload, Payload) else json_of(payload)
        stated = [] if sent.media_type is None else [("content-type", sent.media_type)]
        return self.ask("POST", target, [*stated, *_named(headers)], sent)

    def post_unseeded(self, target: str, payload: Payload) -> Answer:
        """POST whose seed the server draws: no body is kept."""
        stated = [] if payload.media_type is None else [("content-type", payload.media_type)]
        return self.ask("POST", target, stated, payload, varying=Varying(seed=True))

    def ask(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        payload: Payload | None = None,
        *,
        host: str | None = _HOST[1],
        parts: int = 1,
        varying: Varying = NOTHING_VARIES,
    ) -> Answer:
        """One request.

        Args:
            method: Such as `POST`.
            target: Path and query, with their escapes.
            headers: All but Host and Content-Length.
            payload: The body.
            host: None sends no such header.
            parts: A body of several parts is sent as a chunked one would be, without a length.
            varying: What of the answer depends on the machine.
        """
        body = b"" if payload is None else payload.data
        told = list(headers) if host == _HOST[1] else [("host", host or "(none)"), *headers]
        sent = [("host", host)] if host is not None else []
        sent += headers
        if body and parts == 1 and not any(name == "content-length" for name, _ in headers):
            sent.append(("content-length", str(len(body))))
        if parts > 1:
            told.append(("transfer-encoding", "chunked"))
        answer = self._loop.run_until_complete(self._call(method, target, sent, _split(body, parts)))
        shown = None if payload is None else payload.shown
        self._notebook.note(
            request_lines(f"{method} {target}", told, body, shown), answer_lines(answer, varying)
        )
        return answer

    async def _call(self, method: str, target: str, headers: Headers, parts: Sequence[bytes]) -> Answer:
        scope = http_scope(method, target, headers)
        incoming = list(parts)

        async def receive() -> dict[str, Any]:
            if not incoming:
                await asyncio.Event().wait()
            part = incoming.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(incoming)}

        status = 0
        answered: list[tuple[str, str]] = []
        chunks: list[bytes] = []

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered.extend((n.decode("latin-1"), v.decode("latin-1")) for n, v in message["headers"])
            else:
                chunks.append(message.get("body", b""))

        await self._app(scope, receive, send)
        return Answer(status, answered, b"".join(chunks))


def _named(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


def _split(body: bytes, parts: int) -> list[bytes]:
    size = -(-len(body) // parts) or 1
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]

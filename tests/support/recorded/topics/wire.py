"""Bytes on a connection to a real server: what the protocol itself answers, and what it adds."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from patience import PATIENCE_S, eventually
from server_process import Running, serving

from recorded.notebook import Notebook, only, plain_environment
from recorded.transcript import Answer, Varying, answer_lines, wire_lines

_HOST: Final = b"Host: localhost:8000\r\n"
_CLOSE: Final = b"Connection: close\r\n\r\n"
_Z: Final = b'{"z":[[1,2,3]]}'
_HEAD_BYTES: Final = 131_072


@contextlib.contextmanager
def _server(notebook: Notebook, *arguments: str) -> Iterator[Running]:
    environment = {"HOME": str(notebook.scratch), "XDG_CACHE_HOME": str(notebook.scratch / "cache")}
    log = notebook.scratch / "log"
    settings = ("--threads", "1", "--store-poll-s", "3600", *arguments)
    with (
        only(plain_environment()),
        serving(notebook.store, log, *settings, environment=environment) as running,
    ):
        yield running


def wire(notebook: Notebook) -> None:
    """Requests that are whole, odd or malformed; each connection ends with its last answer."""
    json_head = b"Content-Type: application/json\r\n"
    chunked = b"POST /decode HTTP/1.1\r\n" + _HOST + json_head + b"Transfer-Encoding: chunked\r\n"
    sized = b"POST /decode HTTP/1.1\r\n" + _HOST + json_head + b"Content-Length: 15\r\n"
    long_line = b"GET /sample?" + b"x" * 20_000 + b" HTTP/1.1\r\n"
    trailer = b"f\r\n" + _Z + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
    fields = b"".join(b"X-%03d: %s\r\n" % (at, b"y" * 1_000) for at in range(_HEAD_BYTES // 1_008 + 1))
    notebook.heading("whole requests")
    with _server(notebook) as running:
        for request in (
            b"GET /sample?seed=7 HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"GET /sample.npy?seed=7&n=70 HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"GET /sample.npy?seed=7&n=300 HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"HEAD /sample.npy?seed=7&n=300 HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"OPTIONS * HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"GET http://localhost/livez HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"GET /livez HTTP/1.0\r\n\r\n",
            b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /livez HTTP/1.0\r\n\r\n",
            b"GET /livez HTTP/1.1\r\n" + _HOST + b"\r\nGET /nothing HTTP/1.1\r\n" + _HOST + _CLOSE,
            b"GET /livez HTTP/1.1\r\n" + _CLOSE,
            sized + _CLOSE + _Z,
            chunked + _CLOSE + trailer,
            chunked + b"Expect: 100-continue\r\n" + _CLOSE + trailer,
            sized + b"Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n" + _Z,
            b"GET /livez HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\n" + _CLOSE + b"abc",
            long_line + _HOST + _CLOSE,
            b"GET /livez HTTP/1.1\r\n" + _HOST + b"X-Request-Id: mine\r\n" + _CLOSE,
            b"POST /decode HTTP/1.1\r\n" + _HOST + json_head + b"Content-Length: 40000000\r\n" + _CLOSE,
        ):
            _ask(notebook, running, request)
        notebook.heading("no HTTP")
        for request in (
            b"hello\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + _HOST + b"no colon\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\0b\r\n\r\n",
            b"get / HTTP/1.1\r\n" + _HOST + b"\r\n",
            b"BREW / HTTP/1.1\r\n" + _HOST + b"\r\n",
            b"CONNECT localhost:1 HTTP/1.1\r\n" + _HOST + b"\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            sized + b"Content-Length: 16\r\n\r\n" + _Z,
            sized + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /decode HTTP/1.1\r\n" + _HOST + b"Content-Length: -1\r\n\r\n",
            chunked + b"\r\nxyz\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\n" + _HOST + fields,
            b"GET /livez HTTP/1.1\r\n" + _HOST + b"\r\nrubbish\r\n\r\n",
        ):
            _ask(notebook, running, request)


def bounds(notebook: Notebook) -> None:
    """Too slow, too many, and while the server stops; its own answers know the path and the pages too."""
    with _server(
        notebook,
        *("--receipt-timeout-s", "1", "--max-connections", "1", "--drain-delay-s", "3600"),
        *("--root-path", "/vae", "--cors-origins", "https://page.example"),
    ) as running:
        notebook.heading("no HTTP, behind a path and for pages of one origin")
        _ask(notebook, running, b"hello\r\n\r\n")
        notebook.heading("half a request, and then nothing")
        _ask(notebook, running, b"GET /vae/livez HTTP/1.1\r\n" + _HOST)
        half = (
            b"POST /vae/decode HTTP/1.1\r\n"
            + _HOST
            + b"Content-Type: application/json\r\nContent-Length: 15\r\n\r\n"
        )
        _ask(notebook, running, half + b'{"z":')
        notebook.heading("one connection more")
        with _kept_connection(running):
            _ask(notebook, running, b"GET /vae/sample?seed=1 HTTP/1.1\r\n" + _HOST + b"\r\n")
            _ask(notebook, running, b"GET /vae/livez HTTP/1.1\r\n" + _HOST + _CLOSE)
        notebook.heading("after SIGTERM")
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: running.get("/readyz")[0] == 503, lambda: running.log)
        for path in (b"/readyz", b"/livez"):
            _ask(notebook, running, b"GET " + path + b" HTTP/1.1\r\n" + _HOST + _CLOSE)


@contextlib.contextmanager
def _kept_connection(running: Running) -> Iterator[None]:
    """The one connection that is served: earlier ones may take a moment to be forgotten."""
    while True:
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as connection:
            connection.sendall(b"GET /sample?seed=1 HTTP/1.1\r\n" + _HOST + b"\r\n")
            if connection.recv(65_536).startswith(b"HTTP/1.1 200 "):
                yield
                return


def _ask(notebook: Notebook, running: Running, request: bytes) -> None:
    """One connection: all that is sent, and all answers until the server closes it."""
    received = b""
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                received += part
    answers = list(_answers(received, is_head=request.startswith(b"HEAD ")))
    own_port = Varying(texts={f":{running.port}": ":<port>"})
    lines = [each for line, answer in answers for each in answer_lines(answer, own_port, line=line)]
    notebook.note(wire_lines(request), lines, end="(closed)")


def _answers(received: bytes, *, is_head: bool) -> Iterator[tuple[str, Answer]]:
    """Status lines and answers."""
    while received:
        head, separator, received = received.partition(b"\r\n\r\n")
        assert separator, head
        line, *fields = head.decode("latin-1").split("\r\n")
        headers: Sequence[tuple[str, str]] = [(n, v) for n, _, v in (each.partition(": ") for each in fields)]
        status = int(line.split(" ")[1])
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = b"" if is_head or status < 200 or status == 204 else received[:length]
        received = received[len(body) :]
        yield line, Answer(status, headers, body)

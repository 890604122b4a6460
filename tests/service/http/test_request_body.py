"""Bodies that come in many pieces: whole in the end, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

import numpy as np
import pytest
from server_process import Running, raw_answer
from starlette.requests import Request
from starlette.types import Message

from service.http.request_body import BodyKind, read_body
from service.http.request_cycle import Cycle

KINDS = {BodyKind.NPY: "--data-binary @images.npy"}


def request_of(parts: list[bytes]) -> Request:
    waiting = list(parts)

    async def receive() -> Message:
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    headers = [(b"content-type", b"application/x-npy")]
    return Request({"type": "http", "method": "POST", "path": "/encode", "headers": headers}, receive)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 100])
def test_a_body_is_the_same_in_however_many_parts(count: int) -> None:
    parts = [bytes([i % 251]) * 65_536 for i in range(count)]
    body = asyncio.run(read_body(request_of([*parts, b""]), path="/encode", kinds=KINDS))
    assert body.data == b"".join(parts)


def test_others_run_while_a_long_body_is_joined() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def test() -> None:
        other = asyncio.create_task(count_turns())
        body = await read_body(request_of([b"x" * 65_536] * 200), path="/encode", kinds=KINDS)
        other.cancel()
        assert len(body.data) == 200 * 65_536

    asyncio.run(test())
    assert turns >= 10  # nothing else waits here: receiving takes no turn of the event loop


def test_unread_pieces_of_one_byte_stop_the_reading_before_they_take_much() -> None:
    """A chunk may be of one byte, and what holds it is sixty times as large."""
    paused: list[bool] = []
    cycle = Cycle.__new__(Cycle)
    cycle.message_event = asyncio.Event()
    cycle.flow = SimpleNamespace(pause_reading=lambda: paused.append(True))  # type: ignore[assignment]
    count = 0
    while not paused and count < 10_000:
        cycle.take(b"x")
        count += 1
    assert 500 < count < 2_000


@pytest.mark.parametrize("size", [1, 7, 3000])
def test_a_body_in_pieces_of_any_size_is_read_from_the_wire(server: Running, size: int) -> None:
    out = io.BytesIO()
    np.save(out, np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32))
    body = out.getvalue()
    head = b"POST /encode.npz HTTP/1.1\r\nContent-Type: application/x-npy\r\nConnection: close\r\n"
    pieces = [body[at : at + size] for at in range(0, len(body), size)][: 200 if size < 3000 else None]
    sent = b"".join(pieces)
    pieces.append(body[len(sent) :])
    whole, answer = raw_answer(server, head + b"Content-Length: %d\r\n\r\n" % len(body), body)
    dripped, again = raw_answer(server, head + b"Content-Length: %d\r\n\r\n" % len(body), *pieces)
    assert whole.startswith(b"HTTP/1.1 200 ")
    assert dripped.startswith(b"HTTP/1.1 200 ")
    assert answer == again


def test_who_asks_whether_to_go_on_is_told_so_once(server: Running) -> None:
    head = b"POST /sample HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 16\r\n\r\n"
    first, rest = raw_answer(server, head, b'{"n":1,"seed":7}')
    assert first == b"HTTP/1.1 100 Continue"
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.count(b"HTTP/1.1 ") == 1

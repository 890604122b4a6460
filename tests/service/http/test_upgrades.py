"""Offers to change the protocol: not taken, and nothing of the request or of those behind it is lost."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from server_process import Running, raw_answer
from wire_server import echo, speaking

Run = Callable[[Coroutine[Any, Any, None]], None]

OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: eA==\r\n",
    "TLS": b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
}
HEAD = b"POST /first?a=b HTTP/1.1\r\nHost: a\r\nX-Before: 1\r\n%bX-After: 2\r\n"
BODIES = {
    "length": (b"Content-Length: 16\r\n\r\n" + b'{"n":3,"seed":5}', '{"n":3,"seed":5}'),
    "chunked": (
        b'Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n{"n":\r\nb\r\n3,"seed":5}\r\n0\r\nX-T: 1\r\n\r\n',
        '{"n":3,"seed":5}',
    ),
    "none": (b"\r\n", ""),
    "empty": (b"Content-Length: 0\r\n\r\n", ""),
}


@pytest.mark.hazard_row("upgrade-offered")
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("kind", BODIES)
def test_offered_upgrade_leaves_the_request_whole_wherever_it_is_cut(run: Run, offer: str, kind: str) -> None:
    """One connection for all: each request is also the next one behind an offer."""
    rest, body = BODIES[kind]
    request = HEAD % OFFERS[offer] + rest

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            await client.send(request)
            whole = (await client.answer()).json
            assert (whole["method"], whole["path"], whole["body"]) == ("POST", "/first", body)
            assert {"x-before", "x-after", "upgrade", "connection"} <= whole["headers"].keys()
            assert "x-t" not in whole["headers"]
            for cut in range(1, len(request)):
                await client.send(request[:cut], request[cut:])
                assert (await client.answer()).json == whole, (request[:cut], request[cut:])

    run(test())


@pytest.mark.hazard_row("upgrade-offered")
@pytest.mark.parametrize("offer", OFFERS)
def test_requests_behind_an_offer_in_the_same_segment_are_answered(run: Run, offer: str) -> None:
    requests = [HEAD % each + BODIES[kind][0] for kind in BODIES for each in (OFFERS[offer], b"")]
    requests.append(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + b"\r\n")

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            await client.send(b"".join(requests))
            answers = [(await client.answer()).json for _ in requests]
            assert [each["body"] for each in answers] == [
                body for _, body in BODIES.values() for _ in range(2)
            ] + [""]
            assert answers[-1]["path"] == "/last"
            assert await client.all_that_comes() == b""

    run(test())


def test_long_body_behind_an_offer_arrives(run: Run) -> None:
    body = b"0123456789" * 100_000
    head = HEAD % OFFERS["h2c"] + b"Content-Length: %d\r\n\r\n" % len(body)

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            await client.send(head + body)
            assert (await client.answer()).json["body"].encode() == body

    run(test())


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("kind", BODIES)
def test_offer_on_a_connection_that_closes_is_ignored_and_it_closes(run: Run, offer: str, kind: str) -> None:
    """RFC 9110, 7.8: an Upgrade in HTTP/1.0 MUST be ignored. llhttp reads nothing behind either."""
    rest, body = BODIES[kind]
    old = (HEAD % OFFERS[offer]).replace(b"HTTP/1.1", b"HTTP/1.0")
    closing = HEAD % OFFERS[offer].replace(b"Connection: ", b"Connection: close, ")

    async def test() -> None:
        async with speaking(echo) as server:
            for head in (old, closing):
                for segments in ([head + rest], [head, rest]):
                    async with server.connected() as client:
                        await client.send(*segments)
                        answer = await client.answer()
                        assert answer.json["body"] == body
                        assert b"\r\nconnection: close" in answer.head
                        assert await client.all_that_comes() == b""
                async with server.connected() as client:
                    client.send_blindly(head + rest + b"GET /more HTTP/1.1\r\n\r\n")
                    assert (await client.answer()).json["body"] == body
                    assert await client.all_that_comes() == b""

    run(test())


def test_offering_client_that_waits_is_told_to_go_on(run: Run) -> None:
    head = HEAD % OFFERS["h2c"] + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            await client.send(head)
            assert await client.exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"{}")
            assert (await client.answer()).json["body"] == "{}"

    run(test())


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(b"Transfer-Encoding: gzip\r\n\r\n", id="not chunked at the end"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", id="two framings"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", id="two lengths"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="no chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", id="chunk too long"),
    ],
)
def test_faulty_framing_behind_an_offer_is_refused_as_without_it(run: Run, framing: bytes) -> None:
    """Else an offer would be a way past the checks of the parser."""

    async def test() -> None:
        async with speaking(echo) as server:
            for offer in (b"", OFFERS["h2c"]):
                async with server.connected() as client:
                    client.send_blindly(HEAD % offer + framing + b"GET /smuggled HTTP/1.1\r\n\r\n")
                    answer = await client.all_that_comes()
                    assert answer.startswith(b"HTTP/1.1 400 "), offer
                    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
                    assert b"smuggled" not in answer

    run(test())


@pytest.mark.parametrize("target", [b"localhost:443", b"/livez", b"*"])
def test_connect_is_refused_and_nothing_behind_it_is_read(server: Running, target: bytes) -> None:
    """Behind a CONNECT comes the traffic of a tunnel, not a request."""
    request = b"CONNECT %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
    head, body = raw_answer(server, request + b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close" in head
    assert re.search(rb"HTTP/1\.1 \d", body) is None
    problem = json.loads(body)
    assert problem["code"] == "malformed-request"
    if target != b"*":  # which is no target of CONNECT at all
        assert problem["detail"] == "This server is no proxy: it has no CONNECT."


@pytest.mark.hazard_row("upgrade-offered")
@pytest.mark.parametrize("offer", OFFERS)
def test_model_answers_what_was_asked_with_an_offer(server: Running, offer: str) -> None:
    """The body was dropped: 200 with another seed and another count than asked."""
    rest = b'Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{"n":3,"seed":5}'
    last = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    def asked(head: bytes) -> list[bytes]:
        answer, rest_of_it = raw_answer(server, head.replace(b"/first?a=b", b"/sample.json") + rest + last)
        return [line for line in answer.split(b"\r\n") if line.startswith((b"HTTP/", b"x-seed"))] + [
            rest_of_it.partition(b"HTTP/1.1 ")[0],
            rest_of_it.partition(b"HTTP/1.1 ")[2][:3],
        ]

    with_offer, without = asked(HEAD % OFFERS[offer]), asked(HEAD % b"")
    assert with_offer == without
    assert with_offer[1] == b"x-seed: 5"
    assert with_offer[-1] == b"200"


def test_large_segments_of_offers_do_not_hold_up_the_loop(run: Run) -> None:
    """Each is read once: what is left is never copied."""
    request = HEAD % OFFERS["h2c"] + b"\r\n"

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            sending = asyncio.create_task(client.send(request * 1000))
            for _ in range(1000):
                assert (await client.answer()).json["path"] == "/first"
            await sending

    run(test())

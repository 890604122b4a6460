"""Bytes on a connection that are nearly HTTP, or far too many: refused, closed, nothing kept."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hazard_plugin import Hazard
from process_facts import resident_bytes
from server_process import Running, serving
from tiny_models import publish_tiny
from wire_mutants import mutants, smuggling

from model_store import ModelStore

pytestmark = pytest.mark.hard

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
#: Connections at once.
CLIENTS = 64
#: How long a client waits for an answer to what may be half a request.
PATIENCE_S = 0.2
#: Refusals of the protocol itself: whatever follows on that connection cannot be trusted.
ENDS_CONNECTION = (b'"code":"malformed-request"', b'"code":"head-too-large"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("wire")
    publish_tiny(ModelStore(home / "models"), name="mnist", image_shape=(1, 4, 4), latent_size=2)
    with serving(home / "models", home / "log", environment={"PYTHONWARNINGS": "error"}) as running:
        yield running


async def answer_to(port: int, data: bytes) -> tuple[bytes, bool]:
    """All that comes back, and whether the server ended the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(data)
        # A server that has refused closes while we still send.
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        while True:
            ended = any(code in answer for code in ENDS_CONNECTION)
            # After a whole answer another one could follow at once, and may not.
            patience = 5.0 if ended else PATIENCE_S if not answer else PATIENCE_S / 5
            try:
                async with asyncio.timeout(patience):
                    part = await reader.read(65_536)
            except TimeoutError:
                return answer, False
            except ConnectionError:
                return answer, True
            if not part:
                return answer, True
            answer += part
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def attack(port: int, inputs: Iterable[bytes]) -> tuple[Counter[int], list[bytes], list[bytes]]:
    """Statuses seen; inputs whose refusal left the connection open; inputs that got the smuggled answer."""
    statuses: Counter[int] = Counter()
    left_open: list[bytes] = []
    several: list[bytes] = []
    source = iter(inputs)

    async def client() -> None:
        for data in source:
            answer, closed = await answer_to(port, data)
            seen = [int(status) for status in _STATUS.findall(answer)]
            statuses.update(seen or [0])
            if any(code in answer for code in ENDS_CONNECTION) and not closed:
                left_open.append(data)
            if sum(status != 100 for status in seen) > 1:
                several.append(data)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return statuses, left_open, several


def told_of(statuses: Counter[int]) -> str:
    """`31,000 × 4xx, 12,000 × 2xx, 7,000 unanswered`."""
    groups = Counter({f"{status // 100}xx" if status else "unanswered": 0 for status in statuses})
    for status, count in statuses.items():
        groups[f"{status // 100}xx" if status else "unanswered"] += count
    return ", ".join(
        f"{count:,} {name}" if name == "unanswered" else f"{count:,} × {name}"
        for name, count in sorted(groups.items(), reverse=True)
    )


@pytest.mark.hazard_row("malformed-http")
def test_50_000_mutants_get_no_5xx_no_traceback_and_no_second_word(server: Running, hazard: Hazard) -> None:
    statuses, left_open, _ = asyncio.run(attack(server.port, mutants(50_000, seed=3)))
    log = server.log
    tracebacks = log.count("Traceback")
    # Some have an Origin header, and the server says once which setting would let its pages in.
    expected = ('"level":"info"', '"event":"page of another origin kept out"')
    errors = [line for line in log.splitlines() if not any(each in line for each in expected)]
    five = sum(count for status, count in statuses.items() if status >= 500)
    assert errors == [], errors[:5]
    assert left_open == [], left_open[:5]
    assert statuses[400] > 10_000
    assert server.get("/readyz")[0] == 200
    told = f"{told_of(statuses)}; {five} × 5xx, {tracebacks} tracebacks, {len(left_open)} left open"
    met = five == tracebacks == len(left_open) == 0
    hazard("malformed-http", figure=told, bar="50,000 mutants: 0 × 5xx, 0 tracebacks, 0 left open", met=met)


@pytest.mark.hazard_row("malformed-http")
def test_no_request_can_be_hidden_behind_two_lengths(server: Running, hazard: Hazard) -> None:
    inputs = list(smuggling())
    before = server.log.count("/smuggled")
    statuses, left_open, several = asyncio.run(attack(server.port, inputs))
    reached = server.log.count("/smuggled") - before
    assert several == [], several[:5]
    assert left_open == []
    assert set(statuses) <= {0, 400, 100}, statuses
    told = f"{len(inputs)} ways: {statuses[400]} × 400, {reached} smuggled"
    hazard("malformed-http", figure=told, bar="two lengths: 0 smuggled", met=reached == 0)


@pytest.mark.hazard_row("body-limit")
def test_100_bodies_of_64_mb_in_chunks_are_counted_and_not_kept(server: Running, hazard: Hazard) -> None:
    chunk = b" " * 65_536
    framed = b"%x\r\n%s\r\n" % (len(chunk), chunk)
    pid = server.process.pid

    def send() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)
        with contextlib.closing(connection):
            connection.putrequest("POST", "/encode")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            for _ in range(1024):
                connection.send(framed)
            connection.send(b"0\r\n\r\n")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["code"]

    for _ in range(3):
        send()
    before = most = resident_bytes(pid)
    answers = Counter()
    for _ in range(100):
        answers[send()] += 1
        most = max(most, resident_bytes(pid))
    growth = most - before
    told = f"{answers[413, 'body-too-large']} × 413, RSS {growth / 1e6:+.2f} MB at most"
    met = growth < 2_000_000 and answers == {(413, "body-too-large"): 100}
    hazard("body-limit", figure=told, bar="100 × 64 MB: 413, < +2 MB", met=met)

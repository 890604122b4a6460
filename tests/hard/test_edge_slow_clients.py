"""500 clients that are silent, drip or stall, all at once, beside probes that must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from process_facts import percentile
from server_process import serving
from tiny_models import publish_tiny

from model_store import ModelStore

CLIENTS = 500
DEADLINE_S = 3.0
HEAD = b"POST /encode HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
#: What each kind sends at first, and what it sends every half second after that.
KINDS = {
    "silent": (b"", b""),
    "drip header": (HEAD, b"X-A: b\r\n"),
    "drip body": (HEAD + b"\r\n", b" "),
    "stalled body": (HEAD + b"\r\n" + b'{"images": [', b""),
}


async def seconds_until_closed(port: int, first: bytes, drip: bytes) -> tuple[float, float]:
    """How long the server keeps one such client, at least and at most.

    The server counts from the moment when it accepts, which is after the client asked for a connection and
    before the client, one of 500 in this process, is told that it has one.
    """
    asked = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connected = time.monotonic()
    writer.write(first)

    async def dripping() -> None:
        while drip:
            await asyncio.sleep(0.5)
            writer.write(drip)

    dripper = asyncio.create_task(dripping())
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(4 * DEADLINE_S):
            await reader.read(-1)
    closed = time.monotonic()
    dripper.cancel()
    writer.close()
    return closed - connected, closed - asked


async def probe(port: int, until: asyncio.Event) -> tuple[list[float], int]:
    """Latencies in seconds of /livez, each on a connection of its own, and how many failed."""
    latencies, failures = [], 0
    while not until.is_set():
        begun = time.monotonic()
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                failures += not (await reader.read(-1)).startswith(b"HTTP/1.1 200 ")
                writer.close()
        except (OSError, TimeoutError):
            failures += 1
        latencies.append(time.monotonic() - begun)
        await asyncio.sleep(0.02)
    return latencies, failures


@pytest.mark.hard
@pytest.mark.hazard_row("slow-clients")
@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_are_closed_on_time_and_probes_do_not_notice(
    kind: str, tmp_path: Path, hazard: Hazard
) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", image_shape=(1, 4, 4), latent_size=2)
    arguments = ("--receipt-timeout-s", str(DEADLINE_S))

    async def measured(port: int) -> tuple[list[tuple[float, float]], list[float], int]:
        done = asyncio.Event()
        probing = asyncio.create_task(probe(port, done))
        closed = await asyncio.gather(*(seconds_until_closed(port, *KINDS[kind]) for _ in range(CLIENTS)))
        done.set()
        return closed, *(await probing)

    with serving(tmp_path / "models", tmp_path / "log", *arguments) as running:
        closed_s, latencies_s, failures = asyncio.run(measured(running.port))
        assert running.get("/sample")[0] == 200
        assert running.stop() == 0
    p99_ms = 1e3 * percentile(latencies_s, 0.99)
    first_s = min(at_most for _, at_most in closed_s) - DEADLINE_S
    last_s = max(at_least for at_least, _ in closed_s) - DEADLINE_S
    hazard(
        "slow-clients",
        figure=f"{kind}: {CLIENTS} closed {first_s:+.2f} to {last_s:+.2f} s after the deadline",
        bar="-0.5 to +1 s",
        met=first_s >= -0.5 and last_s <= 1.0,
    )
    hazard(
        "slow-clients",
        figure=f"{kind}: {failures} of {len(latencies_s)} probes failed, p99 {p99_ms:.0f} ms",
        bar="0, < 500 ms",
        met=failures == 0 and p99_ms < 500,
    )
    assert "Traceback" not in running.log

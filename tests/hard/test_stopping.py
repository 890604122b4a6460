"""SIGTERM under load, fifty times: whoever was heard is answered, and the process ends as it should."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from patience import PATIENCE_S
from server_process import serving
from tiny_models import publish_tiny

from model_store import ModelStore

STOPS = 50
KEPT, ONE_SHOT = 8, 4
REQUEST = b"GET /sample?n=4 HTTP/1.1\r\nHost: a\r\n"
BURSTS, BURST = 8, 200
STALLED, GRACE_S = 100, 2


@dataclass
class Seen:
    """What all clients saw."""

    answered: int = 0
    lost: int = 0
    errors: int = 0


async def client(port: int, seen: Seen, *, keep: bool) -> None:
    """Asks again and again, until it is refused a connection."""
    request = REQUEST + (b"\r\n" if keep else b"Connection: close\r\n\r\n")
    while True:
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError):
            return
        with contextlib.closing(writer):
            while True:
                whole, last = await asked(reader, writer, request)
                seen.answered += whole is not None
                seen.lost += whole is None
                seen.errors += whole is not None and not whole.startswith(b"HTTP/1.1 200 ")
                if whole is None or last:
                    break


async def asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[bytes | None, bool]:
    """One whole answer, or None if it was lost, and whether it is the last of its connection."""
    try:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        return None, True
    return head.upper()[:13] + head[13:], b"connection: close" in head


@pytest.mark.hard
@pytest.mark.hazard_row("sigterm")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("workers", "stops"), [(1, STOPS), (2, 10)])
def test_nobody_who_was_heard_is_lost(tmp_path: Path, hazard: Hazard, workers: int, stops: int) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", image_shape=(1, 4, 4), latent_size=2)
    seen, codes, slowest_s = Seen(), [], 0.0
    arguments = ("--access-log", "false", "--workers", str(workers))

    async def load(port: int, pid: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(KEPT + ONE_SHOT):
                group.create_task(client(port, seen, keep=number < KEPT))
            await asyncio.sleep(0.2)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pid, signal.SIGTERM)

    for _ in range(stops):
        with serving(tmp_path / "models", tmp_path / "log", *arguments) as running:
            descriptor = os.pidfd_open(running.process.pid)
            asyncio.run(load(running.port, descriptor))
            begun = time.monotonic()
            codes.append(running.process.wait(timeout=PATIENCE_S))
            slowest_s = max(slowest_s, time.monotonic() - begun)
            os.close(descriptor)
            assert "Traceback" not in running.log
    total = seen.answered + seen.lost
    hazard(
        "sigterm",
        figure=f"{stops} stops, workers {workers}: {seen.lost} of {total} lost, {seen.errors} not 200",
        bar="0 lost",
        met=seen.lost == seen.errors == 0 and seen.answered > 20 * stops,
    )
    hazard("sigterm", figure=f"exit codes {sorted(set(codes))}", bar="0", met=set(codes) == {0})


@pytest.mark.hard
@pytest.mark.hazard_row("sigterm")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_a_burst_that_still_waits_to_be_accepted_is_answered(
    tmp_path: Path, hazard: Hazard, workers: int, delay_s: float
) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", image_shape=(1, 4, 4), latent_size=2)
    arguments = ("--access-log", "false", "--workers", str(workers), "--drain-delay-s", str(delay_s))
    lost, codes = 0, set()
    for _ in range(BURSTS):
        with (
            serving(tmp_path / "models", tmp_path / "log", *arguments) as running,
            contextlib.ExitStack() as stack,
        ):
            raw = [stack.enter_context(socket.socket()) for _ in range(BURST)]
            for each in raw:  # quicker than they are accepted
                each.settimeout(10)
                each.connect(("127.0.0.1", running.port))
                each.sendall(REQUEST + b"Connection: close\r\n\r\n")
            running.process.send_signal(signal.SIGTERM)
            lost += sum(not answer_to(each).startswith(b"HTTP/1.1 200 ") for each in raw)
            codes.add(running.process.wait(timeout=PATIENCE_S))
            assert "Traceback" not in running.log
    hazard(
        "sigterm",
        figure=f"{BURSTS} x {BURST} at once, workers {workers}, delay {delay_s} s: {lost} lost, exit {codes}",
        bar="0 lost, exit 0",
        met=lost == 0 and codes == {0},
    )


def answer_to(raw: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(OSError):
        while part := raw.recv(65_536):
            answer += part
    return answer


@pytest.mark.hard
@pytest.mark.hazard_row("sigterm")
def test_stalled_clients_hold_the_process_for_the_grace_time_at_most(tmp_path: Path, hazard: Hazard) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", image_shape=(1, 4, 4), latent_size=2)
    stalled = (
        b"POST /encode HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )

    async def measured(running: object, port: int) -> list[bytes]:
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(STALLED)]
        for _, writer in streams:
            writer.write(stalled)
        await asyncio.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        answers = await asyncio.gather(*(reader.read(-1) for reader, _ in streams))
        for _, writer in streams:
            writer.close()
        return answers

    arguments = ("--shutdown-grace-s", str(GRACE_S), "--receipt-timeout-s", "60")
    with serving(tmp_path / "models", tmp_path / "log", *arguments) as running:
        begun = time.monotonic()
        answers = asyncio.run(measured(running, running.port))
        code = running.process.wait(timeout=PATIENCE_S)
        took_s = time.monotonic() - begun - 0.3
    told = sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
    hazard(
        "sigterm",
        figure=f"{STALLED} stalled clients: exit {code} after {took_s:.2f} s, {told} told 503",
        bar=f"0 within {GRACE_S} + 1 s, 503",
        met=code == 0 and took_s <= GRACE_S + 1.0 and told == STALLED,
    )
    assert "Traceback" not in running.log

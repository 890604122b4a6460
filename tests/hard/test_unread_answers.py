"""400 clients that ask for 2 MB each and read nothing, beside probes that must not notice."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from process_facts import kernel_tcp_bytes, send_queues
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

CLIENTS = 400
DEADLINE_S = 5.0
BAR_S = 2 * DEADLINE_S + 1.0
#: 2 MB of float32 for each, which the server sends in parts; and 2 MB of JSON, which it sends in one piece.
TARGETS = {"npy": "/sample.npy?n=8192&seed=1", "JSON": "/sample?n=3000&seed=1"}


def clients(running: Running, target: str, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Connections that have asked. Every second one is to be closed after the answer."""
    made = []
    for i in range(CLIENTS):
        raw = stack.enter_context(socket.socket())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(30)
        raw.connect(("127.0.0.1", running.port))
        closing = "Connection: close\r\n" if i % 2 else ""
        raw.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n{closing}\r\n".encode())
        made.append(raw)
    return made


def wait_for_first_bytes(waiting: list[socket.socket], within_s: float) -> None:
    """Returns once every client could read something. None of it is read."""
    deadline = time.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        for raw in waiting:
            selector.register(raw, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(timeout=max(0.0, deadline - time.monotonic())):
                selector.unregister(key.fileobj)
            assert time.monotonic() < deadline


@pytest.mark.hard
@pytest.mark.hazard_row("unread-answers")
@pytest.mark.parametrize("form", TARGETS)
def test_answers_that_nobody_reads_are_dropped_on_time(form: str, tmp_path: Path, hazard: Hazard) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", image_shape=(1, 8, 8), latent_size=2)
    arguments = (
        *("--receipt-timeout-s", str(DEADLINE_S), "--max-images", "4096"),
        *("--max-queue-images", str(1 << 24), "--request-timeout-s", "120"),
    )
    with (
        serving(tmp_path / "models", tmp_path / "log", *arguments) as running,
        contextlib.ExitStack() as stack,
    ):
        assert len(running.get(TARGETS[form])[2]) > 1_900_000
        before = peak = kernel_tcp_bytes()
        waiting = clients(running, TARGETS[form], stack)
        wait_for_first_bytes(waiting, within_s=90)
        begun = time.monotonic()
        slowest_probe_s = 0.0
        while any(queue > 4096 for queue in send_queues(running.port).values()):
            peak = max(peak, kernel_tcp_bytes())
            asked = time.monotonic()
            assert running.get("/livez")[0] == 200
            slowest_probe_s = max(slowest_probe_s, time.monotonic() - asked)
            assert time.monotonic() - begun < 10 * BAR_S
            time.sleep(0.1)
        back_s = time.monotonic() - begun
        left = kernel_tcp_bytes() - before
        assert running.get("/sample")[0] == 200
        assert running.stop() == 0
    each_mb = (peak - before) / CLIENTS / 1e6
    hazard(
        "unread-answers",
        figure=f"{form}: back after {back_s:.1f} s, {left / 1e6:.0f} MB left; at most {each_mb:.2f} MB each; "
        f"slowest probe {1e3 * slowest_probe_s:.0f} ms",
        bar=f"≤ {BAR_S:g} s, ≤ 32 MB left; ≤ 1 MB each",
        met=back_s <= BAR_S and left <= 32_000_000 and each_mb <= 1.0,
    )

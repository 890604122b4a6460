"""Clients that leave while their requests wait: the model does not work for them.

Runs are told by the time that the process computed, which nothing in the server could miscount: one image is
one run of some 20 ms, and everything else that a request takes is counted as if it were a run too.
"""

from __future__ import annotations

import json
import random
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from load_client import Plan, Request, measure, post
from patience import PATIENCE_S
from process_facts import cpu_s
from server_process import Running, serving
from slow_models import publish_slow

from model_store import ModelStore

REQUESTS, LEAVING, MOST_RUNS = 200, 150, 60
ENCODE = post("/encode", json.dumps({"images": np.zeros((1, 1, 4, 4)).tolist()}).encode())
ALONE = 40


@pytest.mark.hard
@pytest.mark.hazard_row("clients-gone")
def test_what_clients_who_left_had_asked_for_is_not_run(tmp_path: Path, hazard: Hazard) -> None:
    publish_slow(ModelStore(tmp_path / "models"), products=400)
    with serving(tmp_path / "models", tmp_path / "log", "--threads", "1") as server:
        pid = server.process.pid
        measure(Plan(server.port, [Request(ENCODE)], connections=1, count=5))
        begun_s = cpu_s(pid)
        measure(Plan(server.port, [Request(ENCODE)], connections=1, count=ALONE))
        one_s = (cpu_s(pid) - begun_s) / ALONE

        begun_s = cpu_s(pid)
        clients = [
            socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) for _ in range(REQUESTS)
        ]
        for client in clients:
            client.sendall(ENCODE)
        wait_until_all_have_come(server)
        random.Random(4).shuffle(clients)
        for client in clients[:LEAVING]:
            client.close()
        answered = 0
        for client in clients[LEAVING:]:
            answered += client.recv(4096).startswith(b"HTTP/1.1 200 ")
            client.close()
        runs = (cpu_s(pid) - begun_s) / one_s
    assert "Traceback" not in server.log
    told = f"{answered} of {REQUESTS - LEAVING} who stayed were answered, with the work of {runs:.0f} runs"
    met = answered == REQUESTS - LEAVING and runs <= MOST_RUNS
    hazard("clients-gone", figure=told, bar=f"all, ≤ {MOST_RUNS} runs", met=met)


def wait_until_all_have_come(server: Running) -> None:
    """Answered or waiting, as the server counts them."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = server.get("/metrics")[2].decode()
        waiting = re.search(r"^vae_http_requests_in_flight (\S+)$", text, re.MULTILINE)
        done = re.findall(r'^vae_http_requests_total\{[^}]*route="/encode[^}]*\} (\S+)$', text, re.MULTILINE)
        assert waiting
        # The metrics request itself is in flight.
        if float(waiting[1]) - 1 + sum(map(float, done)) - ALONE - 5 >= REQUESTS:
            return
    pytest.fail("not all requests came in")

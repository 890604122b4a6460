"""Several processes on one address: one server to whoever asks, and none of them missed when it dies."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S, eventually
from process_facts import descriptors
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

REQUESTS = 60


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "models")
    for seed in (1, 2):
        publish_tiny(made, name="mnist", image_shape=(1, 4, 4), latent_size=2, seed=seed)
    return made


@pytest.fixture
def two(store: ModelStore, tmp_path: Path) -> Iterator[Running]:
    with serving(store.root, tmp_path / "log", "--workers", "2") as running:
        eventually(lambda: bool(running.lines("workers serve")), lambda: running.log)
        yield running


def sums(running: Running, metric: str, *, asked: int = 6) -> set[float]:
    """What several scrapes, each on a connection of its own, say of one metric, all labels together."""
    found = set()
    for _ in range(asked):
        text = running.get("/metrics")[2].decode()
        values = re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        found.add(sum(map(float, values)))
    return found


def test_connections_are_shared_and_metrics_are_summed(two: Running) -> None:
    before = [descriptors(pid) for pid in two.workers]
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", two.port)))
            raw.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(
            lambda: sum(map(descriptors, two.workers)) - sum(before) >= 64,
            lambda: "not all accepted",
        )
        shares = [now - then for now, then in zip(map(descriptors, two.workers), before, strict=True)]
        assert min(shares) >= 12, shares  # by chance once in 10 million times
    for _ in range(REQUESTS):
        assert two.get("/sample?n=2")[0] == 200
    metric = 'vae_request_images_sum{model="mnist@2",route="/sample"}'
    eventually(lambda: sums(two, re.escape(metric)) == {2.0 * REQUESTS}, lambda: sums(two, re.escape(metric)))
    assert sums(two, "vae_model_batch_images_sum") == {2.0 * REQUESTS}
    assert sums(two, "vae_ready") == {1.0}
    assert sums(two, re.escape('vae_model_info{kind="vae",model="mnist@2"}')) == {2.0}
    (memory,) = {round(value, -8) for value in sums(two, "process_resident_memory_bytes")}
    assert memory > 100e6  # of both
    assert {line["worker"] for line in two.lines("request")} == {0, 1}


def test_files_are_those_of_the_fullest_worker_because_the_limit_is_that_of_one(two: Running) -> None:
    """The alert on files compares both; a sum over the workers exceeded the limit of one in good health."""

    def told() -> tuple[set[float], set[float], int, int]:
        now = [descriptors(pid) for pid in two.workers]
        return sums(two, "process_open_fds"), sums(two, "process_max_fds"), max(now), sum(now)

    with contextlib.ExitStack() as stack:
        for _ in range(64):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", two.port)))
            raw.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")

        def of_the_fullest() -> bool:
            files, _, most, together = told()
            # A scrape has a connection and descriptors of its own, for a moment.
            return together >= 64 and all(most - 4 <= each <= most + 4 < together for each in files)

        eventually(of_the_fullest, told)
        hard_limit = float(resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # which a server takes at its start
        assert told()[1] == {hard_limit}


def test_promotion_and_reload_reach_all_workers(two: Running, store: ModelStore) -> None:
    store.promote("mnist", "stable", 1)

    def answers() -> set[str]:
        return {two.get("/sample")[1]["x-model"] for _ in range(8)}

    # `stable` stands before `latest` in what a plain name means.
    eventually(lambda: answers() == {"mnist@1"}, answers)
    two.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(two.lines("models reloaded")) == 2, lambda: two.log)


def test_worker_that_dies_is_replaced_and_its_counts_stay(two: Running) -> None:
    for _ in range(10):
        two.get("/sample")
    counted = re.escape('vae_http_requests_total{method="GET",route="/sample",status="200"}')
    # What each has counted is shared once a second: told by whichever worker is asked, and asked often.
    eventually(lambda: sums(two, counted, asked=30) == {10.0}, two.get("/metrics")[2].decode)
    before = two.workers
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: bool(two.lines("worker died")), lambda: two.log)
    (died,) = two.lines("worker died")
    assert (died["pid"], died["signal"]) == (before[0], "SIGKILL")
    eventually(lambda: len(two.workers) == 2, lambda: two.log)
    assert two.get("/sample")[0] == 200
    eventually(lambda: len(two.lines("serving")) == 3, lambda: two.log)
    eventually(lambda: sums(two, counted) == {11.0}, two.get("/metrics")[2].decode)


def test_stop_ends_all_and_leaves_nothing(two: Running, tmp_path: Path) -> None:
    workers = two.workers
    shared = Path(f"/proc/{workers[0]}/environ").read_bytes().split(b"PROMETHEUS_MULTIPROC_DIR=")[1]
    directory = Path(shared.split(b"\0")[0].decode())
    assert directory.is_dir()
    kept = http.client.HTTPConnection("127.0.0.1", two.port)
    kept.request("GET", "/livez")
    kept.getresponse().read()
    assert two.stop() == 0
    kept.close()
    assert not directory.exists()
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert len(two.lines("stopped")) == 2


def test_workers_end_when_their_supervisor_is_killed(two: Running) -> None:
    workers = two.workers
    two.process.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), lambda: workers)


def test_what_one_cannot_start_ends_all_with_its_exit_code(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("nonsense")
    command = [sys.executable, "-m", "service", "run", "--port", "0", "--workers", "2"]
    ended = subprocess.run(
        [*command, "--api-keys-file", str(keys)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 78
    assert f"{keys}, line 1" in ended.stderr


def test_one_worker_that_is_told_to_end_takes_nobody_with_it(two: Running) -> None:
    """What refuses connections while a server stops stays with the socket, which the others share."""
    first, other = two.workers
    os.kill(first, signal.SIGTERM)
    eventually(lambda: bool(two.lines("worker died")), lambda: two.log)
    assert two.get("/livez")[0] == 200
    eventually(lambda: len(two.workers) == 2, lambda: two.log)
    os.kill(other, signal.SIGTERM)  # now only the replacement is left
    eventually(lambda: len(two.lines("worker died")) == 2, lambda: two.log)
    assert two.get("/livez")[0] == 200
    assert two.stop() == 0


def test_address_of_somebody_else_is_never_shared(tiny_store: Path, tmp_path: Path) -> None:
    """Sockets that are to be shared can be bound beside a stranger's who shares as well."""
    with serving(tiny_store, tmp_path / "log", "--workers", "2") as running:
        command = [sys.executable, "-m", "service", "run", "--port", str(running.port), "--workers", "2"]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 69
    assert "cannot listen there" in ended.stderr

"""`vae-serve` as an operator meets it: a real process, a real port, real signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_models import publish_tiny

from model_store import ModelStore


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """One server process."""

    process: subprocess.Popen[bytes]
    port: int
    log_path: Path
    ready_s: float

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def get(self, target: str, *, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@contextlib.contextmanager
def serving(
    store: Path, log_path: Path, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """A server on a free port, ended by its process id whatever happens."""
    port = free_port()
    command = [
        sys.executable, "-m", "service.cli", "run", "--store", str(store), "--port", str(port), *arguments,
    ]  # fmt: skip
    begun = time.monotonic()
    with log_path.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environment or {})})
    try:
        while True:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/livez")
                connection.getresponse().read()
                connection.close()
                break
            assert process.poll() is None, log_path.read_text()
            assert time.monotonic() - begun < 30, log_path.read_text()
            time.sleep(0.02)
        yield Running(process, port, log_path, time.monotonic() - begun)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


@contextlib.contextmanager
def connected(running: Running) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def begin_request(connection: http.client.HTTPConnection, first: bytes, *, length: int) -> None:
    """Headers of a POST and the first bytes of its body."""
    connection.putrequest("POST", "/sample")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    connection.send(first)


def wait_until_refused(port: int) -> None:
    """The listener is closed before anything else when a server stops."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail("the port is still open")


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONWARNINGS": "error"}
    with serving(tiny_store, home / "log", environment=environment) as running:
        yield running


def test_start_tells_address_model_threads_store_and_a_command(server: Running, tiny_store: Path) -> None:
    events = [json.loads(line) for line in server.log.splitlines()]
    (start,) = (event for event in events if event["event"] == "serving")
    assert start["address"] == f"http://127.0.0.1:{server.port}"
    assert "mnist@1" in start["models"]
    assert start["threads"] >= 1
    assert "CPU" in start["why"]
    assert start["store"] == str(tiny_store)
    assert start["try_it"].endswith("/sample.txt")


def test_ready_in_two_seconds(server: Running, record_property: pytest.RecordProperty) -> None:
    record_property("ready_s", server.ready_s)
    status, _, body = server.get("/readyz")
    assert status == 200, body
    # Other tests share the two cores; alone it is well below.
    assert server.ready_s < 4.0


def test_no_telemetry_and_nothing_written(server: Running) -> None:
    server.get("/sample")
    home = server.log_path.parent
    written = [path for path in home.rglob("*") if path.is_file() and path != server.log_path]
    assert written == []


def test_uvicorn_says_nothing_of_its_own(server: Running) -> None:
    server.get("/sample.json")
    assert server.get("/nowhere")[1].get("server") is None
    lines = server.log.splitlines()
    assert sum("/sample.json" in line for line in lines) == 1
    informative = [event for event in map(json.loads, lines) if event["level"] == "info"]
    assert all(event["logger"].startswith("service") for event in informative)


def test_every_command_of_the_help_works(server: Running, tmp_path: Path) -> None:
    """The lines of GET /, executed as they stand, in order."""
    _, _, body = server.get("/")
    commands = [line.strip() for line in body.decode().splitlines() if line.startswith("  curl ")]
    assert len(commands) >= 15
    assert {urlsplit_path(command) for command in commands} >= {
        "/sample", "/sample.txt", "/sample.png", "/sample.npy", "/reconstruct.txt", "/encode", "/decode.txt",
        "/models", "/models/mnist", "/readyz", "/livez", "/metrics", "/problems",
    }  # fmt: skip
    for command in commands:
        done = subprocess.run(
            ["curl", "--fail-with-body", "-sS", *shlex.split(command)[1:]],
            cwd=tmp_path,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout!r}\n{done.stderr!r}"
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


def urlsplit_path(command: str) -> str:
    matched = re.search(r"http://[^/\s]+(/[^?'\s]*)", command)
    assert matched, command
    return matched[1]


def raw_answer(server: Running, *parts: bytes) -> tuple[bytes, bytes]:
    """Head and body of what a server answers to bytes that end the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        # A server that has refused closes while we still send.
        with contextlib.suppress(ConnectionError):
            for part in parts:
                raw.sendall(part)
        with contextlib.suppress(ConnectionError):
            while part := raw.recv(65_536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def test_what_is_no_http_is_told_so_as_a_problem(server: Running) -> None:
    for rubbish in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        head, body = raw_answer(server, rubbish + b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json" in head
        assert b"server-timing: total;dur=" in head
        problem = json.loads(body)
        assert problem["code"] == "malformed-request"
        assert f"x-request-id: {problem['request_id']}".encode() in head
        (line,) = (json.loads(line) for line in server.log.splitlines() if problem["request_id"] in line)
        assert (line["event"], line["status"], line["level"]) == ("malformed request", 400, "info")
    assert "Invalid HTTP" not in server.log
    counted = re.search(rb'vae_problems_total{code="malformed-request"} (\d+)', server.get("/metrics")[2])
    assert counted
    assert int(counted[1]) >= 3


@pytest.mark.parametrize("length", [16_000, 65_000, 65_536, 100_000])
@pytest.mark.parametrize(
    "target", ["/models/{}", "/sample?model={}", "/{}", "/sample?{}=1", "/models/mnist?{}"]
)
def test_address_of_any_length_is_refused_as_a_wrong_name(server: Running, target: str, length: int) -> None:
    """The parser gives up at 64 kB, and a name that long was told to be no HTTP at all."""
    status, headers, body = server.get(target.format("a" * length))
    assert status in (404, 422), body
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"X-Long: ", *[b"a" * 65_536] * 200], id="one header without end"),
        pytest.param([b"X-Many: aaaaaaaaaaaaaaaa\r\n" * 3_000] * 160, id="headers without end"),
        pytest.param([b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n"], id="one whole header"),
    ],
)
def test_head_of_any_length_takes_little_memory(server: Running, parts: list[bytes]) -> None:
    """uvicorn keeps every header that comes, however many, before anybody is asked."""

    def resident_bytes() -> int:
        return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096

    raw_answer(server, b"GET /livez HTTP/1.1\r\n", *parts)
    before = resident_bytes()
    head, body = raw_answer(server, b"GET /livez HTTP/1.1\r\n", *parts)
    assert resident_bytes() - before < 2_000_000
    if head:  # else the connection was reset while we sent, and the answer with it
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["code"] == "head-too-large"


def test_headers_of_usual_length_are_taken(server: Running) -> None:
    """Proxies and single sign-on add kilobytes."""
    request = b"GET /livez HTTP/1.1\r\n" + b"X: %s\r\n" % (b"a" * 60_000) + b"Connection: close\r\n\r\n"
    head, _ = raw_answer(server, request)
    assert head.startswith(b"HTTP/1.1 200 ")


def test_body_over_the_limit_is_not_kept(server: Running) -> None:
    """64 MB in chunks to a limit of 8 MiB: the same answer as a declared length, and flat memory."""

    def resident_bytes() -> int:
        return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096

    def send(*, declared: bool) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        part = b" " * 65_536
        connection.putrequest("POST", "/encode")
        connection.putheader("Content-Type", "application/json")
        if declared:
            connection.putheader("Content-Length", str(1024 * len(part)))
            connection.endheaders()
        else:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
        for _ in range(1024):
            connection.send(part if declared else b"%x\r\n%s\r\n" % (len(part), part))
        if not declared:
            connection.send(b"0\r\n\r\n")
        answer = connection.getresponse()
        document = json.loads(answer.read())
        connection.close()
        return answer.status, document

    send(declared=False)
    before = resident_bytes()
    chunked = send(declared=False)
    whole = send(declared=True)
    assert resident_bytes() - before < 2_000_000
    assert chunked[0] == whole[0] == 413
    del chunked[1]["request_id"], whole[1]["request_id"]
    assert chunked[1] == whole[1]


def test_head_has_no_body(server: Running) -> None:
    status, headers, body = server.get("/sample", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 1000


def test_healthcheck_agrees_with_readyz(server: Running) -> None:
    def check(port: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", "healthcheck", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    healthy = check(server.port)
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert healthy.stdout.startswith("healthy: ")
    nobody = check(free_port())
    assert nobody.returncode == 1
    assert "not healthy" in nobody.stderr


def test_port_in_use_is_told_and_ends_with_69(server: Running, tiny_store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "run", "--port", str(server.port), "--store", str(tiny_store)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 69
    assert f"--port {server.port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "--port or VAE_PORT" in done.stderr


def test_same_seed_gives_the_same_bytes_after_a_restart_and_sigterm_ends_with_0(
    server: Running, tiny_store: Path, tmp_path: Path
) -> None:
    targets = [
        f"/sample{suffix}?seed={seed}&n=3" for seed in (0, 7, 2**53 - 1) for suffix in (".npy", ".png", "")
    ]
    before = [server.get(target)[2] for target in targets]
    with serving(tiny_store, tmp_path / "log", "--threads", "2", "--log-format", "text") as other:
        assert [other.get(target)[2] for target in targets] == before
        assert other.stop() == 0
        assert "stopped" in other.log
        assert "Traceback" not in other.log


def test_sigterm_lets_a_running_request_finish(tiny_store: Path, tmp_path: Path) -> None:
    body = b'{"n": 2, "seed": 1}'
    with (
        serving(tiny_store, tmp_path / "log") as running,
        connected(running) as slow,
        connected(running) as idle,
    ):
        begin_request(slow, body[:5], length=len(body))
        idle.request("GET", "/livez")
        idle.getresponse().read()
        running.process.send_signal(signal.SIGTERM)
        wait_until_refused(running.port)
        slow.send(body[5:])
        answer = slow.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["seed"] == 1
        assert running.process.wait(timeout=10) == 0


def test_stalled_request_gets_503_when_the_grace_is_over(tiny_store: Path, tmp_path: Path) -> None:
    grace = ("--shutdown-grace-s", "1")
    with serving(tiny_store, tmp_path / "log", *grace) as running, connected(running) as stalled:
        begin_request(stalled, b"{", length=100)
        assert running.get("/livez")[0] == 200
        begun = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        answer = stalled.getresponse()
        assert answer.status == 503
        assert json.loads(answer.read())["code"] == "shutting-down"
        assert running.process.wait(timeout=10) == 0
        assert time.monotonic() - begun < 3.5
        assert "Traceback" not in running.log


def test_interrupt_from_the_keyboard_is_no_error(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "log") as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=10) == 0
        assert "Traceback" not in running.log


def check_command(store: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "check", "--store", str(store)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_check_passes_a_sound_store(tiny_store: Path) -> None:
    done = check_command(tiny_store)
    assert (done.returncode, done.stderr) == (0, "")
    for label in ("mnist@1", "mnist@2", "plain@1", "colour@1"):
        assert f"ok {label}" in done.stdout


def test_store_that_is_no_directory_is_refused_once_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text("not a store")
    done = check_command(file)
    assert done.returncode == 65
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr


def test_reader_that_has_seen_enough_is_no_error(tiny_store: Path) -> None:
    """`vae-serve openapi | head -1` ended in a traceback."""
    command = [sys.executable, "-m", "service.cli", "openapi", "--store", str(tiny_store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


def test_corrupt_store_is_refused_by_check_and_told_by_a_server_that_runs(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist")
    file = tmp_path / "models" / "mnist" / "1" / "decoder.onnx"
    data = bytearray(file.read_bytes())
    data[-100] ^= 4
    file.write_bytes(data)
    done = check_command(tmp_path / "models")
    assert done.returncode == 65
    assert "decoder.onnx" in done.stderr
    assert len(set(re.findall(r"[0-9a-f]{64}", done.stderr))) == 2, "both digests"
    assert "Traceback" not in done.stderr
    with serving(tmp_path / "models", tmp_path / "log") as running:
        status, _, body = running.get("/readyz")
        assert status == 503
        assert "decoder.onnx" in json.loads(body)["detail"]
        assert running.get("/livez")[0] == 200
        assert '"event":"serving, but not ready"' in running.log
        assert "decoder.onnx" in running.log


def test_empty_store_is_served_but_fails_the_check(tmp_path: Path) -> None:
    assert check_command(tmp_path / "none").returncode == 66
    with serving(tmp_path / "none", tmp_path / "log") as running:
        status, headers, body = running.get("/readyz")
        assert (status, headers["retry-after"]) == (503, "5")
        assert "VAE_MODEL_STORE" in json.loads(body)["detail"]
        publish_tiny(ModelStore(tmp_path / "none"), name="mnist")
        deadline = time.monotonic() + 10
        while running.get("/readyz")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert running.get("/sample.txt")[0] == 200

"""`vae-serve` as an operator meets it: a real process, a real port, real signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S, eventually
from process_facts import resident_bytes
from server_process import Running, free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore


@contextlib.contextmanager
def connected(running: Running) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
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

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
        except OSError:
            return True
        return False

    eventually(refused, lambda: f"port {port} is still open")


def test_start_tells_address_model_threads_store_and_a_command(server: Running, tiny_store: Path) -> None:
    events = [json.loads(line) for line in server.log.splitlines()]
    (start,) = (event for event in events if event["event"] == "serving")
    assert start["address"] == f"http://127.0.0.1:{server.port}"
    assert "mnist@1" in start["models"]
    assert start["threads"] >= 1
    assert "CPU" in start["why"]
    assert start["store"] == str(tiny_store)
    assert start["try_it"].endswith("/sample.txt")


def test_ready_once_it_lives(server: Running, record_property: Callable[[str, object], None]) -> None:
    record_property("ready_s", server.ready_s)
    status, _, body = server.get("/readyz")
    assert status == 200, body


@pytest.mark.hazard_row("quiet")
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
        "/interpolate.txt", "/traverse.txt", "/traverse.png", "/score.txt",
        "/models", "/models/mnist", "/readyz", "/livez", "/metrics", "/problems",
    }  # fmt: skip
    for command in commands:
        done = subprocess.run(
            ["curl", "--fail-with-body", "-sS", *shlex.split(command)[1:]],
            cwd=tmp_path,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout!r}\n{done.stderr!r}"
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


def urlsplit_path(command: str) -> str:
    matched = re.search(r"http://[^/\s]+(/[^?'\s]*)", command)
    assert matched, command
    return matched[1]


def test_body_over_the_limit_is_not_kept(server: Running) -> None:
    """64 MB in chunks to a limit of 8 MiB: the same answer as a declared length, and flat memory."""

    def send(*, declared: bool) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
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

    growths = []
    while not growths or growths[-1] >= 2_000_000:  # the first ones leave some free memory to later ones
        assert len(growths) < 10, growths
        before = resident_bytes(server.process.pid)
        chunked = send(declared=False)
        whole = send(declared=True)
        growths.append(resident_bytes(server.process.pid) - before)
    assert chunked[0] == whole[0] == 413
    del chunked[1]["request_id"], whole[1]["request_id"]
    assert chunked[1] == whole[1]


def test_head_has_no_body(server: Running) -> None:
    for target, length in (
        ("/sample.npy?n=3&seed=7", 128 + 3 * 28 * 28 * 4),
        ("/livez", len('{"status":"alive"}\n')),
        ("/sample", None),
    ):
        status, headers, body = server.get(target, method="HEAD")
        assert (status, body) == (200, b"")
        assert headers.get("content-length") == (None if length is None else str(length))


def test_healthcheck_agrees_with_readyz(server: Running) -> None:
    def check(port: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service", "healthcheck", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
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
        [sys.executable, "-m", "service", "run", "--port", str(server.port), "--store", str(tiny_store)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
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
        assert running.process.wait(timeout=PATIENCE_S) == 0


def test_stalled_request_gets_503_when_the_grace_is_over(tiny_store: Path, tmp_path: Path) -> None:
    grace = ("--shutdown-grace-s", "1")
    with serving(tiny_store, tmp_path / "log", *grace) as running, connected(running) as stalled:
        begin_request(stalled, b"{", length=100)
        assert running.get("/livez")[0] == 200
        running.process.send_signal(signal.SIGTERM)
        answer = stalled.getresponse()
        assert answer.status == 503
        assert json.loads(answer.read())["code"] == "shutting-down"
        assert running.process.wait(timeout=PATIENCE_S) == 0
        assert "Traceback" not in running.log


def test_long_answer_that_the_grace_cuts_off_is_told_in_its_line(tiny_store: Path, tmp_path: Path) -> None:
    """Status 200 alone would say that the client has its images; a traceback, that the server is broken."""
    grace = ("--shutdown-grace-s", "1")
    with serving(tiny_store, tmp_path / "log", *grace) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as unread:
            unread.sendall(b"GET /sample.npy?n=65536 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert unread.recv(12) == b"HTTP/1.1 200"
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=PATIENCE_S) == 0
        lines = [json.loads(line) for line in running.log.splitlines()]
        (line,) = [each for each in lines if each.get("path") == "/sample.npy"]
        assert (line["status"], line["code"]) == (200, "shutting-down")
        assert "Traceback" not in running.log


def test_interrupt_from_the_keyboard_is_no_error(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "log") as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=PATIENCE_S) == 0
        assert "Traceback" not in running.log


def check_command(store: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", "check", "--store", str(store), *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_check_passes_a_sound_store(tiny_store: Path) -> None:
    done = check_command(tiny_store)
    assert (done.returncode, done.stderr) == (0, "")
    for label in ("mnist@1", "mnist@2", "plain@1", "colour@1"):
        assert f"ok {label}" in done.stdout


def test_check_names_what_it_ignores_and_passes_the_rest(tiny_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    (store / "backup").symlink_to("nowhere")
    (store / "notes").write_text("not a model")
    done = check_command(store)
    assert done.returncode == 0
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "ignored backup",
        "ignored notes",
    ]
    assert "ok mnist@1" in done.stdout


def test_default_version_that_was_never_published_is_absent_and_not_corrupt(tiny_store: Path) -> None:
    done = check_command(tiny_store, "--default-model", "mnist@9")
    assert done.returncode == 66
    assert "refused mnist@9: model 'mnist' has no version 9" in done.stderr


def test_store_that_is_no_directory_is_refused_once_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text("not a store")
    done = check_command(file)
    assert done.returncode == 65
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr


def test_reader_that_has_seen_enough_is_no_error(tiny_store: Path) -> None:
    """`vae-serve openapi | head -1` ended in a traceback."""
    command = [sys.executable, "-m", "service", "openapi", "--store", str(tiny_store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=PATIENCE_S) == 141


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


@pytest.mark.hazard_row("empty-store")
def test_empty_store_is_served_but_fails_the_check(tmp_path: Path) -> None:
    assert check_command(tmp_path / "none").returncode == 66
    with serving(tmp_path / "none", tmp_path / "log") as running:
        status, headers, body = running.get("/readyz")
        assert (status, headers["retry-after"]) == (503, "5")
        assert "VAE_MODEL_STORE" in json.loads(body)["detail"]
        publish_tiny(ModelStore(tmp_path / "none"), name="mnist")
        eventually(lambda: running.get("/readyz")[0] == 200, lambda: running.log)
        assert running.get("/sample.txt")[0] == 200


def test_start_says_once_which_variables_of_an_orchestrator_it_ignores(
    tiny_store: Path, tmp_path: Path
) -> None:
    """A pod in the namespace of a Service named `vae` has these in its environment."""
    links = {"VAE_PORT": "tcp://10.96.12.7:8000", "VAE_PORT_8000_TCP_ADDR": "10.96.12.7"}
    with serving(tiny_store, tmp_path / "log", "--workers", "2", environment=links) as server:
        assert server.get("/livez")[0] == 200
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log.splitlines() if "service links" in line]
    assert [line["variables"] for line in lines] == ["VAE_PORT,VAE_PORT_8000_TCP_ADDR"]
    assert "enableServiceLinks" in lines[0]["remedy"]
    assert "10.96.12.7" not in server.log

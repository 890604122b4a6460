"""The gRPC port of `vae-serve run`: where it listens, who may have it, and how it stops with the server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http2_frames import NO_SETTINGS, PREFACE
from patience import PATIENCE_S, eventually
from server_process import free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore

pytest.importorskip("grpc", reason="the extra grpc is not installed")

from grpc_client import Client, calls, client_process

SERVICE = "/inference.GRPCInferenceService/"
LIVE = SERVICE + "ServerLive"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_process() as client:
        yield client


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = ModelStore(tmp_path_factory.mktemp("store") / "models")
    publish_tiny(made, name="mnist", image_shape=(1, 4, 4), latent_size=2, seed=1)
    return made.root


def infer_request() -> bytes:
    from service.api.open_inference.grpc.definitions import inference

    made = inference("ModelInferRequest", model_name="mnist", raw_input_contents=[bytes(64)])
    made.inputs.add(name="x", datatype="FP32", shape=[1, 1, 4, 4])
    return bytes(made.SerializeToString())


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def listening(port: int) -> list[str]:
    """Local addresses of the listening sockets on a port, in hexadecimal as /proc writes them."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if fields[3] == "0A" and int(number, 16) == port:
                found.append(address)
    return found


def test_without_a_port_there_is_no_grpc_and_no_import_of_it(store: Path, tmp_path: Path) -> None:
    with serving(store, tmp_path / "log") as running:
        assert running.lines("serving gRPC") == []
        maps = Path(f"/proc/{running.process.pid}/maps").read_text()
        assert "cygrpc" not in maps
        assert b"vae_grpc" not in running.get("/metrics")[2]


def test_port_is_open_on_the_address_of_http_alone(client: Client, store: Path, tmp_path: Path) -> None:
    port = free_port()
    with serving(store, tmp_path / "log", "--grpc-port", str(port)) as running:
        assert client.call(port, LIVE, b"").code == "OK"
        (address,) = set(listening(port))
        assert address in ("0100007F", "0000000000000000FFFF00000100007F")  # 127.0.0.1, alone or within IPv6
        (line,) = running.lines("serving gRPC")
        assert line["address"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(("connections", "servers"), [("1000", 8), ("300", 3), ("199", 1), ("1", 1)])
def test_several_servers_accept_calls_at_the_port_if_each_may_have_some_connections(
    client: Client, store: Path, tmp_path: Path, connections: str, servers: int
) -> None:
    port = free_port()
    flags = ("--grpc-port", str(port), "--max-connections", connections)
    with serving(store, tmp_path / "log", *flags) as running:
        # The kernel may leave one out of a list that it writes while sockets come and go.
        eventually(lambda: len(listening(port)) == servers, lambda: listening(port))
        for _ in range(16):  # a connection each
            assert client.call(port, LIVE, b"").code == "OK"
        assert running.stop() == 0


def test_connections_beyond_the_limit_are_refused_and_others_go_on(
    client: Client, store: Path, tmp_path: Path
) -> None:
    port = free_port()
    with serving(store, tmp_path / "log", "--grpc-port", str(port), "--max-connections", "201") as running:
        with contextlib.ExitStack() as stack:
            answered = 0
            for _ in range(402):
                opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                opened.sendall(PREFACE + NO_SETTINGS)
                with contextlib.suppress(ConnectionError):
                    answered += bool(opened.recv(1))
            assert 100 <= answered <= 201
        eventually(lambda: client.call(port, LIVE, b"").code == "OK", lambda: running.log)
        assert running.stop() == 0


def test_port_0_is_chosen_and_logged(client: Client, store: Path, tmp_path: Path) -> None:
    with serving(store, tmp_path / "log", environment={"VAE_GRPC_PORT": "0"}) as running:
        (line,) = running.lines("serving gRPC")
        port = int(line["address"].rpartition(":")[2])
        assert client.call(port, LIVE, b"").code == "OK"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_taken_port_is_an_error_before_models_are_loaded(store: Path, workers: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(
            *("run", "--store", str(store), "--port", "0"),
            *("--grpc-port", str(port), "--workers", workers, "--log-format", "text"),
        )
    assert done.returncode == 69
    assert f"--grpc-port {port}: cannot listen there: Address already in use" in done.stderr
    assert "VAE_GRPC_PORT" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_second_server_does_not_share_the_port(store: Path, tmp_path: Path, workers: str) -> None:
    """gRPC itself would let both listen, and each would get half of the calls."""
    port = free_port()
    with serving(store, tmp_path / "log", "--grpc-port", str(port), "--workers", workers):
        done = run("run", "--store", str(store), "--port", "0", "--grpc-port", str(port))
    assert done.returncode == 69
    assert "VAE_GRPC_PORT" in done.stderr


#: A directory before all others on the path, in which `grpc` cannot be imported.
MISSING = "raise ModuleNotFoundError('No module named grpc', name='grpc')\n"


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "--workers", "2"), ("check",)], ids=["run", "workers", "check"]
)
def test_missing_extra_has_its_own_exit_code_and_names_what_to_install(
    store: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "grpc.py").write_text(MISSING)
    done = run(
        *arguments, "--store", str(store), "--port", "0", "--grpc-port", "0",
        environment={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 72, done.stderr
    assert "vae-service[grpc]" in done.stderr
    assert "VAE_GRPC_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_the_port(store: Path) -> None:
    done = run("check", "--store", str(store), "--grpc-port", "21799")
    assert done.returncode == 0, done.stderr
    assert "gRPC: ready to listen on 127.0.0.1:21799" in done.stdout
    assert "gRPC" not in run("check", "--store", str(store)).stdout


def test_port_without_the_protocol_is_refused(store: Path) -> None:
    done = run("run", "--store", str(store), "--port", "0", "--grpc-port", "0", "--open-inference", "false")
    assert done.returncode == 78, done.stderr
    assert "VAE_OPEN_INFERENCE=false" in done.stderr


def test_variable_of_a_kubernetes_service_is_no_port(store: Path, tmp_path: Path) -> None:
    """A service `vae-grpc` puts its address into the environment of its neighbours."""
    environment = {"VAE_GRPC_PORT": "tcp://10.96.0.7:8001"}
    with serving(store, tmp_path / "log", environment=environment) as running:
        assert running.lines("serving gRPC") == []


def test_stop_loses_no_call_that_the_server_accepted(client: Client, store: Path, tmp_path: Path) -> None:
    """Calls on an open channel, one after the other, until the server is gone."""
    port = free_port()
    with serving(store, tmp_path / "log", "--grpc-port", str(port), "--drain-delay-s", "0.5") as running:
        future = client._pool.submit(calls, port, SERVICE + "ModelInfer", infer_request(), 300, timeout_s=3)
        eventually(lambda: len(running.lines("request")) > 100, lambda: running.log)
        begun = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begun < 20
        done = future.result(PATIENCE_S)
    codes = [each.code for each in done]
    assert codes.count("OK") >= 100
    # Those that came after the end find no server: they wait for one until their own deadline.
    assert set(codes) <= {"OK", "DEADLINE_EXCEEDED"}, [each for each in done if each.code != "OK"][:3]
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log


def test_calls_beyond_the_grace_time_are_told_that_the_server_stops(client: Client, tmp_path: Path) -> None:
    from slow_models import publish_slow

    store, port = ModelStore(tmp_path / "models"), free_port()
    publish_slow(store, products=2000)
    with serving(
        *(store.root, tmp_path / "log", "--grpc-port", str(port)),
        *("--shutdown-grace-s", "1", "--threads", "1"),
    ) as running:
        from grpc_client import together

        from service.api.open_inference.grpc.definitions import inference

        made = inference("ModelInferRequest", model_name="mnist-encoder", raw_input_contents=[bytes(64 * 50)])
        made.inputs.add(name="x", datatype="FP32", shape=[50, 1, 4, 4])
        future = client._pool.submit(
            together, port, SERVICE + "ModelInfer", made.SerializeToString(), 4, timeout_s=120
        )
        eventually(lambda: in_flight(running) == 4, lambda: running.log)
        begun = time.monotonic()
        assert running.stop() == 0
        seconds = time.monotonic() - begun
        done = future.result(PATIENCE_S)
    stopped = [each for each in done if each.code != "OK"]
    assert {(each.code, each.problem) for each in stopped} == {("UNAVAILABLE", "shutting-down")}, done
    assert seconds < 30


def in_flight(running: Any) -> float:
    text = running.get("/metrics")[2].decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("vae_grpc_requests_in_flight")
    )


def test_workers_share_the_port_and_one_that_dies_is_replaced(
    client: Client, store: Path, tmp_path: Path
) -> None:
    port = free_port()
    flags = ("--grpc-port", str(port), "--workers", "2", "--access-log", "all")  # with the lines of probes
    with serving(store, tmp_path / "log", *flags) as running:
        eventually(lambda: bool(running.lines("workers serve")), lambda: running.log)

        def answered() -> set[int]:
            for _ in range(8):  # a connection each
                assert client.call(port, LIVE, b"").code == "OK"
            return {line["worker"] for line in running.lines("request") if line["method"] == "GRPC"}

        eventually(lambda: answered() == {0, 1}, lambda: running.log)
        victim = running.workers[0]
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            assert client.call(port, LIVE, b"").code == "OK"
        eventually(lambda: victim not in running.workers and len(running.workers) == 2, lambda: running.log)
        eventually(lambda: len(running.lines("serving gRPC")) == 3, lambda: running.log)
        eventually(lambda: len(listening(port)) == 2 * 8, lambda: listening(port))
        # The worker that is asked knows of the other one what that one said up to a second ago.
        eventually(
            lambda: sum_of(running, "vae_grpc_requests_total") >= 20,
            running.get("/metrics")[2].decode,
        )
        assert running.stop() == 0
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        pytest.fail("the port is still open")


def sum_of(running: Any, metric: str) -> float:
    text = running.get("/metrics")[2].decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(metric + "{"))

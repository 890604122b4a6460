"""What a client can send and hold open is bounded, and says so with a status and a time to retry."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc_client import Client, Done, cancelled, together
from http2_frames import NO_SETTINGS, PREFACE, frame
from patience import PATIENCE_S, eventually
from server_process import Running, free_port, serving
from slow_models import publish_slow

from model_store import ModelStore
from service.api.open_inference.grpc.definitions import inference as make

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
CHECK = "/grpc.health.v1.Health/Check"
Server = Any


def request(rows: int = 1, *, side: int = 28) -> bytes:
    x = np.zeros((rows, 1, side, side), np.float32)
    made = make("ModelInferRequest", model_name="mnist-encoder", raw_input_contents=[x.tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=x.shape)
    return bytes(made.SerializeToString())


def resident_mb(running: Running) -> float:
    text = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def test_message_over_the_limit_is_refused(grpc_client: Client, grpc_server: Server) -> None:
    made = make("ModelInferRequest", model_name="mnist", raw_input_contents=[bytes(33 << 20)])
    done = grpc_client.call(grpc_server.port, INFER, made.SerializeToString())
    assert done.code == "RESOURCE_EXHAUSTED"
    assert grpc_client.call(grpc_server.port, LIVE, b"").code == "OK"


@pytest.mark.hazard_row("grpc-bombs")
def test_small_message_that_becomes_a_large_object_is_refused(
    grpc_client: Client, grpc_server: Server, hazard: Any
) -> None:
    """100 MB of zeros are 100 kB as gzip, and 3 million empty fields would be 250 MB of objects."""
    port = grpc_server.port
    grpc_client.call(port, INFER, request(200))
    before = resident_mb(grpc_server.running)
    made = make("ModelInferRequest", model_name="mnist", raw_input_contents=[bytes(100 << 20)])
    for compression in ("gzip", "deflate"):
        done = grpc_client.call(port, INFER, made.SerializeToString(), compression=compression)
        assert done.code == "RESOURCE_EXHAUSTED", done
    done = grpc_client.call(port, INFER, b"\x2a\x00" * (3 << 20))
    assert (done.code, done.problem) == ("INVALID_ARGUMENT", "malformed-body")
    assert "at most 65536 fields" in done.details
    growth = resident_mb(grpc_server.running) - before
    assert grpc_client.call(port, LIVE, b"").code == "OK"
    hazard("grpc-bombs", figure=f"+{growth:.0f} MB", bar="< +64 MB", met=growth < 64)


@pytest.fixture(scope="module")
def small(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with small limits."""
    home, port = tmp_path_factory.mktemp("small"), free_port()
    limits = ("--max-grpc-calls", "2", "--receipt-timeout-s", "1", "--request-timeout-s", "120")
    with serving(tiny_store, home / "log", "--grpc-port", str(port), *limits) as running:
        yield running, port


class Opened:
    """Connections of HTTP/2 that read nothing, closed at the exit."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._opened: list[socket.socket] = []

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._opened:
            opened.close()

    def send(self, *frames: bytes) -> None:
        """Open one more, and send these frames."""
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        self._opened.append(opened)
        opened.sendall(PREFACE + b"".join(frames))

    def wait_for_the_end(self) -> None:
        """Until the server has closed each."""
        for opened in self._opened:
            while opened.recv(4096):
                pass


def headers() -> bytes:
    """HPACK without compression: each header as a literal that is never indexed."""
    pairs = {
        ":method": "POST", ":scheme": "http", ":path": INFER, ":authority": "a",
        "content-type": "application/grpc", "te": "trailers",
    }  # fmt: skip
    return b"".join(
        b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in pairs.items()
    )


def test_calls_beyond_the_limit_are_refused_and_probes_are_not(grpc_client: Client, small: Any) -> None:
    running, port = small
    with Opened(port) as opened:

        def done() -> Done:
            # They send no message, so each holds its place, for one second: a client that stalls misses it.
            opened.send(NO_SETTINGS, frame(1, 4, 1, headers()), frame(1, 4, 3, headers()))
            return grpc_client.call(port, INFER, request())

        refused = refusal(done)
        assert refused.problem == "too-busy"
        assert refused.trailing["retry-after"] == "1"
        assert refused.trailing["grpc-retry-pushback-ms"] == "1000"
        # A call whose message does not come gives its place back after the receipt timeout.
        eventually(lambda: grpc_client.call(port, INFER, request()).code == "OK", lambda: running.log)
        eventually(lambda: len(late(running)) >= 2, lambda: running.log)
        assert {line["status"] for line in late(running)} == {"DEADLINE_EXCEEDED"}


def test_probes_are_answered_while_calls_are_refused(grpc_client: Client, small: Any) -> None:
    _, port = small
    with Opened(port) as opened:
        for path in (LIVE, CHECK):

            def refused_around_the_probe(path: str = path) -> bool:
                opened.send(NO_SETTINGS, frame(1, 4, 1, headers()), frame(1, 4, 3, headers()))
                before = grpc_client.call(port, INFER, request()).code
                assert grpc_client.call(port, path, b"").code == "OK"
                after = grpc_client.call(port, INFER, request()).code
                return before == after == "RESOURCE_EXHAUSTED"

            eventually(refused_around_the_probe, lambda: "the calls lost their places each time")


def refusal(call: Callable[[], Done]) -> Done:
    """The first of these calls that is refused for want of a place."""
    found: list[Done] = []

    def is_refused() -> bool:
        found.append(call())
        return found[-1].code == "RESOURCE_EXHAUSTED"

    eventually(is_refused, lambda: found[-1])
    return found[-1]


def late(running: Running) -> list[dict[str, Any]]:
    return [line for line in running.lines("request") if line.get("code") == "receipt-timeout"]


def test_silent_connection_is_closed(small: Any) -> None:
    _, port = small
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as silent:
        while silent.recv(4096):
            pass


def test_client_that_reads_no_answer_loses_its_place(grpc_client: Client, small: Any) -> None:
    """It allows no byte of answers, so each would stay in the memory of the server."""
    running, port = small
    no_window = frame(4, 0, 0, b"\x00\x04" + bytes(4))  # SETTINGS_INITIAL_WINDOW_SIZE = 0
    data = request()
    message = b"\x00" + len(data).to_bytes(4, "big") + data
    calls = [frame(1, 4, stream, headers()) + frame(0, 1, stream, message) for stream in (1, 3)]
    with Opened(port) as opened:

        def done() -> Done:
            opened.send(no_window, *calls)
            return grpc_client.call(port, INFER, request())

        refusal(done)
        eventually(lambda: grpc_client.call(port, INFER, request()).code == "OK", lambda: running.log)
        eventually(lambda: running.lines("client does not read"), lambda: running.log)
        opened.wait_for_the_end()


def test_text_of_another_protocol_is_closed(small: Any) -> None:
    _, port = small
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as wrong:
        wrong.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while wrong.recv(4096):
            pass


def test_client_that_pings_too_often_is_disconnected(grpc_client: Client, small: Any) -> None:
    """Keepalive is answered; a flood of pings is GOAWAY with `too_many_pings`."""
    _, port = small
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as flood:
        flood.sendall(PREFACE + NO_SETTINGS)
        received = b""
        try:
            for _ in range(10):
                flood.sendall(frame(6, 0, 0, bytes(8)))
                received += flood.recv(4096)  # a reset throws away what was not read
            while part := flood.recv(4096):
                received += part
        except ConnectionError:
            pass
    assert b"too_many_pings" in received


def test_deadline_of_the_call_shortens_ours(grpc_client: Client, slow: Any) -> None:
    _running, port = slow
    done = grpc_client.call(port, INFER, request(64, side=4), timeout_s=0.3)
    assert done.code == "DEADLINE_EXCEEDED"
    assert done.seconds < 30


def test_cancelled_calls_are_dropped_before_they_run(grpc_client: Client, slower: Any) -> None:
    """Of many waiting calls only those run that had begun when the client left."""
    running, port = slower
    before = runs(running)
    codes = grpc_client.run(cancelled, port, INFER, request(8, side=4), 100, after_s=0.5)
    assert codes.count("CANCELLED") > 80
    eventually(
        lambda: len(running.lines("client left")) >= codes.count("CANCELLED") - 5,
        lambda: running.log[-2000:],
    )
    assert grpc_client.call(port, INFER, request(side=4)).code == "OK"
    assert runs(running) - before < 60


def runs(running: Running) -> float:
    text = running.get("/metrics")[2].decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("vae_model_batched_requests_total")
    )


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose model takes tens of milliseconds for an image."""
    with server_of_products(tmp_path_factory.mktemp("slow"), 300) as running_and_port:
        yield running_and_port


@pytest.fixture
def slower(tmp_path: Path) -> Any:
    """A hundred calls are a minute of work, so that a client that leaves late still leaves many waiting."""
    with server_of_products(tmp_path, 1500, "--request-timeout-s", "300") as running_and_port:
        yield running_and_port


@contextlib.contextmanager
def server_of_products(home: Path, products: int, *flags: str) -> Iterator[tuple[Running, int]]:
    store, port = ModelStore(home / "models"), free_port()
    publish_slow(store, products=products)
    flags = ("--grpc-port", str(port), "--threads", "1", *flags)
    with serving(store.root, home / "log", *flags) as running:
        yield running, port


def test_full_queue_refuses_with_the_time_to_retry(grpc_client: Client, slow: Any) -> None:
    _running, port = slow
    done = grpc_client.run(together, port, INFER, request(200, side=4), 30, timeout_s=3.0)
    busy = [each for each in done if each.code == "RESOURCE_EXHAUSTED"]
    assert busy, [each.code for each in done]
    assert {each.problem for each in busy} == {"too-busy"}
    assert all(int(each.trailing["retry-after"]) >= 1 for each in busy)
    assert {each.code for each in done} <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}

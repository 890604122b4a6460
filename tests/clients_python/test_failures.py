"""What the client does when the server does not answer, or refuses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
import server_process
from patience import PATIENCE_S
from server_process import free_port, serving
from slow_models import publish_slow
from vae_client import (
    AccessDenied,
    Client,
    ConnectionFailed,
    InvalidInput,
    InvalidRequest,
    Overloaded,
    Refused,
    Retry,
    ServerFailed,
    TimedOut,
    UnexpectedAnswer,
)
from vae_client.arrays import to_npy, to_npz
from vae_client.streaming import seed_of_block

from model_store import ModelStore

BUNDLED = Path(__file__).resolve().parents[2] / "model_store/models"
CLIENT = Path(__file__).resolve().parents[2] / "clients/python"
#: Repeats at once, and until the test itself fails.
PATIENT = Retry(tries=100_000, budget_s=PATIENCE_S, first_delay_s=0.01, longest_delay_s=0.05)
AT_ONCE = Retry(tries=4, first_delay_s=0.0)
SAMPLED = {"x-model": "mnist@4", "x-seed": "1", "x-prior": "standard", "x-temperature": "1"}


def sampled(rows: int = 1) -> httpx2.Response:
    images, z = np.zeros((rows, 1, 2, 2), np.float32), np.zeros((rows, 2), np.float32)
    headers = {**SAMPLED, "content-type": "application/x-npz"}
    return httpx2.Response(200, headers=headers, content=to_npz(images=images, z=z))


def problem(status: int, code: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"code": code, "detail": "a detail.", "remedy": "a remedy.", "errors": []}
    return httpx2.Response(status, headers=named, json=body)


class Script(httpx2.MockTransport):
    """Gives one answer after the other, or raises it, and keeps the requests."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.requests: list[httpx2.Request] = []
        self._answers = iter(answers)
        super().__init__(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def scripted(*answers: httpx2.Response | Exception, retry: Retry = AT_ONCE) -> tuple[Client, Script]:
    script = Script(*answers)
    return Client("http://server", transport=script, retry=retry), script


@pytest.mark.parametrize(
    "failure",
    [
        problem(429, "too-busy", retry_after="0"),
        problem(503, "shutting-down"),
        problem(504, "deadline-exceeded"),
        httpx2.Response(503, text="<html>upstream is away</html>"),
        httpx2.ConnectError("refused"),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("closed without an answer"),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", type(failure).__name__)),
)
def test_request_is_sent_again_with_the_same_seed(failure: httpx2.Response | Exception) -> None:
    client, script = scripted(failure, failure, sampled())
    with client:
        assert client.sample().timing.tries == 3
    assert len({str(request.url) for request in script.requests}) == 1
    assert "seed=" in str(script.requests[0].url)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 500, 501, 502])
def test_refusal_that_stays_is_not_sent_again(status: int) -> None:
    client, script = scripted(problem(status, "some-code", x_request_id="id-1"))
    with client, pytest.raises(Refused) as caught:
        client.sample()
    assert len(script.requests) == 1
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "some-code", "id-1")
    assert str(caught.value) == f"some-code ({status}): a detail. a remedy. [request id-1]"


def test_tries_end_with_the_last_refusal() -> None:
    client, script = scripted(*[problem(429, "too-busy", retry_after="0")] * 4)
    with client, pytest.raises(Overloaded, match=r"too-busy.*Sent 4 times") as caught:
        client.sample()
    assert len(script.requests) == 4
    assert caught.value.retry_after_s == 0


def test_delay_is_that_of_the_server_with_jitter_and_within_the_budget() -> None:
    now = [100.0]
    tries = Retry(tries=9, budget_s=30).begin(clock=lambda: now[0], chance=lambda: 1.0)
    busy = Overloaded(status=429, code="too-busy", detail="", retry_after_s=8)
    assert tries.delay_after(busy) == 10
    now[0] += 10
    assert tries.delay_after(busy) == 10
    now[0] += 10.1
    assert tries.delay_after(busy) is None, "30.1 s are more than the budget"
    silent = Overloaded(status=503, code="not-ready", detail="")
    tries = Retry(tries=5, first_delay_s=1, longest_delay_s=3).begin(clock=lambda: 0.0, chance=lambda: 0.0)
    assert [tries.delay_after(silent) for _ in range(5)] == [1, 2, 3, 3, None]


def test_retry_after_may_be_a_date() -> None:
    client, _ = scripted(problem(429, "too-busy", retry_after="Fri, 01 Jan 2100 00:00:00 GMT"))
    with client, pytest.raises(Overloaded) as caught:
        client.sample()
    assert caught.value.retry_after_s > 1e6
    assert caught.value.tries == 1, "it is past the budget"


def test_answers_of_other_servers_are_named() -> None:
    for answer, message in (
        (httpx2.Response(200, text="hello"), "Expected a header X-Model"),
        (
            httpx2.Response(200, text="<html>", headers={**SAMPLED, "content-type": "text/html"}),
            "got text/html",
        ),
        (
            httpx2.Response(200, content=b"PK", headers={**SAMPLED, "content-type": "application/x-npz"}),
            "npz",
        ),
    ):
        client, _ = scripted(answer)
        with client, pytest.raises(UnexpectedAnswer, match=message):
            client.sample()
    client, _ = scripted(httpx2.Response(307, headers={"location": "https://server/sample"}))
    with client, pytest.raises(Refused, match="redirects to https://server/sample"):
        client.sample()
    client, _ = scripted(httpx2.Response(502, text="<html><h1>Bad Gateway</h1></html>"))
    with client, pytest.raises(ServerFailed, match=r"http-502.*Bad Gateway"):
        client.sample()


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "", "http://host:99999", "http://[::1"]
)
def test_address_is_checked(url: str) -> None:
    with pytest.raises(InvalidInput, match="http://HOST:PORT"):
        Client(url)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_key_that_no_header_can_contain_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Client(api_key=key)
    assert not key or key not in str(caught.value)


def test_prefix_of_the_address_and_the_key_are_in_every_request() -> None:
    script = Script(sampled())
    with Client("http://server/vae/", api_key="vae_secret", model="mnist", transport=script) as client:
        client.sample(seed=3)
        assert "vae_secret" not in repr(client)
    (request,) = script.requests
    assert str(request.url) == "http://server/vae/sample.npz?n=1&seed=3&model=mnist"
    assert request.headers["authorization"] == "Bearer vae_secret"
    assert request.headers["user-agent"].startswith("vae-client/")


class Broken(httpx2.SyncByteStream):
    """A body that breaks after some pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        raise httpx2.ReadError("reset")


def test_broken_stream_goes_on_after_the_last_image() -> None:
    images = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    file = to_npy(images)
    headers = {**SAMPLED, "content-type": "application/x-npy"}
    limits = [{"name": "max_stream_images", "value": 65_536}]
    client, script = scripted(
        httpx2.Response(200, json={"limits": limits}),
        httpx2.Response(200, headers=headers, stream=Broken(file[:50])),
        httpx2.Response(200, headers=headers, stream=Broken(file[:100], file[100:151])),
        problem(503, "shutting-down"),
        httpx2.Response(200, headers=headers, content=file),
    )
    with client:
        parts = list(client.sample_many(10, seed=1, batch=2))
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), images)
    assert [part.first_row for part in parts] == [0, 2, 4, 6, 8]
    assert "model=mnist%404" in str(script.requests[-1].url), "the rest is of the same version"


def test_stream_that_ends_early_is_an_error() -> None:
    headers = {**SAMPLED, "content-type": "application/x-npy"}
    file = to_npy(np.zeros((10, 1, 1, 1), np.float32))
    limits = [{"name": "max_stream_images", "value": 65_536}]
    client, _ = scripted(
        httpx2.Response(200, json={"limits": limits}),
        httpx2.Response(200, headers=headers, content=file[:-4]),
    )
    with client, pytest.raises(ConnectionFailed, match="after 8 of 10"):
        list(client.sample_many(10, batch=4))


def test_long_draw_goes_on_with_a_derived_seed() -> None:
    def block(rows: int, seed: int) -> httpx2.Response:
        headers = {**SAMPLED, "x-seed": str(seed), "content-type": "application/x-npy"}
        return httpx2.Response(200, headers=headers, content=to_npy(np.zeros((rows, 1, 1, 1), np.float32)))

    derived = seed_of_block(1, 1)
    limits = httpx2.Response(200, json={"limits": [{"name": "max_stream_images", "value": 65_536}]})
    client, script = scripted(limits, block(65_536, 1), block(5, derived))
    with client:
        parts = list(client.sample_many(65_541, seed=1, batch=65_530))
    assert [(len(each), each.seed, each.first_row) for each in parts] == [
        (65_530, 1, 0), (6, 1, 65_530), (5, derived, 0),
    ]  # fmt: skip
    asked = [dict(request.url.params) for request in script.requests[1:]]
    assert asked == [
        {"n": "65536", "seed": "1"},
        {"n": "5", "seed": str(derived), "model": "mnist@4"},
    ]


def test_low_stream_limit_is_refused_with_the_reason() -> None:
    client, _ = scripted(httpx2.Response(200, json={"limits": [{"name": "max_stream_images", "value": 9}]}))
    with client, pytest.raises(InvalidInput, match="at most 9"):
        next(client.sample_many(10))


def test_silent_server_is_a_time_out_that_is_not_repeated() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(address, timeout_s=0.05, retry=PATIENT) as client,
            pytest.raises(TimedOut, match=r"0\.05"),
        ):
            client.sample()


def test_address_without_a_server_is_named_with_the_remedy() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with Client(address, retry=AT_ONCE) as client, pytest.raises(ConnectionFailed) as caught:
        client.sample()
    assert address in str(caught.value)
    assert "4 times" in str(caught.value)
    assert "is the server running?" in str(caught.value)


class Watching(httpx2.HTTPTransport):
    """Notes the first failure to connect."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = threading.Event()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return super().handle_request(request)
        except httpx2.TransportError:
            self.failed.set()
            raise


def test_server_is_stopped_and_started_beneath_a_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(server_process, "free_port", lambda: port)
    transport = Watching()
    with (
        Client(f"http://127.0.0.1:{port}", retry=PATIENT, transport=transport) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with serving(BUNDLED, tmp_path / "first") as first:
            before = client.sample(n=2, seed=7)
            first.stop()
        meanwhile = pool.submit(client.sample, n=2, seed=7)
        assert transport.failed.wait(PATIENCE_S)
        with serving(BUNDLED, tmp_path / "second"):
            after = meanwhile.result(PATIENCE_S)
    np.testing.assert_array_equal(after.images, before.images)
    assert after.timing.tries > 1


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a server with keys, and one of them."""
    made = subprocess.run(
        [sys.executable, "-m", "service", "key", "--label", "test"],
        capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    keys = tmp_path / "keys"
    keys.write_text(made.stdout)
    key = next(word for word in made.stderr.split() if word.startswith("vae_"))
    with serving(BUNDLED, tmp_path / "log", "--api-keys-file", str(keys)) as running:
        yield f"http://127.0.0.1:{running.port}", key


def test_key_is_sent_and_a_wrong_one_is_refused(keyed: tuple[str, str]) -> None:
    url, key = keyed
    with Client(url, api_key=key) as client:
        assert len(client.sample()) == 1
    for wrong, code in ((None, "missing-key"), (key[:-1] + "-", "unknown-key")):
        with Client(url, api_key=wrong) as client, pytest.raises(AccessDenied, match=code) as caught:
            client.sample()
        assert caught.value.tries == 1


def test_full_queue_is_waited_for(tmp_path: Path) -> None:
    """Eight callers of a server with room for one of them: each gets its answer, and some came again."""
    store = tmp_path / "models"
    publish_slow(ModelStore(store), products=150)
    images = np.random.default_rng(0).random((8, 4, 4), np.float32)
    with (
        serving(store, tmp_path / "log", "--max-queue-images", "8", "--max-images", "8") as running,
        Client(f"http://127.0.0.1:{running.port}", retry=PATIENT) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        expected = client.encode(images).mu
        answers = list(pool.map(lambda _: client.encode(images), range(24)))
        with Client(f"http://127.0.0.1:{running.port}", retry=Retry(tries=1)) as hasty:
            refusals = [
                each for each in pool.map(lambda _: failure_of(hasty.encode, images), range(24)) if each
            ]
    for answer in answers:
        np.testing.assert_array_equal(answer.mu, expected)
    assert max(answer.timing.tries for answer in answers) > 1
    assert refusals
    assert {type(each) for each in refusals} == {Overloaded}
    assert all(each.retry_after_s is not None for each in refusals)


def failure_of(call: Callable[..., object], *arguments: object) -> Refused | None:
    try:
        call(*arguments)
    except Refused as refusal:
        return refusal
    return None


def test_refused_image_is_named(tmp_path: Path, vae: Client) -> None:
    half = tmp_path / "half.png"
    whole = vae.sample(seed=7).save(tmp_path / "whole.png", scale=4).read_bytes()
    half.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest, match=r"images\[1\]"):
        vae.encode([tmp_path / "whole.png", half], fit="contain")


@pytest.mark.parametrize("header", ["inf", "nan", "soon", "-1e400"])
def test_retry_after_that_is_no_time_is_ignored(header: str) -> None:
    client, _ = scripted(problem(429, "too-busy", retry_after=header), sampled())
    with client:
        assert client.sample().timing.tries == 2


def test_answer_that_cannot_be_unpacked_is_an_error_of_the_package() -> None:
    client, script = scripted(
        httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=Pieces(b"no gzip"))
    )
    with client, pytest.raises(ConnectionFailed):
        client.limits()
    assert len(script.requests) == 1


class Pieces(httpx2.SyncByteStream):
    """A body in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


def test_long_stream_needs_the_memory_of_one_part() -> None:
    rows, shape = 65_536, (1, 8, 8)
    head = to_npy(np.zeros((0, *shape), np.float32)).replace(b"(0, 1, 8, 8), }    ", b"(65536, 1, 8, 8), }")
    piece = bytes(65_536)
    body = Pieces(head, *[piece] * (rows * 256 // len(piece)))
    limits = [{"name": "max_stream_images", "value": rows}]
    client, _ = scripted(
        httpx2.Response(200, json={"limits": limits}),
        httpx2.Response(200, headers={**SAMPLED, "content-type": "application/x-npy"}, stream=body),
    )
    tracemalloc.start()
    try:
        with client:
            assert sum(len(part) for part in client.sample_many(rows, seed=1)) == rows
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000, "the stream has 16.8 million bytes"


def test_forked_process_has_connections_of_its_own(url: str) -> None:
    """Two processes that read from one connection would each get answers of the other."""
    code = (
        "import os, sys\n"
        "from vae_client import Client\n"
        f"client = Client({url!r})\n"
        "client.sample(seed=1)\n"
        "child = os.fork()\n"
        "seeds = range(100, 160) if child else range(200, 260)\n"
        "wrong = [seed for seed in seeds if client.sample(seed=seed).seed != seed]\n"
        "client.close()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "os._exit(bool(wrong))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr

"""Habits of new programs: pools of processes, proxies of the environment, open files."""

from __future__ import annotations

import asyncio
import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S
from server_process import free_port
from vae_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InvalidInput,
    Item,
    Latents,
    Overloaded,
    Retry,
)

CLIENT = Path(__file__).resolve().parents[2] / "clients/python"
ONCE = Retry(tries=1)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def refusal() -> Overloaded:
    return Overloaded(
        status=429,
        code="too-busy",
        detail="full.",
        remedy="Wait.",
        items=(Item("images[2]", "28", "27", "Send 28."),),
        request_id="id-1",
        retry_after_s=2.0,
        tries=3,
    )


POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from vae_client import Client

def ask(url):
    with Client(url) as client:
        return client.sample(label="eleven").seed

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(ask, sys.argv[1]).exception()
    print(type(error).__name__, error.code, error.status, error.items[0].where, bool(error.request_id))
"""


def test_error_of_another_process_arrives_whole(url: str, tmp_path: Path) -> None:
    """An exception that cannot be unpickled breaks the pool, and the reason is lost."""
    program = tmp_path / "program.py"
    program.write_text(POOL)
    done = subprocess.run(
        [sys.executable, str(program), url],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout == "InvalidRequest unknown-label 422 label True\n", done.stderr


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_copy_of_an_error_is_equal(again: object) -> None:
    error = refusal()
    error.add_note("in the night")
    found = again(error)  # type: ignore[operator]
    assert type(found) is Overloaded
    assert (str(found), vars(found)) == (str(error), vars(error))
    assert found.args == error.args


def test_client_says_why_it_cannot_be_copied() -> None:
    async def other() -> None:
        async with AsyncClient() as client:
            with pytest.raises(TypeError, match="a client in each process"):
                copy.copy(client)

    with Client(api_key="vae_secret") as client, pytest.raises(TypeError, match="a client in each process"):
        pickle.dumps(client)
    asyncio.run(other())


def test_socks_proxy_without_its_package_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library reads all proxies when a client is made, also those that NO_PROXY excludes."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost")
    with pytest.raises(InvalidInput, match=r"ALL_PROXY: .*socks.*transport=httpx2\.HTTPTransport\(\)"):
        Client()
    with pytest.raises(InvalidInput, match="ALL_PROXY"):
        AsyncClient()
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    with pytest.raises(InvalidInput, match="ALL_PROXY"):
        Client()


def test_unreachable_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    url, proxy = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with Client(url, retry=ONCE) as client, pytest.raises(ConnectionFailed) as caught:
        client.sample()
    assert "HTTP_PROXY sends the request through a proxy" in str(caught.value)
    assert "NO_PROXY=127.0.0.1" in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Client(url, retry=ONCE) as client, pytest.raises(ConnectionFailed, match="is the server running"):
        client.sample()


def test_proxy_of_the_environment_is_passed_by_with_no_proxy(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Client(url) as client:
        assert len(client.sample()) == 1


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_slashes_at_the_end_of_the_address_do_no_harm(url: str, end: str) -> None:
    with Client(url + end) as client:
        assert len(client.sample()) == 1


@pytest.mark.parametrize("end", ["?model=mnist", "#top"])
def test_query_in_the_address_is_refused(end: str) -> None:
    with pytest.raises(InvalidInput, match=r"without \? and #"):
        Client(f"http://localhost:8000{end}")


def test_password_in_the_address_is_shown_nowhere() -> None:
    address = f"http://user:geheim@127.0.0.1:{free_port()}"
    with Client(address, retry=ONCE) as client:
        assert "geheim" not in repr(client)
        with pytest.raises(ConnectionFailed) as caught:
            client.sample()
    assert "geheim" not in str(caught.value)
    with pytest.raises(InvalidInput, match="api_key needs the same header"):
        Client(address, api_key="vae_key")


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "5"])
def test_time_limit_is_checked(timeout_s: float) -> None:
    with pytest.raises(InvalidInput, match="timeout_s: expected a number of seconds above 0, or None"):
        Client(timeout_s=timeout_s)


def test_time_limit_of_none_has_no_end(url: str) -> None:
    with Client(url, timeout_s=None) as client:
        assert len(client.sample()) == 1


@pytest.mark.parametrize("n", ["3", 2.5, None, True])
def test_number_that_is_none_is_named(vae: Client, n: object) -> None:
    with pytest.raises(InvalidInput, match="n: expected an integer"):
        vae.sample(n)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="n: expected an integer"):
        next(vae.sample_many(n))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="k: expected an integer"):
        vae.nearest(np.zeros((1, 2)), np.zeros((2, 2)), k=n)  # type: ignore[arg-type]


def test_integers_of_numpy_are_integers(vae: Client) -> None:
    assert len(vae.sample(np.int64(3), seed=np.int64(7), label=np.int64(3))) == 3  # type: ignore[arg-type]


def test_retry_after_of_nothing_is_no_stampede() -> None:
    """A proxy that says 0 would have every client back at once, and all tries used up in milliseconds."""
    busy = Overloaded(status=503, code="http-503", detail="", retry_after_s=0.0)
    tries = Retry(tries=3, first_delay_s=1).begin(clock=lambda: 0.0, chance=lambda: 0.0)
    assert [tries.delay_after(busy) for _ in range(3)] == [1, 2, None]


def test_open_file_is_read(vae: Client, tmp_path: Path) -> None:
    path = vae.sample(seed=7).save(tmp_path / "one.png")
    with path.open("rb") as file:
        opened = vae.encode(file).mu
    np.testing.assert_array_equal(opened, vae.encode(path).mu)
    np.testing.assert_array_equal(vae.encode([io.BytesIO(path.read_bytes()), path]).mu[0], opened[0])
    with pytest.raises(InvalidInput, match="open for bytes, got text"):
        vae.encode(io.StringIO("no picture"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got NoneType"),
        (3, "got int"),
        (np.zeros((28, 28), np.int64), "got an array of int64"),
        ("https://example.org/three.png", "got a web address"),
        ([np.zeros((28, 28)), {}], r"images\[1\]: .* got dict"),
    ],
    ids=["None", "number", "int64", "address", "dict"],
)
def test_what_is_no_image_is_named(vae: Client, value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        vae.encode(value)


class Tensor:
    """As PyTorch's of a running computation: NumPy cannot have it."""

    dtype = "float32"

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("Use tensor.detach().numpy() instead.")


def test_tensor_that_numpy_cannot_have_is_an_error_with_its_remedy(vae: Client) -> None:
    with pytest.raises(InvalidInput, match=r"images: Use tensor\.detach"):
        vae.encode(Tensor())


def test_traversal_begins_at_one_image(vae: Client) -> None:
    images = vae.sample(2, seed=1)
    with pytest.raises(InvalidInput, match="start: expected one image or latent, got 2"):
        vae.traverse(images.images)


def test_latents_show_their_version() -> None:
    latents = Latents([[1.0, 2.0]], model="mnist@4")
    assert repr(latents) == "Latents([[1., 2.]], dtype=float32, model='mnist@4')"
    assert "model" not in repr(Latents([1.0]))

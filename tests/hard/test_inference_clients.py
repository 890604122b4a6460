"""The unchanged clients of Triton and KServe against a running server, each in an environment of its own.

`make inference-clients` installs them, and `make test-hard` does so first. A client runs in a process of its
own, makes every call that it has, and prints the results, which are compared with those of the native API.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hazard_plugin import Hazard
from patience import PATIENCE_S
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore
from service.security.api_keys import new_key

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("inference-clients")]

REPOSITORY = Path(__file__).resolve().parents[2]
X = (np.arange(2 * 784, dtype=np.int64) % 97 / 96).astype(np.float32).reshape(2, 1, 28, 28)
Z = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
SEEDS = (7, 2**53 - 1)
Found = dict[str, Any]


@pytest.fixture(scope="module", params=["without keys", "with keys"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """A server with administration, and its key; empty without keys."""
    home = tmp_path_factory.mktemp("clients")
    store = ModelStore(home / "models")
    publish_tiny(store, name="mnist", latent_size=8, seed=0, aliases=("stable",))
    publish_tiny(store, name="mnist", latent_size=8, seed=2)
    publish_tiny(store, name="plain", kind="ae", latent_size=8, seed=3)
    key, arguments = "", ["--admin", "true"]
    if request.param == "with keys":
        key, entry = new_key("admin", "client")
        (home / "keys").write_text(entry.line + "\n")
        (home / "keys").chmod(0o600)
        arguments = ["--api-keys-file", str(home / "keys")]
    with serving(home / "models", home / "log", *arguments) as running:
        yield running, key


def client(name: str, url: str, key: str, stdin: bytes) -> Found:
    """What a client returned for each of its calls."""
    python = REPOSITORY / ".venv-inference" / name / "bin/python"
    if not python.exists():
        pytest.skip("the client is not installed: make inference-clients")
    script = REPOSITORY / "tests/inference_clients" / name / "calls.py"
    done = subprocess.run(
        [str(python), "-W", "ignore", str(script), url, *([key] if key else [])],
        input=stdin,
        capture_output=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    found: Found = json.loads(done.stdout)
    return found


class Native:
    """The same numbers from the native API."""

    def __init__(self, running: Running, key: str) -> None:
        self._running = running
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, target: str, body: object = None, *, raw: bool = False) -> Any:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self._running.port, timeout=PATIENCE_S)
        try:
            if body is None:
                connection.request("GET", target, headers=self._headers)
            else:
                sent = {**self._headers, "Content-Type": "application/json"}
                connection.request("POST", target, json.dumps(body), sent)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, data[:300]
        return data if raw else json.loads(data)

    def whole(self, x: np.ndarray, version: str = "1") -> dict[str, Any]:
        images = {"images": x.tolist()}
        encoded = self.ask(f"/encode?model=mnist@{version}", images)
        back = self.ask(f"/reconstruct?model=mnist@{version}", images)
        return {"mu": encoded["mu"], "logvar": encoded["logvar"], "x_hat": back["images"]}

    def sampled(self, temperature: float) -> dict[str, Any]:
        drawn = [self.ask("/sample", {"seed": seed, "temperature": temperature}) for seed in SEEDS]
        return {"z": [one["z"][0] for one in drawn], "x_hat": [one["images"][0] for one in drawn]}


def same(found: Found, wanted: dict[str, Any], *, version: str = "1") -> None:
    assert list(found["arrays"]) == list(wanted)
    # KServe's client does not pass the version on.
    assert found.get("version", version) == version
    for name, values in wanted.items():
        got = np.array(found["arrays"][name], np.float32)
        np.testing.assert_array_equal(got, np.array(values, np.float32), err_msg=name)


def test_triton_client(server: tuple[Running, str], hazard: Hazard) -> None:
    running, key = server
    native = Native(running, key)
    png = native.ask("/sample.png?seed=7", raw=True)
    every = client("triton", f"127.0.0.1:{running.port}", key, png)
    calls = 0
    for kind in ("sync", "aio"):
        found = every[kind]
        check_triton(found, native, png)
        calls += len(found)
    assert len(every["sync"]) >= len(every["aio"]) > 40
    assert "Traceback" not in running.log
    hazard(
        "inference-clients",
        figure=f"tritonclient[http]: {calls} of {calls} calls",
        bar="every call",
        met=True,
    )


def check_triton(found: Found, native: Native, png: bytes) -> None:
    whole = native.whole(X)
    encoded = {name: whole[name] for name in ("mu", "logvar")}
    for name in ("whole", "JSON in and out", "async_infer"):
        if name in found:
            same(found[name], whole)
    for algorithm in ("gzip", "deflate"):
        same(found[f"request in {algorithm}"], whole)
        same(found[f"response in {algorithm}"], whole)
    same(found["whole of version 2"], native.whole(X, "2"), version="2")
    assert found["whole of version 2"]["id"] == "r-2"
    same(found["one output"], {"mu": whole["mu"]})
    same(found["JSON in"], encoded)
    half = native.whole(X.astype(np.float16).astype(np.float32))
    same(found["half precision"], {name: half[name] for name in ("mu", "logvar")})
    same(found["decoder"], {"x_hat": native.ask("/decode", {"z": Z.tolist()})["images"]})
    same(found["sampler"], native.sampled(0.5))
    same(found["sampler in JSON"], native.sampled(1.0))
    assert np.array(found["picture"]["arrays"]["mu"]).shape == (1, 8)
    for name in ("live", "ready", "model ready", "version ready"):
        assert found[name] is True
    for name in ("unknown model ready", "unknown version ready"):
        assert found[name] is False
    assert found["server"]["name"] == "vae-service"
    assert found["metadata"]["versions"] == ["1", "2"]
    assert found["metadata of version"]["inputs"] == [{"name": "seed", "datatype": "INT64", "shape": [-1]}]
    assert found["config"]["max_batch_size"] == 256
    assert found["config of version"]["input"][0]["dims"] == [8]
    assert {"name": "mnist", "version": "1", "state": "READY", "reason": ""} in found["index"]
    (statistics,) = found["statistics of version"]["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] >= 8
    assert statistics["inference_count"] >= statistics["execution_count"] > 0
    assert {each["name"] for each in found["statistics"]["model_stats"]} >= {"mnist", "mnist-encoder"}
    refused = {
        "unknown model": "404", "wrong shape": "400", "wrong type": "400", "unknown output": "400",
        "class": "400", "metadata of unknown": "404", "load unknown": "404", "shared memory status": "400",
        "shared memory": "400", "unregister": "400", "CUDA status": "400", "CUDA": "400",
        "trace settings": "400", "log settings": "400", "tensor in shared memory": "400",
    }  # fmt: skip
    for name, status in refused.items():
        assert found[name] is not None, f"{name} was not refused"
        assert found[name][0] == status, (name, found[name])
        assert len(found[name][1]) > 20, (name, found[name])
    assert "Shared memory is not supported" in found["shared memory"][1]


def test_example_of_the_documentation_runs(server: tuple[Running, str]) -> None:
    running, key = server
    if key:
        pytest.skip("the example has no key")
    python = REPOSITORY / ".venv-inference/triton/bin/python"
    if not python.exists():
        pytest.skip("the client is not installed: make inference-clients")
    text = (REPOSITORY / "tests/inference_clients/triton/example.py").read_text()
    text = text.replace("localhost:8000", f"127.0.0.1:{running.port}")
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", text], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout.startswith(b"[[")


def test_kserve_client(server: tuple[Running, str], hazard: Hazard) -> None:
    running, key = server
    native = Native(running, key)
    found = client("kserve", f"http://127.0.0.1:{running.port}", key, b"")
    whole = native.whole(X)
    same(found["whole"], whole)
    same(found["whole in bytes"], whole)
    same(found["one output"], {"mu": whole["mu"]})
    assert found["one output"]["id"] == "r-1"
    same(found["output in bytes"], {"x_hat": whole["x_hat"]})
    half = native.whole(X.astype(np.float16).astype(np.float32))
    same(found["half precision"], {name: half[name] for name in ("mu", "logvar")})
    same(found["decoder"], {"x_hat": native.ask("/decode", {"z": Z.tolist()})["images"]})
    same(found["sampler"], native.sampled(0.5))
    assert (found["live"], found["ready"], found["model ready"]) == (True, True, True)
    assert found["unknown model ready"] is False
    assert found["unknown model"][0] == 404
    hazard(
        "inference-clients", figure=f"kserve: {len(found)} of {len(found)} calls", bar="every call", met=True
    )

"""The application in replicas of Ray Serve: the same bytes, promoted in place, measured, scaled, bounded.

`make ray` installs Ray into an environment of its own, and `make test-hard` does so first.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from documents.markdown import fences
from hazard_plugin import Hazard
from patience import PATIENCE_S, eventually
from ray_cluster import NOT_INSTALLED, REPOSITORY, RayCluster, is_installed, ray_cluster
from ray_load import STABLE, STORE, Load, ask, configured, fixed
from server_process import serving

pytestmark = [
    pytest.mark.hard,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not is_installed(), reason=NOT_INSTALLED),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    # More than there are: replicas of one core each shall fit.
    with ray_cluster(cores=4) as running:
        yield running


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


X = np.random.default_rng(3).random((3, 1, 28, 28), dtype=np.float32)
Z = np.random.default_rng(4).standard_normal((3, 16)).astype(np.float32)
JSON, NPY = "application/json", "application/x-npy"


def questions() -> list[tuple[str, str, str | None, bytes]]:
    """Method, target, content type and body of a request to each endpoint that computes something."""
    images = {"images": np.round(X, 3).tolist()}
    return [
        ("GET", "/sample?n=3&seed=7", None, b""),
        ("GET", "/sample.png?n=9&seed=7&scale=2", None, b""),
        ("GET", "/sample.npy?n=64&seed=7", None, b""),
        ("GET", "/sample.npz?n=3&seed=7&label=3", None, b""),
        ("GET", "/sample.txt?seed=7", None, b""),
        ("GET", "/traverse?seed=7", None, b""),
        ("POST", "/encode", JSON, json.dumps(images).encode()),
        ("POST", "/encode.npz", NPY, npy(X)),
        ("POST", "/decode.npy", NPY, npy(Z)),
        ("POST", "/decode.png", NPY, npy(Z)),
        ("POST", "/reconstruct.npy?seed=7", NPY, npy(X)),
        ("POST", "/score?seed=7&importance_samples=4", NPY, npy(X)),
        ("POST", "/interpolate?steps=5", NPY, npy(X[:2])),
        ("POST", "/nearest?k=2", JSON, json.dumps({"z": Z.tolist(), "latents": Z.tolist()}).encode()),
        ("POST", "/nearest", NPY, npy(X)),
        ("GET", "/models", None, b""),
        ("GET", "/limits", None, b""),
        ("GET", "/openapi.json", None, b""),
        ("GET", "/v2/models/mnist-encoder", None, b""),
        ("POST", "/encode", JSON, b'{"images": [[1, 2], [3]]}'),
        ("GET", "/sample?n=0", None, b""),
        ("GET", "/nothing", None, b""),
    ]


@pytest.mark.hazard_row("ray-serve")
def test_every_answer_has_the_bytes_of_vae_serve(cluster: RayCluster, tmp_path: Path, hazard: Hazard) -> None:
    cluster.deploy(configured(cluster, **fixed(1)), replicas=1)
    differ = []
    with serving(STORE, tmp_path / "log") as plain:
        for method, target, kind, body in questions():
            one = ask(plain.port, method, target, kind, body)
            other = ask(cluster.port, method, target, kind, body)
            # HAProxy removes no header of ours and adds none; times differ.
            names = {name for each in (one[1], other[1]) for name in each} - {"date", "server-timing"}
            names -= {"transfer-encoding", "connection", "keep-alive"}
            if (one[0], one[2]) != (other[0], other[2]):
                differ.append(f"{method} {target}: {one[0]}, {other[0]}: {other[2][:200]!r}")
            differ += [
                f"{method} {target}: {name}: {one[1].get(name)}, {other[1].get(name)}"
                for name in sorted(names)
                if one[1].get(name) != other[1].get(name)
            ]
    hazard(
        "ray-serve",
        figure=f"{len(differ)} of {len(questions())} answers differ from those of vae-serve",
        bar="0 differ",
        met=not differ,
    )
    assert differ == []


@pytest.mark.hazard_row("ray-serve")
def test_user_config_promotes_and_rolls_back_under_load_in_the_same_processes(
    cluster: RayCluster, hazard: Hazard
) -> None:
    cluster.deploy(configured(cluster, **fixed(2)), replicas=2)
    before = cluster.named("ray::ServeReplica")
    with Load(cluster.port) as load:
        for version in (4, STABLE):
            config = {"aliases": {"mnist": {"stable": version}}}
            cluster.deploy(configured(cluster, **fixed(2), user_config=config), replicas=2)
            load.seen.clear()
            eventually(
                lambda version=version: set(load.seen) == {(200, f"mnist@{version}")},  # type: ignore[misc]
                lambda: load.seen,
            )
        # A version that does not exist: the old one serves, in the same processes.
        missing = {"aliases": {"mnist": {"stable": 99}}}
        cluster.deploy(configured(cluster, **fixed(2), user_config=missing), replicas=2)
        wrong = {"aliases": {"mnist": {"stable": "five"}}}
        cluster.deploy(configured(cluster, **fixed(2), user_config=wrong), replicas=2)
        served = ask(cluster.port, "GET", "/sample")[1]["x-model"]
    after = cluster.named("ray::ServeReplica")
    hazard(
        "ray-serve",
        figure=f"promoted, rolled back, refused twice: {load.failed} failed, {served}, "
        f"{len(set(before) & set(after))} of 2 processes stay",
        bar="0 failed, 2 of 2 stay",
        met=load.failed == 0 and before == after and served == f"mnist@{STABLE}",
    )


def test_metrics_of_every_replica_reach_ray(cluster: RayCluster) -> None:
    cluster.deploy(configured(cluster, **fixed(2)), replicas=2)

    def replicas() -> set[str]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{cluster.metrics}/metrics", timeout=PATIENCE_S
        ) as page:
            text = page.read().decode()
        lines = [line for line in text.splitlines() if line.startswith("ray_vae_model_info{")]
        return {
            re.findall(r'replica="([^"]+)"', line)[0]
            for line in lines
            if f'model="mnist@{STABLE}"' in line and line.endswith(" 1.0")
        }

    eventually(lambda: len(replicas()) >= 2, replicas)


def test_ports_for_operators_are_those_of_this_machine_alone(cluster: RayCluster) -> None:
    for name in ("METRICS", "STATS"):
        port = int(cluster.environment[f"RAY_SERVE_HAPROXY_{name}_PORT"])
        listening = [
            line.split()[1]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
        ]
        assert listening, f"nothing listens on {port}"
        assert {address.partition(":")[0] for address in listening} == {"0100007F"}, name


SLOW: dict[str, Callable[[socket.socket], None]] = {
    "silent": lambda _: None,
    "half a header": lambda raw: raw.sendall(b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-"),
    "half a body": lambda raw: raw.sendall(
        b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
    ),
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_are_closed(cluster: RayCluster, kind: str) -> None:
    """One byte every second: no wait is long, and the request never comes."""
    cluster.deploy(configured(cluster, **fixed(2)), replicas=2)
    begun_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=1) as raw:
        SLOW[kind](raw)
        while time.monotonic() - begun_s < PATIENCE_S:
            try:
                if not raw.recv(4096):
                    break
            except TimeoutError:
                with contextlib.suppress(OSError):
                    if kind != "silent":
                        raw.sendall(b"x")
            except ConnectionError:
                break
        else:
            pytest.fail("it is still connected")
    assert time.monotonic() - begun_s < 60


@pytest.mark.hazard_row("ray-serve")
def test_replicas_are_added_under_load(cluster: RayCluster, hazard: Hazard) -> None:
    scaling = {
        **cluster.configuration()["applications"][0]["deployments"][0]["autoscaling_config"],
        "target_ongoing_requests": 2,
        "max_replicas": 3,
    }
    cluster.deploy(configured(cluster, autoscaling_config=scaling), replicas=1)
    with Load(cluster.port, clients=16) as load:
        begun_s = time.monotonic()
        eventually(lambda: len(cluster.named("ray::ServeReplica")) == 3, cluster.told)
        started_s = time.monotonic() - begun_s
        eventually(
            lambda: cluster.status()["deployments"]["vae"]["replica_states"].get("RUNNING") == 3, cluster.told
        )
        took_s = time.monotonic() - begun_s
    hazard(
        "ray-serve",
        figure=f"1 → 3 replicas: processes after {started_s:.1f} s, all serve after {took_s:.1f} s, "
        f"{load.failed} of {load.count} failed",
        bar="processes within 15 s, 0 failed",
        met=started_s <= 15.0 and load.failed == 0,
    )


def test_the_page_says_what_this_test_does(cluster: RayCluster) -> None:
    """The commands of docs/how-to/ray.md, with the ports of this cluster."""
    page = (REPOSITORY / "docs/how-to/ray.md").read_text()
    commands = [command for fence in fences(page) if fence.language == "sh" for command in fence.commands]
    assert "serve deploy deploy/ray/serve.yaml" in commands
    assert ". deploy/ray/environment.sh" in commands
    cluster.deploy(configured(cluster, **fixed(1)), replicas=1)
    for command in commands:
        if command.startswith("curl "):
            target = re.sub(r'.*localhost:8000(/[^" ]*).*', r"\1", command)
            assert ask(cluster.port, "GET", target)[0] == 200, command
        elif command.startswith("serve status"):
            assert cluster.status()["status"] == "RUNNING"

"""A replica of Ray Serve, with a stand-in for Ray: promoted without a restart, ready by evidence, measured.

`tests/hard/test_ray_serve.py` has the same on a Ray of its own, where Ray is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Caller
from patience import eventually
from tiny_models import publish_tiny

from model_store import ModelStore
from service.ray_serve import replica as module
from service.ray_serve.deployment import read_arguments
from service.ray_serve.replica import NotReady, Replica, make_app
from service.settings import SettingsError


class Gauges:
    """Stands for Ray's metrics."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def make(self, name: str, description: str, labels: tuple[str, ...]) -> Any:
        gauges = self

        class Gauge:
            def set(self, value: float, tags: dict[str, str]) -> None:
                gauges.values[name, *(tags[label] for label in labels)] = value

        return Gauge()


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps its logging."""
    monkeypatch.setattr(module, "configure_logging", lambda **_: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = ModelStore(tmp_path / "models")
    for seed in range(3):
        publish_tiny(store, name="mnist", latent_size=2, seed=seed, aliases=("stable",) if not seed else ())
    return store.root


@pytest.fixture
def gauges() -> Gauges:
    return Gauges()


@pytest.fixture
def served(root: Path, gauges: Gauges) -> Iterator[tuple[Replica, Caller]]:
    arguments = read_arguments({"settings": {"model_store": str(root), "threads": 1}})
    replica = Replica()
    replica.app = make_app(arguments, threads=1, make_gauge=gauges.make)
    with Caller(replica.app) as caller:
        yield replica, caller


def version(caller: Caller, reference: str = "mnist") -> str:
    return caller.get(f"/sample?seed=1&model={reference}").headers["x-model"]


def reconfigure(replica: Replica, config: object) -> None:
    asyncio.run(replica.reconfigure(config))


def test_user_config_promotes_and_rolls_back(served: tuple[Replica, Caller]) -> None:
    replica, caller = served
    assert version(caller) == "mnist@1"
    reconfigure(replica, {"aliases": {"mnist": {"stable": 2, "canary": 3}}})
    assert version(caller) == "mnist@2"
    assert version(caller, "mnist@canary") == "mnist@3"
    reconfigure(replica, {"aliases": {"mnist": {"stable": 1}}})
    assert version(caller) == "mnist@1"
    assert caller.get("/sample?model=mnist@canary").status == 404
    reconfigure(replica, None)
    assert version(caller) == "mnist@1"


def test_a_promoted_version_that_is_broken_leaves_the_old_one_in_service(
    served: tuple[Replica, Caller], root: Path
) -> None:
    replica, caller = served
    encoder = root / "mnist/2/encoder.onnx"
    encoder.write_bytes(encoder.read_bytes()[:-1] + b"?")
    reconfigure(replica, {"aliases": {"mnist": {"stable": 2}}})
    assert version(caller) == "mnist@1"
    asyncio.run(replica.check_health())
    reconfigure(replica, {"aliases": {"mnist": {"stable": 9}}})
    assert version(caller) == "mnist@1"
    reconfigure(replica, {"aliases": {"mnist": {"stable": 3}}})
    assert version(caller) == "mnist@3"


def test_a_wrong_user_config_is_refused_by_a_new_replica_and_ignored_by_a_running_one(
    served: tuple[Replica, Caller], caplog: pytest.LogCaptureFixture
) -> None:
    """Ray would replace every running replica by one that cannot start."""
    replica, caller = served
    wrong = {"aliases": {"mnist": {"stable": "two"}}}
    with pytest.raises(SettingsError, match=r"user_config: .*mnist\.stable"):
        reconfigure(replica, wrong)
    reconfigure(replica, {"aliases": {"mnist": {"stable": 2}}})
    reconfigure(replica, wrong)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "user_config refused"
    ]
    assert version(caller) == "mnist@2"


def test_health_is_readiness(tmp_path: Path, gauges: Gauges) -> None:
    store = ModelStore(tmp_path / "models")
    settings = {"model_store": str(store.root), "threads": 1, "store_poll_s": 0.01}
    replica = Replica()
    replica.app = make_app(read_arguments({"settings": settings}), threads=1, make_gauge=gauges.make)
    with Caller(replica.app) as caller:
        assert caller.get("/readyz").status == 503
        with pytest.raises(NotReady, match=r"The model store does not exist\. Correct its path"):
            asyncio.run(replica.check_health())
        publish_tiny(store, name="mnist", latent_size=2)
        replica.app.state.app_state.load_all()
        assert caller.get("/readyz").status == 200
        asyncio.run(replica.check_health())


def test_metrics_reach_ray(root: Path, gauges: Gauges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "METRICS_EVERY_S", 0.01)
    arguments = read_arguments({"settings": {"model_store": str(root), "threads": 1}})
    with Caller(make_app(arguments, threads=1, make_gauge=gauges.make)) as caller:
        assert gauges.values["vae_model_info", "vae", "mnist@1"] == 1
        before = caller.get("/sample").status

        def arrived() -> bool:
            caller.get("/livez")  # the event loop turns during a call
            return gauges.values.get(("vae_http_requests_total", "GET", "/sample", "200")) == 1

        eventually(arrived, lambda: gauges.values)
        assert before == 200
        assert gauges.values["vae_ready",] == 1
        assert gauges.values["vae_http_request_duration_seconds_bucket", "+Inf", "GET", "/sample"] == 1

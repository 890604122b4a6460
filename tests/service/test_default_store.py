"""The server without `--store`: the bundled models, and the user's own store as soon as it exists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundled_models import BUNDLED_MODELS
from http_calls import Caller
from patience import PATIENCE_S, eventually
from tiny_models import publish_tiny

from model_store import ModelStore, location, open_store
from model_store import cli as store_cli
from service.app import create_app
from service.settings import Settings


@pytest.fixture
def own(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the own store, which does not exist yet; the tiny store is the bundled one."""
    monkeypatch.setattr(location, "BUNDLED_STORE", tiny_store)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "vae-service" / "models"


def test_a_running_server_follows_into_the_store_that_the_first_change_makes(own: Path) -> None:
    """As after `make serve` in one terminal and `vae-train export` in another."""
    with Caller(create_app(Settings(threads=1, store_poll_s=0.05))) as api:
        assert api.get("/models/mnist").json()["version"] == 1
        assert not own.exists(), "a server copies nothing"
        open_store().promote("mnist", "stable", 2)
        publish_tiny(open_store(), name="mine")
        eventually(
            lambda: api.get("/models/mnist").json()["version"] == 2 and api.get("/models/mine").status == 200,
            lambda: api.get("/models").body,
        )
        assert api.app.state.app_state.store_root == str(own)


def test_an_empty_volume_is_filled_by_the_command_that_readiness_names(
    own: Path, tiny_store: Path, tmp_path: Path
) -> None:
    """A directory of the host, mounted into a container, starts empty."""
    volume = tmp_path / "volume"
    volume.mkdir()
    with Caller(create_app(Settings(threads=1, store_poll_s=0.05, model_store=volume))) as api:
        assert "vae-store add bundled" in api.get("/readyz").json()["detail"]
        assert store_cli.main(["--store", str(volume), "add", "bundled"]) == 0
        eventually(lambda: api.get("/readyz").status == 200, lambda: api.get("/readyz").body)
        assert api.get("/models/mnist").json()["version"] == 1
    assert ModelStore(volume).alias_table("mnist") == ModelStore(tiny_store).alias_table("mnist")


def test_a_named_store_is_not_left(own: Path, tiny_store: Path) -> None:
    open_store().promote("mnist", "stable", 2)
    with Caller(create_app(Settings(threads=1, model_store=tiny_store))) as api:
        assert api.get("/models/mnist").json()["version"] == 1


def test_a_check_reads_the_same_store_as_the_commands(tmp_path: Path) -> None:
    """In processes of their own, with the models of the real package."""
    import os

    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        ).stdout

    own = tmp_path / "vae-service" / "models"
    assert f"store {location.BUNDLED_STORE}" in run("service", "check")
    run("model_store.cli", "promote", "mnist@2", "stable")
    told = run("service", "check")
    assert f"store {own}" in told
    assert "ok mnist@2 (stable): digests and golden vectors agree" in told
    listed = json.loads(run("model_store.cli", "list", "--json"))
    assert listed["store"] == str(own)
    assert ModelStore(own).names() == BUNDLED_MODELS

"""vae-store add with an address: verified copies from object storage, and nothing of what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from object_storage import serving_s3, upload
from patience import PATIENCE_S
from tiny_models import publish_tiny

from model_store import ModelStore
from model_store.cli import main
from service.commands.object_storage import fetched

PUBLISH: dict[str, Any] = {"image_shape": (1, 4, 4), "latent_size": 2}


@pytest.fixture
def remote(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "remote")
    for seed in (1, 2):
        publish_tiny(store, name="mnist", seed=seed, aliases=("stable",), **PUBLISH)
    publish_tiny(store, name="other", **PUBLISH)
    return store


Add = Callable[..., Any]


@pytest.fixture
def add(
    remote: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Add:
    """Adds from `file://`, which fsspec reads as it reads any storage; nothing temporary is left."""
    monkeypatch.setenv("VAE_STORE_CACHE", str(tmp_path / "cache"))

    def run(source: str, code: int = 0) -> Any:
        store = tmp_path / "own"
        assert main(["--store", str(store), "add", source, "--json"], fetch=fetched) == code
        captured = capsys.readouterr()
        assert list((tmp_path / "cache").glob("*")) == []
        return json.loads(captured.out or captured.err)

    return run


@pytest.mark.parametrize(
    ("source", "versions"),
    [
        ("", ["mnist@1", "mnist@2", "other@1"]),
        ("/mnist@1", ["mnist@1"]),
        ("/mnist@stable", ["mnist@2"]),
    ],
)
def test_versions_come_from_an_address(
    add: Add, remote: ModelStore, tmp_path: Path, source: str, versions: list[str]
) -> None:
    told = add(f"file://{remote.root}{source}")
    assert [entry["version"] for entry in told["added"]] == versions
    own = ModelStore(tmp_path / "own")
    for version in versions:
        assert own.manifest(version) == remote.manifest(version)
    if not source:
        assert own.aliases("mnist") == remote.aliases("mnist")


def test_one_version_needs_no_other_one(add: Add, remote: ModelStore) -> None:
    """The others may be large, or damaged."""
    (remote.root / "mnist" / "1" / "encoder.onnx").write_bytes(b"x")
    assert add(f"file://{remote.root}/mnist@2")["added"]
    told = add(f"file://{remote.root}", code=74)
    assert "mnist@1" in told["message"]
    assert "Nothing was added" in told["message"]


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("{remote}/mnist@9", 74, "mnist@9"),
        ("{remote}/nobody@1", 74, "nobody@1"),
        ("file:///nowhere/at/all", 74, "cannot be copied"),
        ("nosuch://bucket/models", 2, "pip install 'vae-service[s3]'"),
        ("{remote}/mnist@@", 2, "neither a version nor an alias"),
    ],
)
def test_what_cannot_be_fetched_is_named(
    add: Add, remote: ModelStore, source: str, code: int, words: str
) -> None:
    assert words in add(source.format(remote=f"file://{remote.root}"), code=code)["message"]


def test_an_upload_under_way_is_not_there_yet(add: Add, remote: ModelStore) -> None:
    (remote.root / "mnist" / "2" / "encoder.onnx").unlink()
    assert "still being uploaded" in add(f"file://{remote.root}/mnist@2", code=74)["message"]


def test_a_cache_that_cannot_be_written_is_named(
    add: Add, remote: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> None:
        raise OSError(30, "Read-only file system", "/tmp")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    assert "VAE_STORE_CACHE" in add(f"file://{remote.root}", code=74)["message"]


def test_versions_come_from_s3(remote: ModelStore, tmp_path: Path) -> None:
    """In a process of its own: clients of S3 leave threads behind."""
    with serving_s3(tmp_path / "log") as environment:
        upload(remote.root, "bucket", environment)
        done = subprocess.run(
            [sys.executable, "-m", "service.commands.vae_store", "add", "s3://bucket/models/mnist@2"],
            env={**os.environ, **environment, "VAE_MODEL_STORE": str(tmp_path / "own")},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "added mnist@2"), done.stderr
    assert ModelStore(tmp_path / "own").manifest("mnist@2") == remote.manifest("mnist@2")
    shutil.rmtree(tmp_path / "own")

"""A server with the bundled models, and clients of it.

Knows servers and clients. Knows nothing of what is tested.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from imported_graphs import optimum_folder
from server_process import Running, serving
from tiny_spatial import publish_spatial
from vae_client import Client

from model_store import ModelStore
from model_store.cli import main
from service.commands.runtime_commands import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLED = REPOSITORY / "model_store/models"


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the bundled models and its usual limits."""
    with serving(BUNDLED, tmp_path_factory.mktemp("bundled") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def url(bundled: Running) -> str:
    return f"http://127.0.0.1:{bundled.port}"


@pytest.fixture(scope="session")
def extended_url(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with more versions.

    `mnist@checked` has thresholds, `sd-vae` was imported, and `spatial` was trained with latents (2, 4, 3).
    """
    folder = tmp_path_factory.mktemp("extended")
    store = folder / "store"
    shutil.copytree(BUNDLED, store)
    with Client(url, model="mnist") as client:
        np.save(folder / "normal.npy", client.sample(n=200, seed=2).images)
    data = ("--data", str(folder / "normal.npy"), "--rate", "0.05", "--alias", "checked")
    exported = str(optimum_folder(folder / "sd-onnx"))
    for arguments in (
        ("calibrate", "mnist@stable", *data),
        ("import", exported, "--name", "sd-vae", "--size", "64x64", "--alias", "stable"),
    ):
        assert main([*arguments, "--store", str(store)], more=COMMANDS) == 0
    publish_spatial(ModelStore(store))
    with serving(store, folder / "log", "--max-values", "262144") as running:
        yield f"http://127.0.0.1:{running.port}"


@pytest.fixture
def vae(url: str) -> Iterator[Client]:
    with Client(url, model="mnist@stable") as client:
        yield client

"""A browser and servers for the tests of the playground page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playground import Play, playing
from playwright_page import chromium
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore, default_store_root

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for each module of tests."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The bundled models: 2 and 32 dimensions, and an autoencoder."""
    with serving(default_store_root(), tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes and sizes that the bundled models do not have."""
    root = tmp_path_factory.mktemp("odd") / "models"
    store = ModelStore(root)
    publish_tiny(store, name="colour", image_shape=(3, 8, 10), latent_size=3, seed=4)
    publish_tiny(store, name="line", image_shape=(1, 12, 12), latent_size=1, seed=5)
    publish_tiny(store, name="photo", image_shape=(3, 32, 32), latent_size=4, seed=7)
    publish_tiny(store, name="plain", kind="ae", latent_size=8, seed=3)
    publish_tiny(store, name="wide", latent_size=40, seed=6)
    return root


@pytest.fixture(scope="module")
def odd(odd_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of models without previews, of other shapes and sizes."""
    with serving(odd_store, tmp_path_factory.mktemp("odd-server") / "log") as running:
        yield running


@pytest.fixture
def play(browser: Browser, server: Running) -> Iterator[Play]:
    """The page of the bundled models, in a profile of its own."""
    with playing(browser, f"http://127.0.0.1:{server.port}/") as play:
        yield play

"""A tiny store and a running application over it, shared by the tests of the HTTP half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Caller
from server_process import Running, serving
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

LATENT = 8


@pytest.fixture(scope="session")
def tiny() -> TinyModel:
    """The model behind `mnist` in the tiny store, in NumPy."""
    return TinyModel.make(latent_size=LATENT, seed=0)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Path:
    """Two versions of `mnist`, the first `stable`; `plain`, an autoencoder; `colour`, with three channels."""
    root = tmp_path_factory.mktemp("tiny") / "models"
    store = ModelStore(root)
    publish_tiny(store, name="mnist", model=tiny, aliases=("stable",))
    publish_tiny(store, name="mnist", latent_size=LATENT, seed=2)
    publish_tiny(store, name="plain", kind="ae", latent_size=LATENT, seed=3)
    publish_tiny(store, name="colour", image_shape=(3, 8, 10), latent_size=3, seed=4)
    return root


@pytest.fixture(scope="session")
def api(tiny_store: Path) -> Iterator[Caller]:
    """The application with its usual settings; it keeps no state that a test could spoil."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_images=64))) as caller:
        yield caller


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A real server over the tiny store, one for each module of tests; its log lies in its home."""
    home = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONWARNINGS": "error"}
    with serving(tiny_store, home / "log", environment=environment) as running:
        yield running

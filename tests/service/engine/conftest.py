"""Tiny models, published and loaded, for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from direct import load
from engine_models import LATENT, SHAPE, convolutional_decoder, golden_of, softplus_decoder
from registries import CountingStore
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore, PublishedModel
from service.engine import LoadedModel


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def counting(tmp_path: Path) -> CountingStore:
    """`store`, watched."""
    return CountingStore(tmp_path / "store")


@pytest.fixture(scope="session")
def tiny() -> TinyModel:
    """Odd sizes on purpose: 42 pixels leave a remainder in every vector instruction."""
    return TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=3)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PublishedModel]:
    """`published(model, encoder=…, decoder=…, golden=…)`: through a store and its verification."""

    def publish(model: TinyModel, **parts: Any) -> PublishedModel:
        own = ModelStore(tmp_path_factory.mktemp("store"))
        return own.open(publish_tiny(own, model=model, kind=model.kind, **parts))

    return publish


@pytest.fixture(scope="session")
def loaded(tiny: TinyModel, published: Callable[..., PublishedModel]) -> LoadedModel:
    return load(published(tiny), max_batch=64)


@pytest.fixture(scope="session")
def auto(published: Callable[..., PublishedModel]) -> LoadedModel:
    """A plain autoencoder, without posterior or prior."""
    plain = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, kind="ae")
    return load(published(plain), max_batch=64)


@pytest.fixture(scope="module", params=["linear", "softplus", "convolutional"])
def any_model(request: pytest.FixtureRequest, tiny: TinyModel, published) -> LoadedModel:
    """One for each kind of layers: a matrix product, a Softplus, convolutions."""
    if request.param == "linear":
        return load(published(tiny), threads=2)
    decoder = softplus_decoder() if request.param == "softplus" else convolutional_decoder()
    return load(published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder)), threads=2)

"""Stores to attack: tiny models of 4 x 4 pixels with known answers, in a directory that disappears."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from tiny_models import TinyModel, publish_tiny
from tiny_priors import Fitted, fitted_prior

from model_store import GraphSpec, ModelStore, PriorMixtures, VersionId

pytest.register_assert_rewrite("hostile_graphs")


@pytest.fixture(scope="session")
def tiny() -> TinyModel:
    """A vae of 4 x 4 pixels and 2 latents."""
    return TinyModel.make(image_shape=(1, 4, 4), latent_size=2)


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory in memory where there is one: syncing costs nothing, and what is visible is the same."""
    parent = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="vae-store-", dir=parent if parent.is_dir() else None))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def store(memory_path: Path) -> ModelStore:
    """An empty store whose root does not exist yet."""
    return ModelStore(memory_path / "store")


@pytest.fixture
def published(store: ModelStore, tiny: TinyModel) -> VersionId:
    """tiny@1, alias stable, in `store`."""
    return publish_tiny(store, model=tiny, aliases=("stable",))


@pytest.fixture
def version_path(store: ModelStore, published: VersionId) -> Path:
    """The directory of tiny@1, to be tampered with."""
    return store.root / "tiny" / "1"


@pytest.fixture
def spec(tiny: TinyModel) -> GraphSpec:
    """What the manifest says of the honest encoder."""
    return tiny.draft().encoder


@pytest.fixture
def proto(tiny: TinyModel) -> onnx.ModelProto:
    """The honest encoder, to be changed."""
    return tiny.encoder_proto()


@pytest.fixture
def fitted(tiny: TinyModel) -> Fitted:
    """A prior for it: 3 Gaussians of all images, then 1, 2 and 3 of the labels 0, 1 and 7."""
    return fitted_prior(tiny.latent_size)


@pytest.fixture
def mixtures(fitted: Fitted) -> PriorMixtures:
    """Its numbers."""
    return fitted[1]

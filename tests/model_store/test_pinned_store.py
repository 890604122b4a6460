"""A deployment decides what the aliases of a store mean, and changes no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import publish_tiny

from model_store import CorruptAliases, ModelNotFound, ModelReference, ModelStore, MountedStore, VersionId
from model_store.pinned_store import PinnedStore
from service.engine.store_listing import list_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = ModelStore(tmp_path / "models")
    for seed in range(3):
        publish_tiny(store, name="mnist", latent_size=2, seed=seed, aliases=("stable",) if not seed else ())
    publish_tiny(store, name="plain", latent_size=2, seed=9)
    return store.root


def test_without_pins_it_is_the_store(root: Path) -> None:
    store, pinned = ModelStore(root), PinnedStore(ModelStore(root))
    assert pinned.names() == store.names()
    for reference in ("mnist", "mnist@stable", "mnist@latest", "mnist@2", "plain", VersionId("mnist", 3)):
        assert pinned.resolve(reference) == store.resolve(reference)
        assert pinned.open(reference).id == store.open(reference).id
    assert pinned.aliases("mnist") == store.aliases("mnist")


def test_pins_move_aliases_and_add_some(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    pinned = PinnedStore(ModelStore(root))
    pinned.pins = {"mnist": {"stable": 2, "canary": 3}}
    assert dict(pinned.aliases("mnist")) == {"canary": 3, "latest": 3, "stable": 2}
    assert pinned.resolve("mnist") == pinned.resolve(ModelReference("mnist")) == VersionId("mnist", 2)
    assert pinned.resolve("mnist", aliases=pinned.aliases("mnist")) == VersionId("mnist", 2)
    assert pinned.open("mnist").id == VersionId("mnist", 2)
    assert pinned.manifest("mnist").version == 2
    assert pinned.resolve("mnist@canary") == VersionId("mnist", 3)
    assert pinned.resolve("mnist@latest") == VersionId("mnist", 3)
    assert pinned.resolve("mnist@1") == VersionId("mnist", 1)
    assert pinned.resolve("plain") == VersionId("plain", 1)
    pinned.pins = {}
    assert pinned.resolve("mnist") == VersionId("mnist", 1)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_pin_of_a_version_that_is_not_there_is_named(root: Path) -> None:
    pinned = PinnedStore(ModelStore(root))
    pinned.pins = {"mnist": {"stable": 7}, "nothing": {"stable": 1}}
    with pytest.raises(CorruptAliases, match="stable"):
        pinned.resolve("mnist")
    with pytest.raises(ModelNotFound):
        pinned.resolve("nothing")
    assert pinned.resolve("mnist@latest") == VersionId("mnist", 3)


def test_a_server_serves_the_pin_and_not_the_split_of_the_store(root: Path) -> None:
    ModelStore(root).split("mnist", "stable", {1: 50.0, 3: 50.0})
    pinned = PinnedStore(ModelStore(root))
    assert "mnist@stable" in list_store(pinned, default="mnist", served=()).canaries
    pinned.pins = {"mnist": {"stable": 2}}
    listing = list_store(pinned, default="mnist", served=())
    assert listing.references["mnist"] == listing.references["mnist@stable"] == VersionId("mnist", 2)
    assert not listing.canaries


def test_directory_of_one_model_can_be_pinned_too(root: Path) -> None:
    pinned = PinnedStore(MountedStore(root / "mnist"))
    assert pinned.single_model() == "mnist"
    pinned.pins = {"mnist": {"stable": 2}}
    assert pinned.resolve("mnist") == VersionId("mnist", 2)
    assert pinned.path_of(VersionId("mnist", 2)) == root / "mnist" / "2"
    assert pinned.open("mnist").id == VersionId("mnist", 2)

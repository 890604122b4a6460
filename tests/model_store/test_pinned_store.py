"""A deployment decides what the aliases of a store mean, and changes no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import publish_tiny

from model_store import CorruptAliases, ModelNotFound, ModelReference, ModelStore, VersionId
from model_store.pinned_store import PinnedStore


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

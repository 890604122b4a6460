"""A name that is unloaded is served by no reference until it is allowed again, whatever the store does."""

from __future__ import annotations

from pathlib import Path

import pytest
from registries import broken, labels, publish, registry

from service.engine import ModelUnavailable, UnloadedNames


def test_no_reference_leads_to_an_unloaded_name(store):
    publish(store, aliases=("stable",))
    publish(store, seed=1)
    publish(store, seed=2)
    models = registry(store)
    assert models.get("tiny@2").label == "tiny@2", "loaded on demand, without an alias"
    models.unload("tiny")
    for reference in (None, "tiny", "tiny@stable", "tiny@latest", "tiny@1", "tiny@2", "tiny@3"):
        with pytest.raises(ModelUnavailable, match="unloaded"):
            models.get(reference)
        assert models.peek(reference) is None
    assert labels(models) == []
    assert models.unloaded() == ("tiny",)
    assert models.has_name("tiny")
    assert not models.readiness().ready
    assert models.failures() == (), "it has no fault"


def test_reading_the_store_again_serves_it_only_when_it_is_allowed(store):
    publish(store, aliases=("stable",))
    models = registry(store)
    models.unload("tiny")
    publish(store, seed=1)
    models.load_all()
    models.refresh()
    assert labels(models) == []
    models.allow("tiny")
    models.load_all()
    assert labels(models) == ["tiny@1", "tiny@2"]
    assert models.readiness().ready


def test_other_names_stay(store):
    publish(store, aliases=("stable",))
    publish(store, name="other", aliases=("stable",))
    models = registry(store)
    kept = models.get("tiny")
    models.unload("other")
    assert models.get("tiny").queued is kept.queued
    assert models.has_name("other")
    assert not models.has_name("third")


def test_name_whose_version_was_refused_is_known(store):
    publish(store)
    broken(store, "cracked", aliases=("stable",))
    models = registry(store)
    assert models.has_name("cracked")
    assert not models.has_name("cracked@1")
    assert not models.has_name("the store")


def test_names_are_shared_through_a_directory(tmp_path: Path) -> None:
    one, other = UnloadedNames(tmp_path / "unloaded"), UnloadedNames(tmp_path / "unloaded")
    other.refresh()
    assert other.names == frozenset()
    one.add("tiny")
    other.refresh()
    assert other.names == {"tiny"}
    other.remove("tiny")
    one.refresh()
    assert one.names == frozenset()

"""Which model is the default one, and the second name under which it is served."""

from __future__ import annotations

from pathlib import Path

import pytest
from registries import broken, labels, publish, registry
from volumes import mount

from model_store import ModelStore, MountedStore
from service.engine import ModelRegistry, ModelUnavailable, UnknownModel


def served(store: ModelStore, default: str = "tiny", **settings: object) -> ModelRegistry:
    return registry(store, default, served_name="other", **settings)


def test_default_model_has_a_second_name_with_every_selector(store):
    publish(store, aliases=("stable",))
    publish(store, seed=1)
    publish(store, seed=2)
    models = served(store)
    for selector in ("", "@1", "@stable", "@latest", "@3"):
        assert models.peek(f"other{selector}") is models.peek(f"tiny{selector}") is not None
    assert models.get("other@2").label == "tiny@2", "loaded on demand"
    assert labels(models) == ["tiny@1", "tiny@2", "tiny@3"], "no version is loaded twice"
    assert models.has_name("other")
    assert models.second_name == "other"
    assert (models.name_of("other"), models.name_of("tiny"), models.name_of("x")) == ("tiny", "tiny", "x")
    with pytest.raises(UnknownModel, match="got `other@9`"):
        models.get("other@9")


def test_second_name_of_a_pinned_default_is_that_version(store):
    publish(store, aliases=("stable",))
    publish(store, seed=1)
    models = served(store, "tiny@2")
    assert models.get("other").label == "tiny@2"
    assert models.get("other@stable").label == "tiny@1"


def test_second_name_follows_a_promotion(store):
    publish(store, aliases=("stable",))
    publish(store, seed=1)
    models = served(store)
    assert models.get("other").label == "tiny@1"
    store.promote("tiny", "stable", 2)
    assert models.refresh()
    assert models.get("other").label == models.get("other@stable").label == "tiny@2"


def test_a_model_of_the_store_comes_before_a_second_name(store):
    publish(store)
    publish(store, name="other", seed=1)
    models = served(store)
    assert models.get().label == "tiny@1"
    assert models.get("other").label == "other@1"
    assert models.second_name is None


def test_a_model_with_the_served_name_is_the_default_if_none_is_stated(store):
    publish(store)
    models = served(store, default_is_stated=False)
    assert (models.default, models.get().label) == ("tiny", "tiny@1")
    publish(store, name="other", seed=1)
    models.refresh()
    assert (models.default, models.get().label, models.second_name) == ("other", "other@1", None)


def test_refused_default_is_refused_under_its_second_name(store):
    broken(store)
    models = served(store)
    for reference in ("other", "other@1", "other@latest"):
        with pytest.raises(ModelUnavailable, match=r"decoder\.onnx"):
            models.get(reference)
    assert models.has_name("other")


def test_unloading_the_second_name_unloads_the_model(store):
    publish(store)
    models = served(store)
    models.unload("other")
    assert models.unloaded() == ("tiny",)
    for reference in ("other", "other@1", "tiny", None):
        with pytest.raises(ModelUnavailable):
            models.get(reference)
    assert models.has_name("other")
    models.allow("other")
    models.load_all()
    assert models.get("other").label == "tiny@1"


def test_only_model_of_a_mount_is_the_default_if_none_is_stated(store, tmp_path):
    publish(store, name="faces", aliases=("stable",))
    publish(store, name="faces", seed=1)
    for root in (store.root / "faces", store.root / "faces" / "1"):
        models = served(MountedStore(root), "mnist", default_is_stated=False)
        assert (models.default, models.get().label) == ("faces", "faces@1")
        assert models.get("other@1").label == "faces@1"
        assert models.readiness().ready
        stated = registry(MountedStore(root), "mnist")
        assert stated.readiness().reason == "The default model 'mnist' is not in the store."


def test_a_mount_that_changes_is_followed_and_one_that_is_emptied_is_not(store, tmp_path: Path):
    publish(store, name="faces")
    publish(store, name="digits", seed=1)
    volume = tmp_path / "volume"
    mount(volume, store.root / "faces" / "1")
    models = served(MountedStore(volume), "mnist", default_is_stated=False)
    before = models.signature()
    mount(volume, store.root / "digits" / "1", stamp="..2026_01_02_00_00_00.2")
    assert models.signature() != before
    assert models.refresh()
    assert models.get().label == models.get("other").label == "digits@1"
    (tmp_path / "nothing").mkdir()
    mount(volume, tmp_path / "nothing", stamp="..2026_01_03_00_00_00.3")
    models.refresh()
    assert models.get().label == models.get("other").label == "digits@1", "goes on serving"
    assert [failure.model for failure in models.failures()] == ["digits"]


def test_refused_version_of_a_mount_is_loaded_again_when_it_is_mended(store, tmp_path: Path):
    broken(store, "faces")
    publish(store, name="faces", seed=1)
    volume = tmp_path / "volume"
    mount(volume, store.root / "faces" / "1")
    models = served(MountedStore(volume), "mnist", default_is_stated=False)
    assert not models.readiness().ready
    assert [failure.model for failure in models.failures()] == ["faces@1"]
    assert not models.refresh(), "unchanged files are not read again"
    mount(volume, store.root / "faces" / "2", stamp="..2026_01_02_00_00_00.2")
    models.refresh()
    assert models.get("other").label == "faces@2"

"""The registry loaded, and loaded again: what it serves, what it refuses, and what it says of that."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Mapping

import pytest
from direct import directly
from faults import refusing
from patience import PATIENCE_S
from registries import broken, labels, publish, registry
from volumes import mount

from model_store import ModelStore
from model_store.aliases import AliasEntry
from service.engine import LoadFailure, ModelRegistry, ModelUnavailable, UnknownModel, WorkerPool, sample

# What cannot be served


def test_an_empty_store_starts_and_says_what_to_do(store):
    store.root.mkdir(exist_ok=True)
    models = registry(store)
    readiness = models.readiness()
    assert not readiness.ready
    assert readiness.reason == "The model store is empty."
    assert "vae-store add bundled" in readiness.remedy
    assert "VAE_MODEL_STORE" in readiness.remedy
    assert models.loaded() == models.failures() == ()
    with pytest.raises(ModelUnavailable, match="The model store is empty"):
        models.get()
    with pytest.raises(UnknownModel):
        models.get("tiny")


def test_a_store_that_does_not_exist_is_told_from_an_empty_one_until_it_appears(tmp_path):
    """The path may have a typing error, and an empty store is what a volume begins with."""
    store = ModelStore(tmp_path / "mdels")
    models = registry(store)
    readiness = models.readiness()
    assert (readiness.ready, readiness.reason) == (False, "The model store does not exist.")
    assert readiness.remedy.startswith("Correct its path (VAE_MODEL_STORE, --store)")
    store.root.mkdir()
    models.load_all()
    assert models.readiness().reason == "The model store is empty."


def test_a_store_without_the_default_model_names_that_alone(store):
    """Probes need no key, and the names of the others do."""
    publish(store)
    readiness = registry(store, default="mnist").readiness()
    assert readiness.reason == "The default model 'mnist' is not in the store."
    assert "VAE_DEFAULT_MODEL" in readiness.remedy


def test_before_loading_nothing_is_ready(store):
    models = ModelRegistry(store, default="tiny", threads=1, max_loaded=1, worker_pool=WorkerPool(1))
    assert not models.readiness().ready
    assert models.peek() is None
    with pytest.raises(ModelUnavailable, match="still being loaded"):
        models.get()


def test_a_model_that_appears_makes_an_empty_store_ready(store):
    models = registry(store)
    publish(store)
    models.load_all()
    assert models.readiness().ready
    assert "tiny@1 reproduced its golden vectors" in models.readiness().reason


def test_a_default_that_answers_nan_is_not_ready_and_the_file_is_named(store, caplog):
    broken(store)
    with caplog.at_level(logging.ERROR):
        models = registry(store)
    assert not models.readiness().ready
    assert "decoder.onnx" in models.readiness().reason
    assert "vae-store promote" in models.readiness().remedy
    assert [failure.model for failure in models.failures()] == ["tiny@1"]
    for reference in (None, "tiny", "tiny@1", "tiny@latest"):
        with pytest.raises(ModelUnavailable, match=r"decoder\.onnx: .*largest difference of nan"):
            models.get(reference)
    assert [record.getMessage() for record in caplog.records] == ["model refused"]


def test_a_corrupt_file_is_refused_by_name_and_others_are_served(store):
    publish(store)
    identity = publish(store, name="other")
    path = next(store.root.glob(f"{identity.name}/{identity.version}/encoder.onnx"))
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    models = registry(store)
    assert models.readiness().ready
    assert labels(models) == ["tiny@1"]
    (failure,) = models.failures()
    assert failure.model == "other@1"
    assert "encoder.onnx" in failure.reason
    with pytest.raises(ModelUnavailable, match=r"encoder\.onnx"):
        models.get("other")


def test_a_broken_version_without_an_alias_does_not_disturb_the_rest(store):
    broken(store)
    publish(store)
    models = registry(store)
    assert models.failures() == ()
    assert models.readiness().ready


def test_unreadable_aliases_are_reported_and_other_models_served(store):
    publish(store)
    publish(store, name="other")
    (store.root / "other" / "aliases.json").write_text("{", encoding="utf-8")
    models = registry(store)
    assert models.readiness().ready
    assert [failure.model for failure in models.failures()] == ["other"]
    assert not registry(store, default="other").readiness().ready
    assert "aliases.json" in registry(store, default="other").readiness().reason


def test_a_store_that_cannot_be_read_starts_and_says_so(store, monkeypatch):
    def unreadable():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "names", unreadable)
    models = registry(store)
    assert models.failures() == (LoadFailure("the store", "PermissionError: [Errno 13] Permission denied"),)
    assert "cannot be looked up: PermissionError" in models.readiness().reason


# Loading again


def test_loading_again_takes_up_what_is_new_and_keeps_what_is_loaded(counting):
    publish(counting, aliases=("stable",))
    models = registry(counting)
    publish(counting, seed=1)
    models.load_all()
    assert labels(models) == ["tiny@1", "tiny@2"]
    assert models.get("tiny").label == "tiny@1"
    counting.promote("tiny", "stable", 2)
    models.load_all()
    assert models.get("tiny").label == "tiny@2"
    assert models.get("tiny").aliases == ("latest", "stable")
    assert counting.opened["tiny@1"] == counting.opened["tiny@2"] == 1
    assert models.get("tiny@1").label == "tiny@1"


def test_a_model_in_use_outlives_its_replacement(store):
    publish(store, aliases=("stable",))
    models = registry(store)
    held = models.get()
    expected = directly(sample, held, n=3, seed=1).x_hat.tobytes()
    publish(store, seed=1, aliases=("stable",))
    models.load_all()
    assert models.get().label == "tiny@2"
    assert directly(sample, held, n=3, seed=1).x_hat.tobytes() == expected


def test_a_broken_successor_leaves_the_old_version_in_service_and_says_why(store):
    publish(store)
    models = registry(store)
    broken(store)
    models.load_all()
    assert models.get("tiny").label == models.get("tiny@latest").label == "tiny@1"
    assert models.readiness().ready
    assert [failure.model for failure in models.failures()] == ["tiny@2"]
    with pytest.raises(ModelUnavailable):
        models.get("tiny@2")


def test_a_store_that_vanishes_behind_an_error_leaves_everything_in_service(store, monkeypatch):
    publish(store)
    models = registry(store)

    def unreadable():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "names", unreadable)
    models.load_all()
    assert models.get().label == "tiny@1"
    assert [failure.model for failure in models.failures()] == ["the store"]


def test_a_model_that_is_gone_is_gone_after_loading_again(store):
    publish(store)
    publish(store, name="other")
    models = registry(store)
    shutil.rmtree(store.root / "other")
    models.load_all()
    with pytest.raises(UnknownModel):
        models.get("other")


def test_look_ups_while_loading_again_always_find_a_model(store):
    publish(store, aliases=("stable",))
    models = registry(store)
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                directly(sample, models.get("tiny@stable"), n=1, seed=1)
            except Exception as error:
                failures.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for seed in range(1, 6):
        publish(store, seed=seed, aliases=("stable",))
        models.load_all()
    stop.set()
    for asker in askers:
        asker.join(timeout=PATIENCE_S)
    assert failures == []
    assert models.get().label == "tiny@6"


# Kept up to date


def test_refresh_takes_a_promotion_over_and_retires_what_no_alias_names(store):
    for seed in (1, 2, 3):
        publish(store, seed=seed)
    store.promote("tiny", "stable", 1)
    models = registry(store)
    assert {"tiny@1", "tiny@3"} == set(labels(models))
    held = models.get("tiny@stable")
    store.promote("tiny", "stable", 2)
    assert models.refresh()
    assert models.get("tiny@stable").label == "tiny@2"
    assert {"tiny@2", "tiny@3"} == set(labels(models))
    assert (
        directly(sample, held, n=1, seed=1).x_hat.shape[0] == 1
    )  # whoever holds the old one is done with it in peace
    assert not models.refresh()


def test_a_promotion_while_the_store_is_read_leaves_no_two_names_that_contradict_each_other(
    store, monkeypatch
):
    """`tiny` and `tiny@stable` are one version in every snapshot, whichever moment the reading caught."""
    for seed in (1, 2):
        publish(store, seed=seed)
    store.promote("tiny", "stable", 1)
    models = registry(store)
    read = store.alias_entries

    def promoted_meanwhile(name: str) -> Mapping[str, AliasEntry]:
        found = read(name)
        store.promote("tiny", "stable", 2)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(store, "alias_entries", promoted_meanwhile)
        models.refresh()
    assert models.get("tiny").label == models.get("tiny@stable").label == "tiny@1"
    assert models.refresh()
    assert models.get("tiny").label == models.get("tiny@stable").label == "tiny@2"


def test_signature_changes_with_whatever_refresh_would_see(store):
    publish(store)
    publish(store)
    models = registry(store)
    before = models.signature()
    assert models.signature() == before
    store.promote("tiny", "stable", 1)
    promoted = models.signature()
    assert promoted != before
    publish(store, name="other")
    assert models.signature() != promoted


def test_a_failed_load_keeps_the_old_version_and_is_not_tried_again_before_its_files_change(store, caplog):
    publish(store)
    models = registry(store)
    old = models.get()
    broken(store)
    with caplog.at_level(logging.ERROR):
        assert models.refresh()
        assert not models.refresh()
    assert [record.getMessage() for record in caplog.records] == ["model refused"]
    assert models.get() is old or models.get().label == "tiny@1"
    assert [failure.model for failure in models.failures()] == ["tiny@2"]
    with caplog.at_level(logging.ERROR):
        models.load_all()  # whoever asks has it tried again
    assert len(caplog.records) == 2


def test_a_default_that_vanishes_goes_on_answering_and_says_so(store):
    publish(store)
    publish(store)
    models = registry(store, default="tiny@1")
    shutil.rmtree(store.root / "tiny")
    assert models.refresh()
    assert models.get().label == "tiny@1"
    assert models.readiness().ready
    assert any("no longer in the store" in failure.reason for failure in models.failures())


def test_versions_without_an_alias_go_when_nobody_has_asked_for_a_while(store):
    clock = [0.0]
    for seed in (1, 2):
        publish(store, seed=seed)
    models = registry(store, clock=lambda: clock[0])
    models.get("tiny@1")
    clock[0] = 9.0
    models.get("tiny@1")
    clock[0] = 18.0
    models.retire_idle(10.0)
    assert "tiny@1" in labels(models)
    clock[0] = 19.0
    models.retire_idle(10.0)
    assert "tiny@1" not in labels(models)
    assert models.get("tiny@1").label == "tiny@1"


# Entries that belong to someone else


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_directory_that_may_not_be_read_is_ignored_with_one_line(store, caplog, number):
    publish(store)
    (store.root / "backup").mkdir()
    with refusing("backup", number), caplog.at_level(logging.WARNING):
        models = registry(store)
        assert models.readiness().ready
        assert models.failures() == ()
        (ignored,) = models.ignored()
        assert ignored.model == "backup"
        assert os.strerror(number) in ignored.reason
        publish(store)
        assert models.refresh()
        assert models.get("tiny").label == "tiny@2"
        # A caller who names it gets the reason.
        with pytest.raises(ModelUnavailable, match=os.strerror(number)):
            models.get("backup")
    assert [record.getMessage() for record in caplog.records] == ["store entry ignored"]
    models.load_all()
    assert models.ignored() == ()


def test_links_files_and_pipes_named_like_models_are_ignored_with_a_line_each(store, caplog):
    publish(store)
    (store.root / "file").write_text("x")
    (store.root / "link").symlink_to("nowhere")
    os.mkfifo(store.root / "pipe")
    with caplog.at_level(logging.WARNING):
        models = registry(store)
    assert models.failures() == ()
    assert [entry.model for entry in models.ignored()] == ["file", "link", "pipe"]
    assert len(caplog.records) == 3


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_at_one_model_is_a_failure_of_that_model_alone(store, number):
    publish(store)
    publish(store, name="other")
    with refusing("other", number):
        models = registry(store)
        assert models.readiness().ready
        assert models.ignored() == ()
        (failure,) = models.failures()
        assert failure.model == "other"
        assert os.strerror(number) in failure.reason


def test_the_default_model_is_never_ignored(store):
    publish(store, name="other")
    publish(store)
    with refusing("tiny"):
        models = registry(store)
        assert [failure.model for failure in models.failures()] == ["tiny"]
        assert "Permission denied" in models.readiness().reason
        assert models.get("other").label == "other@1"
    models.load_all()
    assert models.readiness().ready


def test_a_model_that_was_served_and_cannot_be_read_any_more_goes_on_answering(store):
    publish(store)
    publish(store, name="other")
    models = registry(store)
    with refusing("other"):
        models.load_all()
        assert models.get("other").label == "other@1"
        assert [failure.model for failure in models.failures()] == ["other"]


def test_a_version_that_cannot_be_read_is_a_failure_of_that_version_alone(store):
    publish(store, aliases=("stable",))
    publish(store)
    publish(store, name="other")
    with refusing("2"):
        models = registry(store)
        assert models.get("tiny").label == "tiny@1"
        assert models.get("other").label == "other@1"
        (failure,) = models.failures()
        assert failure.model == "tiny@2"
        assert "Permission denied" in failure.reason


def test_an_entry_that_cannot_be_looked_at_does_not_hide_changes_of_others(store, monkeypatch):
    publish(store)
    (store.root / "a-first").mkdir()
    scandir = os.scandir

    class Failing:
        """An entry on a network file system that has lost it."""

        def __init__(self, entry):
            self.name, self.path = entry.name, entry.path

        def is_symlink(self):
            return False

        def stat(self, **_):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    class Listing:
        def __init__(self, path):
            self._entries = scandir(path)

        def __enter__(self):
            entries = sorted(self._entries, key=lambda entry: entry.name)
            return iter([Failing(e) if e.name == "a-first" else e for e in entries])

        def __exit__(self, *_):
            self._entries.close()

    models = registry(store)

    def signature():
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", Listing)
            return models.signature()

    before = signature()
    assert signature() == before
    publish(store)
    assert signature() != before


# Content that is replaced under its number


def with_other_weights(root, seed):
    """A store whose tiny@1 is another one."""
    other = ModelStore(root)
    publish(other, seed=seed)
    return other


@pytest.mark.parametrize("inside", [".", "tiny", "tiny/1"])
def test_an_update_of_a_mounted_volume_is_served_under_the_same_name(store, tmp_path, inside, caplog):
    publish(store)
    (tmp_path / "volume/tiny").mkdir(parents=True)
    if inside == ".":
        (tmp_path / "volume/tiny").rmdir()
    mount(tmp_path / "volume" / inside, store.root / inside)
    volume = ModelStore(tmp_path / "volume")
    models = registry(volume)
    held = models.get("tiny")
    before = directly(sample, held, n=2, seed=1).x_hat.tobytes()
    seen = models.signature()
    other = with_other_weights(tmp_path / "other", seed=9)
    expected = directly(sample, registry(other).get(), n=2, seed=1).x_hat.tobytes()
    mount(volume.root / inside, other.root / inside, stamp="..2026_01_02_00_00_00.2")
    assert models.signature() != seen
    with caplog.at_level(logging.WARNING):
        assert models.refresh()
    for reference in ("tiny", "tiny@1", "tiny@latest", None):
        assert directly(sample, models.get(reference), n=2, seed=1).x_hat.tobytes() == expected != before
    assert directly(sample, held, n=2, seed=1).x_hat.tobytes() == before
    assert [record.getMessage() for record in caplog.records] == ["version replaced"]
    assert not models.refresh()


def test_an_update_that_is_broken_leaves_what_was_served(store, tmp_path):
    publish(store)
    mount(tmp_path / "volume", store.root)
    volume = ModelStore(tmp_path / "volume")
    models = registry(volume)
    other = with_other_weights(tmp_path / "other", seed=9)
    mended = tmp_path / "mended"
    shutil.copytree(other.root, mended)
    (other.root / "tiny/1/decoder.onnx").write_bytes(b"x")
    before = directly(sample, models.get(), n=2, seed=1).x_hat.tobytes()
    mount(volume.root, other.root, stamp="..2026_01_02_00_00_00.2")
    assert models.refresh()
    assert directly(sample, models.get(), n=2, seed=1).x_hat.tobytes() == before
    (failure,) = models.failures()
    assert failure.model == "tiny@1"
    assert "decoder.onnx" in failure.reason
    seen = models.signature()
    mount(volume.root, mended, stamp="..2026_01_03_00_00_00.3")
    assert models.signature() != seen
    assert models.refresh()
    assert models.failures() == ()
    assert directly(sample, models.get(), n=2, seed=1).x_hat.tobytes() != before


def test_versions_are_loaded_together_as_many_as_may_run(store, monkeypatch):
    for name in ("one", "three", "two"):
        publish(store, name)
    together, most = set(), []
    both_are_here = threading.Barrier(2)
    load = ModelStore.open

    def slow(self, version):
        together.add(version)
        most.append(len(together))
        if version.name != "two":  # which is the third
            both_are_here.wait(PATIENCE_S)
        together.discard(version)
        return load(self, version)

    monkeypatch.setattr(ModelStore, "open", slow)
    models = registry(store, "one", worker_pool=WorkerPool(2))
    assert labels(models) == ["one@1", "three@1", "two@1"]
    assert max(most) == 2


def test_large_versions_are_loaded_one_after_the_other(store, monkeypatch):
    """Two at the same time would need the memory of both."""
    monkeypatch.setattr("service.engine.version_loader._SMALL_VALUES", 1)
    for name in ("one", "two"):
        publish(store, name)
    threads = []
    load = ModelStore.open
    monkeypatch.setattr(
        ModelStore,
        "open",
        lambda self, version: (threads.append(threading.current_thread()), load(self, version))[1],
    )
    models = registry(store, "one", worker_pool=WorkerPool(2))
    assert labels(models) == ["one@1", "two@1"]
    assert threads == [threading.current_thread()] * 2


def test_a_version_without_an_alias_is_replaced_as_well(store, tmp_path):
    for seed in (1, 2):
        publish(store, seed=seed)
    mount(tmp_path / "volume", store.root)
    volume = ModelStore(tmp_path / "volume")
    models = registry(volume)
    before = directly(sample, models.get("tiny@1"), n=2, seed=1).x_hat.tobytes()
    other = ModelStore(tmp_path / "other")
    for seed in (8, 2):
        publish(other, seed=seed)
    mount(volume.root, other.root, stamp="..2026_01_02_00_00_00.2")
    models.refresh()
    assert directly(sample, models.get("tiny@1"), n=2, seed=1).x_hat.tobytes() != before


def test_the_signature_follows_no_link_out_of_the_store(store, tmp_path):
    publish(store)
    outside = tmp_path / "outside"
    outside.mkdir()
    (store.root / "linked").symlink_to(outside)
    models = registry(store)
    before = models.signature()
    (outside / "file").write_text("x")
    assert models.signature() == before

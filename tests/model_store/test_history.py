"""The record of changes: complete, appended, and never in the way."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from faults import counting, failing_at, full_from
from tiny_models import TinyModel, publish_tiny

from model_store import ModelNotFound, ModelStore, StoreError, UnreadableFile, VersionId, history
from model_store.cli import main
from model_store.history import HISTORY_FILE, MAX_READ_BYTES


def events(store: ModelStore, name: str = "tiny") -> list[tuple[Any, ...]]:
    return [(e.event, e.version, e.alias, e.before) for e in store.record(name).entries]


def document(store: ModelStore, capsys: pytest.CaptureFixture[str], name: str = "tiny") -> Any:
    assert main(["--store", str(store.root), "history", name, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_change_is_recorded_with_its_time(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    begun = history.now()
    publish_tiny(store, model=tiny, aliases=("stable", "beta"))
    publish_tiny(store, name="other", model=tiny)
    store.promote("tiny", "gamma", 1)
    store.promote("tiny", "gamma", 1)  # changes nothing
    store.rollback("tiny", "stable")
    publish_tiny(store, model=tiny)
    store.remove("tiny", 2, with_aliases=True)
    assert events(store) == [
        ("published", 1, None, None),
        ("promoted", 1, "stable", None),
        ("published", 2, None, None),
        ("promoted", 2, "beta", None),
        ("promoted", 2, "stable", 1),
        ("promoted", 1, "gamma", None),
        ("rolled-back", 1, "stable", 2),
        ("published", 3, None, None),
        ("alias-removed", None, "beta", 2),
        ("removed", 2, None, None),
    ]
    assert events(store, "other") == [("published", 1, None, None)]
    times = [entry.time for entry in store.record("tiny").entries]
    assert times == sorted(times)
    assert begun <= times[-1] <= history.now()
    assert store.record("tiny").digest_of(published) == store.manifest(published).manifest_sha256


def test_a_collection_is_recorded(store: ModelStore, published: VersionId, tiny: TinyModel) -> None:
    for _ in range(2):
        publish_tiny(store, model=tiny)
    store.gc(keep=0)
    assert events(store)[-1] == ("removed", 2, None, None)


def test_a_store_without_a_record_is_complete_and_shows_what_it_knows(
    store: ModelStore, published: VersionId, tiny: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_tiny(store, model=tiny, aliases=("stable",))
    (store.root / HISTORY_FILE).unlink()
    assert store.open("tiny").id.version == 2
    told = document(store, capsys)
    assert [(e["time"], e["event"], e["version"], e["recorded"]) for e in told["events"]] == [
        ("2024-01-01T00:00:00+00:00", "created", 1, False),
        ("2024-01-01T00:00:00+00:00", "created", 2, False),
    ]
    assert told["aliases"] == {"stable": {"version": 2, "canary": None, "earlier": [1]}}
    store.rollback("tiny", "stable")
    told = document(store, capsys)
    assert [(e["event"], e["recorded"]) for e in told["events"]] == [
        ("created", False),
        ("created", False),
        ("rolled-back", True),
    ]
    assert main(["--store", str(store.root), "history", "tiny"]) == 0
    text = capsys.readouterr().out
    assert "this store has no record of the publication" in text
    assert "tiny@stable is version 1; earlier, the most recent first: none." in text


def test_readers_ignore_the_record(store: ModelStore, published: VersionId) -> None:
    """So do those of earlier releases: no name of a model or a version begins with a dot."""
    (store.root / HISTORY_FILE).write_bytes(b"\xff not a record\n")
    assert store.names() == ("tiny",)
    assert store.unusable() == {}
    assert main(["--store", str(store.root), "verify"]) == 0


def test_lines_that_cannot_be_read_are_skipped_and_counted(
    store: ModelStore, published: VersionId, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.root / HISTORY_FILE
    sound = path.read_bytes()
    later = b'{"time":"2030-01-01T00:00:00Z","event":"signed","name":"tiny"}\n'
    known = (
        b'{"time":"2030-01-01T00:00:00Z","event":"promoted","name":"tiny","alias":"a","version":1,"by":"x"}\n'
    )
    path.write_bytes(b"\xff\n\n" + later + known + b"{" * 100_000 + b"\n" + sound + b'{"time":"20')
    store.promote("tiny", "beta", 1)
    record = store.record("tiny")
    assert record.unreadable == 4
    assert [entry.alias for entry in record.entries] == ["a", None, "stable", "beta"]
    assert document(store, capsys)["unreadable"] == 4
    assert path.read_bytes().endswith(b"\n")


def test_only_the_newest_part_of_a_large_record_is_read(
    store: ModelStore, published: VersionId, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_READ_BYTES > 1_000_000
    monkeypatch.setattr(history, "MAX_READ_BYTES", 400)
    for alias in ("a", "b", "c", "d"):
        store.promote("tiny", alias, 1)
    record = store.record("tiny")
    assert record.unreadable == 0
    assert [entry.alias for entry in record.entries][-2:] == ["c", "d"]
    assert len(record.entries) < 6


@pytest.mark.parametrize("fault", [failing_at, full_from])
def test_a_promotion_that_fails_leaves_no_entry(store: ModelStore, published: VersionId, fault: Any) -> None:
    with counting() as calls:
        store.promote("tiny", "counted", 1)
    for step in range(1, len(calls.names) + 1):
        before, was = events(store), dict(store.aliases("tiny"))
        try:
            with fault(step, errno.EIO):
                store.promote("tiny", f"a{step}", 1)
        except StoreError:
            pass
        if dict(store.aliases("tiny")) == was:
            assert events(store) == before, f"step {step}: {calls.names[step - 1]}"
        assert store.record("tiny").unreadable == 0


def test_a_full_disk_prevents_no_removal(store: ModelStore, published: VersionId, tiny: TinyModel) -> None:
    """Its remedy is to remove something."""
    for _ in range(2):
        publish_tiny(store, model=tiny)
    recorded = (store.root / HISTORY_FILE).read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_append", no_space)
        assert [str(version) for version in store.gc(keep=0).versions] == ["tiny@2"]
    assert (store.root / HISTORY_FILE).read_bytes() == recorded


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_another_entry_in_its_place_is_refused_and_named(
    store: ModelStore, published: VersionId, kind: str, tmp_path: Path
) -> None:
    import os

    path = store.root / HISTORY_FILE
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)
    with pytest.raises(StoreError, match=r"\.history\.jsonl"):
        store.promote("tiny", "beta", 1)
    assert "beta" not in store.aliases("tiny")
    assert not (tmp_path / "elsewhere").exists()
    if kind != "pipe":
        with pytest.raises(UnreadableFile, match="Move it away"):
            store.record("tiny")


def test_the_record_of_a_removed_model_is_left(
    store: ModelStore, published: VersionId, capsys: pytest.CaptureFixture[str]
) -> None:
    store.remove("tiny", 1, with_aliases=True)
    assert store.names() == ()
    assert document(store, capsys)["events"][-1]["event"] == "removed"
    with pytest.raises(ModelNotFound, match="no such model"):
        store.record("nobody")

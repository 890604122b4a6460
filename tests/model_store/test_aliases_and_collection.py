"""Aliases move and go back; the collector removes what nobody can reach and nothing else."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S
from tiny_models import TinyModel, publish_tiny

from model_store import (
    CorruptVersion,
    DigestMismatch,
    InvalidReference,
    Manifest,
    ModelNotFound,
    ModelStore,
    StoreWriteFailed,
    VersionId,
)
from model_store.aliases import MAX_HISTORY, AliasTable
from model_store.durable_io import PUBLISHERS_FILE, lock
from model_store.integrity import OpenDirectory


@pytest.fixture
def five(store: ModelStore, tiny: TinyModel) -> ModelStore:
    """tiny@1 to tiny@5, no alias but latest."""
    for _ in range(5):
        publish_tiny(store, model=tiny)
    return store


def test_promote_and_rollback_walk_back_through_history(five: ModelStore) -> None:
    for version in (2, 3, 3, 5):
        assert five.promote("tiny", "stable", version) == VersionId("tiny", version)
    assert [five.rollback("tiny", "stable") for _ in range(2)] == [3, 2]
    with pytest.raises(ModelNotFound, match="points to version 2 and has no earlier version"):
        five.rollback("tiny", "stable")
    assert five.aliases("tiny") == {"latest": 5, "stable": 2}


def test_publishing_to_an_alias_can_be_rolled_back(store: ModelStore, tiny: TinyModel) -> None:
    for _ in range(2):
        publish_tiny(store, model=tiny, aliases=("stable",))
    assert store.rollback("tiny", "stable") == 1
    assert store.resolve("tiny") == VersionId("tiny", 1)


def test_rollback_skips_versions_that_are_gone(five: ModelStore) -> None:
    for version in (1, 2, 3):
        five.promote("tiny", "stable", version)
    shutil.rmtree(five.root / "tiny" / "2")
    assert five.rollback("tiny", "stable") == 1


def test_a_corrupt_version_is_neither_promoted_nor_rolled_back_to(five: ModelStore) -> None:
    five.promote("tiny", "stable", 1)
    five.promote("tiny", "stable", 3)
    for number in (1, 2):
        (five.root / "tiny" / str(number) / "MODEL_CARD.md").write_text("# Tampered with, same size?\n")
    with pytest.raises(CorruptVersion):
        five.promote("tiny", "stable", 2)
    with pytest.raises(CorruptVersion):
        five.rollback("tiny", "stable")
    assert five.aliases("tiny")["stable"] == 3


def test_promoting_what_is_not_there_is_refused(five: ModelStore) -> None:
    with pytest.raises(ModelNotFound, match="no version 9"):
        five.promote("tiny", "stable", 9)
    with pytest.raises(ModelNotFound, match="`other`: no such model"):
        five.promote("other", "stable", 1)
    with pytest.raises(ModelNotFound, match="has no alias 'stable'"):
        five.rollback("tiny", "stable")


@pytest.mark.parametrize("alias", ["latest", "3", "../x", "", "Stable", "a" * 65])
def test_latest_and_what_is_no_alias_cannot_be_moved_by_hand(five: ModelStore, alias: str) -> None:
    before = (five.root / "tiny" / "aliases.json").read_bytes()
    with pytest.raises(InvalidReference, match="alias: "):
        five.promote("tiny", alias, 1)
    with pytest.raises(InvalidReference, match="alias: "):
        five.rollback("tiny", alias)
    assert (five.root / "tiny" / "aliases.json").read_bytes() == before


def test_history_is_bounded_and_forgets_the_oldest_first() -> None:
    table = AliasTable()
    for version in range(1, 101):
        table = table.moved("stable", version)
    assert table.aliases["stable"].history == tuple(range(100 - MAX_HISTORY, 100))
    assert AliasTable.from_bytes(table.to_bytes(), where="a") == table


def test_equal_tables_give_equal_bytes_whatever_their_order() -> None:
    one = AliasTable().moved("b", 1).moved("a", 2)
    other = AliasTable().moved("a", 2).moved("b", 1)
    assert one.to_bytes() == other.to_bytes()


def test_concurrent_promotions_of_different_aliases_lose_none(five: ModelStore) -> None:
    barrier = threading.Barrier(8)

    def work(index: int) -> None:
        barrier.wait()
        for version in (1, 2, 3):
            five.promote("tiny", f"a{index}", version)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    assert five.aliases("tiny") == {"latest": 5} | {f"a{index}": 3 for index in range(8)}


def orphan(store: ModelStore, name: str, *, age_s: float) -> Path:
    """What a killed publisher leaves."""
    path = store.root / "tiny" / f".tmp-{name}"
    (path / "nested").mkdir(parents=True)
    (path / "encoder.onnx").write_bytes(b"half")
    (path / "link").symlink_to(store.root)
    stamp = time.time() - age_s
    os.utime(path, (stamp, stamp))
    return path


def test_old_leftovers_go_young_ones_stay_unless_all_are_asked_for(five: ModelStore) -> None:
    old, young, future = (
        orphan(five, name, age_s=age) for name, age in (("old", 7200.0), ("young", 60.0), ("future", -7200.0))
    )
    stray = five.root / "tiny" / ".tmp-aliases"
    stray.write_bytes(b"{}")
    os.utime(stray, (0, 0))
    report = five.gc()
    assert report.temporaries == ("tiny/.tmp-aliases", "tiny/.tmp-old")
    assert report.versions == ()
    assert len(report.skipped) == 2
    assert not old.exists()
    assert young.exists()
    assert future.exists()
    assert five.gc(older_than_s=0.0).temporaries == ("tiny/.tmp-future", "tiny/.tmp-young")
    assert five.root.exists()  # a link inside a leftover is removed, not followed
    assert five.open("tiny").id.version == 5
    assert five.gc(older_than_s=0.0).temporaries == ()


def test_keep_removes_old_versions_but_none_that_an_alias_needs(five: ModelStore, tiny: TinyModel) -> None:
    five.promote("tiny", "stable", 1)
    five.promote("tiny", "stable", 2)
    for _ in range(3):
        publish_tiny(five, model=tiny)
    told = five.gc(keep=2, dry_run=True)
    assert five.versions("tiny") == tuple(range(1, 9))
    done = five.gc(keep=2)
    assert told.versions == done.versions == tuple(VersionId("tiny", number) for number in (3, 4, 5))
    # 2 is stable, 1 is where stable would go back to, 8 is latest, 6 and 7 are kept.
    assert five.versions("tiny") == (1, 2, 6, 7, 8)
    assert five.rollback("tiny", "stable") == 1
    assert five.gc(keep=0).versions == tuple(VersionId("tiny", number) for number in (2, 6, 7))
    assert five.versions("tiny") == (1, 8)
    assert publish_tiny(five, model=tiny).version == 9


def test_without_keep_no_version_goes(five: ModelStore) -> None:
    assert five.gc(older_than_s=0.0).versions == ()
    assert five.versions("tiny") == (1, 2, 3, 4, 5)


def test_a_model_with_corrupt_aliases_loses_no_version(five: ModelStore) -> None:
    """Who cannot tell which versions are needed must not remove any."""
    (five.root / "tiny" / "aliases.json").write_bytes(b"{")
    report = five.gc(keep=0)
    assert report.versions == ()
    assert report.skipped == ("tiny: its aliases cannot be read, so none of its versions is removed",)
    assert five.versions("tiny") == (1, 2, 3, 4, 5)


def test_dry_run_writes_nothing_at_all(five: ModelStore, tiny: TinyModel) -> None:
    orphan(five, "old", age_s=7200.0)
    (five.root / ".publishers").unlink()
    before = sorted(five.root.rglob("*"))
    report = five.gc(keep=1, dry_run=True)
    assert report.dry_run
    assert report.temporaries == ("tiny/.tmp-old",)
    assert report.versions
    assert sorted(five.root.rglob("*")) == before


def test_the_collector_takes_nothing_from_a_live_publisher(five: ModelStore, tiny: TinyModel) -> None:
    """Even with --all, and even under the lock of that very moment."""
    reports = []

    def card(_: Manifest) -> str:
        # The publisher stands in the middle of its work; only its own lock keeps the collector away.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("model_store.garbage.LOCK_FILE", ".lock-of-another-store")
            reports.append(five.gc(older_than_s=0.0))
        return "# Published under attack\n"

    identity = five.publish(
        tiny.draft(), encoder=tiny.encoder, decoder=tiny.decoder, golden=tiny.golden(), card=card
    )
    assert reports[0].temporaries == ()
    assert reports[0].skipped == ("temporaries: a publisher is active; run the command again afterwards",)
    assert five.open(identity).card == "# Published under attack\n"


def test_publishers_share_their_lock_with_each_other(five: ModelStore, tiny: TinyModel) -> None:
    with OpenDirectory.at(five.root) as root, lock(root, PUBLISHERS_FILE, shared=True):
        assert publish_tiny(five, model=tiny).version == 6


def test_a_leftover_that_cannot_be_removed_is_told(five: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan(five, "old", age_s=7200.0)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(StoreWriteFailed, match=r"\.tmp-old: expected to remove it"):
            five.gc()
    assert five.open("tiny").id.version == 5


def test_a_reader_never_meets_half_a_version_while_it_is_collected(five: ModelStore, tiny: TinyModel) -> None:
    """Old versions are opened again and again while they are removed: whole, or not found, never corrupt."""
    stop = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not stop.is_set():
            for number in five.versions("tiny"):
                try:
                    five.open(VersionId("tiny", number))
                    seen.append("whole")
                except ModelNotFound:
                    seen.append("gone")
                except CorruptVersion as error:
                    seen.append(f"corrupt: {error}")

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(25):
        publish_tiny(five, model=tiny)
        five.gc(keep=0)
    stop.set()
    reader.join(timeout=PATIENCE_S)
    assert "whole" in seen
    assert [entry for entry in seen if entry.startswith("corrupt")] == []


def test_an_alias_moves_only_to_what_verified_a_moment_ago(five: ModelStore) -> None:
    data = bytearray((five.root / "tiny" / "3" / "decoder.onnx").read_bytes())
    data[50] ^= 4
    (five.root / "tiny" / "3" / "decoder.onnx").write_bytes(data)
    with pytest.raises(DigestMismatch):
        five.promote("tiny", "stable", 3)
    assert "stable" not in five.aliases("tiny")

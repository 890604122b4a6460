"""vae-store remove: one version, by its number, and never from under an alias by accident."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from faults import counting, failing_at
from store_checks import leftovers, sound
from tiny_models import TinyModel, publish_tiny

from model_store import CorruptAliases, ModelStore, StoreError, VersionId, VersionInUse
from model_store.cli import main


@pytest.fixture
def three(store: ModelStore, published: VersionId, tiny: TinyModel) -> ModelStore:
    """tiny@1 is stable, tiny@3 is latest."""
    for _ in range(2):
        publish_tiny(store, model=tiny)
    return store


def remove(store: ModelStore, *arguments: str) -> int:
    return main(["--store", str(store.root), "remove", *arguments])


def test_a_version_without_an_alias_disappears(three: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert remove(three, "tiny@2") == 0
    assert capsys.readouterr().out == "removed tiny@2\n"
    assert three.versions("tiny") == (1, 3)
    assert three.aliases("tiny") == {"latest": 3, "stable": 1}
    assert leftovers(three) == []


@pytest.mark.parametrize(("version", "alias"), [(1, "stable"), (3, "latest")])
def test_a_version_with_an_alias_is_refused_unless_forced(
    three: ModelStore, capsys: pytest.CaptureFixture[str], version: int, alias: str
) -> None:
    assert remove(three, f"tiny@{version}") == 73
    assert f"got {alias}." in capsys.readouterr().err
    assert three.versions("tiny") == (1, 2, 3)
    assert remove(three, f"tiny@{version}", "--force", "--json") == 0
    told: Any = json.loads(capsys.readouterr().out)
    assert told == {"version": f"tiny@{version}", "aliases": ["stable"] if alias == "stable" else []}
    assert sound(three)
    assert three.aliases("tiny") == ({"latest": 3} if alias == "stable" else {"latest": 2, "stable": 1})


def test_a_number_is_never_used_again(three: ModelStore, tiny: TinyModel) -> None:
    three.remove("tiny", 3, with_aliases=True)
    three.remove("tiny", 2, with_aliases=True)
    assert sound(three)
    assert publish_tiny(three, model=tiny).version == 4
    for version in (1, 4):
        three.remove("tiny", version, with_aliases=True)
    assert three.names() == ()
    assert sound(three)
    assert publish_tiny(three, model=tiny).version == 5
    assert three.aliases("tiny") == {"latest": 5}


def test_a_rollback_passes_over_a_removed_version(three: ModelStore) -> None:
    three.promote("tiny", "stable", 2)
    three.promote("tiny", "stable", 3)
    three.remove("tiny", 2)
    assert three.rollback("tiny", "stable") == 1


@pytest.mark.parametrize("reference", ["tiny", "tiny@stable"])
def test_only_a_number_is_removed(
    three: ModelStore, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remove(three, reference, "--force") == 2
    assert "expected NAME@VERSION" in capsys.readouterr().err


def test_a_damaged_version_can_be_removed_and_one_with_unknown_aliases_not(three: ModelStore) -> None:
    (three.root / "tiny" / "2" / "manifest.json").write_bytes(b"\xff")
    three.remove("tiny", 2)
    (three.root / "tiny" / "7").symlink_to("/etc")
    three.remove("tiny", 7)
    assert sound(three)
    (three.root / "tiny" / "aliases.json").write_bytes(b"{")
    with pytest.raises(CorruptAliases):
        three.remove("tiny", 1, with_aliases=True)
    assert three.versions("tiny") == (1, 3)


def test_an_alias_that_moves_meanwhile_counts(three: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lock another process promotes the version."""
    before = ModelStore._make_writable

    def promoted(store: ModelStore) -> None:
        monkeypatch.setattr(ModelStore, "_make_writable", before)
        ModelStore(store.root).promote("tiny", "stable", 2)

    monkeypatch.setattr(ModelStore, "_make_writable", promoted)
    with pytest.raises(VersionInUse):
        three.remove("tiny", 2)
    assert three.open("tiny").id.version == 2


def test_a_failure_at_any_system_call_leaves_a_sound_store(three: ModelStore, tiny: TinyModel) -> None:
    with counting() as calls:
        three.remove("tiny", 3, with_aliases=True)
    for step in range(1, len(calls.names) + 1):
        newest = publish_tiny(three, model=tiny, aliases=("beta",)).version
        try:
            with failing_at(step, errno.EIO):
                three.remove("tiny", newest, with_aliases=True)
        except StoreError:
            pass
        assert sound(three), f"step {step}: {calls.names[step - 1]}"
        three.gc(older_than_s=0.0)
        assert leftovers(three) == []

"""A fault of one entry of a store never hides another: foreign, broken and unreadable neighbours."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import refusing
from tiny_models import TinyModel, publish_tiny

from model_store import (
    CorruptVersion,
    ModelNotFound,
    ModelStore,
    NotPermitted,
    StoreWriteFailed,
    UnreadableFile,
    UnsafeFile,
    VersionId,
)
from model_store.cli import main

pytestmark = pytest.mark.hazard_row("foreign-entries")

REFUSALS = [errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE]


@pytest.fixture
def neighbour(store: ModelStore, published: VersionId) -> Path:
    """A directory in the root, named like a model, that a test keeps from being opened."""
    (store.root / "backup").mkdir()
    return store.root / "backup"


@pytest.mark.parametrize("number", REFUSALS)
def test_a_directory_that_cannot_be_read_hides_no_model(
    store: ModelStore, published: VersionId, neighbour: Path, number: int
) -> None:
    with refusing("backup", number):
        assert store.names() == ("tiny",)
        assert store.open("tiny").id == published
        assert store.resolve("tiny") == published
        unusable = store.unusable()
        with pytest.raises(UnreadableFile):
            store.resolve("backup")
        with pytest.raises(ModelNotFound, match="Existing models: tiny"):
            store.resolve("absent")
    assert list(unusable) == ["backup"]
    kind = NotPermitted if number in (errno.EACCES, errno.EPERM) else UnreadableFile
    assert type(unusable["backup"]) is kind
    assert f"{neighbour}: expected a readable path, got {os.strerror(number)}" in str(unusable["backup"])


def entries_of_every_kind(directory: Path) -> Iterator[str]:
    """Makes what people and machines leave in a directory, and gives the names of it."""
    (directory / "file").write_text("x")
    (directory / "broken").symlink_to("nowhere")
    (directory / "outward").symlink_to("/etc")
    (directory / "around").symlink_to("around")
    os.mkfifo(directory / "pipe")
    here = os.open(directory, os.O_RDONLY)
    try:
        # By descriptor, because the address of a socket is short.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{here}/socket")
    finally:
        os.close(here)
    yield from ("around", "broken", "file", "outward", "pipe", "socket")


def test_files_links_pipes_and_sockets_hide_no_model_and_are_named(
    store: ModelStore, published: VersionId
) -> None:
    names = tuple(entries_of_every_kind(store.root))
    (store.root / "\udcff\udcfe").mkdir()
    (store.root / "lost+found").mkdir()
    (store.root / "empty").mkdir()
    assert store.names() == ("tiny",)
    assert store.open("tiny").id == published
    unusable = store.unusable()
    assert tuple(unusable) == names
    assert {type(error) for error in unusable.values()} == {UnsafeFile}
    assert "broken: expected a directory, got a symbolic link" in str(unusable["broken"])


def test_the_same_in_the_directory_of_a_model_hides_no_version(
    store: ModelStore, published: VersionId
) -> None:
    list(entries_of_every_kind(store.root / "tiny"))
    (store.root / "tiny" / "backup").mkdir()
    (store.root / "tiny" / "\udcff\udcfe").mkdir()
    with refusing("backup"):
        assert store.versions("tiny") == (1,)
        assert store.open("tiny").id == published
        assert store.model_problems("tiny") == ()
        assert store.gc(keep=0).skipped == ()


@pytest.mark.parametrize("number", REFUSALS)
def test_a_version_that_cannot_be_read_hides_no_other(
    store: ModelStore,
    published: VersionId,
    tiny: TinyModel,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    publish_tiny(store, model=tiny)
    publish_tiny(store, name="other", model=tiny)
    with refusing("2", number):
        assert store.open("tiny").id == published
        (problem,) = store.problems("tiny@2")
        assert isinstance(problem, UnreadableFile)
        with pytest.raises(UnreadableFile):
            store.open("tiny@2")
        assert main(["--store", str(store.root), "verify", "--json"]) == 74
        document = json.loads(capsys.readouterr().out)
        assert [(entry["of"], entry["ok"]) for entry in document["results"]] == [
            ("other@1", True),
            ("tiny@1", True),
            ("tiny@2", False),
        ]
        assert main(["--store", str(store.root), "verify", "tiny@2", "tiny@1"]) == 74
        assert "ok       tiny@1" in capsys.readouterr().out
        assert main(["--store", str(store.root), "list"]) == 0
        text = capsys.readouterr().out
    assert all(label in text for label in ("other@1", "tiny@1", "tiny@2", "CORRUPT tiny@2"))


def test_aliases_that_cannot_be_read_hide_no_other_model(
    store: ModelStore, published: VersionId, tiny: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_tiny(store, name="other", model=tiny)
    (store.root / "tiny" / "aliases.json").write_bytes(b"{")
    assert store.names() == ("other", "tiny")
    assert store.open("other").id == VersionId("other", 1)
    assert store.open("tiny@1").id == published
    assert main(["--store", str(store.root), "verify", "tiny", "other"]) == 65
    told = capsys.readouterr().out
    assert "CORRUPT  tiny\n" in told
    assert "ok       other@1" in told


def test_list_and_verify_name_an_entry_that_cannot_be_read_and_show_the_rest(
    store: ModelStore, neighbour: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with refusing("backup"):
        assert main(["--store", str(store.root), "list"]) == 0
        listed = capsys.readouterr().out
        assert main(["--store", str(store.root), "verify"]) == 74
        verified = capsys.readouterr().out
    assert "tiny@1" in listed
    assert f"CORRUPT backup: {neighbour}: expected a readable path, got Permission denied" in listed
    assert "ok       tiny@1" in verified
    assert "NotPermitted" in verified


def test_a_store_whose_directory_may_not_be_read_is_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    with refusing("store"):
        assert main(["--store", str(tmp_path / "store"), "list"]) == 74
    assert "Permission denied" in capsys.readouterr().err
    (tmp_path / "around").symlink_to("around")
    assert main(["--store", str(tmp_path / "around"), "list"]) == 74
    assert "around: expected a readable path" in capsys.readouterr().err


class Entry:
    """A directory entry on a file system that lists no kinds and fails when it is asked for one."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path = entry.name, entry.path

    def is_symlink(self) -> bool:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    is_dir = is_file = stat = is_symlink


def test_an_entry_whose_kind_cannot_be_found_out_hides_no_other(
    store: ModelStore, published: VersionId, neighbour: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    class Listing:
        def __init__(self, path: int | str) -> None:
            self._entries = scandir(path)

        def __enter__(self) -> Iterator[object]:
            return (Entry(entry) if entry.name == "backup" else entry for entry in self._entries)

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", Listing)
        with refusing("backup", errno.ESTALE):
            assert store.names() == ("tiny",)
            assert store.open("tiny").id == published
            assert list(store.unusable()) == ["backup"]


def test_the_collector_goes_on_past_what_it_cannot_read(
    store: ModelStore, neighbour: Path, tiny: TinyModel
) -> None:
    for _ in range(2):
        publish_tiny(store, model=tiny)
    leftover = store.root / "tiny" / ".tmp-old"
    leftover.mkdir()
    with refusing("backup"):
        report = store.gc(keep=0, older_than_s=0.0)
    assert report.temporaries == ("tiny/.tmp-old",)
    assert report.versions == (VersionId("tiny", 2),)
    (skipped,) = report.skipped
    assert skipped.startswith(f"backup: {neighbour}: expected a readable path, got Permission denied")


def test_the_collector_goes_on_past_what_it_cannot_remove_and_names_all_of_it(
    store: ModelStore, published: VersionId, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".tmp-a", ".tmp-b", ".tmp-c"):
        (store.root / "tiny" / name).mkdir()
    rmtree = shutil.rmtree

    def refuse(path: str, **options: object) -> None:
        if path != ".tmp-b":
            raise PermissionError(1, "Operation not permitted")
        rmtree(path, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(StoreWriteFailed, match=r"tmp-a: expected .*tmp-c: expected .*Everything else"):
            store.gc(older_than_s=0.0)
    assert sorted(path.name for path in (store.root / "tiny").glob(".tmp-*")) == [".tmp-a", ".tmp-c"]


def test_a_model_that_disappears_while_it_is_listed_hides_no_other(
    store: ModelStore, published: VersionId, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny(store, name="other", model=tiny)
    problems = ModelStore.problems

    def gone(self: ModelStore, reference: VersionId) -> tuple[CorruptVersion, ...]:
        if reference.name == "other":
            shutil.rmtree(self.root / "other", ignore_errors=True)
        return problems(self, reference)

    monkeypatch.setattr(ModelStore, "problems", gone)
    assert main(["--store", str(store.root), "verify"]) == 0

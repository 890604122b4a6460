"""The store without a name: the bundled one is read, and the first change copies it to the user's own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from bundled_models import BUNDLED_MODELS
from faults import counting, failing_at, full_from
from patience import PATIENCE_S
from store_checks import sound
from store_torture import in_child
from tiny_models import TinyModel, publish_tiny

from model_store import (
    STORE_VARIABLE,
    DefaultStore,
    InvalidReference,
    ModelNotFound,
    ModelStore,
    StoreError,
    StoreWriteFailed,
    VersionId,
    default_store_root,
    location,
    open_store,
    own_store_root,
)
from model_store.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
TOLD = "copied the bundled models to {own}; all commands and the server use that store now"


@pytest.fixture
def bundled(memory_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """A package with two versions of `tiny`, of which the alias stable has moved, and a `README.md`."""
    store = ModelStore(memory_path / "package" / "models")
    for _ in range(2):
        publish_tiny(store, model=tiny, aliases=("stable",))
    (store.root / "README.md").write_text("for people")
    for system_file in (".lock", ".publishers", ".history.jsonl"):
        (store.root / system_file).unlink()
    monkeypatch.setattr(location, "BUNDLED_STORE", store.root)
    return store


@pytest.fixture
def own(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the user's own store, which does not exist yet."""
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(memory_path / "data"))
    return memory_path / "data" / "vae-service" / "models"


def content(root: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_first_change_copies_the_bundled_store_and_says_so_once(bundled: ModelStore, own: Path) -> None:
    before, lines = content(bundled.root), list[str]()
    store = open_store(tell=lines.append)
    assert (store.root, store.is_borrowed) == (bundled.root, True)
    assert store.rollback("tiny", "stable") == 1
    assert (store.root, store.is_borrowed) == (own, False)
    assert store.promote("tiny", "beta", 2) == VersionId("tiny", 2)
    assert lines == [TOLD.format(own=own)]
    assert content(bundled.root) == before
    assert open_store().aliases("tiny") == {"beta": 2, "latest": 2, "stable": 1}
    assert sound(ModelStore(own))
    assert not (own / "README.md").exists()
    assert sorted(path.name for path in own.parent.iterdir()) == [".lock", "models"]


@pytest.mark.parametrize("change", ["publish", "promote", "remove", "gc"])
def test_every_change_copies_first(bundled: ModelStore, own: Path, tiny: TinyModel, change: str) -> None:
    before, store = content(bundled.root), open_store()
    if change == "publish":
        assert publish_tiny(store, model=tiny) == VersionId("tiny", 3)
    elif change == "promote":
        store.promote("tiny", "stable", 1)
    elif change == "remove":
        store.remove("tiny", 1)
    else:
        bundled.promote("tiny", "stable", 2)
        assert [str(version) for version in store.gc(keep=0).versions] == []
        assert not own.exists(), "nothing to collect: version 1 is the target of a rollback"
        return
    assert ModelStore(own).versions("tiny")
    assert content(bundled.root) == before


def test_reading_copies_nothing(bundled: ModelStore, own: Path) -> None:
    store = open_store()
    assert store.versions("tiny") == (1, 2)
    store.verify("tiny")
    store.gc(dry_run=True)
    store.gc()
    assert main(["history", "tiny"]) == 0
    assert main(["list"]) == 0
    assert not own.parent.exists()


def test_a_refused_change_copies_nothing(bundled: ModelStore, own: Path) -> None:
    store = open_store()
    for refused in (
        lambda: store.promote("tiny", "stable", 9),
        lambda: store.promote("nobody", "stable", 1),
        lambda: store.rollback("tiny", "beta"),
        lambda: store.remove("tiny", 9),
    ):
        with pytest.raises(ModelNotFound):
            refused()
    assert main(["remove", "tiny@2"]) == 73
    assert main(["add", "/nowhere"]) == 66
    assert not own.exists()


def test_a_reader_that_lives_longer_follows_as_soon_as_the_own_store_exists(
    bundled: ModelStore, own: Path
) -> None:
    server = DefaultStore()
    assert server.aliases("tiny")["stable"] == 2
    open_store().rollback("tiny", "stable")
    assert server.aliases("tiny")["stable"] == 1
    assert server.root == own


@pytest.mark.parametrize("workers", [6])
def test_processes_that_change_at_once_make_one_copy(bundled: ModelStore, own: Path, workers: int) -> None:
    def work(index: int) -> None:
        def tell(line: str) -> None:
            (own.parent / f"told-{index}").write_text(line)

        open_store(tell=tell).promote("tiny", f"p{index}", 1)

    children = [in_child(lambda index=index: work(index)) for index in range(workers)]  # type: ignore[misc]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * workers
    aliases = ModelStore(own).aliases("tiny")
    assert aliases == {"latest": 2, "stable": 2} | {f"p{index}": 1 for index in range(workers)}
    assert len(list(own.parent.glob("told-*"))) == 1
    assert not list(own.parent.glob(".tmp-*"))


def test_threads_that_change_at_once_make_one_copy(bundled: ModelStore, own: Path) -> None:
    lines, barrier = list[str](), threading.Barrier(4)
    store = open_store(tell=lines.append)

    def work(index: int) -> None:
        barrier.wait()
        store.promote("tiny", f"t{index}", 1)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    assert lines == [TOLD.format(own=own)]
    assert {f"t{index}" for index in range(4)} <= set(store.aliases("tiny"))


@pytest.mark.parametrize("fault", [failing_at, full_from])
def test_a_failure_at_any_system_call_of_the_copy_leaves_the_whole_or_nothing(
    bundled: ModelStore, own: Path, fault: Any, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a copy never counts: another store would hide what is missing."""
    monkeypatch.setenv("XDG_DATA_HOME", str(memory_path / "counted"))
    with counting() as calls:
        open_store().promote("tiny", "stable", 1)
    failures = 0
    for step in range(1, len(calls.names) + 1):
        monkeypatch.setenv("XDG_DATA_HOME", str(memory_path / f"data-{step}"))
        here = own_store_root()
        assert here is not None
        try:
            with fault(step, errno.ENOSPC):
                open_store().promote("tiny", "stable", 1)
        except StoreError:
            failures += 1
        if here.exists():
            assert ModelStore(here).versions("tiny") == (1, 2), f"step {step}"
            assert sound(ModelStore(here)), f"step {step}"
        assert not list(here.parent.glob(".tmp-*")), f"step {step}"
    assert failures > 40


def test_a_killed_copy_is_swept_by_the_next_change(bundled: ModelStore, own: Path) -> None:
    left = own.parent / ".tmp-4711-left"
    (left / "tiny" / "1").mkdir(parents=True)
    open_store().promote("tiny", "stable", 1)
    assert not left.exists()


def test_a_full_disk_says_where_and_what_to_set(bundled: ModelStore, own: Path) -> None:
    with full_from(1, errno.ENOSPC), pytest.raises(StoreWriteFailed) as caught:
        open_store().promote("tiny", "stable", 1)
    message = str(caught.value)
    assert message.startswith(
        f"The bundled store is read-only: the first change copies it to {own}, and that"
    )
    for words in ("No space left", "Nothing was changed.", "Set VAE_MODEL_STORE", "vae-store add bundled"):
        assert words in message
    assert caught.value.errno == errno.ENOSPC
    assert open_store().root == bundled.root


def test_a_read_only_home_is_a_clear_error_with_exit_code_74(
    bundled: ModelStore, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_from(1, errno.EROFS):
        assert main(["rollback", "tiny"]) == 74
    told = capsys.readouterr().err
    assert "Read-only file system" in told
    assert "VAE_MODEL_STORE" in told
    assert "Traceback" not in told


def test_a_user_without_a_home_reads_the_bundled_store_and_is_told_what_to_set(
    bundled: ModelStore, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert own_store_root() is None
    assert open_store().aliases("tiny")["stable"] == 2
    with pytest.raises(StoreWriteFailed, match=r"has no home and HOME is unset\. Set VAE_MODEL_STORE"):
        open_store().rollback("tiny", "stable")


def test_another_entry_in_the_place_of_the_own_store_is_named(bundled: ModelStore, own: Path) -> None:
    own.parent.mkdir(parents=True)
    own.write_text("a file")
    with pytest.raises(StoreWriteFailed, match=r"models: expected a directory or nothing, got another entry"):
        open_store().rollback("tiny", "stable")
    assert own.read_text() == "a file"


def test_a_damaged_bundled_version_stays_as_it_is_and_stops_no_copy(bundled: ModelStore, own: Path) -> None:
    (bundled.root / "tiny" / "1" / "encoder.onnx").unlink()
    (bundled.root / "other").mkdir()
    (bundled.root / "other" / "1").symlink_to("/etc")
    open_store().promote("tiny", "beta", 2)
    assert ModelStore(own).names() == ("tiny",)
    assert [type(error).__name__ for error in ModelStore(own).problems("tiny@1")] == ["MissingFile"]


def test_hard_links_of_an_installer_do_not_reach_the_copy(bundled: ModelStore, own: Path) -> None:
    """uv links installed files from its cache; a change of the copy must never reach the cache."""
    file = bundled.root / "tiny" / "1" / "encoder.onnx"
    os.link(file, bundled.root / "cache")
    open_store().promote("tiny", "stable", 1)
    assert (own / "tiny" / "1" / "encoder.onnx").stat().st_nlink == 1
    assert sound(ModelStore(own))


def test_a_named_store_is_used_as_it_is_and_never_filled(
    bundled: ModelStore, own: Path, tiny: TinyModel, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = memory_path / "named"
    monkeypatch.setenv(STORE_VARIABLE, str(named))
    assert main(["rollback", "tiny"]) == 66
    publish_tiny(open_store(), name="mine", model=tiny)
    assert open_store().names() == ("mine",)
    assert open_store(memory_path / "flag").root == memory_path / "flag"
    assert not own.exists()


def test_the_bundled_store_can_be_named_and_that_is_told(bundled: ModelStore, own: Path) -> None:
    """Its maintainers publish into it; for everybody else the line is a warning."""
    lines: list[str] = []
    open_store(bundled.root, tell=lines.append).promote("tiny", "stable", 1)
    assert bundled.aliases("tiny")["stable"] == 1
    (line,) = lines
    assert "the next upgrade replaces it" in line
    assert not own.exists()


@pytest.mark.parametrize("address", ["s3://key:secret@bucket/models", "gs://bucket"])
def test_an_address_is_refused_without_repeating_it(
    own: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, address)
    assert main(["list"]) == 2
    assert "vae-store add ADDRESS" in (told := capsys.readouterr().err)
    assert "secret" not in told
    assert main(["--store", address, "list"]) == 2
    store = open_store()  # `vae-train fit` may need none
    with pytest.raises(InvalidReference):
        store.names()


def test_the_precedence_is_one_for_all(
    bundled: ModelStore, own: Path, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_store_root() == bundled.root
    own.mkdir(parents=True)
    assert default_store_root() == own
    monkeypatch.setenv(STORE_VARIABLE, str(memory_path))
    assert default_store_root() == memory_path
    monkeypatch.setenv(STORE_VARIABLE, "")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(memory_path / "home"))
    assert own_store_root() == memory_path / "home" / ".local/share/vae-service/models"


def test_a_home_that_may_not_be_entered_has_no_own_store(
    bundled: ModelStore, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `setpriv`, which keeps HOME of the user before."""

    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refused)
    assert DefaultStore().root == bundled.root


def test_documents_stay_documents_where_a_line_is_told(bundled: ModelStore, own: Path) -> None:
    """In a process of its own, with the models of the real package."""
    done = subprocess.run(
        [sys.executable, "-m", "model_store.cli", "rollback", "mnist", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    aliases = json.loads((REPOSITORY / "model_store/models/mnist/aliases.json").read_text())["aliases"]
    before = aliases["stable"]["history"][-1]
    assert json.loads(done.stdout) == {"name": "mnist", "alias": "stable", "version": before}
    assert done.stderr == f"vae-store: {TOLD.format(own=own)}\n"
    assert ModelStore(own).names() == BUNDLED_MODELS

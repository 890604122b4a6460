"""Publishing on a disk that fails: whichever call fails, all of a version is there or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import SystemCalls, counting, failing_at, full_from
from hazard_plugin import Hazard
from patience import PATIENCE_S
from store_checks import leftovers, sound
from tiny_models import TinyModel, publish_tiny

from model_store import (
    ModelStore,
    StoreWriteFailed,
    UnreadableFile,
    VersionId,
)
from model_store.cli import main


def _publish_with(
    store: ModelStore, tiny: TinyModel, calls: SystemCalls, name: str
) -> StoreWriteFailed | None:
    try:
        with calls:
            publish_tiny(store, model=tiny, name=name, aliases=("beta",))
    except StoreWriteFailed as error:
        return error
    return None


@pytest.mark.hazard_row("disk-faults")
@pytest.mark.parametrize("fault", [failing_at, full_from])
@pytest.mark.parametrize("name", ["tiny", "new"])
@pytest.mark.parametrize(
    "turn", [0, pytest.param(1, marks=pytest.mark.hard), pytest.param(2, marks=pytest.mark.hard)]
)
@pytest.mark.usefixtures("published")
def test_a_failure_at_any_system_call_leaves_nothing_corrupt_and_no_orphan(
    store: ModelStore,
    tiny: TinyModel,
    turn: int,
    name: str,
    fault: Callable[[int, int], SystemCalls],
    *,
    hazard: Hazard,
) -> None:
    """Each call of a publication fails in turn: of a model that has versions, and of a first one.

    The three errors take turns from call to call; the three turns together meet every call with every error.
    """
    with counting() as calls:
        publish_tiny(store, model=tiny, name="counted")
    steps = len(calls.names) + 6
    assert steps > 60
    failures = visible = 0
    for step in range(1, steps):
        number = (errno.ENOSPC, errno.EIO, errno.EROFS)[(step + turn) % 3]
        before = store.versions(name) if name in store.names() else ()
        error = _publish_with(store, tiny, fault(step, number), name)
        where = f"step {step}: {error}"
        after = store.versions(name) if name in store.names() else ()
        assert leftovers(store) == [], where
        assert sound(store), where
        assert str(store.open("tiny").id) == "tiny@1", where
        if error is None:
            assert len(after) == len(before) + 1, where
        elif error.published is None:
            failures += 1
            assert after == before, where
            assert "Nothing was published, and the previous content is unchanged." in str(error)
            assert (store.root / name).exists() == bool(before or name == "tiny"), where
        else:
            visible += 1
            assert after == (*before, error.published.version), where
            assert f"{error.published} itself is published and complete" in str(error)
        if error is not None:
            assert error.errno == number, where
            assert error.path, where
        if name == "new" and after:
            store = _without(store, name)
    assert failures > 20
    # Few calls come after the first rename: the directory's sync, the second rename, the second sync.
    assert 1 <= visible <= 6
    if turn == 0:
        way = "from then on" if fault is full_from else "once"
        told = f"{name}: {steps - 1} calls failed {way}: {failures} refusals, 0 corrupt, 0 orphans"
        hazard("disk-faults", figure=told, bar="0 corrupt, 0 orphans", met=True)


def _without(store: ModelStore, name: str) -> ModelStore:
    """The store as it was before `name` had its first version."""
    shutil.rmtree(store.root / name)
    return store


@pytest.mark.hazard_row("disk-faults")
@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free space on that disk"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "point --store or VAE_MODEL_STORE to a writable directory"),
        (errno.EIO, "check it"),
        (errno.EACCES, "this user may write"),
    ],
)
def test_a_failure_says_where_and_what_to_do_and_exits_with_74(
    store: ModelStore,
    published: VersionId,
    capsys: pytest.CaptureFixture[str],
    number: int,
    advice: str,
) -> None:
    with full_from(1, number):
        code = main(["--store", str(store.root), "promote", "tiny@1", "beta"])
    assert code == 74
    message = capsys.readouterr().err
    assert str(store.root) in message
    assert os.strerror(number) in message
    assert advice in message
    assert "beta" not in store.aliases("tiny")
    assert leftovers(store) == []


def test_a_failed_promotion_at_any_system_call_keeps_the_aliases(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    publish_tiny(store, model=tiny)
    with counting() as calls:
        store.promote("tiny", "counted", 1)
    failures = 0
    for step in range(1, len(calls.names) + 1):
        before = dict(store.aliases("tiny"))
        target = 1 if before["stable"] == 2 else 2
        try:
            with failing_at(step, errno.EIO):
                store.promote("tiny", "stable", target)
        except StoreWriteFailed:
            failures += 1
        except UnreadableFile:
            pass  # it was a read that failed, before anything was written
        after = dict(store.aliases("tiny"))
        assert after in (before, {**before, "stable": target})
        assert leftovers(store) == []
        assert sound(store)
    assert failures >= 5


@pytest.mark.hard
@pytest.mark.hazard_row("disk-faults")
def test_a_disk_that_is_really_full_or_read_only_behaves_like_the_simulated_one(tmp_path: Path) -> None:
    """A file system of 128 KiB in a mount namespace of its own; skipped where none may be made."""
    script = f"""
import pathlib, subprocess, sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from tiny_models import TinyModel, publish_tiny
from model_store import ModelStore, StoreWriteFailed
root = pathlib.Path({str(tmp_path)!r})
store, tiny = ModelStore(root), TinyModel.make(image_shape=(1, 4, 4), latent_size=2)
published = 0
try:
    while True:
        published = publish_tiny(store, model=tiny, aliases=("stable",)).version
except StoreWriteFailed as error:
    assert error.errno == 28 and error.published is None, error
assert published >= 2
assert store.open("tiny").id.version == published
assert not any(store.problems(f"tiny@{{n}}") for n in store.versions("tiny"))
assert not [path for path in root.rglob(".tmp-*")]
subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
try:
    publish_tiny(store, model=tiny)
except StoreWriteFailed as error:
    assert error.errno == 30, error
assert store.open("tiny").id.version == published
print("held")
"""
    mount = f"mount -t tmpfs -o size=128k tmpfs {tmp_path} && exec {sys.executable} -"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", mount],
        input=script,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if ("mount" in done.stderr and "permitted" in done.stderr) or "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout.strip() == "held", done.stderr


def test_what_does_not_read_back_as_written_is_not_published(
    store: ModelStore, published: VersionId, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that lies: the bytes that come back are not the bytes that were written."""
    write = os.write

    def lying(descriptor: int, data: memoryview) -> int:
        damaged = bytearray(data)
        if len(damaged) > 300 and damaged[0] != ord("{"):
            damaged[200] ^= 1
        return write(descriptor, damaged)

    monkeypatch.setattr(os, "write", lying)
    with pytest.raises(StoreWriteFailed, match=r"does not verify: .*expected sha256"):
        publish_tiny(store, model=tiny)
    monkeypatch.undo()
    assert store.versions("tiny") == (1,)
    assert leftovers(store) == []


def test_short_writes_are_continued(
    store: ModelStore, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:100])))
    assert publish_tiny(store, model=tiny).version == 1
    monkeypatch.undo()
    assert store.open("tiny").encoder == tiny.encoder


def test_everything_is_synced_before_it_becomes_visible(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    """The order of the calls: five files and their directory, then the rename, then its directory."""
    events: list[str] = []
    names: dict[int, str] = {}
    real_open = os.open

    def act(index: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name in ("fsync", "write", "close"):
            target = names.get(arguments[0], "?")
            if not (events and events[-1] == f"{name} {target}"):
                events.append(f"{name} {target}")
        elif name == "rename":
            events.append(f"rename {Path(arguments[1]).name}")

    with SystemCalls(act) as calls:
        intercepted = os.open

        def opened(path: Any, *arguments: Any, **keywords: Any) -> int:
            descriptor = intercepted(path, *arguments, **keywords)
            text = os.fspath(path)
            names[descriptor] = ".tmp" if text.startswith(".tmp-") else Path(text).name
            return descriptor

        os.open = opened
        try:
            publish_tiny(store, model=tiny)
        finally:
            os.open = intercepted
    assert os.open is real_open
    assert calls.names
    steps = [event for event in events if event.startswith(("write", "fsync", "rename"))]
    assert steps == [
        *(
            f"{call} {file}"
            for file in ("encoder.onnx", "decoder.onnx", "golden.npz")
            for call in ("write", "fsync")
        ),
        *(f"{call} {file}" for file in ("MODEL_CARD.md", "manifest.json") for call in ("write", "fsync")),
        "fsync .tmp",  # the version's directory
        "write .tmp",  # the new aliases, still under a temporary name
        "fsync .tmp",
        "write .history.jsonl",
        "fsync .history.jsonl",
        "rename 2",
        "fsync tiny",
        "rename aliases.json",
        "fsync tiny",
    ]

"""Publishing: all of it or nothing, whatever fails and wherever it fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from faults import SystemCalls, counting, failing_at, full_from
from onnx import helper
from tiny_models import CARD, TinyModel, publish_tiny

from model_store import (
    CorruptAliases,
    InvalidDraft,
    Manifest,
    ManifestDraft,
    ModelStore,
    SizeLimits,
    StoreLocked,
    StoreWriteFailed,
    UnreadableFile,
    UnsafeFile,
    VersionId,
)
from model_store import writing as writing_module
from model_store.cli import main
from model_store.integrity import OpenDirectory
from model_store.writing import LOCK_FILE, lock

SYSTEM_FILES = {".lock", ".publishers"}


def leftovers(store: ModelStore) -> list[str]:
    """Anything temporary, anywhere."""
    return [
        str(path)
        for path in store.root.rglob("*")
        if path.name.startswith(".") and path.name not in SYSTEM_FILES
    ]


def sound(store: ModelStore) -> bool:
    """Every version and every alias verifies."""
    return not any(
        problems
        for name in store.names()
        for problems in (
            store.model_problems(name),
            *(store.problems(VersionId(name, number)) for number in store.versions(name)),
        )
    )


def test_numbers_ascend_and_aliases_move(store: ModelStore, tiny: TinyModel) -> None:
    assert publish_tiny(store, model=tiny, aliases=("stable", "beta")) == VersionId("tiny", 1)
    assert publish_tiny(store, model=tiny, aliases=("beta", "latest")) == VersionId("tiny", 2)
    assert publish_tiny(store, model=tiny, name="other") == VersionId("other", 1)
    assert store.aliases("tiny") == {"beta": 2, "latest": 2, "stable": 1}
    assert store.aliases("other") == {"latest": 1}
    recorded = json.loads((store.root / "tiny" / "aliases.json").read_bytes())
    assert recorded["aliases"]["latest"] == {"version": 2, "history": []}
    assert recorded["aliases"]["beta"] == {"version": 2, "history": [1]}
    assert sound(store)


def test_a_version_is_the_five_files_and_nothing_else(store: ModelStore, version_path: Path) -> None:
    files = ["MODEL_CARD.md", "decoder.onnx", "encoder.onnx", "golden.npz", "manifest.json"]
    assert sorted(path.name for path in version_path.iterdir()) == files
    assert sorted(path.name for path in store.root.iterdir()) == [".lock", ".publishers", "tiny"]
    assert sorted(path.name for path in (store.root / "tiny").iterdir()) == ["1", "aliases.json"]
    assert leftovers(store) == []


def test_a_version_can_be_read_by_another_user(version_path: Path) -> None:
    """The server runs under a user of its own."""
    old = os.umask(0o022)
    os.umask(old)
    for path in (version_path, *version_path.iterdir()):
        wanted = (0o755 if path.is_dir() else 0o644) & ~old
        assert path.stat().st_mode & 0o777 == wanted


def test_the_same_publication_twice_differs_only_in_its_number(store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    publish_tiny(store, model=tiny)
    first, second = store.root / "tiny" / "1", store.root / "tiny" / "2"
    for name in ("encoder.onnx", "decoder.onnx", "golden.npz", "MODEL_CARD.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_card_can_be_written_once_the_number_is_known(store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    seen: list[Manifest] = []

    def card(manifest: Manifest) -> str:
        seen.append(manifest)
        digest = manifest.files["encoder.onnx"].sha256
        return f"# {manifest.name}@{manifest.version}, {digest}, σ\n"

    identity = store.publish(
        tiny.draft(), encoder=tiny.encoder, decoder=tiny.decoder, golden=tiny.golden(), card=card
    )
    model = store.open(identity)
    assert model.card == f"# tiny@2, {model.manifest.files['encoder.onnx'].sha256}, σ\n"
    assert len(seen) == 1
    assert seen[0].files["MODEL_CARD.md"].sha256 == "0" * 64


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_card_that_raises_publishes_nothing(
    store: ModelStore, published: VersionId, tiny: TinyModel, error: BaseException
) -> None:
    def card(_: Manifest) -> str:
        raise error

    with pytest.raises(type(error)):
        store.publish(
            tiny.draft(), encoder=tiny.encoder, decoder=tiny.decoder, golden=tiny.golden(), card=card
        )
    assert store.versions("tiny") == (1,)
    assert leftovers(store) == []
    assert publish_tiny(store, model=tiny).version == 2


# --- what may not be published --------------------------------------------------------------------------


def _nan_recipe(tiny: TinyModel) -> ManifestDraft:
    draft = tiny.draft()
    return draft.model_copy(
        update={"provenance": draft.provenance.model_copy(update={"recipe": {"lr": float("nan")}})}
    )


def _random_graph(tiny: TinyModel) -> bytes:
    proto = tiny.decoder_proto()
    proto.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1]))
    return proto.SerializeToString()


INVALID: dict[str, tuple[Callable[[TinyModel], dict[str, Any]], str]] = {
    "a name made without validation": (
        lambda tiny: {"draft": tiny.draft().model_copy(update={"name": "../escape"})},
        "valid ManifestDraft",
    ),
    "no draft at all": (lambda tiny: {"draft": None}, "valid ManifestDraft"),
    "NaN in the recipe": (_nan_recipe and (lambda tiny: {"draft": _nan_recipe(tiny)}), "NaN or infinity"),
    "an alias with a slash": (lambda tiny: {"aliases": ["../x"]}, "is no alias"),
    "an alias that is a number": (lambda tiny: {"aliases": ["3"]}, "is no alias"),
    "an empty encoder": (lambda tiny: {"encoder": b""}, r"encoder\.onnx: expected 1 to"),
    "an encoder that is text": (lambda tiny: {"encoder": "x"}, r"encoder\.onnx: expected bytes, got str"),
    "exchanged graphs": (
        lambda tiny: {"encoder": tiny.decoder, "decoder": tiny.encoder},
        r"encoder\.onnx: expected the graph inputs",
    ),
    "a random decoder": (
        lambda tiny: {"decoder": _random_graph(tiny)},
        r"decoder\.onnx: expected no randomness",
    ),
    "golden vectors of another model": (
        lambda tiny: {"golden": TinyModel.make(image_shape=(1, 5, 5), latent_size=2).golden()},
        "array 'x': expected shape",
    ),
    "golden vectors with NaN": (
        lambda tiny: {"golden": dataclasses.replace(tiny.golden(), mu=np.full((3, 2), np.nan, np.float32))},
        "array 'mu': expected finite",
    ),
    "an empty card": (lambda tiny: {"card": ""}, r"MODEL_CARD\.md: expected 1 to"),
    "a card of bytes": (lambda tiny: {"card": lambda manifest: b"x"}, r"MODEL_CARD\.md: expected text"),
    "a card with a lone surrogate": (lambda tiny: {"card": "\ud800"}, "lone surrogate"),
    "a card above the ceiling": (lambda tiny: {"card": "x" * 1_100_000}, r"MODEL_CARD\.md: expected 1 to"),
    "a recipe that imitates the digest": (
        lambda tiny: {
            "draft": tiny.draft(
                provenance=tiny.draft().provenance.model_copy(
                    update={"recipe": {"manifest_sha256": "a" * 64}}
                )
            )
        },
        "Rename that key",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_a_draft_that_may_not_be_published_leaves_no_trace(
    store: ModelStore, published: VersionId, tiny: TinyModel, case: str
) -> None:
    change, reason = INVALID[case]
    parts: dict[str, Any] = {
        "draft": tiny.draft(),
        "encoder": tiny.encoder,
        "decoder": tiny.decoder,
        "golden": tiny.golden(),
        "card": CARD,
    } | change(tiny)
    before = sorted(store.root.rglob("*"))
    with pytest.raises(InvalidDraft, match=reason) as caught:
        store.publish(parts.pop("draft"), **parts)
    assert "draft of" in str(caught.value) or "MODEL_CARD.md" in str(caught.value)
    assert sorted(store.root.rglob("*")) == before


def test_an_invalid_first_draft_does_not_even_make_the_store(store: ModelStore, tiny: TinyModel) -> None:
    with pytest.raises(InvalidDraft):
        publish_tiny(store, model=tiny, encoder=b"nonsense")
    assert not store.root.exists()


def test_ceilings_hold_for_publishers_too(store: ModelStore, tiny: TinyModel) -> None:
    small = ModelStore(store.root, limits=SizeLimits(graph_bytes=100))
    with pytest.raises(InvalidDraft, match=r"encoder\.onnx: expected 1 to 100 bytes, got \d+"):
        publish_tiny(small, model=tiny)


def test_corrupt_aliases_stop_a_publication_before_it_writes(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    """To overwrite them would lose every alias that somebody set."""
    (store.root / "tiny" / "aliases.json").write_bytes(b"{")
    with pytest.raises(CorruptAliases):
        publish_tiny(store, model=tiny)
    assert store.versions("tiny") == (1,)
    assert leftovers(store) == []


def test_a_model_that_is_a_link_is_not_written_through(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    outside = store.root.parent / "outside"
    outside.mkdir()
    (store.root / "linked").symlink_to(outside, target_is_directory=True)
    with pytest.raises(UnsafeFile, match="linked: expected a directory, got a symbolic link"):
        publish_tiny(store, name="linked", model=tiny)
    assert list(outside.iterdir()) == []


# --- the disk fails -------------------------------------------------------------------------------------


def _publish_with(
    store: ModelStore, tiny: TinyModel, calls: SystemCalls, name: str
) -> StoreWriteFailed | None:
    try:
        with calls:
            publish_tiny(store, model=tiny, name=name, aliases=("beta",))
    except StoreWriteFailed as error:
        return error
    return None


@pytest.mark.parametrize("fault", [failing_at, full_from])
@pytest.mark.parametrize("name", ["tiny", "new"])
@pytest.mark.parametrize(
    "turn", [0, pytest.param(1, marks=pytest.mark.hard), pytest.param(2, marks=pytest.mark.hard)]
)
@pytest.mark.usefixtures("published")
def test_a_failure_at_any_system_call_leaves_nothing_corrupt_and_no_orphan(
    store: ModelStore, tiny: TinyModel, turn: int, name: str, fault: Callable[[int, int], SystemCalls]
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
            assert "Nothing was published, and what was there before is untouched." in str(error)
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


def _without(store: ModelStore, name: str) -> ModelStore:
    """The store as it was before `name` had its first version."""
    shutil.rmtree(store.root / name)
    return store


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free space on that disk"),
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
        timeout=100,
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
    with pytest.raises(StoreWriteFailed, match=r"does not verify when read back: .*expected sha256"):
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
        "rename 2",
        "fsync tiny",
        "rename aliases.json",
        "fsync tiny",
    ]


# --- others at the same time ----------------------------------------------------------------------------


def test_a_number_that_is_taken_without_the_lock_is_left_to_whoever_took_it(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    """The rename decides: a publisher that knows no locks wins, and the loser counts on."""
    raced: list[int] = []

    def card(manifest: Manifest) -> str:
        if manifest.version < 5:
            other = store.root / "tiny" / str(manifest.version)
            other.mkdir()
            (other / "manifest.json").write_text("somebody else's")
            raced.append(manifest.version)
        return f"# version {manifest.version}\n"

    identity = store.publish(
        tiny.draft(), encoder=tiny.encoder, decoder=tiny.decoder, golden=tiny.golden(), card=card
    )
    assert raced == [2, 3, 4]
    assert identity.version == 5
    assert store.open(identity).card == "# version 5\n"
    assert (store.root / "tiny" / "2" / "manifest.json").read_text() == "somebody else's"
    assert leftovers(store) == []


@pytest.mark.parametrize("kind", ["empty directory", "file", "link"])
def test_nothing_that_bears_a_number_is_replaced(
    store: ModelStore, published: VersionId, tiny: TinyModel, kind: str
) -> None:
    entry = store.root / "tiny" / "2"
    if kind == "empty directory":
        entry.mkdir()
    elif kind == "file":
        entry.write_text("x")
    else:
        entry.symlink_to("/etc")
    assert publish_tiny(store, model=tiny).version == 3
    assert entry.is_symlink() or entry.exists()


def test_a_number_is_not_used_again_after_its_version_was_removed(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    publish_tiny(store, model=tiny)
    shutil.rmtree(store.root / "tiny" / "2")
    assert publish_tiny(store, model=tiny).version == 3


def test_a_publisher_waits_for_the_lock_and_gives_up_with_a_reason(
    store: ModelStore, published: VersionId, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = writing_module.lock.__wrapped__.__kwdefaults__
    monkeypatch.setitem(defaults, "wait_s", 0.05)
    with OpenDirectory.at(store.root) as root, lock(root, LOCK_FILE):
        with pytest.raises(StoreLocked, match=r"\.lock: expected the lock within 0\.05 s") as caught:
            publish_tiny(store, model=tiny)
        assert caught.value.errno is None
        assert store.open("tiny").id == published  # readers wait for nobody
    assert leftovers(store) == []
    assert publish_tiny(store, model=tiny).version == 2


def test_threads_get_distinct_numbers_and_keep_each_others_aliases(
    store: ModelStore, tiny: TinyModel
) -> None:
    results: dict[str, list[int]] = {}
    barrier = threading.Barrier(6)

    def work(alias: str) -> None:
        barrier.wait()
        results[alias] = [publish_tiny(store, model=tiny, aliases=(alias,)).version for _ in range(4)]

    threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(number for numbers in results.values() for number in numbers) == list(range(1, 25))
    expected = {alias: numbers[-1] for alias, numbers in results.items()} | {"latest": 24}
    assert store.aliases("tiny") == expected
    assert sound(store)
    assert leftovers(store) == []


def torture(*arguments: object) -> dict[str, Any]:
    script = Path(__file__).parents[1] / "support" / "store_torture.py"
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check_race(result: dict[str, Any], processes: int, each: int) -> None:
    assert result["statuses"] == [0] * processes
    published = result["published"]
    total = processes * each
    assert sorted(number for numbers in published.values() for number in numbers) == list(range(1, total + 1))
    assert result["versions"] == list(range(1, total + 1))
    assert result["aliases"] == {alias: numbers[-1] for alias, numbers in published.items()} | {
        "latest": total
    }
    assert result["corrupt"] == result["left"] == []
    assert result["orphans"] == 0


def test_processes_get_distinct_numbers_and_keep_each_others_aliases(memory_path: Path) -> None:
    check_race(torture("race", memory_path / "store", 4, 5), 4, 5)


@pytest.mark.hard
def test_eight_processes_publish_fifty_versions_each_without_losing_one(memory_path: Path) -> None:
    check_race(torture("race", memory_path / "store", 8, 50), 8, 50)


def test_a_publisher_killed_before_any_of_its_system_calls_leaves_nothing_corrupt(memory_path: Path) -> None:
    """kill -9 at every step: what is visible verifies, what is not is collected, the next one publishes."""
    result = torture("kill-every-step", memory_path / "store")
    assert result["steps"] > 60
    assert len(result["seen"]) == result["steps"]
    for entry in result["seen"]:
        assert entry["killed"], entry
        assert entry["corrupt"] == entry["left"] == [], entry
        assert entry["orphans"] <= 2, entry
    # The kill that really leaves something behind happened, and so did the one after the rename.
    assert sum(entry["orphans"] for entry in result["seen"]) > 20
    assert len(result["versions"]) > 2


def check_kills(result: dict[str, Any], count: int) -> None:
    assert len(result["seen"]) == count
    for entry in result["seen"]:
        assert entry["corrupt"] == entry["left"] == [], entry
    assert sum(entry["orphans"] for entry in result["seen"]) > count // 10
    assert max(result["versions"]) > count // 4


def test_a_publisher_killed_at_random_times_leaves_nothing_corrupt(memory_path: Path) -> None:
    check_kills(torture("kill-at-random", memory_path / "store", 20, 1), 20)


@pytest.mark.hard
def test_two_hundred_kills_leave_nothing_corrupt_and_orphans_are_collected(memory_path: Path) -> None:
    check_kills(torture("kill-at-random", memory_path / "store", 200, 2), 200)


def test_the_onnx_package_is_not_needed_to_publish() -> None:
    """The guard reads protocol buffers itself; the tests' own builder is what imports onnx."""
    code = "import sys, model_store, model_store.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert onnx.__name__ not in loaded.replace("model_store.onnx", "")
    for name in ("torch", "onnxruntime", "fastapi", "google"):
        assert f"'{name}'" not in loaded
    assert "'numpy'" in loaded

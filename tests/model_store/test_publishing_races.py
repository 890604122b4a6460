"""Publishing beside others and being killed: no number twice, no alias lost, nothing half visible."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import onnx
import pytest
from hazard_plugin import Hazard
from patience import PATIENCE_S
from store_checks import leftovers, sound
from tiny_models import TinyModel, publish_tiny

from model_store import (
    Manifest,
    ModelStore,
    StoreLocked,
    VersionId,
)
from model_store import durable_io as writing_module
from model_store.durable_io import LOCK_FILE, lock
from model_store.integrity import OpenDirectory


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
    undecorated: Any = writing_module.lock
    defaults = undecorated.__wrapped__.__kwdefaults__
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
        thread.join(timeout=PATIENCE_S)
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
@pytest.mark.hazard_row("publishers-race")
def test_eight_processes_publish_fifty_versions_each_without_losing_one(
    memory_path: Path, hazard: Hazard
) -> None:
    result = torture("race", memory_path / "store", 8, 50)
    check_race(result, 8, 50)
    distinct = len(set(result["versions"]))
    hazard("publishers-race", figure=f"{distinct} distinct", bar="8 × 50: 400 distinct", met=distinct == 400)


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
    # Kills hit publishers at work, and publications between kills succeed.
    assert sum(entry["orphans"] for entry in result["seen"]) >= count // 20
    assert max(result["versions"]) >= 6 + count // 20


def test_a_publisher_killed_at_random_times_leaves_nothing_corrupt(memory_path: Path) -> None:
    check_kills(torture("kill-at-random", memory_path / "store", 20, 1), 20)


@pytest.mark.hard
@pytest.mark.hazard_row("publish-killed")
def test_two_hundred_kills_leave_nothing_corrupt_and_orphans_are_collected(
    memory_path: Path, hazard: Hazard
) -> None:
    result = torture("kill-at-random", memory_path / "store", 200, 2)
    check_kills(result, 200)
    orphans = sum(entry["orphans"] for entry in result["seen"])
    corrupt, left = (sum(len(entry[key]) for entry in result["seen"]) for key in ("corrupt", "left"))
    told = f"{corrupt} corrupt; {orphans} orphans collected, {left} left"
    hazard("publish-killed", figure=told, bar="200 kills: 0 corrupt, 0 left", met=corrupt == left == 0)


def test_the_onnx_package_is_not_needed_to_publish() -> None:
    """The guard reads protocol buffers itself; the tests' own builder is what imports onnx."""
    code = "import sys, model_store, model_store.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert onnx.__name__ not in loaded.replace("model_store.onnx", "")
    for name in ("torch", "onnxruntime", "fastapi", "google"):
        assert f"'{name}'" not in loaded
    assert "'numpy'" in loaded

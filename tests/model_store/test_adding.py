"""vae-store add: missing versions come under their own numbers, and no alias moves unasked."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import counting, failing_at, full_from
from store_checks import leftovers, sound
from tiny_models import TinyModel, publish_tiny
from tiny_priors import Fitted

from model_store import ModelStore, StoreError, VersionId, location
from model_store.cli import main


@pytest.fixture
def other(memory_path: Path, tiny: TinyModel, fitted: Fitted) -> ModelStore:
    """tiny@1 to 3, the second with a prior and `stable`; extra@1 and 2, of which `stable` is the first."""
    store = ModelStore(memory_path / "other")
    publish_tiny(store, model=tiny)
    publish_tiny(store, model=tiny, fitted=fitted, aliases=("stable",))
    publish_tiny(store, model=tiny, seed=3)
    for _ in range(2):
        publish_tiny(store, name="extra", model=tiny)
    store.promote("extra", "stable", 2)
    store.promote("extra", "stable", 1)
    return store


@pytest.fixture
def own(memory_path: Path, other: ModelStore) -> ModelStore:
    """An older state of it, of which the user promoted version 1."""
    store = ModelStore(memory_path / "own")
    shutil.copytree(other.root / "tiny" / "1", store.root / "tiny" / "1")
    store.promote("tiny", "stable", 1)
    return store


Add = Callable[..., Any]


@pytest.fixture
def add(own: ModelStore, capsys: pytest.CaptureFixture[str]) -> Add:
    def run(source: object, *options: str, code: int = 0) -> Any:
        assert main(["--store", str(own.root), "add", str(source), *options, "--json"]) == code
        captured = capsys.readouterr()
        return json.loads(captured.out or captured.err)

    return run


def same_bytes(one: Path, other: Path) -> bool:
    files = sorted(path.name for path in one.iterdir())
    return files == sorted(path.name for path in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in files
    )


def test_missing_versions_come_and_aliases_stay(add: Add, own: ModelStore, other: ModelStore) -> None:
    told = add(other.root)
    assert [entry["version"] for entry in told["added"]] == ["extra@1", "extra@2", "tiny@2", "tiny@3"]
    assert [entry["version"] for entry in told["present"]] == ["tiny@1"]
    assert told["refused"] == []
    assert own.aliases("tiny") == {"latest": 3, "stable": 1}
    assert own.aliases("extra") == other.aliases("extra") == {"latest": 2, "stable": 1}
    assert own.alias_table("extra") == other.alias_table("extra"), "a new model can be rolled back as there"
    assert {"name": "tiny", "alias": "latest", "version": 3, "before": 1} in told["aliases"]
    assert told["stayed"] == [{"name": "tiny", "alias": "stable", "version": 2, "before": 1}]
    for name, number in (("tiny", 2), ("tiny", 3), ("extra", 1)):
        assert same_bytes(own.root / name / str(number), other.root / name / str(number))
    assert sound(own)
    assert leftovers(own) == []
    assert str(own.resolve("tiny")) == "tiny@1"


def test_a_second_time_changes_nothing(add: Add, own: ModelStore, other: ModelStore) -> None:
    add(other.root)
    before = {path: path.stat().st_mtime_ns for path in own.root.rglob("*") if path.is_file()}
    told = add(other.root)
    assert told["added"] == told["aliases"] == told["stayed"] == []
    assert len(told["present"]) == 5
    after = {path: path.stat().st_mtime_ns for path in own.root.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("source", "versions"),
    [
        ("", ["extra@1", "extra@2", "tiny@2", "tiny@3"]),
        ("/", ["extra@1", "extra@2", "tiny@2", "tiny@3"]),
        ("/tiny", ["tiny@2", "tiny@3"]),
        ("/tiny@3", ["tiny@3"]),
        ("/tiny@stable", ["tiny@2"]),
        ("/tiny/2", ["tiny@2"]),
        ("/extra@latest", ["extra@2"]),
    ],
)
@pytest.mark.parametrize("bundled", [False, True])
def test_a_source_can_be_a_store_a_model_or_a_version(
    add: Add,
    other: ModelStore,
    monkeypatch: pytest.MonkeyPatch,
    *,
    source: str,
    versions: list[str],
    bundled: bool,
) -> None:
    if bundled:
        monkeypatch.setattr(location, "BUNDLED_STORE", other.root)
    told = add(("bundled" if bundled else str(other.root)) + source)
    assert [entry["version"] for entry in told["added"]] == versions


def test_a_downloaded_directory_of_one_version_needs_no_store_around_it(
    add: Add, own: ModelStore, other: ModelStore, tmp_path: Path
) -> None:
    """Its manifest names it, whatever the directory is called."""
    shutil.copytree(other.root / "tiny" / "3", tmp_path / "down@load")
    assert [entry["version"] for entry in add(tmp_path / "down@load")["added"]] == ["tiny@3"]
    assert same_bytes(own.root / "tiny" / "3", other.root / "tiny" / "3")


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("/nowhere", 66, "found nothing there"),
        ("/nowhere/tiny@3", 66, "found nothing there"),
        ("{other}/tiny@9", 66, "no version 9"),
        ("{other}/tiny@beta", 66, "no alias 'beta'"),
        ("{other}/nobody@1", 66, "no such model"),
        ("{other}/tiny@@", 2, "neither a version nor an alias"),
        ("{empty}", 66, "found no model"),
        ("bundled/nobody", 66, "no such model"),
        ("bundled/../tiny", 2, "Write bundled"),
        ("s3://bucket/prefix", 2, "pip install 'vae-service[s3]'"),
        ("s3://user:secret@bucket/prefix", 2, "got one with a user or a password"),
    ],
)
def test_a_source_that_is_none_is_refused_before_anything_is_written(
    add: Add,
    own: ModelStore,
    other: ModelStore,
    tmp_path: Path,
    *,
    source: str,
    code: int,
    words: str,
) -> None:
    told = add(source.format(other=other.root, empty=tmp_path), code=code)
    assert words in told["message"]
    assert own.versions("tiny") == (1,)


def test_an_alias_moves_where_that_is_asked_for(add: Add, own: ModelStore, other: ModelStore) -> None:
    told = add(other.root, "--alias", "stable")
    assert own.aliases("tiny") == {"latest": 3, "stable": 2}
    assert {"name": "tiny", "alias": "stable", "version": 2, "before": 1} in told["aliases"]
    assert told["stayed"] == []
    assert own.rollback("tiny", "stable") == 1
    add(f"{other.root}/tiny", "--alias", "candidate")  # no such alias there: as the bare name means
    assert own.aliases("tiny")["candidate"] == 2
    add(f"{other.root}/tiny@3", "--alias", "candidate")
    assert own.aliases("tiny")["candidate"] == 3
    assert "only publishing moves it" in add(other.root, "--alias", "latest", code=2)["message"]


def test_a_lower_number_comes_below_and_latest_stays(add: Add, own: ModelStore, other: ModelStore) -> None:
    add(f"{other.root}/tiny@3")
    told = add(f"{other.root}/tiny@2")
    assert own.aliases("tiny")["latest"] == 3
    assert told["aliases"] == []
    assert publish_tiny(own, model=TinyModel.make(image_shape=(1, 4, 4), latent_size=2)).version == 4


def test_a_number_of_another_version_is_refused_and_the_rest_comes(
    add: Add, own: ModelStore, other: ModelStore, tiny: TinyModel
) -> None:
    """Such as one's own training, exported under the name of a bundled model."""
    publish_tiny(own, model=TinyModel.make(image_shape=(1, 4, 4), latent_size=2, seed=9))
    told = add(f"{other.root}/tiny", code=73)
    assert [entry["version"] for entry in told["added"]] == ["tiny@3"]
    ((refused),) = told["refused"]
    assert (refused["of"], refused["error"]) == ("tiny@2", "VersionTaken")
    assert "--renumber" in refused["message"]
    told = add(f"{other.root}/tiny", "--renumber")
    assert told["added"] == [{"version": "tiny@4", "from": "tiny@2"}]
    assert own.open("tiny@4").manifest.fitted_prior == other.open("tiny@2").manifest.fitted_prior
    assert own.open("tiny@4").encoder == other.open("tiny@2").encoder
    told = add(f"{other.root}/tiny", "--renumber")
    assert told["added"] == []
    assert {"version": "tiny@4", "from": "tiny@2"} in told["present"]
    assert sound(own)


def test_a_number_is_not_used_again_for_another_version_after_a_removal(
    add: Add, own: ModelStore, other: ModelStore
) -> None:
    publish_tiny(own, model=TinyModel.make(image_shape=(1, 4, 4), latent_size=2, seed=9))
    own.remove("tiny", 2, with_aliases=True)
    told = add(f"{other.root}/tiny@2", code=73)
    assert "was another version, which has been removed" in told["refused"][0]["message"]
    add(f"{other.root}/tiny@3")
    own.remove("tiny", 3, with_aliases=True)
    assert add(f"{other.root}/tiny@3")["added"], "the same version may come back"


def test_a_damaged_version_is_refused_by_its_own_path_and_the_rest_comes(
    add: Add, own: ModelStore, other: ModelStore
) -> None:
    path = other.root / "tiny" / "2" / "encoder.onnx"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    told = add(other.root, code=65)
    assert [entry["version"] for entry in told["added"]] == ["extra@1", "extra@2", "tiny@3"]
    assert told["refused"][0]["error"] == "DigestMismatch"
    assert str(path) in told["refused"][0]["message"]
    assert leftovers(own) == []


def test_hostile_sources_reach_nothing_outside(add: Add, own: ModelStore, other: ModelStore) -> None:
    (other.root / "tiny" / "2" / "prior.npz").unlink()
    (other.root / "tiny" / "2" / "prior.npz").symlink_to("/etc/passwd")
    (other.root / "tiny" / "3" / "extra").write_text("x")
    told = add(f"{other.root}/tiny", code=65)
    assert {entry["error"] for entry in told["refused"]} == {"UnsafeFile"}
    # An unlisted file does not come along.
    assert [entry["version"] for entry in told["added"]] == ["tiny@3"]
    assert not (own.root / "tiny" / "3" / "extra").exists()


def test_a_store_that_does_not_exist_is_made(other: ModelStore, memory_path: Path) -> None:
    """As for a volume that starts empty."""
    new = memory_path / "deep" / "new"
    assert main(["--store", str(new), "add", str(other.root)]) == 0
    assert ModelStore(new).names() == ("extra", "tiny")
    assert ModelStore(new).alias_table("tiny") == other.alias_table("tiny")


def test_people_read_what_was_done(
    own: ModelStore, other: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", str(own.root), "add", f"{other.root}/tiny"]) == 0
    assert capsys.readouterr().out == (
        "added tiny@2\n"
        "added tiny@3\n"
        "tiny@latest is now version 3.\n"
        "tiny@stable stays at version 1; the source has it on the one added as 2: "
        "vae-store promote tiny@2 stable\n"
    )
    assert main(["--store", str(own.root), "add", f"{other.root}/tiny"]) == 0
    assert capsys.readouterr().out == f"3 versions are already in {own.root}.\n"


def test_additions_are_recorded_with_their_source(add: Add, own: ModelStore, other: ModelStore) -> None:
    add(f"{other.root}/tiny@3")
    entry = own.record("tiny").entries[-1]
    assert (entry.event, entry.version, entry.source) == ("added", 3, f"{other.root}/tiny@3")
    assert entry.manifest_sha256 == other.manifest("tiny@3").manifest_sha256


@pytest.mark.parametrize("fault", [failing_at, full_from])
@pytest.mark.parametrize("name", ["tiny", "extra"])
def test_a_failure_at_any_system_call_leaves_the_whole_version_or_nothing(
    own: ModelStore, other: ModelStore, fault: Any, name: str
) -> None:
    identity = VersionId(name, 2)

    def place() -> None:
        with other.directory(identity) as origin:
            own.place(identity, origin, source="test")

    with counting() as calls:
        place()
    own.remove(name, 2, with_aliases=True)
    failures = 0
    for step in range(1, len(calls.names) + 1):
        try:
            with fault(step, errno.ENOSPC):
                place()
        except (StoreError, OSError):
            failures += 1
        assert leftovers(own) == [], f"step {step}"
        assert sound(own), f"step {step}"
        if name in own.names() and 2 in own.versions(name):
            own.remove(name, 2, with_aliases=True)
    assert failures > 30

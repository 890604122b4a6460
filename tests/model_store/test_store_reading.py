"""Finding versions: names, numbers, aliases, and what each kind of reference means."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import TinyModel, publish_tiny

from model_store import (
    BUNDLED_STORE,
    STORE_VARIABLE,
    CorruptAliases,
    InvalidManifest,
    InvalidReference,
    ModelNotFound,
    ModelReference,
    ModelStore,
    NewerSchema,
    StoreError,
    UnsafeFile,
    VersionId,
    default_store_root,
)


def test_an_absent_or_empty_root_is_an_empty_store(tmp_path: Path) -> None:
    for root in (tmp_path / "absent", tmp_path):
        store = ModelStore(root)
        assert store.names() == ()
        with pytest.raises(ModelNotFound, match=r"No model is published in .*vae-store add bundled"):
            store.resolve("mnist")
        with pytest.raises(ModelNotFound):
            store.versions("mnist")
        assert store.gc().temporaries == ()
    assert not (tmp_path / "absent").exists()


def test_what_was_published_is_what_is_opened(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    model = store.open("tiny")
    assert model.id == published == VersionId("tiny", 1)
    assert (model.encoder, model.decoder) == (tiny.encoder, tiny.decoder)
    assert model.golden.to_bytes() == tiny.golden().to_bytes()
    assert model.card.startswith("# Tiny")
    draft = tiny.draft()
    assert model.manifest.model_dump(exclude={"version", "files", "manifest_sha256"}) == draft.model_dump()
    assert store.verify(published).id == published
    assert store.manifest("tiny@1") == model.manifest


def test_versions_ascend_by_number_and_not_by_spelling(store: ModelStore, tiny: TinyModel) -> None:
    for _ in range(11):
        publish_tiny(store, model=tiny)
    assert store.versions("tiny") == tuple(range(1, 12))
    assert store.resolve("tiny").version == 11


def test_a_bare_name_means_stable_where_it_is_set_and_else_the_highest(
    store: ModelStore, tiny: TinyModel
) -> None:
    publish_tiny(store, model=tiny)
    publish_tiny(store, model=tiny)
    assert store.resolve("tiny") == VersionId("tiny", 2)
    store.promote("tiny", "stable", 1)
    assert store.resolve("tiny") == store.resolve("tiny@stable") == VersionId("tiny", 1)
    assert store.resolve("tiny@latest") == VersionId("tiny", 2)
    assert store.resolve(ModelReference("tiny", version=2)) == VersionId("tiny", 2)
    assert store.resolve(VersionId("tiny", 1)) == VersionId("tiny", 1)
    assert store.aliases("tiny") == {"latest": 2, "stable": 1}


def test_not_found_says_what_there_is(store: ModelStore, published: VersionId) -> None:
    with pytest.raises(
        ModelNotFound, match=r"`mnist`: no such model in .*Existing models: tiny\. Publish a model with"
    ):
        store.open("mnist")
    with pytest.raises(ModelNotFound, match="'tiny' has no version 7; there is 1"):
        store.open("tiny@7")
    with pytest.raises(ModelNotFound, match="no alias 'beta'; it has latest, stable"):
        store.open("tiny@beta")


def test_not_found_stays_short_in_a_crowded_store(store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    for number in range(2, 300):
        (store.root / "tiny" / str(number)).mkdir()
    with pytest.raises(ModelNotFound, match=r"… \(279 more\), 280, ") as caught:
        store.open("tiny@1000")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("reference", ["Tiny", "../tiny", "tiny@@1", ""])
def test_text_that_is_no_reference_is_refused_before_anything_is_looked_up(
    store: ModelStore, published: VersionId, reference: str
) -> None:
    with pytest.raises(InvalidReference):
        store.open(reference)


def test_entries_that_are_no_models_or_versions_are_ignored(store: ModelStore, published: VersionId) -> None:
    for name in ("lost+found", ".git", "UPPER", "empty", "with space", "tiny2\n"):
        (store.root / name).mkdir()
    (store.root / "README.md").write_text("x")
    (store.root / "file").write_text("a file named like a model")
    for name in ("01", "+2", "0", "two", ".tmp-123", "3.0", "1000000000", "٣"):
        (store.root / "tiny" / name).mkdir()
    (store.root / "tiny" / "notes.txt").write_text("x")
    assert store.names() == ("tiny",)
    assert store.versions("tiny") == (1,)
    assert store.problems("tiny") == ()
    assert store.model_problems("tiny") == ()
    with pytest.raises(ModelNotFound):
        store.versions("empty")


def test_latest_is_what_is_there_even_when_the_record_is_older(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    """A crash between the two renames of a publication leaves the record one version behind."""
    before = (store.root / "tiny" / "aliases.json").read_bytes()
    publish_tiny(store, model=tiny)
    (store.root / "tiny" / "aliases.json").write_bytes(before)
    assert store.resolve("tiny@latest").version == 2
    assert store.aliases("tiny")["latest"] == 2
    assert store.model_problems("tiny") == ()


def test_without_an_alias_file_there_is_latest_and_nothing_else(
    store: ModelStore, published: VersionId
) -> None:
    (store.root / "tiny" / "aliases.json").unlink()
    assert store.aliases("tiny") == {"latest": 1}
    assert store.resolve("tiny").version == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"schema_version": 3, "aliases": {}}',
        b'{"schema_version": true, "aliases": {}}',
        b'{"schema_version": 1, "aliases": {"stable": 1}}',
        b'{"schema_version": 1, "aliases": {"stable": {"version": "1", "history": []}}}',
        b'{"schema_version": 1, "aliases": {"stable": {"version": 0, "history": []}}}',
        b'{"schema_version": 1, "aliases": {"../x": {"version": 1, "history": []}}}',
        b'{"schema_version": 1, "aliases": {"3": {"version": 1, "history": []}}}',
        b'{"schema_version": 1, "aliases": {"a": {"version": 1}, "a": {"version": 2}}}',
        b'{"schema_version": 1, "aliases": {"a": {"version": 1, "history": [' + b"1," * 16 + b"1]}}}",
        b'{"schema_version": 1, "aliases": {"a": {"version": 1, "path": "/etc"}}}',
        b'{"schema_version": 1, "aliases": ' + b"[" * 100_000,
        b"\xff\xfe",
        b" " * 300_000,
    ],
)
def test_a_corrupt_alias_file_is_told_and_leaves_versions_and_listing_alone(
    store: ModelStore, published: VersionId, content: bytes
) -> None:
    (store.root / "tiny" / "aliases.json").write_bytes(content)
    for reference in ("tiny", "tiny@stable", "tiny@beta"):
        with pytest.raises(StoreError, match=r"aliases\.json: expected"):
            store.open(reference)
    assert store.open("tiny@1").id == published
    assert store.open("tiny@latest").id == published
    assert store.names() == ("tiny",)
    assert store.versions("tiny") == (1,)
    (problem,) = store.model_problems("tiny")
    assert "aliases.json" in str(problem)
    assert len(str(problem)) < 1500


def test_a_version_of_a_later_contract_is_told_as_such_and_not_to_be_removed(
    store: ModelStore, published: VersionId
) -> None:
    """It may hold keys and files that only a newer release knows; an operator must not throw it away."""
    folder = store.root / "tiny" / "1"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 6, "watermark": {}}))
    (folder / "prior.npz").write_bytes(b"of a later contract")
    with pytest.raises(NewerSchema) as caught:
        store.open("tiny@1")
    told = str(caught.value)
    assert "tiny/1/manifest.json: expected schema_version 1 to 5, got '6'. A newer release" in told
    assert "keep it, and read it" in told
    assert "emove" not in told
    assert [type(problem) for problem in store.problems(published)] == [NewerSchema]


@pytest.mark.parametrize("number", [0, -1, True, "2", 2.0, None])
def test_a_schema_version_that_is_no_later_number_is_an_invalid_manifest(
    store: ModelStore, published: VersionId, number: object
) -> None:
    file = store.root / "tiny" / "1" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "schema_version": number}))
    with pytest.raises(InvalidManifest) as caught:
        store.open("tiny@1")
    assert not isinstance(caught.value, NewerSchema)


def test_aliases_of_a_later_contract_are_to_be_left_alone(store: ModelStore, published: VersionId) -> None:
    content = b'{"schema_version": 3, "aliases": {}, "weights": {}}'
    (store.root / "tiny" / "aliases.json").write_bytes(content)
    with pytest.raises(
        CorruptAliases, match=r"expected schema_version 1 to 2, got '3'\..*keep it, and read it"
    ):
        store.resolve("tiny")
    with pytest.raises(CorruptAliases):
        store.promote("tiny", "stable", 1)
    assert (store.root / "tiny" / "aliases.json").read_bytes() == content


def test_an_alias_of_a_missing_version_is_corrupt_and_nothing_else_is_served_for_it(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    publish_tiny(store, model=tiny)
    shutil.rmtree(store.root / "tiny" / "1")
    for reference in ("tiny", "tiny@stable"):
        with pytest.raises(
            CorruptAliases, match=r"'stable' to name a version that exists, got 1; there is 2\."
        ):
            store.open(reference)
    assert store.aliases("tiny") == {"latest": 2, "stable": 1}
    assert store.open("tiny@latest").id.version == 2
    assert [type(error) for error in store.model_problems("tiny")] == [CorruptAliases]


def test_links_are_followed_to_the_root_and_nowhere_below(
    store: ModelStore, published: VersionId, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(store.root, target_is_directory=True)
    assert ModelStore(linked).open("tiny").id == published

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other").symlink_to(store.root / "tiny", target_is_directory=True)
    other = ModelStore(elsewhere)
    assert other.names() == ()
    with pytest.raises(UnsafeFile, match="other: expected a directory, got a symbolic link"):
        other.open("other")


@pytest.mark.parametrize("kind", ["link", "file", "dangling"])
def test_an_entry_posing_as_a_version_is_refused_and_its_number_stays_taken(
    store: ModelStore, published: VersionId, tiny: TinyModel, kind: str
) -> None:
    entry = store.root / "tiny" / "5"
    if kind == "file":
        entry.write_text("x")
    else:
        entry.symlink_to(store.root / "tiny" / ("1" if kind == "link" else "9"))
    with pytest.raises(UnsafeFile, match="5: expected a directory"):
        store.open("tiny@5")
    assert store.versions("tiny") == (1,)
    assert store.resolve("tiny@latest").version == 1
    assert [type(error) for error in store.model_problems("tiny")] == [UnsafeFile]
    assert publish_tiny(store, model=tiny).version == 6


def test_a_model_of_nothing_but_links_is_listed_and_refused(store: ModelStore, published: VersionId) -> None:
    (store.root / "tiny" / "1").rename(store.root / "MOVED")
    (store.root / "tiny" / "1").symlink_to(store.root / "MOVED")
    (store.root / "tiny" / "aliases.json").unlink()
    assert store.names() == ("tiny",)
    for reference in ("tiny", "tiny@latest", "tiny@1"):
        with pytest.raises(UnsafeFile):
            store.open(reference)


def test_a_root_that_is_no_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"file: expected a readable path, got Not a directory"):
        ModelStore(tmp_path / "file").names()


def test_the_default_root_is_the_bundled_one_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    assert default_store_root() == BUNDLED_STORE
    monkeypatch.setenv(STORE_VARIABLE, "")
    assert default_store_root() == BUNDLED_STORE
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path))
    assert default_store_root() == tmp_path

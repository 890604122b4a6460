"""A store that is the directory of one model or one version, as copies of object storage are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_models import TinyModel, publish_tiny
from volumes import mount

from model_store import (
    CorruptVersion,
    ExtraFile,
    InvalidManifest,
    MissingFile,
    ModelNotFound,
    ModelStore,
    MountedStore,
    StoreWriteFailed,
    VersionId,
)

#: What KServe's storage initializer copies to /mnt/models, by the address in an InferenceService.
LAYOUTS = ("store", "store/tiny/", "store/tiny", "store/tiny/2/")


@pytest.fixture
def source(store: ModelStore, tiny: TinyModel) -> ModelStore:
    """tiny@1 (`stable`), tiny@2 and tiny-2d@1."""
    publish_tiny(store, model=tiny, aliases=("stable",))
    publish_tiny(store, name="tiny", image_shape=(1, 4, 4), latent_size=2, seed=2)
    publish_tiny(store, name="tiny-2d", image_shape=(1, 4, 4), latent_size=2, seed=3)
    return store


def copied(source: ModelStore, address: str, to: Path) -> MountedStore:
    """The copy of an address. Without a slash at its end, it is a prefix, which other models have too."""
    prefix = address.removeprefix("store").lstrip("/")
    for path in source.root.rglob("*"):
        name = str(path.relative_to(source.root))
        if path.is_file() and not path.name.startswith(".") and name.startswith(prefix):
            target = to / name[len(prefix) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return MountedStore(to)


@pytest.mark.parametrize("address", LAYOUTS)
def test_every_layout_is_read_as_the_store_it_comes_from(
    source: ModelStore, tmp_path: Path, address: str
) -> None:
    mounted = copied(source, address, tmp_path / "models")
    whole, version = address == "store", address.endswith("2/")
    assert mounted.names() == (("tiny", "tiny-2d") if whole else ("tiny",))
    assert mounted.single_model() == (None if whole else "tiny")
    assert mounted.unusable() == {}
    assert mounted.versions("tiny") == ((2,) if version else (1, 2))
    assert mounted.aliases("tiny") == ({"latest": 2} if version else source.aliases("tiny"))
    assert mounted.model_problems("tiny") == mounted.problems("tiny@2") == ()
    assert mounted.open("tiny@2").encoder == source.open("tiny@2").encoder
    assert mounted.manifest("tiny@2") == source.manifest("tiny@2")
    assert (mounted.path_of(VersionId("tiny", 2)) / "manifest.json").is_file()
    with pytest.raises(ModelNotFound):
        mounted.open("models")


@pytest.mark.parametrize("inside", ["tiny", "tiny/2"])
def test_a_configmap_may_be_a_model_or_a_version(source: ModelStore, tmp_path: Path, inside: str) -> None:
    mount(tmp_path / "models", source.root / inside)
    mounted = MountedStore(tmp_path / "models")
    assert mounted.open("tiny@2").encoder == source.open("tiny@2").encoder
    publish_tiny(source, name="tiny", image_shape=(1, 4, 4), latent_size=2, seed=4)
    after = "tiny" if inside == "tiny" else "tiny/3"
    mount(tmp_path / "models", source.root / after, stamp="..2026_01_02_00_00_00.2")
    assert mounted.versions("tiny")[-1] == 3
    assert mounted.open("tiny@3").encoder == source.open("tiny@3").encoder


def test_no_descriptor_stays_open(source: ModelStore, tmp_path: Path) -> None:
    for address in LAYOUTS:
        mounted = copied(source, address, tmp_path / address.replace("/", "-"))
        before = len(list(Path("/proc/self/fd").iterdir()))
        mounted.open("tiny@2")
        mounted.aliases("tiny")
        mounted.path_of(VersionId("tiny", 2))
        mounted.model_problems("tiny")
        with pytest.raises(ModelNotFound):
            mounted.open("tiny@7")
        assert len(list(Path("/proc/self/fd").iterdir())) == before, address


def test_a_defect_is_reported_at_its_real_path(source: ModelStore, tmp_path: Path) -> None:
    mounted = copied(source, "store/tiny/2/", tmp_path / "models")
    (mounted.root / "encoder.onnx").unlink()
    with pytest.raises(MissingFile) as missing:
        mounted.open("tiny")
    assert str(missing.value).startswith(f"{mounted.root / 'encoder.onnx'}: ")


def test_a_version_without_a_readable_manifest_has_the_name_of_its_directory(
    source: ModelStore, tmp_path: Path
) -> None:
    mounted = copied(source, "store/tiny/2/", tmp_path / "models")
    (mounted.root / "manifest.json").write_text("{")
    assert mounted.names() == ("models",)
    with pytest.raises(InvalidManifest, match=r"models/manifest\.json: "):
        mounted.open("models")
    (mounted.root / "manifest.json").rename(mounted.root / "Manifest.json")
    assert mounted.names() == ()
    odd = copied(source, "store/tiny/2/", tmp_path / "No Name")
    (odd.root / "manifest.json").write_text("[]")
    assert odd.names() == ("model",)


def test_a_broken_version_does_not_hide_the_name_of_its_model(source: ModelStore, tmp_path: Path) -> None:
    mounted = copied(source, "store/tiny/", tmp_path / "models")
    (mounted.root / "2" / "manifest.json").write_bytes(b"\xff")
    assert mounted.names() == ("tiny",)
    assert mounted.open("tiny@1").id == VersionId("tiny", 1)
    with pytest.raises(InvalidManifest):
        mounted.open("tiny@2")
    (mounted.root / "1" / "manifest.json").unlink()
    assert mounted.names() == ("models",)


def test_a_version_of_another_model_is_refused(source: ModelStore, tmp_path: Path) -> None:
    mounted = copied(source, "store/tiny/", tmp_path / "models")
    shutil.copytree(source.root / "tiny-2d" / "1", mounted.root / "1", dirs_exist_ok=True)
    with pytest.raises(InvalidManifest, match=r"expected the manifest of tiny@1, got that of tiny-2d@1"):
        mounted.open("tiny@1")


def test_an_address_that_is_the_prefix_of_two_versions_is_refused_by_name(
    source: ModelStore, tmp_path: Path
) -> None:
    """`s3://bucket/store/tiny/2` without the slash also brings version 21 along, as `1/`."""
    mounted = copied(source, "store/tiny/2/", tmp_path / "models")
    shutil.copytree(mounted.root, mounted.root / "1")
    with pytest.raises(ExtraFile, match=r"'1' \(a directory\)"):
        mounted.open("tiny")


def test_a_whole_store_is_one_whatever_else_lies_in_it(
    source: ModelStore, tiny: TinyModel, tmp_path: Path
) -> None:
    publish_tiny(source, name="5", model=tiny)
    (source.root / "manifest.json").write_text("{}")
    (source.root / "aliases.json").write_text("{}")
    mounted = MountedStore(source.root)
    assert mounted.single_model() is None
    assert mounted.names() == source.names() == ("5", "tiny", "tiny-2d")
    assert mounted.path_of(VersionId("5", 1)) == source.root / "5" / "1"
    assert MountedStore(tmp_path / "nothing").names() == ()
    assert MountedStore(tmp_path / "nothing").single_model() is None


@pytest.mark.parametrize("address", LAYOUTS[1:])
def test_only_a_whole_store_can_be_changed(
    source: ModelStore, tiny: TinyModel, tmp_path: Path, address: str
) -> None:
    mounted = copied(source, address, tmp_path / "models")
    before = sorted(mounted.root.rglob("*"))
    for change in (
        lambda: publish_tiny(mounted, model=tiny),
        lambda: mounted.promote("tiny", "candidate", 2),
        lambda: mounted.gc(keep=1),
    ):
        with pytest.raises(StoreWriteFailed, match="expected a store, got the directory of the model 'tiny'"):
            change()
    assert sorted(mounted.root.rglob("*")) == before


def test_an_unreadable_root_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorruptVersion):
        MountedStore(tmp_path / "file").names()
    assert MountedStore(tmp_path / "file").path_of(VersionId("a", 1)) == tmp_path / "file" / "a" / "1"

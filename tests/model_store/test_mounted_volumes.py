"""Stores in ConfigMaps and Secrets: links are followed inside the volume, and none leads out of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import SystemCalls
from tiny_models import TinyModel, publish_tiny
from volumes import mount

from model_store import CorruptVersion, ExtraFile, ModelStore, StoreError, UnsafeFile, VersionId
from model_store.cli import main
from model_store.integrity import OpenDirectory

pytestmark = pytest.mark.hazard_row("mounted-volumes")

LEVELS = ("root", "model", "version")


def mounted(store: ModelStore, at: Path, level: str) -> ModelStore:
    """The content of `store` with a volume for all of it, for the model `tiny`, or for `tiny/1`."""
    inside = {"root": "", "model": "tiny", "version": "tiny/1"}[level]
    if level == "version":
        at.mkdir(parents=True)
        (at / "tiny").mkdir()
        shutil.copy(store.root / "tiny" / "aliases.json", at / "tiny")
    mount(at / inside, store.root / inside)
    return ModelStore(at)


@pytest.mark.parametrize("level", LEVELS)
def test_a_mounted_store_is_read_like_any_other(
    store: ModelStore,
    published: VersionId,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    level: str,
) -> None:
    volume = mounted(store, tmp_path / "volume", level)
    assert volume.names() == ("tiny",)
    assert volume.unusable() == {}
    assert volume.versions("tiny") == (1,)
    assert volume.aliases("tiny") == store.aliases("tiny")
    assert volume.open("tiny").encoder == store.open("tiny").encoder
    assert volume.problems("tiny") == volume.model_problems("tiny") == ()
    assert main(["--store", str(volume.root), "verify"]) == 0
    assert capsys.readouterr().out == "ok       tiny@1\n1 checked, 0 corrupt.\n"
    assert main(["--store", str(volume.root), "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["version"] for row in document["versions"]] == ["tiny@1"]
    assert document["problems"] == []


@pytest.mark.parametrize("level", LEVELS)
def test_an_update_of_the_volume_is_there_at_the_next_call(
    store: ModelStore, tiny: TinyModel, tmp_path: Path, level: str
) -> None:
    publish_tiny(store, model=tiny)
    volume = mounted(store, tmp_path / "volume", level)
    before = volume.open("tiny")
    other = ModelStore(tmp_path / "other")
    publish_tiny(other, name="tiny", image_shape=(1, 4, 4), latent_size=2, seed=7)
    inside = {"root": "", "model": "tiny", "version": "tiny/1"}[level]
    mount(volume.root / inside, other.root / inside, stamp="..2026_01_02_00_00_00.2")
    after = volume.open("tiny")
    assert after.id == before.id
    assert after.encoder == other.open("tiny").encoder != before.encoder


def test_versions_and_models_come_and_go_with_an_update(
    store: ModelStore, tiny: TinyModel, tmp_path: Path
) -> None:
    publish_tiny(store, model=tiny)
    volume = mounted(store, tmp_path / "volume", "root")
    other = ModelStore(tmp_path / "other")
    publish_tiny(other, name="another", model=tiny)
    mount(volume.root, other.root, stamp="..2026_01_02_00_00_00.2")
    assert volume.names() == ("another",)
    assert volume.unusable() == {}


def test_a_version_is_read_from_one_content_though_an_update_comes_between(
    store: ModelStore, published: VersionId, tmp_path: Path
) -> None:
    """Half of the old files and half of the new ones would be a model that nobody published."""
    volume = mounted(store, tmp_path / "volume", "version")
    other = ModelStore(tmp_path / "other")
    publish_tiny(other, name="tiny", image_shape=(1, 4, 4), latent_size=2, seed=7)
    with OpenDirectory.at(volume.root / "tiny") as model, model.subdirectory("1") as version:
        encoder = version.read("encoder.onnx", ceiling_bytes=1 << 20)
        # Kept open by another name, as kubelet may take its time to remove the old content.
        mount(volume.root / "tiny" / "1", other.root / "tiny" / "1", stamp="..2026_01_02_00_00_00.2")
        with pytest.raises(CorruptVersion):
            version.read("decoder.onnx", ceiling_bytes=1 << 20)
    assert encoder == store.open("tiny").encoder
    assert volume.open("tiny").encoder == other.open("tiny").encoder


def outside(store: ModelStore, tmp_path: Path) -> Path:
    """The same sound model where no link of the store may lead."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(store.root, elsewhere)
    return elsewhere


ATTACKS: dict[str, Callable[[Path, Path], object]] = {
    "an absolute link": lambda root, out: relink(root / "tiny", out / "tiny"),
    "a link upwards": lambda root, out: relink(root / "tiny", "../elsewhere/tiny"),
    "a link that only begins well": lambda root, out: relink(root / "tiny", "..data/../../elsewhere/tiny"),
    "a link to another name": lambda root, out: relink(root / "tiny", "..data/other"),
    "..data absolute": lambda root, out: relink(root / "..data", out),
    "..data upwards": lambda root, out: relink(root / "..data", "../elsewhere"),
    "..data to the parent": lambda root, out: relink(root / "..data", ".."),
    "..data to itself": lambda root, out: relink(root / "..data", "..data"),
    "..data to a visible directory": lambda root, out: (
        shutil.copytree(out, root / "visible"),
        relink(root / "..data", "visible"),
    ),
    "..data through a second link": lambda root, out: (
        (root / "..1").symlink_to(out),
        relink(root / "..data", "..1"),
    ),
    "content that is a link": lambda root, out: relink(
        root / "..2026_01_01_00_00_00.1" / "tiny", out / "tiny"
    ),
    "a version that is a link": lambda root, out: relink(
        root / "..2026_01_01_00_00_00.1" / "tiny" / "1", out / "tiny" / "1"
    ),
    "a file that is a link": lambda root, out: relink(
        root / "..2026_01_01_00_00_00.1" / "tiny" / "1" / "encoder.onnx", out / "tiny" / "1" / "encoder.onnx"
    ),
}


def relink(path: Path, target: str | Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_link_leads_out_of_the_volume_or_anywhere_else_in_it(
    store: ModelStore, published: VersionId, tmp_path: Path, attack: str
) -> None:
    volume = mounted(store, tmp_path / "volume", "root")
    elsewhere = outside(store, tmp_path)
    ATTACKS[attack](volume.root, elsewhere)
    opened: list[str] = []
    own = [volume.root, *volume.root.rglob("*")]

    def watch(index: int, name: str, arguments: tuple[object, ...]) -> None:
        if name == "open":
            opened.append(str(arguments[0]))

    with SystemCalls(watch):
        with pytest.raises(StoreError) as caught:
            volume.open("tiny@1")
        unusable = volume.unusable()
    assert isinstance(caught.value, UnsafeFile)
    assert "symbolic link" in str(caught.value)
    # Names are opened one by one in an open directory, so that a path with a separator is the root alone.
    assert {path for path in opened if "/" in path} <= {str(volume.root)}
    assert {*opened} <= {str(volume.root), *(path.name for path in own)}
    if "link" in attack.partition(" that")[0] or attack.startswith("..data"):
        assert list(unusable)[:1] == ["tiny"]


def test_a_part_of_a_volume_that_lacks_its_data_says_how_to_mount_it(
    store: ModelStore, published: VersionId, tmp_path: Path
) -> None:
    """By subPath the links come along without what they lead to (kubernetes/kubernetes#48656)."""
    volume = mounted(store, tmp_path / "volume", "root")
    (volume.root / "..data").unlink()
    with pytest.raises(UnsafeFile, match=r"got a symbolic link to '\.\.data/tiny'\. Mount the whole volume"):
        volume.open("tiny")
    assert list(volume.unusable()) == ["tiny"]


@pytest.mark.parametrize("name", ["..evil", "..", "...", "..2026x", ".data", "..data2"])
def test_a_mounted_version_holds_nothing_but_its_files_and_the_mount(
    store: ModelStore, published: VersionId, tmp_path: Path, name: str
) -> None:
    volume = mounted(store, tmp_path / "volume", "version")
    extra = volume.root / "tiny" / "1" / name
    if name == "..":
        extra = volume.root / "tiny" / "1" / "..2026_01_01_00_00_00.1" / "weights.bin"
        extra.write_bytes(b"x")
        (volume.root / "tiny" / "1" / "weights.bin").symlink_to("..data/weights.bin")
    else:
        extra.write_bytes(b"x")
    with pytest.raises(ExtraFile, match="got also"):
        volume.open("tiny")


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_reading_a_mounted_store_leaks_no_descriptor(
    store: ModelStore, published: VersionId, tmp_path: Path
) -> None:
    volumes = [mounted(store, tmp_path / level, level) for level in LEVELS]
    before = descriptors()
    for volume in volumes:
        for _ in range(20):
            volume.open("tiny")
            volume.names()
            with pytest.raises(StoreError):
                volume.open("tiny@2")
    assert descriptors() == before

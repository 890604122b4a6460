"""A version that differs from the published one in anything is refused, with the file named."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from tiny_models import TinyModel, publish_tiny

from model_store import (
    CorruptVersion,
    DigestMismatch,
    ExtraFile,
    HostileGraph,
    InvalidGolden,
    InvalidManifest,
    MissingFile,
    ModelNotFound,
    ModelStore,
    SizeLimits,
    SizeMismatch,
    UnreadableFile,
    UnsafeFile,
    VersionId,
    location,
    reading,
    verification,
)
from model_store.integrity import OpenDirectory, seal

FILES = ("encoder.onnx", "decoder.onnx", "golden.npz", "MODEL_CARD.md", "manifest.json")
PAYLOAD = FILES[:-1]


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def restate(version_path: Path) -> None:
    """Make the manifest agree with the files again, digests included: what a forger would do."""
    document = json.loads((version_path / "manifest.json").read_bytes())
    for name in PAYLOAD:
        data = (version_path / name).read_bytes()
        document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    document["manifest_sha256"] = "0" * 64
    (version_path / "manifest.json").write_bytes(seal(json.dumps(document).encode()))


@pytest.mark.parametrize("name", PAYLOAD)
def test_a_flipped_bit_is_refused_with_the_file_and_both_digests(
    store: ModelStore, version_path: Path, name: str
) -> None:
    before = hashlib.sha256((version_path / name).read_bytes()).hexdigest()
    flip(version_path / name, 100)
    after = hashlib.sha256((version_path / name).read_bytes()).hexdigest()
    with pytest.raises(DigestMismatch) as caught:
        store.open("tiny")
    message = str(caught.value)
    assert message.startswith(f"{version_path / name}: expected sha256 {before}")
    assert f"got sha256 {after}" in message
    assert "Restore it" in message


def flips_refused(store: ModelStore, version_path: Path, count: int, seed: int) -> int:
    """Flip one bit, anywhere in the five files by their size, and undo it; how many were refused."""
    rng = random.Random(seed)
    sizes = [(version_path / name).stat().st_size for name in FILES]
    refused = 0
    for index in range(count):
        # Every file gets its share: the manifest and the card are small beside the graphs.
        name = FILES[index % 5] if index % 2 else rng.choices(FILES, sizes)[0]
        bit = rng.randrange((version_path / name).stat().st_size * 8)
        flip(version_path / name, bit)
        try:
            store.open("tiny@1")
        except CorruptVersion as error:
            assert str(version_path) in str(error)  # noqa: PT017 - which file it was is checked above
            refused += 1
        flip(version_path / name, bit)
    store.open("tiny@1")
    return refused


def test_one_hundred_flips_anywhere_are_all_refused(store: ModelStore, version_path: Path) -> None:
    assert flips_refused(store, version_path, 100, seed=1) == 100


@pytest.mark.hard
@pytest.mark.hazard_row("damaged-version")
def test_five_thousand_flips_anywhere_are_all_refused(
    store: ModelStore, version_path: Path, hazard: Hazard
) -> None:
    refused = flips_refused(store, version_path, 5_000, seed=2)
    hazard("damaged-version", figure=f"{refused:,} of 5,000 flips", bar="all refused", met=refused == 5_000)


@pytest.mark.parametrize("name", FILES)
def test_truncated_grown_and_emptied_files_are_refused(
    store: ModelStore, version_path: Path, name: str
) -> None:
    data = (version_path / name).read_bytes()
    for changed in (data[:-1], data[: len(data) // 2], b"", data + b"\n"):
        (version_path / name).write_bytes(changed)
        with pytest.raises(CorruptVersion, match=name):
            store.open("tiny")
    (version_path / name).write_bytes(data)
    store.open("tiny")


def test_swapped_files_are_refused_even_when_the_manifest_agrees(
    store: ModelStore, version_path: Path
) -> None:
    encoder, decoder = version_path / "encoder.onnx", version_path / "decoder.onnx"
    one, other = encoder.read_bytes(), decoder.read_bytes()
    encoder.write_bytes(other)
    decoder.write_bytes(one)
    with pytest.raises(SizeMismatch, match=r"encoder\.onnx"):
        store.open("tiny")
    restate(version_path)
    with pytest.raises(HostileGraph, match=r"encoder\.onnx: expected the graph inputs \['x'\]"):
        store.open("tiny")


def test_a_version_moved_to_another_number_or_name_is_refused(
    store: ModelStore, published: VersionId, version_path: Path
) -> None:
    shutil.copytree(version_path, store.root / "tiny" / "2")
    with pytest.raises(InvalidManifest, match="expected the manifest of tiny@2, got that of tiny@1"):
        store.open("tiny@2")
    shutil.copytree(version_path, store.root / "other" / "1")
    with pytest.raises(InvalidManifest, match="expected the manifest of other@1, got that of tiny@1"):
        store.open("other")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(store: ModelStore, version_path: Path, name: str) -> None:
    (version_path / name).unlink()
    with pytest.raises(MissingFile, match=f"{name}: expected a regular file, got nothing"):
        store.open("tiny")


@pytest.mark.parametrize(
    "name", ["extra.bin", "prior.npz", ".hidden", "weights.bin", "ENCODER.ONNX", "a\nb", "\udcff"]
)
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_an_extra_entry_of_any_kind_is_refused(
    store: ModelStore, version_path: Path, name: str, kind: str
) -> None:
    entry = version_path / name
    if kind == "file":
        entry.write_bytes(b"x")
    elif kind == "directory":
        (entry / "nested").mkdir(parents=True)
    else:
        entry.symlink_to("/etc/passwd")
    with pytest.raises(ExtraFile, match="got also") as caught:
        store.open("tiny")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["symbolic", "hard", "directory", "pipe", "dangling", "outward"])
def test_links_and_other_kinds_are_refused_even_with_the_right_content(
    store: ModelStore, version_path: Path, name: str, kind: str
) -> None:
    file, aside = version_path / name, store.root / "aside"
    file.rename(aside)
    if kind == "symbolic":
        file.symlink_to(aside)
    elif kind == "hard":
        os.link(aside, file)
    elif kind == "directory":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)  # opening it for reading would wait for ever
    elif kind == "dangling":
        file.symlink_to(store.root / "nowhere")
    else:
        file.symlink_to("../../../../../../../../etc/passwd")
    with pytest.raises(UnsafeFile, match=f"{name}: expected"):
        store.open("tiny")


def test_hard_links_of_an_installer_are_accepted_in_the_bundled_store_and_nowhere_else(
    store: ModelStore, version_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv links installed files from its cache, so the model that comes with the package has two names."""
    for name in FILES:
        os.link(version_path / name, store.root / f"cache-{name}")
    with pytest.raises(UnsafeFile, match="expected a file with one name, got 2 hard links"):
        store.open("tiny")
    monkeypatch.setattr(location, "BUNDLED_STORE", store.root)
    assert store.open("tiny").id.version == 1
    data = bytearray((version_path / "decoder.onnx").read_bytes())
    data[-1] ^= 1
    (version_path / "decoder.onnx").write_bytes(data)
    with pytest.raises(DigestMismatch, match=r"decoder\.onnx"):
        store.open("tiny")


@pytest.mark.parametrize("name", FILES)
def test_files_above_the_ceiling_are_refused_without_reading_them(
    store: ModelStore, version_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse files: a terabyte that takes no room on the disk must take none in memory either."""
    os.truncate(version_path / name, 1 << 40)
    read = os.read
    total = [0]

    def counted(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        total[0] += len(data)
        return data

    monkeypatch.setattr(os, "read", counted)
    with pytest.raises(SizeMismatch, match=rf"{name}: expected at most \d+ bytes, got 1099511627776 bytes"):
        store.open("tiny")
    assert total[0] < 1_000_000


def test_a_ceiling_is_a_matter_of_the_store(store: ModelStore, version_path: Path) -> None:
    size = (version_path / "encoder.onnx").stat().st_size
    ModelStore(store.root, limits=SizeLimits(graph_bytes=size)).open("tiny")
    with pytest.raises(SizeMismatch, match=f"expected at most {size - 1} bytes, got {size}"):
        ModelStore(store.root, limits=SizeLimits(graph_bytes=size - 1)).open("tiny")


def test_a_manifest_whose_digests_lie_is_refused(store: ModelStore, version_path: Path) -> None:
    document = json.loads((version_path / "manifest.json").read_bytes())
    document["files"]["decoder.onnx"]["sha256"] = "f" * 64
    document["manifest_sha256"] = "0" * 64
    (version_path / "manifest.json").write_bytes(seal(json.dumps(document).encode()))
    with pytest.raises(DigestMismatch, match=rf"decoder\.onnx: expected sha256 {'f' * 64}"):
        store.open("tiny")


def test_a_forged_version_with_right_digests_is_still_held_to_the_contract(
    store: ModelStore, version_path: Path, tiny: TinyModel
) -> None:
    """Digests prove that nothing changed; they do not prove that what was published is harmless."""
    proto = tiny.encoder_proto()
    proto.graph.initializer[0].data_location = 1
    proto.graph.initializer[0].external_data.add(key="location", value="../../secret")
    attacks: list[tuple[str, bytes, type[CorruptVersion], str]] = [
        ("encoder.onnx", proto.SerializeToString(), HostileGraph, "external data"),
        ("golden.npz", b"PK\x05\x06" + b"\0" * 18, InvalidGolden, "members"),
        ("golden.npz", b"\x80\x04\x95", InvalidGolden, "npz"),
        ("MODEL_CARD.md", b"\xff\xfe\x00", InvalidManifest, "UTF-8"),
    ]
    for name, data, error, reason in attacks:
        before = (version_path / name).read_bytes()
        (version_path / name).write_bytes(data)
        restate(version_path)
        with pytest.raises(error, match=reason):
            store.open("tiny")
        (version_path / name).write_bytes(before)
    restate(version_path)
    store.open("tiny")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"name": "tiny", "name": "tiny"}',
        b"\xff\xfe{}",
        b"[" * 500_000,
        b"\0" * 64,
    ],
)
def test_a_manifest_that_is_none_is_refused(store: ModelStore, version_path: Path, content: bytes) -> None:
    (version_path / "manifest.json").write_bytes(content)
    with pytest.raises(InvalidManifest, match=r"manifest\.json: expected") as caught:
        store.open("tiny")
    assert len(str(caught.value)) < 5000


def test_all_problems_are_found_and_not_only_the_first(store: ModelStore, version_path: Path) -> None:
    flip(version_path / "encoder.onnx", 9)
    (version_path / "decoder.onnx").write_bytes(b"short")
    (version_path / "golden.npz").unlink()
    (version_path / "extra").write_bytes(b"x")
    kinds = [type(error) for error in store.problems("tiny")]
    assert kinds == [MissingFile, ExtraFile, DigestMismatch, SizeMismatch]
    with pytest.raises(MissingFile):
        store.open("tiny")


def test_the_old_version_is_served_while_the_new_one_is_corrupt(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    publish_tiny(store, model=tiny)
    flip(store.root / "tiny" / "2" / "encoder.onnx", 77)
    assert store.open("tiny").id == published
    with pytest.raises(DigestMismatch):
        store.open("tiny@latest")


def test_the_bytes_that_are_hashed_are_the_bytes_that_are_returned(
    store: ModelStore, version_path: Path, tiny: TinyModel
) -> None:
    """Each payload file is opened exactly once: nothing can be exchanged between check and use."""
    opened: list[str] = []
    real = os.open

    def recorded(path: object, *arguments: int, **keywords: int) -> int:
        opened.append(os.fspath(path) if isinstance(path, (str, os.PathLike)) else str(path))
        return real(path, *arguments, **keywords)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", recorded)
        model = store.open("tiny@1")
    (version_path / "encoder.onnx").write_bytes(b"exchanged")
    assert model.encoder == tiny.encoder
    assert [opened.count(name) for name in PAYLOAD] == [1, 1, 1, 1]


def test_a_directory_exchanged_for_a_link_after_it_was_opened_changes_nothing(
    store: ModelStore, version_path: Path
) -> None:
    with OpenDirectory.at(store.root / "tiny") as model, model.subdirectory("1") as version:
        version_path.rename(store.root / "aside")
        version_path.symlink_to("/etc")
        assert "encoder.onnx" in version.entries()
        assert version.read("encoder.onnx", ceiling_bytes=1 << 20)


def test_a_version_that_is_collected_while_it_is_read_is_gone_and_not_corrupt(
    store: ModelStore, version_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = verification.examine

    def after_the_collector(*arguments: object) -> object:
        shutil.rmtree(version_path)
        return examine(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "examine", after_the_collector)
    with pytest.raises(ModelNotFound, match="has no version 1"):
        store.open("tiny@1")


@pytest.mark.parametrize("call", ["read", "fstat"])
def test_a_disk_that_cannot_be_read_is_told_as_such(
    store: ModelStore, version_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        try:
            store.open("tiny@1")
        except Exception as error:  # pytest itself needs these calls, so judge only once they work again
            caught = error
    assert isinstance(caught, UnreadableFile)
    assert "Input/output error (errno 5). Check" in str(caught)


def test_a_thousand_refusals_leak_no_descriptor(store: ModelStore, version_path: Path) -> None:
    attacks: list[Callable[[], None]] = [
        lambda: flip(version_path / "encoder.onnx", 3),
        lambda: flip(version_path / "manifest.json", 3),
    ]
    for attack in attacks:
        attack()
        before = sum(1 for _ in Path("/proc/self/fd").iterdir())
        for _ in range(100):
            with pytest.raises(CorruptVersion):
                store.open("tiny@1")
            with pytest.raises(ModelNotFound):
                store.open("tiny@2")
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before

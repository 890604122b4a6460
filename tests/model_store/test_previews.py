"""A version with a preview: what its manifest may say, what its file may contain, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forged_manifests import restated
from pydantic import ValidationError
from tiny_models import CARD, TinyModel, publish_tiny
from tiny_previews import Shown, tiny_preview
from tiny_priors import Fitted

from model_store import (
    DigestMismatch,
    ExtraFile,
    InvalidDraft,
    InvalidManifest,
    InvalidPreview,
    ManifestDraft,
    MissingFile,
    ModelStore,
    Preview,
    PreviewSpec,
    SizeLimits,
    SizeMismatch,
    VersionId,
)
from model_store.cli import main
from model_store.preview import MAX_PREVIEW_BYTES

NAMES = ("mu", "logvar", "kl", "labels", "thumbnails")
IMAGES, LATENT = 6, 2


@pytest.fixture
def shown(tiny: TinyModel) -> Shown:
    return tiny_preview(tiny, images=IMAGES)


@pytest.fixture
def preview(shown: Shown) -> Preview:
    return shown[1]


@pytest.fixture
def draft(tiny: TinyModel, shown: Shown) -> ManifestDraft:
    return tiny.draft().with_preview(shown[0])


@pytest.fixture
def folder(store: ModelStore, tiny: TinyModel, shown: Shown) -> Path:
    """tiny@1 with a preview, to be tampered with."""
    publish_tiny(store, model=tiny, shown=shown)
    return store.root / "tiny" / "1"


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=True)
    return buffer.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def members(preview: Preview) -> dict[str, bytes]:
    return {name: npy(array) for name, array in preview.arrays.items()}


# The version


def test_version_with_a_preview_is_read_back_with_its_arrays(
    store: ModelStore, folder: Path, shown: Shown
) -> None:
    spec, preview = shown
    model = store.open("tiny")
    assert model.manifest.preview == spec
    assert model.preview is not None
    assert set(model.preview.arrays) == set(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(model.preview.arrays[name], preview.arrays[name])
    document = json.loads((folder / "manifest.json").read_bytes())
    assert document["schema_version"] == 4
    assert set(document["files"]) >= {"preview.npz"}
    assert "prior.npz" not in document["files"]


def test_version_without_one_states_no_such_key_and_an_earlier_contract(
    store: ModelStore, version_path: Path
) -> None:
    document = json.loads((version_path / "manifest.json").read_bytes())
    assert (document["schema_version"], "preview" in document) == (1, False)
    assert store.open("tiny").preview is None


def test_preview_and_prior_are_independent(
    store: ModelStore, tiny: TinyModel, shown: Shown, fitted: Fitted
) -> None:
    publish_tiny(store, model=tiny, shown=shown, fitted=fitted)
    model = store.open("tiny")
    assert (model.preview is not None, model.prior is not None, model.manifest.schema_version) == (
        True,
        True,
        4,
    )
    again = model.manifest.with_fitted_prior(fitted[0])
    assert (again.preview, again.schema_version) == (shown[0], 4)


def test_autoencoder_shows_means_alone(store: ModelStore) -> None:
    """Its logvar has no meaning, so neither has a KL."""
    auto = TinyModel.make(image_shape=(3, 4, 6), latent_size=LATENT, kind="ae")
    publish_tiny(store, model=auto, shown=tiny_preview(auto, labels=()))
    preview = store.open("tiny").preview
    assert preview is not None
    assert set(preview.arrays) == {"mu", "thumbnails"}


def test_equal_previews_give_equal_bytes_that_numpy_itself_reads(
    preview: Preview, draft: ManifestDraft
) -> None:
    data = preview.to_bytes()
    assert Preview.from_bytes(data, draft).to_bytes() == data
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.str for name in arrays} == {
            "mu": "<f4", "logvar": "<f4", "kl": "<f4", "labels": "<u2", "thumbnails": "|u1",
        }  # fmt: skip


def test_version_with_a_preview_keeps_it_when_it_is_added_to_another_store(
    store: ModelStore, folder: Path, tmp_path: Path
) -> None:
    other = ModelStore(tmp_path / "other")
    publish_tiny(other, model=TinyModel.make(image_shape=(1, 4, 4), latent_size=2, seed=5))
    assert main(["--store", str(other.root), "add", str(store.root), "--renumber"]) == 0
    assert other.open("tiny@2").preview is not None
    assert (other.root / "tiny/2/preview.npz").read_bytes() == (folder / "preview.npz").read_bytes()


# What is refused of a version


def test_preview_that_was_changed_cut_or_removed_is_refused(store: ModelStore, folder: Path) -> None:
    file = folder / "preview.npz"
    data = file.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    file.write_bytes(bytes(flipped))
    with pytest.raises(DigestMismatch, match=r"preview\.npz: expected sha256"):
        store.open("tiny")
    file.write_bytes(data[:-1])
    with pytest.raises(SizeMismatch, match=r"preview\.npz"):
        store.open("tiny")
    file.unlink()
    with pytest.raises(MissingFile, match=r"preview\.npz: expected a regular file, got nothing"):
        store.open("tiny")


def test_preview_that_the_manifest_does_not_list_is_refused(store: ModelStore, version_path: Path) -> None:
    (version_path / "preview.npz").write_bytes(b"PK")
    with pytest.raises(ExtraFile, match=r"preview\.npz"):
        store.open("tiny")


def test_preview_above_the_ceiling_is_refused_before_it_is_read(store: ModelStore, folder: Path) -> None:
    small = ModelStore(store.root, limits=SizeLimits(preview_bytes=100))
    with pytest.raises(SizeMismatch, match=r"preview\.npz: expected at most 100 bytes"):
        small.open("tiny")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 3}, "schema_version: expected 4|schema_version"),
        ({"preview": None}, "preview"),
        ({"preview": {}}, "preview"),
        ({"preview.images": 501}, "preview.images"),
        ({"preview.images": 0}, "preview.images"),
        ({"preview.images": 5}, r"array 'mu': expected shape \(5, 2\)"),
        ({"preview.images": True}, "preview.images"),
        ({"preview.file": "../preview.npz"}, "preview.file"),
        ({"preview.labels": ["0", "0"]}, "expected each label once"),
        ({"preview.labels": ["0"]}, "array 'labels': expected indices below 1"),
        ({"preview.labels": []}, "members"),
        ({"preview.labels": ["0", "a\nb"]}, "preview.labels"),
        ({"preview.thumbnail": [1, 4, 5]}, "preview.thumbnail: expected 1 channels and at most 4 × 4"),
        ({"preview.thumbnail": [3, 4, 4]}, "preview.thumbnail"),
        ({"preview.thumbnail": [1, 4, 3]}, "array 'thumbnails': expected shape"),
        ({"preview.thumbnail": [1, 65, 4]}, "preview.thumbnail"),
        ({"preview.more": 1}, "preview.more"),
    ],
)
def test_manifest_that_states_another_preview_is_refused(
    store: ModelStore, folder: Path, changes: dict[str, Any], reason: str
) -> None:
    document = json.loads((folder / "manifest.json").read_bytes())
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = document
        for part in parents:
            at = at[part]
        at[last] = value
    restated(folder, **document)
    with pytest.raises((InvalidManifest, InvalidPreview), match=reason):
        store.open("tiny")


def test_null_is_no_preview_and_a_draft_may_have_none(tiny: TinyModel, shown: Shown) -> None:
    assert "preview" not in tiny.draft(preview=None).model_dump()
    with pytest.raises(ValidationError, match="schema_version: expected 4"):
        tiny.draft(preview=shown[0])


def test_draft_and_arrays_that_do_not_belong_together_are_not_published(
    store: ModelStore, tiny: TinyModel, shown: Shown
) -> None:
    spec, preview = shown
    parts: dict[str, Any] = {
        "encoder": tiny.encoder,
        "decoder": tiny.decoder,
        "golden": tiny.golden(),
        "card": CARD,
    }
    for draft, arrays, reason in (
        (tiny.draft(), preview, r"without\. List it as preview"),
        (tiny.draft().with_preview(spec), None, "expected the arrays of the preview, got none"),
        (
            tiny.draft().with_preview(spec),
            dataclasses.replace(preview, labels=None),
            "expected the arrays",
        ),
        (
            tiny.draft().with_preview(spec),
            dataclasses.replace(preview, mu=preview.mu.astype(np.float64)),
            "array 'mu': expected a float32 array",
        ),
    ):
        with pytest.raises(InvalidDraft, match=reason):
            store.publish(draft, preview=arrays, **parts)
    assert store.names() == ()


# What is refused of the file. `test_golden_vectors.py` attacks the code that reads the archive in full.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((IMAGES, LATENT, 1), np.float32),
        np.zeros((IMAGES, LATENT), np.float16),
        np.zeros((IMAGES, LATENT), ">f4"),
        np.zeros((0, LATENT), np.float32),
        np.zeros((IMAGES,), np.int64),
        np.asfortranarray(np.ones((IMAGES, 1, 4, 4), np.uint8)),
    ],
)
def test_array_of_another_dtype_shape_or_order_is_refused_by_name(
    preview: Preview, draft: ManifestDraft, name: str, array: Any
) -> None:
    with pytest.raises(InvalidPreview, match=rf"preview\.npz: array '{name}': expected"):
        Preview.from_bytes(archive(members(preview) | {name: npy(array)}), draft)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("mu", np.nan, "finite values"),
        ("mu", np.inf, "finite values"),
        ("mu", 10_001.0, "within ±10000"),
        ("logvar", -np.inf, "finite values"),
        ("logvar", -20_000.0, "within ±10000"),
        ("kl", np.nan, "finite values"),
        ("kl", -0.1, "values of at least 0"),
        ("labels", 2, "indices below 2, as many as labels, got 2|expected indices below 2"),
        ("labels", 65_535, "indices below 2"),
    ],
)
def test_values_without_a_meaning_are_refused(
    preview: Preview, draft: ManifestDraft, name: str, value: float, reason: str
) -> None:
    array = preview.arrays[name].copy()
    array.flat[-1] = value
    changed = dataclasses.replace(preview, **{name: array})
    with pytest.raises(InvalidPreview, match=f"array '{name}': expected .*({reason})"):
        Preview.from_bytes(changed.to_bytes(), draft)
    with pytest.raises(InvalidPreview, match=f"array '{name}': expected .*({reason})"):
        changed.validate(draft)


def test_missing_extra_and_renamed_members_are_refused(preview: Preview, draft: ManifestDraft) -> None:
    full = members(preview)
    less = {name: data for name, data in full.items() if name != "kl"}
    for changed in (less, full | {"x": b""}, less | {"../kl": full["kl"]}, less | {"KL": full["kl"]}):
        with pytest.raises(InvalidPreview, match="members"):
            Preview.from_bytes(archive(changed), draft)


def test_pickle_is_refused_and_never_executed(preview: Preview, draft: ManifestDraft) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was executed",))

    objects = np.empty((IMAGES,), object)
    objects[:] = [Evil() for _ in range(IMAGES)]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (IMAGES,)})
    for data in (header.getvalue() + b"\x80\x04", b"\x80\x04\x95", b""):
        with pytest.raises(InvalidPreview, match="array 'labels'"):
            Preview.from_bytes(archive(members(preview) | {"labels": data}), draft)


def test_archive_that_unpacks_to_more_than_the_ceiling_is_refused(
    preview: Preview, draft: ManifestDraft
) -> None:
    """A megabyte of zeros is a kilobyte in the file."""
    bomb = archive(members(preview) | {"mu": bytes(MAX_PREVIEW_BYTES + 1)})
    assert len(bomb) < 20_000
    with pytest.raises(InvalidPreview, match="bytes unpacked"):
        Preview.from_bytes(bomb, draft)


def test_damage_never_raises_anything_else(preview: Preview, draft: ManifestDraft) -> None:
    data = preview.to_bytes()
    for length in range(0, len(data), 5):
        with pytest.raises(InvalidPreview):
            Preview.from_bytes(data[:length], draft)
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), size=300):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            back = Preview.from_bytes(bytes(damaged), draft)
        except InvalidPreview:
            continue
        for name in NAMES:
            np.testing.assert_array_equal(back.arrays[name], preview.arrays[name])


def test_spec_of_a_preview_needs_no_labels() -> None:
    spec = PreviewSpec(images=1, labels=(), thumbnail=(1, 1, 1), protocol="p")
    assert spec.file == "preview.npz"
    assert VersionId("a", 1)

"""A version with a fitted prior: what its manifest may say, what is published, and what is refused."""

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
from store_checks import leftovers
from tiny_models import TinyModel, publish_tiny
from tiny_priors import Fitted, fitted_prior

from model_store import (
    CorruptVersion,
    DigestMismatch,
    ExtraFile,
    FittedPrior,
    InvalidDraft,
    InvalidManifest,
    InvalidPrior,
    LabelledMixture,
    ManifestDraft,
    MissingFile,
    ModelStore,
    PriorMixtures,
    SizeLimits,
    SizeMismatch,
    VersionId,
)
from model_store.manifest import MAX_COMPONENTS_IN_ALL, MAX_LABEL_CHARACTERS

from .test_prior_file import LATENT, NAMES, archive, members, npy


@pytest.fixture
def draft(tiny: TinyModel, fitted: Fitted) -> ManifestDraft:
    return tiny.draft().with_fitted_prior(fitted[0])


@pytest.fixture
def published_with_prior(store: ModelStore, tiny: TinyModel, fitted: Fitted) -> VersionId:
    return publish_tiny(store, model=tiny, fitted=fitted)


@pytest.fixture
def folder(store: ModelStore, published_with_prior: VersionId) -> Path:
    return store.root / "tiny" / "1"


# The version


def test_a_version_with_a_fitted_prior_is_read_back_with_its_mixtures(
    store: ModelStore, published_with_prior: VersionId, fitted: Fitted
) -> None:
    entry, mixtures = fitted
    model = store.open(published_with_prior)
    assert model.manifest.fitted_prior == entry
    assert [prior.name for prior in model.manifest.priors] == ["standard", "fitted"]
    assert model.prior is not None
    for name in NAMES:
        np.testing.assert_array_equal(getattr(model.prior, name), getattr(mixtures, name))
    whole, *labelled = model.prior.split(entry)
    assert [len(each.weights) for each in (whole, *labelled)] == [3, 1, 2, 3]
    np.testing.assert_array_equal(labelled[2].means, mixtures.means[6:])


def test_a_version_without_one_states_the_first_contract_and_has_no_such_file(
    store: ModelStore, version_path: Path
) -> None:
    """What an older release can read must not ask for a newer one."""
    assert json.loads((version_path / "manifest.json").read_bytes())["schema_version"] == 1
    assert not (version_path / "prior.npz").exists()
    assert store.open("tiny").prior is None


def test_a_version_with_one_states_the_second_contract(folder: Path) -> None:
    """So that an older release says that it is of a later one, and does not call it damaged."""
    document = json.loads((folder / "manifest.json").read_bytes())
    assert document["schema_version"] == 2
    assert set(document["files"]) == {
        "encoder.onnx", "decoder.onnx", "golden.npz", "MODEL_CARD.md", "prior.npz",
    }  # fmt: skip


@pytest.mark.parametrize("number", [1, 3, 0, True])
def test_another_schema_version_beside_a_fitted_prior_is_refused(
    store: ModelStore, folder: Path, number: int
) -> None:
    restated(folder, schema_version=number)
    with pytest.raises(InvalidManifest, match="schema_version"):
        store.open("tiny")


def test_equal_priors_give_equal_bytes_that_numpy_itself_reads(
    mixtures: PriorMixtures, draft: ManifestDraft
) -> None:
    data = mixtures.to_bytes()
    assert PriorMixtures.from_bytes(data, draft).to_bytes() == data
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.str for name in arrays} == {
            "weights": "<f8", "means": "<f4", "cholesky": "<f4",
        }  # fmt: skip


def test_an_autoencoder_may_have_a_fitted_prior_and_no_other(store: ModelStore, fitted: Fitted) -> None:
    auto = TinyModel.make(image_shape=(1, 4, 4), latent_size=LATENT, kind="ae")
    publish_tiny(store, model=auto, fitted=fitted)
    assert [prior.name for prior in store.open("tiny").manifest.priors] == ["fitted"]


# Attacks on the version


def test_a_prior_that_was_changed_exchanged_cut_or_removed_is_refused(
    store: ModelStore, folder: Path, tiny: TinyModel
) -> None:
    file = folder / "prior.npz"
    data = file.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    file.write_bytes(bytes(flipped))
    with pytest.raises(DigestMismatch, match=r"prior\.npz: expected sha256"):
        store.open("tiny")
    for length in (0, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(SizeMismatch, match=r"prior\.npz"):
            store.open("tiny")
    publish_tiny(store, model=tiny, fitted=fitted_prior(LATENT, seed=9))
    other = (store.root / "tiny" / "2" / "prior.npz").read_bytes()
    file.write_bytes(other)
    with pytest.raises((DigestMismatch, SizeMismatch), match=r"prior\.npz"):
        store.open("tiny@1")
    file.unlink()
    with pytest.raises(MissingFile, match=r"prior\.npz: expected a regular file, got nothing"):
        store.open("tiny@1")
    assert [type(problem) for problem in store.problems("tiny@1")] == [MissingFile]


def test_a_prior_that_no_manifest_lists_is_an_extra_file(
    store: ModelStore, version_path: Path, mixtures: PriorMixtures
) -> None:
    (version_path / "prior.npz").write_bytes(mixtures.to_bytes())
    with pytest.raises(ExtraFile, match=r"got also 'prior\.npz'"):
        store.open("tiny")


def test_a_prior_above_the_ceiling_is_refused_packed_and_unpacked(store: ModelStore, folder: Path) -> None:
    size = (folder / "prior.npz").stat().st_size
    unpacked = sum(
        entry.file_size for entry in zipfile.ZipFile(folder / "prior.npz").infolist()
    )  # smaller than packed, it is so small
    assert unpacked < size
    with pytest.raises(SizeMismatch, match=rf"prior\.npz: expected at most {size - 1} bytes"):
        ModelStore(store.root, limits=SizeLimits(prior_bytes=size - 1)).open("tiny")
    ModelStore(store.root, limits=SizeLimits(prior_bytes=size)).open("tiny")
    with pytest.raises(InvalidPrior, match=f"at most {unpacked - 1} bytes unpacked, got {unpacked}"):
        PriorMixtures.from_bytes(
            (folder / "prior.npz").read_bytes(),
            store.open("tiny").manifest,
            max_unpacked_bytes=unpacked - 1,
        )


def test_a_forged_prior_with_right_digests_is_still_held_to_the_contract(
    store: ModelStore, folder: Path, mixtures: PriorMixtures
) -> None:
    upper = mixtures.cholesky.copy()
    upper[4, 0, 1] = 1e-30
    for forged, reason in (
        (dataclasses.replace(mixtures, cholesky=upper).to_bytes(), "a value above a diagonal"),
        (
            archive(members(mixtures) | {"means": npy(mixtures.means[1:])}),
            r"'means': expected shape \(9, 2\)",
        ),
        (b"PK\x05\x06" + b"\0" * 18, "3 members"),
    ):
        (folder / "prior.npz").write_bytes(forged)
        restated(folder)
        with pytest.raises(InvalidPrior, match=reason) as caught:
            store.open("tiny")
        assert str(folder) in str(caught.value)


def test_a_manifest_that_counts_other_components_than_the_file_is_refused(
    store: ModelStore, folder: Path, fitted: Fitted
) -> None:
    entry = fitted[0]
    for changed in (
        entry.model_copy(update={"components": 4}),
        entry.model_copy(update={"labels": entry.labels[:2]}),
    ):
        priors = [{"name": "standard", "family": "standard_normal"}, changed.model_dump(mode="json")]
        restated(folder, priors=priors)
        with pytest.raises(InvalidPrior, match=r"'weights': expected shape"):
            store.open("tiny")
    # As many in all, but divided otherwise: the weights no longer sum to 1.
    moved = entry.model_copy(
        update={
            "components": 2,
            "labels": (entry.labels[0].model_copy(update={"components": 2}), *entry.labels[1:]),
        }
    )
    restated(folder, priors=[priors[0], moved.model_dump(mode="json")])
    with pytest.raises(InvalidPrior, match=r"'weights': expected those of all images to sum to 1, got 0\."):
        store.open("tiny")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("vae", []), ("vae", ["fitted"]), ("vae", ["fitted", "standard"]), ("vae", ["standard", "standard"]),
        ("vae", ["standard", "fitted", "fitted"]), ("ae", ["standard"]), ("ae", ["standard", "fitted"]),
    ],
)  # fmt: skip
def test_priors_in_another_order_or_number_than_the_kind_has_are_refused(
    tiny: TinyModel, draft: ManifestDraft, kind: str, names: list[str]
) -> None:
    by_name: dict[str, Any] = {prior.name: prior for prior in draft.priors}
    version = 2 if "fitted" in names else 1
    with pytest.raises(ValidationError, match=r"priors: expected \["):
        tiny.draft(kind=kind, priors=tuple(by_name[name] for name in names), schema_version=version)


@pytest.mark.parametrize(
    "label", ["", " ", " 7", "7 ", "a\nb", "a\x00", "\x7f", "x" * (MAX_LABEL_CHARACTERS + 1), 7, None, True]
)
def test_a_label_that_nobody_could_ask_for_is_refused(label: Any) -> None:
    with pytest.raises(ValidationError):
        LabelledMixture(label=label, components=1, share=0.5)


@pytest.mark.parametrize("label", ["7", "a b", "é", "ß-1", "雪", "x" * MAX_LABEL_CHARACTERS])
def test_a_label_is_any_other_text(label: str) -> None:
    assert LabelledMixture(label=label, components=1, share=0.5).label == label


def test_labels_stand_once_and_components_are_bounded(fitted: Fitted) -> None:
    entry = fitted[0]
    label = entry.labels[0].model_copy(update={"components": 1000})

    def with_labels(labels: tuple[LabelledMixture, ...]) -> FittedPrior:
        return FittedPrior(
            **{name: getattr(entry, name) for name in FittedPrior.model_fields} | {"labels": labels}
        )

    with pytest.raises(ValidationError, match="each label once"):
        with_labels((label, label))
    many = tuple(label.model_copy(update={"label": str(number)}) for number in range(10))
    with pytest.raises(ValidationError, match=f"at most {MAX_COMPONENTS_IN_ALL}"):
        with_labels(many)
    with_labels(many[:9])


# Publishing


def test_a_draft_and_its_mixtures_come_together_or_not_at_all(
    store: ModelStore, tiny: TinyModel, fitted: Fitted, draft: ManifestDraft
) -> None:
    parts: dict[str, Any] = {
        "encoder": tiny.encoder,
        "decoder": tiny.decoder,
        "golden": tiny.golden(),
        "card": "# Tiny\n",
    }
    with pytest.raises(InvalidDraft, match=r"prior\.npz: expected the mixtures of priors, got none"):
        store.publish(draft, **parts)
    with pytest.raises(InvalidDraft, match="a manifest that lists a fitted prior, got one without"):
        store.publish(tiny.draft(), **parts, prior=fitted[1])
    with pytest.raises(InvalidDraft, match=r"'weights': expected shape \(9,\) by the manifest"):
        store.publish(draft, **parts, prior=fitted_prior(LATENT, components=4)[1])
    with pytest.raises(InvalidDraft, match=r"'means': expected shape \(9, 2\)"):
        store.publish(draft, **parts, prior=fitted_prior(LATENT + 1)[1])
    doubled = dataclasses.replace(fitted[1], means=fitted[1].means.astype(np.float64))
    with pytest.raises(InvalidDraft, match="'means': expected a float32 array, got dtype float64"):
        store.publish(draft, **parts, prior=doubled)
    with pytest.raises(InvalidDraft, match="expected 1 to 100 bytes"):
        ModelStore(store.root, limits=SizeLimits(prior_bytes=100)).publish(draft, **parts, prior=fitted[1])
    assert not store.root.exists()
    store.publish(draft, **parts, prior=fitted[1])
    assert leftovers(store) == []


def test_a_prior_takes_the_place_of_an_earlier_one(draft: ManifestDraft) -> None:
    other = fitted_prior(LATENT, components=5)[0]
    again = draft.with_fitted_prior(other)
    assert again.fitted_prior == other
    assert [prior.name for prior in again.priors] == ["standard", "fitted"]


def test_show_tells_priors_labels_and_how_good_they_are(
    store: ModelStore, published_with_prior: VersionId, capsys: pytest.CaptureFixture[str]
) -> None:
    from model_store.cli import main

    assert main(["--store", str(store.root), "show", "tiny"]) == 0
    told = capsys.readouterr().out
    assert "standard, fitted (3 Gaussians; labels: 0, 1, 7)" in told
    assert "prior_log_density" in told
    assert "prior.npz" in told


def test_every_problem_of_a_version_with_a_prior_is_found(store: ModelStore, folder: Path) -> None:
    (folder / "prior.npz").write_bytes(b"short")
    (folder / "golden.npz").unlink()
    (folder / "extra").write_bytes(b"x")
    kinds: list[type[CorruptVersion]] = [type(error) for error in store.problems("tiny")]
    assert kinds == [MissingFile, ExtraFile, SizeMismatch]

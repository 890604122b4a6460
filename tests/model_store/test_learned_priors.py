"""A version with a learned prior: what its manifest may say, what is published, and what is refused."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forged_manifests import restated
from pydantic import ValidationError
from tiny_learned import TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny
from tiny_priors import fitted_prior

from model_store import (
    CorruptVersion,
    DigestMismatch,
    GoldenMismatch,
    HostileGraph,
    InvalidDraft,
    InvalidPrior,
    LabelDraws,
    LearnedPrior,
    LearnedPriorFiles,
    ManifestDraft,
    MissingFile,
    ModelStore,
    PriorGolden,
    PriorGoldenSpec,
    StandardNormalPrior,
    VersionId,
)
from model_store.cli import main

FILES = ("prior.npz", "prior_sampler.onnx", "prior_density.onnx", "prior_golden.npz")


@pytest.fixture
def learned(tiny: TinyModel) -> TinyLearnedPrior:
    return TinyLearnedPrior(tiny.latent_size)


@pytest.fixture
def identity(store: ModelStore, tiny: TinyModel, learned: TinyLearnedPrior) -> VersionId:
    return publish_tiny(store, model=tiny, learned=learned)


@pytest.fixture
def folder(store: ModelStore, identity: VersionId) -> Path:
    return store.root / "tiny" / "1"


def test_a_version_with_a_learned_prior_is_read_back_whole(store, identity, learned):
    model = store.open(identity)
    assert (model.manifest.schema_version, model.manifest.priors) == (5, (learned.entry,))
    assert model.learned_prior is not None
    assert model.learned_prior.payload() == learned.files.payload()
    assert model.prior is not None
    whole, *each = model.prior.split(learned.entry)
    assert len(whole.weights) == 2
    assert [len(mixture.weights) for mixture in each] == [1, 1]
    assert set(FILES) <= set(model.manifest.files)


def test_a_rule_for_draws_of_labels_is_read_back_and_otherwise_no_key(store, tiny, learned, identity, folder):
    without = json.loads((folder / "manifest.json").read_text())
    assert "label_draws" not in without["priors"][0]
    rule = LabelDraws(candidates=8, probability=0.99)
    other = publish_tiny(store, model=tiny, learned=dataclasses.replace(learned, label_draws=rule))
    assert store.open(other).manifest.learned_prior.label_draws == rule
    assert store.open(identity).manifest.learned_prior.label_draws is None


@pytest.mark.parametrize(
    "stated",
    [
        None,
        {"candidates": 8},
        {"candidates": 1, "probability": 0.9},
        {"candidates": 65, "probability": 0.9},
        {"candidates": 8, "probability": 1.0},
        {"candidates": 8, "probability": 0.0},
        {"candidates": 8.0, "probability": 0.9},
        {"candidates": 8, "probability": 0.9, "seed": 1},
    ],
)
def test_a_rule_that_is_none_is_refused(stated, learned):
    entry = learned.entry.model_dump(mode="json")
    assert "label_draws" not in entry
    read = partial(LearnedPrior.model_validate_json, strict=True)
    assert read(json.dumps({**entry, "label_draws": {"candidates": 8, "probability": 0.9}}))
    if stated is None:
        entry["labels"] = entry["labels"][:1]
        stated = {"candidates": 8, "probability": 0.9}
    with pytest.raises(ValidationError, match="label_draws"):
        read(json.dumps({**entry, "label_draws": stated}))


def test_the_number_stays_that_of_the_content_without_one(tiny, learned):
    """Releases without learned priors read every other version."""
    draft = tiny.draft()
    assert draft.schema_version == 1
    assert draft.with_fitted_prior(fitted_prior(2)[0]).schema_version == 2
    assert draft.with_learned_prior(learned.entry).schema_version == 5


@pytest.mark.parametrize(
    "priors",
    [
        lambda entry: (StandardNormalPrior(), entry),
        lambda entry: (entry, StandardNormalPrior()),
        lambda entry: (entry, fitted_prior(2)[0]),
        lambda entry: (entry, entry),
    ],
)
def test_a_learned_prior_stands_alone(priors, tiny, learned):
    """The model was trained with no other density."""
    stated = tiny.draft().with_learned_prior(learned.entry).model_dump()
    with pytest.raises(ValidationError, match="priors: expected"):
        ManifestDraft.model_validate({**stated, "priors": priors(learned.entry)})


def test_an_autoencoder_has_none(learned):
    tiny = TinyModel.make(image_shape=(1, 4, 4), latent_size=2, kind="ae")
    with pytest.raises(ValidationError, match="for kind 'ae', got \\['learned'\\]"):
        tiny.draft().with_learned_prior(learned.entry)


@pytest.mark.parametrize("which", ["sampler", "density"])
def test_graphs_of_another_latent_size_are_refused(which, tiny, learned):
    other = getattr(TinyLearnedPrior(3).entry, which)
    entry = learned.entry.model_copy(update={which: other})
    with pytest.raises(ValidationError, match=f"{which}.inputs: expected"):
        tiny.draft().with_learned_prior(entry)


@pytest.mark.parametrize("file", FILES)
def test_every_flipped_byte_of_its_files_is_found(file, store, folder):
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(DigestMismatch, match=file.replace(".", r"\.")):
        store.open("tiny")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(file, store, folder):
    (folder / file).unlink()
    with pytest.raises(MissingFile, match=file.replace(".", r"\.")):
        store.open("tiny")


def random_node(learned: TinyLearnedPrior) -> bytes:
    proto = learned.sampler_proto()
    proto.graph.node.insert(0, onnx.helper.make_node("RandomNormalLike", ["u"], ["noise"]))
    return proto.SerializeToString()


def without_inverse(learned: TinyLearnedPrior) -> bytes:
    proto = learned.density_proto()
    del proto.graph.output[0]
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("file", "hostile", "told"),
    [
        ("prior_sampler.onnx", random_node, "no randomness"),
        ("prior_density.onnx", without_inverse, "the graph outputs"),
    ],
)
def test_hostile_graphs_are_refused_though_the_digests_agree(file, hostile, told, store, folder, learned):
    (folder / file).write_bytes(hostile(learned))
    restated(folder)
    with pytest.raises(HostileGraph, match=told):
        store.open("tiny")


def changed(golden: PriorGolden, **arrays: Any) -> PriorGolden:
    return dataclasses.replace(golden, **arrays)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda g: changed(g, u=g.u.astype(np.float64)), "'u': expected a float32 array"),
        (lambda g: changed(g, z=g.z[:, :1]), r"'z': expected shape \(1 to 1024, 2\)"),
        (lambda g: changed(g, log_pz=g.log_pz[:, None]), r"'log_pz': expected shape \(1 to 1024\)"),
        (lambda g: changed(g, log_pz=g.log_pz[:2]), "'log_pz': expected 4 examples as in u"),
        (lambda g: changed(g, z=np.full_like(g.z, np.nan)), "'z': expected finite values"),
    ],
)
def test_unusable_golden_vectors_are_not_published(change, told, store, tiny, learned):
    files = learned.files
    broken = LearnedPriorFiles(files.sampler, files.density, change(files.golden))
    draft = tiny.draft().with_learned_prior(learned.entry)
    with pytest.raises(InvalidDraft, match=told):
        store.publish(
            draft,
            encoder=tiny.encoder,
            decoder=tiny.decoder,
            golden=tiny.golden(),
            prior=learned.mixtures,
            learned_prior=broken,
            card="# Tiny\n",
        )
    assert not store.root.exists() or store.names() == ()


@pytest.mark.parametrize(
    ("left_out", "told"),
    [("prior", "expected the mixtures"), ("learned_prior", "expected the graphs of the learned prior")],
)
def test_a_part_that_is_left_out_is_named(left_out, told, store, tiny, learned):
    parts = {"prior": learned.mixtures, "learned_prior": learned.files, left_out: None}
    with pytest.raises(InvalidDraft, match=told):
        store.publish(
            tiny.draft().with_learned_prior(learned.entry),
            encoder=tiny.encoder,
            decoder=tiny.decoder,
            golden=tiny.golden(),
            card="# Tiny\n",
            **parts,
        )


def test_graphs_without_an_entry_are_not_published(store, tiny, learned):
    with pytest.raises(InvalidDraft, match="expected 'learned' with its graphs"):
        store.publish(
            tiny.draft(),
            encoder=tiny.encoder,
            decoder=tiny.decoder,
            golden=tiny.golden(),
            learned_prior=learned.files,
            card="# Tiny\n",
        )


def test_golden_vectors_hold_both_directions_and_the_way_back(learned):
    golden, spec = learned.golden, PriorGoldenSpec()
    golden.check_sampler(learned.sample(golden.u), spec)
    u, log_pz = learned.density(golden.z)
    golden.check_density(u, log_pz, spec)
    for answers, name in (
        ((u + np.float32(2e-4), log_pz), "'u'"),
        ((u, log_pz + np.float32(2e-3)), "'log_pz'"),
        ((u, log_pz * np.float32(np.nan)), "'log_pz'"),
    ):
        with pytest.raises(GoldenMismatch, match=f"golden vectors of the prior: {name}"):
            golden.check_density(*answers, spec)
    with pytest.raises(GoldenMismatch, match="'z'"):
        golden.check_sampler(golden.z + np.float32(2e-4), spec)


def test_golden_file_of_another_latent_size_is_refused(learned):
    with pytest.raises(InvalidPrior, match=r"prior_golden\.npz"):
        PriorGolden.from_bytes(learned.golden.to_bytes(), 3)


def test_show_names_the_prior_with_its_labels(store, identity, capsys):
    assert main(["--store", str(store.root), "show", str(identity)]) == 0
    assert "learned (2 Gaussians; labels: hats, shoes)" in capsys.readouterr().out


def test_a_copy_under_another_number_keeps_every_file(store, identity, tmp_path, capsys):
    other = ModelStore(tmp_path / "other")
    publish_tiny(other, model=TinyModel.make(image_shape=(1, 4, 4), latent_size=2, seed=5))
    assert main(["--store", str(other.root), "add", f"{store.root}/tiny", "--renumber"]) == 0
    capsys.readouterr()
    before, after = (each.manifest.files for each in (store.open(identity), other.open("tiny@2")))
    assert {name: after[name] for name in FILES} == {name: before[name] for name in FILES}


def test_a_version_that_lies_about_its_prior_is_corrupt(store, folder):
    """The entry of another number of components than the file has."""
    document = json.loads((folder / "manifest.json").read_bytes())
    (entry,) = document["priors"]
    restated(folder, priors=[{**entry, "components": 3}])
    with pytest.raises(CorruptVersion, match=r"prior\.npz"):
        store.open("tiny")

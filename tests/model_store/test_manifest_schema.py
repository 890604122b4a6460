"""The manifest: strict classes, a generated schema, and no way to lie about tensors."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_models import TinyModel

import model_store
from model_store import (
    DigestMismatch,
    FittedPrior,
    ImageSpec,
    InvalidManifest,
    Manifest,
    ManifestDraft,
    VersionId,
)
from model_store.integrity import seal
from model_store.manifest import Preprocessing
from model_store.schema import SCHEMA_FILE, schema_text
from model_store.verification import parse_manifest


@pytest.fixture
def document(version_path: Path) -> dict[str, Any]:
    """manifest.json of tiny@1 as a tree to change."""
    return json.loads((version_path / "manifest.json").read_bytes())


def sealed(document: dict[str, Any]) -> bytes:
    """The changed tree as a manifest whose own digest is right again."""
    return seal(json.dumps({**document, "manifest_sha256": "0" * 64}).encode())


def at(document: dict[str, Any], path: str) -> tuple[Any, Any]:
    """(container, key) of a dotted path."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in parents:
        document = document[part]  # type: ignore[index]
    return document, last


def test_the_schema_file_is_what_the_classes_generate() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m model_store.schema"


def test_the_schema_requires_every_key_and_allows_no_other() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    objects = [schema, *(part for part in schema["$defs"].values() if part.get("type") == "object")]
    assert len(objects) > 10
    for part in objects:
        assert part["additionalProperties"] is False, part["title"]
        # The keys that a manifest of an earlier schema version has no word for.
        optional = {
            "ImageSpec": {"preprocessing", "sizes"},
            "LatentSpec": {"scaling_factor", "shift_factor", "mean", "std", "decoder_reach", "decoder_halo"},
            "TensorSpec": {"role"},
            "LearnedPrior": {"label_draws"},
            schema["title"]: {"preview", "calibration", "latent", "encoder", "decoder"},
        }.get(part["title"], set())
        assert set(part["required"]) == set(part["properties"]) - optional, part["title"]


def test_every_field_of_the_schema_that_is_no_plain_name_is_explained() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    for name in ("kind", "priors", "licence", "files", "manifest_sha256"):
        assert schema["properties"][name]["description"], name


def test_a_published_manifest_is_read_back_equal(document: dict[str, Any], published: VersionId) -> None:
    manifest = parse_manifest(sealed(document), where="m")
    assert (manifest.name, manifest.version) == ("tiny", 1)
    assert manifest.model_dump(mode="json") | {"manifest_sha256": ""} == document | {"manifest_sha256": ""}


def _paths(tree: Any, prefix: str = "") -> list[str]:
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    else:
        return [prefix]
    paths = [prefix] if prefix else []
    for key, value in items:
        # Keys with dots are the file names; they have a test of their own.
        if "." not in str(key):
            paths += _paths(value, f"{prefix}.{key}" if prefix else str(key))
    return paths


def test_no_key_may_be_missing_misspelt_or_of_another_type(document: dict[str, Any]) -> None:
    """Every key of the whole tree, one after the other: no default is guessed, nothing is coerced."""
    recipe_free = [
        path for path in _paths(document) if not path.startswith(("provenance.recipe.", "manifest_sha256"))
    ]
    assert len(recipe_free) > 60
    wrong_values: list[Any] = [None, True, 1.5, "1", [], {}, -1, "x\u0000", 10**30]
    accepted: list[str] = []
    for path in recipe_free:
        for change in ("missing", "extra", *wrong_values):
            changed = copy.deepcopy(document)
            container, key = at(changed, path)
            if isinstance(container, list):
                if change in ("missing", "extra"):
                    continue
                before, container[key] = container[key], change
            elif change == "missing":
                before = container.pop(key)
            elif change == "extra":
                container[f"{key}_"] = before = container[key]
            else:
                before, container[key] = container[key], change
            if change == before and type(change) is type(before):
                continue
            try:
                parse_manifest(sealed(changed), where="m")
            except InvalidManifest:
                continue
            accepted.append(f"{path} = {change!r}")
    # What remains is text that may be any text, figures that may be any figure, and free-form provenance.
    allowed = (
        "name = '1'",  # a name, if another one: the directory's own decides
        "description = ",
        "licence = ",
        "provenance.data = ",
        "provenance.libraries",
        "provenance.recipe = {}",
        "metrics.0.protocol = ",
        "metrics.0.value = ",
        "metrics = []",
        "provenance.seed = 1000000000000000000000000000000",
        "provenance.epochs = 1000000000000000000000000000000",
    )
    assert [entry for entry in accepted if not entry.startswith(allowed)] == []


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("image.shape", [1, 4, 5], "encoder.inputs"),
        ("image.shape", [4, 4], "image.shape"),
        ("image.range", [0.0, 255.0], "range: expected"),
        ("latent_size", 3, "latent"),
        ("encoder.outputs.0.shape", ["batch", 3], "encoder.outputs"),
        ("encoder.inputs.0.shape", [1, 1, 4, 4], "encoder.inputs"),
        ("encoder.file", "decoder.onnx", "encoder.file"),
        ("encoder.file", "../../other/1/encoder.onnx", "encoder.file"),
        ("encoder.file", "/etc/passwd", "encoder.file"),
        ("decoder.outputs", [], "decoder.outputs"),
        ("golden.file", "../golden.npz", "golden.file"),
        ("schema_version", 2, "schema_version"),
        ("kind", "ae", "priors"),
        ("priors", [], "priors"),
        ("provenance.created_at", "2024-01-01T00:00:00", "created_at"),
        ("provenance.created_at", 0, "created_at"),
        ("golden.pixel_atol", 1e9, "pixel_atol"),
    ],
)
def test_a_manifest_that_lies_is_refused_by_the_key(
    document: dict[str, Any], path: str, value: Any, reason: str
) -> None:
    container, key = at(document, path)
    container[key] = value
    with pytest.raises(InvalidManifest, match=reason):
        parse_manifest(sealed(document), where="m")


@pytest.mark.parametrize(
    "name",
    [
        "../escape",
        "/etc/passwd",
        "a/b",
        "..",
        "extra.bin",
        "encoder.onnx\u0000",
        "prior.npz",
        "manifest.json",
    ],
)
def test_a_manifest_naming_a_file_outside_the_contract_is_refused(
    document: dict[str, Any], name: str
) -> None:
    document["files"][name] = document["files"]["golden.npz"]
    with pytest.raises(InvalidManifest, match="files"):
        parse_manifest(sealed(document), where="m")


def test_a_manifest_that_forgets_a_file_is_refused(document: dict[str, Any]) -> None:
    del document["files"]["golden.npz"]
    with pytest.raises(InvalidManifest, match=r"missing \['golden\.npz'\]"):
        parse_manifest(sealed(document), where="m")


STATED = {"fit": "crop", "ground": "white", "levels": 256}
UNSTATED = {"fit": "stretch", "ground": "black", "levels": None}


def test_a_manifest_without_a_word_for_preprocessing_means_what_such_versions_were_served_with(document):
    assert "preprocessing" not in document["image"]
    read = parse_manifest(sealed(document), where="m").image.preprocessing
    assert read.model_dump() == UNSTATED


def test_a_stated_preprocessing_needs_schema_version_3_and_is_read_back(document):
    document["image"]["preprocessing"] = STATED
    with pytest.raises(InvalidManifest, match="schema_version: expected 3"):
        parse_manifest(sealed(document), where="m")
    document["schema_version"] = 3
    manifest = parse_manifest(sealed(document), where="m")
    assert manifest.image.preprocessing.model_dump() == STATED
    assert manifest.model_dump(mode="json")["image"] == document["image"]


@pytest.mark.parametrize(
    ("version", "preprocessing"),
    [
        (3, None),
        (3, {}),
        (3, {**STATED, "fit": "pad"}),
        (3, {**STATED, "levels": 255}),
        (3, {**STATED, "levels": True}),
        (3, {**STATED, "more": 1}),
        (3, {"fit": "crop", "ground": "black"}),
        (1, UNSTATED),
        (3, UNSTATED),
    ],
)
def test_a_preprocessing_that_is_not_one_or_is_stated_needlessly_is_refused(document, version, preprocessing):
    document["schema_version"] = version
    document["image"]["preprocessing"] = preprocessing
    with pytest.raises(InvalidManifest, match="preprocessing"):
        parse_manifest(sealed(document), where="m")


def test_schema_version_3_without_a_preprocessing_is_refused(document):
    document["schema_version"] = 3
    with pytest.raises(InvalidManifest, match="schema_version: expected 1"):
        parse_manifest(sealed(document), where="m")


def test_a_fitted_prior_leaves_the_preprocessing_as_it_was(tiny: TinyModel):
    image = ImageSpec(shape=tiny.draft().image.shape, preprocessing=Preprocessing.model_validate(STATED))
    draft = tiny.draft(image=image, schema_version=3)
    prior = FittedPrior(components=1, labels=(), protocol="p", metrics=())
    with_prior = draft.with_fitted_prior(prior)
    assert (with_prior.schema_version, with_prior.image) == (3, image)
    assert tiny.draft().with_fitted_prior(prior).schema_version == 2


def test_a_changed_figure_breaks_the_manifests_own_digest(document: dict[str, Any]) -> None:
    document["metrics"][0]["value"] = 1.0
    with pytest.raises(DigestMismatch, match=r"m: expected sha256 [0-9a-f]{64} .*got sha256 [0-9a-f]{64}"):
        parse_manifest(json.dumps(document).encode(), where="m")


def test_a_second_digest_in_the_recipe_cannot_stand_in_for_the_first(document: dict[str, Any]) -> None:
    document["provenance"]["recipe"] = {"manifest_sha256": "a" * 64}
    with pytest.raises(InvalidManifest, match="2 times instead of once"):
        parse_manifest(json.dumps(document).encode(), where="m")


def test_errors_are_few_short_and_do_not_repeat_what_was_sent(document: dict[str, Any]) -> None:
    document |= {f"secret_key_{index}": "secret value" * 1000 for index in range(500)}
    with pytest.raises(InvalidManifest) as caught:
        parse_manifest(sealed(document), where="m")
    assert "secret value" not in str(caught.value)
    assert "and 490 more" in str(caught.value)
    assert len(str(caught.value)) < 8_000


def test_drafts_are_frozen_and_refuse_unknown_keys(tiny: TinyModel) -> None:
    draft = tiny.draft()
    with pytest.raises(ValidationError):
        draft.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        tiny.draft(nmae="typo")


def test_a_manifest_is_a_draft_with_what_the_store_adds() -> None:
    added = set(Manifest.model_fields) - set(ManifestDraft.model_fields)
    assert added == {"version", "files", "manifest_sha256"}


def test_spec_names_every_key_of_the_manifest_that_carries_a_rule() -> None:
    spec = (Path(model_store.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
    for key in (
        "schema_version",
        "files",
        "manifest_sha256",
        "kind",
        "image.shape",
        "latent_size",
        "created_at",
        "preview",
    ):
        assert key in spec

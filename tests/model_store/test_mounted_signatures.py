"""A store that is one model or one version has its signatures, and a reader may require them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from signed_models import new_key, public_pem, sign_tiny, signed_bundle
from tiny_models import TinyModel, publish_tiny
from volumes import mount

from model_store import InvalidSignature, ModelStore, MountedStore, TrustedKeys, VersionId
from model_store.cli import main

KEY = new_key()
TINY = VersionId("tiny", 1)


@pytest.fixture
def source(store: ModelStore, tiny: TinyModel) -> ModelStore:
    """tiny@1, signed."""
    publish_tiny(store, model=tiny)
    sign_tiny(store, TINY, KEY)
    return store


def requiring(root: Path) -> MountedStore:
    mounted = MountedStore(root)
    mounted.trust_only(TrustedKeys.from_pem(public_pem(KEY), where="keys.pem"))
    return mounted


@pytest.mark.parametrize("inside", ["", "tiny", "tiny/1"])
def test_signatures_of_a_store_are_found_in_every_layout(source: ModelStore, inside: str) -> None:
    mounted = requiring(source.root / inside)
    assert mounted.open("tiny").signed_by is not None
    assert mounted.signature(TINY) == source.signature(TINY)
    assert mounted.problems("tiny@1") == ()


def test_a_version_that_is_mounted_alone_has_its_signature_next_to_the_directory(
    source: ModelStore, tmp_path: Path
) -> None:
    """As KServe copies it: /mnt/models, and /mnt/models.sig from a Secret or a ConfigMap."""
    models = tmp_path / "mnt/models"
    shutil.copytree(source.root / "tiny/1", models)
    mounted = requiring(models)
    with pytest.raises(InvalidSignature) as refused:
        mounted.open("tiny")
    assert str(refused.value).startswith(f"{models}.sig: expected a signature by the key ")
    assert "got no signature" in str(refused.value)
    assert mounted.signature(TINY) is None

    signature = tmp_path / "mnt/models.sig"
    shutil.copy(source.root / "tiny/1.sig", signature)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert mounted.open("tiny").signed_by is not None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert mounted.problems("tiny@1") == ()

    signature.write_bytes(signed_bundle(source.open(TINY).digests, new_key()))
    with pytest.raises(InvalidSignature, match=r"mnt/models\.sig: .*by another key"):
        mounted.open("tiny")
    (models / "MODEL_CARD.md").write_text("forged")
    shutil.copy(source.root / "tiny/1.sig", signature)
    assert mounted.problems("tiny@1") != ()


def test_a_signature_inside_of_a_version_is_an_extra_file(source: ModelStore, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(source.root / "tiny/1", models)
    shutil.copy(source.root / "tiny/1.sig", models / "1.sig")
    assert "ExtraFile" in {type(problem).__name__ for problem in requiring(models).problems("tiny@1")}


def test_a_link_to_a_version_may_have_the_signature_at_either_end(source: ModelStore, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(source.root / "tiny/1")
    assert requiring(link).open("tiny").signed_by is not None
    shutil.move(source.root / "tiny/1.sig", tmp_path / "current.sig")
    assert requiring(link).open("tiny").signed_by is not None


def test_signature_is_found_from_within_the_directory(
    source: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.root / "tiny/1")
    assert requiring(Path()).open("tiny").signed_by is not None


def test_a_volume_of_kubernetes_may_hold_the_signature(source: ModelStore, tmp_path: Path) -> None:
    """A Secret whose only key is `models.sig`, mounted where the directory of the version is."""
    content = tmp_path / "content"
    content.mkdir()
    shutil.copy(source.root / "tiny/1.sig", content / "models.sig")
    mount(tmp_path / "mnt", content)
    shutil.copytree(source.root / "tiny/1", tmp_path / "mnt/models")
    assert requiring(tmp_path / "mnt/models").open("tiny").signed_by is not None


def test_adding_such_a_version_brings_its_signature(
    source: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(source.root / "tiny/1", models)
    shutil.copy(source.root / "tiny/1.sig", tmp_path / "models.sig")
    other = tmp_path / "other"
    assert main(["add", str(models), "--store", str(other)]) == 0, capsys.readouterr().err
    assert ModelStore(other).signature(TINY) == source.signature(TINY)

"""A store with an address: copied, verified, and never in the way of what is already served."""

from __future__ import annotations

import json
import logging
import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imported_graphs import TINY, two_files
from object_storage import serving_s3, upload
from patience import eventually
from server_process import serving
from signed_models import new_key, public_pem, sign_tiny
from store_checks import sound
from tiny_models import publish_tiny
from tiny_priors import fitted_prior

from model_store import ModelReference, ModelStore, TrustedKeys, VersionId
from model_store.cli import main as store_command
from model_store.integrity import SizeLimits
from service import store_mirror as mirror_module
from service.app import create_app
from service.cli import main
from service.commands.runtime_commands import COMMANDS
from service.settings import Settings, SettingsError, load_settings
from service.store_mirror import MirrorError, StoreMirror, cache_directory

PUBLISH: dict[str, Any] = {"image_shape": (1, 4, 4), "latent_size": 2}


@pytest.fixture
def remote(tmp_path: Path) -> ModelStore:
    """What somebody published, two versions of it."""
    store = ModelStore(tmp_path / "remote")
    for seed in (1, 2):
        publish_tiny(store, name="mnist", seed=seed, **PUBLISH)
    return store


@pytest.fixture
def mirror(remote: ModelStore, tmp_path: Path) -> StoreMirror:
    return StoreMirror(f"file://{remote.root}", tmp_path / "copy")


def copy_of(mirror: StoreMirror) -> ModelStore:
    return ModelStore(mirror.directory)


def leftovers(mirror: StoreMirror) -> list[str]:
    return [path.name for path in mirror.directory.rglob(".incoming-*")]


def test_versions_and_aliases_are_copied_whole_and_verify(mirror: StoreMirror, remote: ModelStore) -> None:
    assert mirror.sync() is False
    assert mirror.failures == ()
    copy = copy_of(mirror)
    assert copy.versions("mnist") == remote.versions("mnist")
    assert copy.aliases("mnist") == remote.aliases("mnist")
    assert sound(copy)
    assert leftovers(mirror) == []


def test_what_is_published_promoted_and_rolled_back_follows(mirror: StoreMirror, remote: ModelStore) -> None:
    mirror.sync()
    publish_tiny(remote, name="mnist", seed=3, **PUBLISH)
    publish_tiny(remote, name="other", seed=4, **PUBLISH)
    for number in (1, 3):
        remote.promote("mnist", "stable", number)
    mirror.sync()
    copy = copy_of(mirror)
    assert copy.versions("mnist") == (1, 2, 3)
    assert copy.names() == ("mnist", "other")
    assert copy.aliases("mnist") == remote.aliases("mnist")
    remote.rollback("mnist", "stable")
    mirror.sync()
    assert copy.aliases("mnist") == remote.aliases("mnist")


def test_a_version_is_fetched_once(
    mirror: StoreMirror, remote: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.sync()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("fetched again")

    monkeypatch.setattr(StoreMirror, "_place", never)
    mirror.sync()
    assert mirror.failures == ()


def test_an_upload_under_way_is_not_there_yet_and_aliases_wait_for_it(
    mirror: StoreMirror, remote: ModelStore, tmp_path: Path
) -> None:
    mirror.sync()
    before = copy_of(mirror).aliases("mnist")
    publish_tiny(remote, name="mnist", seed=3, **PUBLISH)
    missing = remote.root / "mnist" / "3" / "encoder.onnx"
    missing.rename(tmp_path / "aside")
    mirror.sync()
    assert copy_of(mirror).versions("mnist") == (1, 2)
    assert copy_of(mirror).aliases("mnist") == before
    (failure,) = mirror.failures
    assert failure.model == "mnist"
    assert "version 3" in failure.reason
    (tmp_path / "aside").rename(missing)
    assert mirror.sync() is True
    assert mirror.failures == ()
    assert copy_of(mirror).aliases("mnist") == remote.aliases("mnist")


def test_a_fitted_prior_is_copied_with_its_version_and_waited_for(
    mirror: StoreMirror, remote: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads need no order: whether such a file is missing, only the manifest can say."""
    publish_tiny(remote, name="mnist", seed=3, fitted=fitted_prior(2), **PUBLISH)
    prior = remote.root / "mnist" / "3" / "prior.npz"
    prior.rename(tmp_path / "aside")
    fetched = []
    fetch = StoreMirror._fetch
    monkeypatch.setattr(StoreMirror, "_fetch", lambda *a, **k: fetched.append(a[1]) or fetch(*a, **k))
    for _ in range(2):
        mirror.sync()
        assert copy_of(mirror).versions("mnist") == (1, 2)
    assert [path for path in fetched if "/3/" in path] == [f"{remote.root}/mnist/3/manifest.json"] * 2
    (tmp_path / "aside").rename(prior)
    mirror.sync()
    assert mirror.failures == ()
    assert copy_of(mirror).open("mnist@3").manifest.fitted_prior is not None
    assert sound(copy_of(mirror))


def test_an_imported_version_without_an_encoder_is_copied(
    mirror: StoreMirror, remote: ModelStore, tmp_path: Path
) -> None:
    files = two_files(tmp_path, TINY.encoder, TINY.decoder)
    argv = ["import", *files[2:], "--range=0:1", "--name", "half", "--store", str(remote.root)]
    assert store_command(argv, more=COMMANDS) == 0
    mirror.sync()
    assert mirror.failures == ()
    assert copy_of(mirror).open("half").manifest.encoder is None
    assert sound(copy_of(mirror))


def test_a_prior_that_no_manifest_lists_is_not_copied(mirror: StoreMirror, remote: ModelStore) -> None:
    (remote.root / "mnist" / "1" / "prior.npz").write_bytes(b"somebody's own")
    mirror.sync()
    assert mirror.failures == ()
    assert not (mirror.directory / "mnist" / "1" / "prior.npz").exists()


def test_a_version_that_does_not_verify_is_refused_told_once_and_fetched_again_when_it_has_changed(
    mirror: StoreMirror, remote: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = remote.root / "mnist" / "2" / "encoder.onnx"
    sound_bytes = encoder.read_bytes()
    encoder.chmod(0o644)
    encoder.write_bytes(sound_bytes[:-1] + bytes([sound_bytes[-1] ^ 1]) + b"x")
    assert mirror.sync() is True
    reasons = {failure.model: failure.reason for failure in mirror.failures}
    assert "encoder.onnx" in reasons["mnist@2"]
    assert str(mirror.directory) not in reasons["mnist@2"]
    assert copy_of(mirror).versions("mnist") == (1,)
    fetched = []
    place = StoreMirror._place
    monkeypatch.setattr(StoreMirror, "_place", lambda *a: fetched.append(a) or place(*a))
    assert mirror.sync() is False
    assert fetched == []
    mirror.sync(again=True)
    assert len(fetched) == 1
    encoder.write_bytes(sound_bytes)
    assert mirror.sync() is True
    assert mirror.failures == ()
    assert sound(copy_of(mirror))


def test_a_file_above_its_ceiling_is_not_fetched(
    remote: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreMirror, "_place", lambda *_: pytest.fail("fetched"))
    mirror = StoreMirror(f"file://{remote.root}", tmp_path / "copy", limits=SizeLimits(graph_bytes=10))
    mirror.sync()
    assert "encoder.onnx: expected at most 10 bytes" in mirror.failures[0].reason


def test_a_disk_without_room_is_told_and_tried_again(
    mirror: StoreMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "ROOM_BYTES", 1 << 60)
    mirror.sync()
    assert {failure.model for failure in mirror.failures} == {"mnist@1", "mnist@2"}
    assert "Make room" in mirror.failures[0].reason
    monkeypatch.undo()
    mirror.sync()
    assert mirror.failures == ()


@pytest.mark.parametrize("name", ["..", ".git", "A", "a b", "mnist@1", "-x"])
def test_a_key_that_is_no_name_leads_nowhere(mirror: StoreMirror, remote: ModelStore, name: str) -> None:
    if name != "..":
        shutil.copytree(remote.root / "mnist", remote.root / name)
    shutil.copytree(remote.root / "mnist" / "1", remote.root / "mnist" / "01")
    (remote.root / "mnist" / "1" / "extra.sh").write_text("not copied")
    mirror.sync()
    seen = {path.name for path in mirror.directory.iterdir() if not path.name.startswith(".mirror")}
    assert seen == {"mnist"}
    assert {path.name for path in (mirror.directory / "mnist").iterdir()} == {"1", "2", "aliases.json"}
    assert not (mirror.directory / "mnist" / "1" / "extra.sh").exists()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"schema_version":1,"aliases":{"stable":{"version":"x"}}}']
)
def test_aliases_that_cannot_be_read_leave_the_old_ones(
    mirror: StoreMirror, remote: ModelStore, content: bytes
) -> None:
    mirror.sync()
    before = copy_of(mirror).aliases("mnist")
    (remote.root / "mnist" / "aliases.json").write_bytes(content)
    mirror.sync()
    assert [failure.model for failure in mirror.failures] == ["mnist"]
    assert copy_of(mirror).aliases("mnist") == before


def test_aliases_that_cannot_be_fetched_do_not_hide_what_is_wrong_with_a_version(
    mirror: StoreMirror, remote: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OSError(5, "Input/output error")

    mirror.sync()
    publish_tiny(remote, name="mnist", seed=3, **PUBLISH)
    (remote.root / "mnist" / "3" / "encoder.onnx").write_bytes(b"x")
    monkeypatch.setattr(StoreMirror, "_fetch_aliases", lost)
    mirror.sync()
    assert [failure.model for failure in mirror.failures] == ["mnist@3", "mnist"]
    assert "aliases.json cannot be fetched: OSError" in mirror.failures[1].reason


def test_a_name_that_may_not_be_read_is_ignored_with_one_line_and_hides_no_other(
    mirror: StoreMirror, remote: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (remote.root / "backup").mkdir()
    listed = StoreMirror._details

    def denied(self: StoreMirror, directory: str) -> dict[str, dict[str, Any]]:
        if directory.endswith(denied_name):
            raise PermissionError("Access Denied")
        return listed(self, directory)

    denied_name = "/backup"
    monkeypatch.setattr(StoreMirror, "_details", denied)
    with caplog.at_level(logging.WARNING):
        mirror.sync()
        assert mirror.failures == ()
        (ignored,) = mirror.ignored
        assert (ignored.model, "Access Denied" in ignored.reason) == ("backup", True)
        assert sound(copy_of(mirror))
        mirror.sync()
    assert [record.getMessage() for record in caplog.records] == ["store entry ignored"]
    denied_name = "/mnist"  # which is in the copy, and so is no stranger
    mirror.sync()
    assert [failure.model for failure in mirror.failures] == ["mnist"]
    assert mirror.ignored == ()


def test_a_store_that_is_gone_leaves_the_copy(mirror: StoreMirror, remote: ModelStore) -> None:
    mirror.sync()
    shutil.rmtree(remote.root)
    assert mirror.sync() is True
    assert mirror.sync() is False
    (failure,) = mirror.failures
    assert failure.model == "the store"
    assert mirror.address in failure.reason
    assert copy_of(mirror).versions("mnist") == (1, 2)


def test_what_a_killed_process_left_is_removed_after_an_hour(mirror: StoreMirror) -> None:
    mirror.directory.mkdir(parents=True)
    old, young = mirror.directory / ".incoming-old", mirror.directory / ".incoming-young"
    for directory in (old, young):
        (directory / "mnist").mkdir(parents=True)
    os.utime(old, (1, 1))
    mirror.sync()
    assert leftovers(mirror) == [".incoming-young"]


def test_an_address_stays_one_and_a_directory_a_path(tmp_path: Path) -> None:
    settings = load_settings({"model_store": "s3://bucket/models"}, environ={})
    assert settings.model_store == "s3://bucket/models"
    assert load_settings({"model_store": str(tmp_path)}, environ={}).model_store == tmp_path
    assert cache_directory("s3://a/b", tmp_path) != cache_directory("s3://a/c", tmp_path)


@pytest.mark.parametrize("address", ["s3://", "://bucket", "s3://key:secret@bucket/models"])
def test_an_address_that_is_none_or_carries_a_secret_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="--store: Expected a directory, or an address") as refused:
        load_settings({"model_store": address}, environ={})
    assert "secret" not in str(refused.value)


def test_an_address_that_nothing_installed_can_read_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"vae-service\[s3\]"):
        create_app(Settings(model_store="nosuch://bucket/models", store_cache=tmp_path))
    monkeypatch.setitem(sys.modules, "fsspec.core", None)  # as where the extra is not installed
    with pytest.raises(MirrorError, match=r"pip install 'vae-service\[s3\]'"):
        StoreMirror("s3://bucket/models", tmp_path)


# Over HTTP: a server of this machine that speaks S3.


@pytest.fixture(scope="module")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment with which an S3 client finds it."""
    with serving_s3(tmp_path_factory.mktemp("s3") / "log") as environment:
        yield environment


def test_a_server_follows_a_store_on_s3_and_serves_its_copy_when_that_is_gone(
    remote: ModelStore, object_storage: dict[str, str], tmp_path: Path
) -> None:
    upload(remote.root, "bucket", object_storage)
    arguments = (
        "--store",
        "s3://bucket/models",
        "--store-cache",
        str(tmp_path / "cache"),
        "--store-copy-s",
        "0.2",
    )
    with serving(tmp_path, tmp_path / "log", *arguments, environment=object_storage) as running:
        assert running.get("/readyz")[0] == 200, running.log

        def models() -> dict[str, Any]:
            document: dict[str, Any] = json.loads(running.get("/models")[2])
            return document

        def stable() -> str:
            return str(next(model["model"] for model in models()["models"] if "latest" in model["aliases"]))

        assert stable() == "mnist@2"
        publish_tiny(remote, name="mnist", seed=3, **PUBLISH)
        encoder = remote.root / "mnist" / "3" / "encoder.onnx"
        sound_bytes = encoder.read_bytes()
        encoder.chmod(0o644)
        encoder.write_bytes(sound_bytes + b"x")
        upload(remote.root, "bucket", object_storage)
        eventually(lambda: any(f["model"] == "mnist@3" for f in models()["failures"]), lambda: running.log)
        assert stable() == "mnist@2"
        assert running.get("/sample?n=1")[0] == 200
        encoder.write_bytes(sound_bytes)
        upload(remote.root, "bucket", object_storage)
        # A look that began during the upload may have found part of it, and says so until the next one.
        eventually(lambda: stable() == "mnist@3" and models()["failures"] == [], lambda: running.log)
        assert running.stop() == 0
        told = [line for line in running.log.splitlines() if '"event":"not copied"' in line]
        assert 1 <= len(told) <= 4, told  # changes are told, not every look
        assert "Traceback" not in running.log
    # Nothing answers at this address any more.
    gone = {**object_storage, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with serving(tmp_path, tmp_path / "log", *arguments, environment=gone) as running:
        assert running.get("/readyz")[0] == 200
        assert stable() == "mnist@3"
        eventually(lambda: [f["model"] for f in models()["failures"]] == ["the store"], lambda: running.log)
        assert running.stop() == 0


def test_several_workers_share_one_copy(
    remote: ModelStore, object_storage: dict[str, str], tmp_path: Path
) -> None:
    upload(remote.root, "shared", object_storage)
    cache = tmp_path / "cache"
    arguments = ("--store", "s3://shared/models", "--store-cache", str(cache), "--workers", "2")
    with serving(tmp_path, tmp_path / "log", *arguments, environment=object_storage) as running:
        eventually(lambda: running.get("/readyz")[0] == 200, lambda: running.log)
        eventually(lambda: '"event":"workers serve"' in running.log, lambda: running.log)
        assert running.stop() == 0
        assert "not copied" not in running.log
    (copy,) = cache.iterdir()
    assert sound(ModelStore(copy))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arbitrary uid of a container: no home, no HOME, and no entry in the list of users."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_user_without_a_home_is_told_the_setting_to_give(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was a traceback: RuntimeError, "Could not determine home directory."."""
    monkeypatch.setattr(
        "service.observability.logs.configure_logging", lambda **_: None
    )  # this process is the tests' own
    assert main(["check", "--store", "memory://models"]) == 78
    told = capsys.readouterr().err
    assert "no home and HOME is unset" in told
    assert "--store-cache, VAE_STORE_CACHE" in told
    assert cache_directory("memory://models", tmp_path).parent == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    with pytest.raises(MirrorError):
        cache_directory("memory://models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory("memory://models").parent == tmp_path / "vae-service"


def test_cache_that_cannot_be_written_is_told_with_the_setting_to_give(tmp_path: Path) -> None:
    """An arbitrary uid may have `/` for a home."""
    (tmp_path / "file").write_text("in the way")
    mirror = StoreMirror("memory://models", tmp_path / "file" / "cache")
    assert mirror.sync()
    (failure,) = mirror.failures
    assert str(tmp_path / "file" / "cache") in failure.reason
    assert "--store-cache, VAE_STORE_CACHE" in failure.reason


def test_signatures_are_copied_before_their_version_and_again_when_they_change(
    mirror: StoreMirror, remote: ModelStore
) -> None:
    """A server that requires them must not find the version without."""
    first = VersionId("mnist", 1)
    key, other = new_key(), new_key()
    sign_tiny(remote, first, key)
    mirror.sync()
    copy = copy_of(mirror)
    copy.trust_only(TrustedKeys.from_pem(public_pem(key), where=""))
    assert copy.open(first).signed_by is not None
    sign_tiny(remote, first, other)
    mirror.sync()
    assert [type(problem).__name__ for problem in copy.problems(first)] == ["InvalidSignature"]
    assert mirror.failures == ()


def test_one_version_is_fetched_with_its_signature(mirror: StoreMirror, remote: ModelStore) -> None:
    first = VersionId("mnist", 1)
    sign_tiny(remote, first, new_key())
    assert mirror.fetch(ModelReference.parse("mnist@1")) == ()
    assert copy_of(mirror).signature(first) == remote.signature(first)

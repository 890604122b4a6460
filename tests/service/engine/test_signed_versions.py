"""A server that requires signatures: what is unsigned is refused, and the version before goes on serving."""

from __future__ import annotations

import json
import shutil

import pytest
from registries import labels, publish, registry
from signed_models import bundle, new_key, public_pem, sign_tiny, statement, write_keys
from tiny_models import publish_tiny

from model_store import ModelStore, MountedStore, TrustedKeys
from service.app import create_app
from service.engine import ModelUnavailable
from service.settings import ExtraNotInstalled, Settings, SettingsError

KEY = new_key()


@pytest.fixture
def trusting(store: ModelStore) -> ModelStore:
    """The server's view of `store`."""
    other = ModelStore(store.root)
    other.trust_only(TrustedKeys.from_pem(public_pem(KEY), where="keys.pem"))
    return other


def test_unsigned_and_wrongly_signed_versions_are_refused_while_the_old_one_serves(store, trusting):
    sign_tiny(store, publish(store), KEY)
    models = registry(trusting)
    assert models.get("tiny").label == "tiny@1"

    second = publish(store, seed=1)
    assert models.refresh()
    assert models.get("tiny").label == models.get().label == "tiny@1"
    (failure,) = models.failures()
    assert failure.model == "tiny@2"
    assert "got no signature" in failure.reason
    with pytest.raises(ModelUnavailable, match="got no signature"):
        models.get("tiny@2")

    sign_tiny(store, second, new_key())
    models.refresh()
    assert "by another key" in models.failures()[0].reason
    forged = bundle(statement([("manifest.json", "0" * 64)]), KEY)
    store.attach(second, json.dumps(forged).encode())
    models.refresh()
    assert "MODEL_CARD.md" in models.failures()[0].reason
    assert labels(models) == ["tiny@1"]
    assert models.readiness().ready


def test_version_that_is_signed_after_its_publication_is_served_without_a_restart(store, trusting):
    """The signature is a file of its own, so the watcher must look at it."""
    sign_tiny(store, publish(store), KEY)
    models = registry(trusting)
    second = publish(store, seed=1)
    models.refresh()
    before = models.signature()
    assert models.refresh() is False
    sign_tiny(store, second, KEY)
    assert models.signature() != before
    assert models.refresh()
    assert models.get("tiny").label == "tiny@2"
    assert models.failures() == ()


def test_version_that_is_mounted_alone_is_served_when_its_signature_arrives(store, tmp_path):
    """KServe mounts one version as /mnt/models; its signature comes as /mnt/models.sig."""
    sign_tiny(store, publish(store), KEY)
    models_directory = tmp_path / "models"
    shutil.copytree(store.root / "tiny/1", models_directory)
    mounted = MountedStore(models_directory)
    mounted.trust_only(TrustedKeys.from_pem(public_pem(KEY), where="keys.pem"))
    models = registry(mounted)
    assert f"{models_directory}.sig: expected a signature" in models.readiness().reason
    before = models.signature()
    shutil.copy(store.root / "tiny/1.sig", tmp_path / "models.sig")
    assert models.signature() != before
    assert models.refresh()
    assert models.readiness().ready
    assert models.get("tiny").label == "tiny@1"


def test_version_without_an_alias_is_verified_on_its_first_request(store, trusting):
    publish(store)
    sign_tiny(store, publish(store, seed=1), KEY)
    models = registry(trusting)
    assert models.get().label == "tiny@2"
    with pytest.raises(ModelUnavailable, match="got no signature"):
        models.get("tiny@1")


def test_start_with_an_unsigned_default_is_not_ready_and_says_why(store, trusting):
    publish(store)
    readiness = registry(trusting).readiness()
    assert not readiness.ready
    assert "vae-store sign" in readiness.reason


# The setting


def settings_of(tmp_path, **values) -> Settings:
    return Settings(model_store=tmp_path / "store", default_model="tiny", **values)


def test_setting_makes_the_application_refuse_unsigned_versions(store, tmp_path):
    publish_tiny(store, image_shape=(1, 4, 4), latent_size=2)
    keys = write_keys(tmp_path / "keys.pem", new_key(), KEY)
    registry_of_app = create_app(settings_of(tmp_path, require_signature=keys)).state.app_state.registry
    registry_of_app.load_all()
    assert not registry_of_app.readiness().ready
    sign_tiny(store, store.resolve("tiny"), KEY)
    registry_of_app.load_all()
    assert registry_of_app.readiness().ready


def test_setting_works_for_a_version_that_is_mounted_alone(store, tmp_path):
    sign_tiny(store, publish_tiny(store, image_shape=(1, 4, 4), latent_size=2), KEY)
    models = tmp_path / "models"
    shutil.copytree(store.root / "tiny/1", models)
    keys = write_keys(tmp_path / "keys.pem", KEY)
    settings = Settings(model_store=models, require_signature=keys)
    registry_of_app = create_app(settings).state.app_state.registry
    registry_of_app.load_all()
    assert "models.sig: expected a signature" in registry_of_app.readiness().reason
    shutil.copy(store.root / "tiny/1.sig", tmp_path / "models.sig")
    registry_of_app.load_all()
    assert registry_of_app.readiness().ready


def test_unusable_key_file_prevents_the_start_and_names_the_setting(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match=r"^--require-signature or VAE_REQUIRE_SIGNATURE: .*No such file"):
        create_app(settings_of(tmp_path, require_signature=tmp_path / "absent.pem"))
    keys = write_keys(tmp_path / "keys.pem", KEY)
    monkeypatch.setitem(__import__("sys").modules, "cryptography.exceptions", None)
    with pytest.raises(ExtraNotInstalled, match=r"vae-service\[verify\]"):
        create_app(settings_of(tmp_path, require_signature=keys))

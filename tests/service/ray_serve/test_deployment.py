"""What a file for `serve deploy` may contain, and what is refused before a replica starts."""

from __future__ import annotations

import re

import pytest

from service.ray_serve.deployment import read_arguments, read_replica_config
from service.settings import SettingsError


def test_settings_come_from_the_arguments_then_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DEFAULT_MODEL", "other")
    monkeypatch.setenv("VAE_MAX_IMAGES", "7")
    settings = read_arguments({"settings": {"default_model": "mnist@4", "model_store": str(tmp_path)}}).read()
    assert (settings.default_model, settings.max_images, settings.model_store) == ("mnist@4", 7, tmp_path)


def test_a_replica_has_the_threads_that_ray_assigned_to_it(monkeypatch):
    assert read_arguments({}).read(threads=3).threads == 3
    assert read_arguments({"settings": {"threads": 2}}).read(threads=3).threads == 2
    assert read_arguments({}).read().threads is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"setting": {}}, "args: 'setting': "),
        ({"settings": {"port": 8000}}, "args: settings: port: expected a setting of the application"),
        ({"settings": {"grpc_port": 9000}}, "grpc_port: expected a setting of the application"),
        ({"settings": {"max_imags": 3}}, "max_imags"),
        ({"settings": {"max_images": 0}}, "--max-images: "),
    ],
)
def test_arguments_that_mean_nothing_are_refused(given, told):
    with pytest.raises(SettingsError, match=re.escape(told)):
        read_arguments(given).read()


def test_aliases_are_versions_by_model():
    assert read_replica_config(None).aliases == {}
    aliases = {"mnist": {"stable": 4, "canary": 5}}
    assert read_replica_config({"aliases": aliases}).aliases == aliases


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"alias": {}}, "user_config: 'alias': "),
        ({"aliases": {"mnist": {"stable": "four"}}}, "'aliases.mnist.stable': "),
        ({"aliases": {"mnist": {"stable": 0}}}, "'aliases.mnist.stable': "),
        ({"aliases": {"../etc": {"stable": 1}}}, "user_config: "),
        ({"aliases": {"mnist": {"latest": 1}}}, "'latest' always names the highest version"),
        ([1], "user_config: "),
        ("mnist@4", "user_config: "),
    ],
)
def test_other_configurations_are_refused(given, told):
    with pytest.raises(SettingsError, match=re.escape(told)):
        read_replica_config(given)

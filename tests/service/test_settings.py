"""Every knob: where it comes from, what it may be, and that a person can find it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from service.cli import main
from service.settings import Settings, SettingsError, describe_settings, ignored_variables, load_settings


def test_flag_wins_over_environment_and_environment_over_default() -> None:
    assert load_settings({}, environ={}).port == 8000
    assert load_settings({}, environ={"VAE_PORT": "9001"}).port == 9001
    assert load_settings({"port": "9002"}, environ={"VAE_PORT": "9001"}).port == 9002


def test_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_MAX_IMAGES", "17")
    monkeypatch.setenv("VAE_MODEL_STORE", "/srv/models")
    monkeypatch.setenv("VAE_ACCESS_LOG", "false")
    settings = load_settings()
    assert (settings.max_images, settings.model_store, settings.access_log) == (
        17,
        Path("/srv/models"),
        "none",
    )


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        ("", "no-probes"),
        ("all", "all"),
        ("errors", "errors"),
        ("none", "none"),
        ("true", "all"),
        ("False", "none"),
    ],
)
def test_access_log_is_one_of_four_or_one_of_the_former_two(value: str, mode: str) -> None:
    assert load_settings({}, environ={"VAE_ACCESS_LOG": value}).access_log == mode
    if value:
        assert load_settings({"access_log": value}, environ={}).access_log == mode


def test_access_log_that_is_none_of_them_is_refused_with_all_four() -> None:
    with pytest.raises(
        SettingsError, match=r"VAE_ACCESS_LOG: .*'all', 'no-probes', 'errors' or 'none', got `probes`"
    ):
        load_settings({}, environ={"VAE_ACCESS_LOG": "probes"})


def test_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass what is unset as an empty text; an empty path would be the working directory."""
    monkeypatch.setenv("VAE_MODEL_STORE", "")
    monkeypatch.setenv("VAE_PORT", "")
    assert (load_settings().model_store, load_settings().port) == (None, 8000)
    assert load_settings({}, environ={"VAE_MODEL_STORE": ""}).model_store is None


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [("VAE_PROT", "VAE_PORT"), ("VAE_MAX_IMAGE", "VAE_MAX_IMAGES"), ("VAE_MODELSTORE", "VAE_MODEL_STORE")],
)
def test_unknown_variable_is_refused_with_the_nearest_name(variable: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=rf"`{variable}`.*Did you mean `{nearest}`\?"):
        load_settings({}, environ={variable: "1"})


KUBERNETES = {  # for the Services `vae`, `vae-service` and `vae-max-images`, the last on IPv6
    "VAE_SERVICE_HOST": "10.96.12.7",
    "VAE_SERVICE_PORT": "8000",
    "VAE_SERVICE_PORT_HTTP": "8000",
    "VAE_PORT": "tcp://10.96.12.7:8000",
    "VAE_PORT_8000_TCP": "tcp://10.96.12.7:8000",
    "VAE_PORT_8000_TCP_PROTO": "tcp",
    "VAE_PORT_8000_TCP_PORT": "8000",
    "VAE_PORT_8000_TCP_ADDR": "10.96.12.7",
    "VAE_SERVICE_SERVICE_HOST": "10.96.12.8",
    "VAE_SERVICE_SERVICE_PORT": "80",
    "VAE_SERVICE_SERVICE_PORT_METRICS_2": "9090",
    "VAE_SERVICE_PORT_53_UDP": "udp://10.96.12.8:53",
    "VAE_MAX_IMAGES_SERVICE_HOST": "fd00::1",
    "VAE_MAX_IMAGES_SERVICE_PORT": "8000",
    "VAE_MAX_IMAGES_PORT": "tcp://[fd00::1]:8000",
}
DOCKER = {  # for `--link other:vae`
    "VAE_NAME": "/web/vae",
    "VAE_PORT": "tcp://172.17.0.5:8000",
    "VAE_PORT_8000_TCP_START": "tcp://172.17.0.5:8000",
    "VAE_PORT_8000_TCP_END": "tcp://172.17.0.5:8010",
    "VAE_PORT_8000_TCP_PORT_START": "8000",
    "VAE_PORT_8000_TCP_PORT_END": "8010",
    "VAE_ENV_VAE_PORT": "8000",
    "VAE_ENV_LANG": "C.UTF-8",
}


@pytest.mark.parametrize("links", [KUBERNETES, DOCKER], ids=["Kubernetes", "Docker"])
def test_variables_that_an_orchestrator_adds_are_no_settings(
    links: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings({}, environ={**links, "VAE_MAX_IMAGES": "17"}).max_images == 17
    assert load_settings({}, environ=links).port == 8000
    assert ignored_variables({**links, "HOME": "/"}) == tuple(sorted(links))
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VAE_MAX_IMAGES", "17")
    settings = load_settings()
    assert (settings.port, settings.max_images) == (8000, 17)
    assert Settings().port == 8000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VAE_SERVICE_PORT", "8000"),  # no VAE_SERVICE_HOST: a person wrote it
        ("VAE_SERVICE_HOST", "localhost"),
        ("VAE_PORTS", "tcp://10.96.12.7:8000"),
        ("VAE_NAME", "mnist"),
        ("VAE_ENV_LANG", "C"),  # no VAE_NAME
        ("VAE_PORT_8000_TCP_PROTO", "http"),
        ("VAE_PORT_8000_TCP", "8000"),
        ("VAE_HOST_PORT", "8000"),
    ],
)
def test_variable_that_only_resembles_one_of_an_orchestrator_is_refused(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load_settings({}, environ={variable: value})


def test_misspelt_variable_is_refused_among_those_of_an_orchestrator() -> None:
    with pytest.raises(SettingsError, match=r"`VAE_PROT`.*Did you mean `VAE_PORT`\?"):
        load_settings({}, environ={**KUBERNETES, "VAE_PROT": "8000"})
    with pytest.raises(SettingsError, match="VAE_PORT"):
        load_settings({}, environ={"VAE_PORT": "http://10.96.12.7:8000"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VAE_PORT", "65536"),
        ("VAE_PORT", "eight"),
        ("VAE_THREADS", "0"),
        ("VAE_MAX_IMAGES", "0"),
        ("VAE_LOG_FORMAT", "xml"),
        ("VAE_DEFAULT_MODEL", "../mnist"),
        ("VAE_DEFAULT_MODEL", "mnist@@3"),
        ("VAE_KEEP_ALIVE_S", "-1"),
    ],
)
def test_value_out_of_bounds_is_refused_by_the_name_it_came_from(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as caught:
        load_settings({}, environ={variable: value})
    assert f"got `{value}`." in str(caught.value)
    flag = "--" + variable.removeprefix("VAE_").lower().replace("_", "-")
    with pytest.raises(SettingsError, match=flag):
        load_settings({variable.removeprefix("VAE_").lower(): value}, environ={})


def test_settings_cannot_be_changed_or_invented() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="prot"):
        Settings(prot=1)  # type: ignore[call-arg]


def test_help_lists_every_setting_with_flag_variable_unit_default_and_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["run", "--help-all"])
    assert done.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    described = describe_settings()
    assert {d.field for d in described} == set(Settings.model_fields)
    for setting in described:
        assert setting.unit
        assert len(setting.reason) > 20
        for part in (setting.flag, setting.variable, f"unit: {setting.unit}", f"default: {setting.default}"):
            assert part in text, part
        assert setting.reason in text


def test_unknown_flag_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["run", "--max-image", "3"])
    assert done.value.code == 2
    assert "Did you mean `--max-images`?" in capsys.readouterr().err


def test_wrong_setting_ends_with_78_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", "--port", "99999"]) == 78
    monkeypatch.setenv("VAE_PROT", "1")
    assert main(["run"]) == 78
    assert "Did you mean `VAE_PORT`?" in capsys.readouterr().err


def test_help_needs_no_runtime() -> None:
    """A person who asks for help does not wait for onnxruntime; and importing a module reads nothing."""
    code = (
        "import sys, service.cli\n"
        "try: service.cli.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'onnxruntime', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr.decode()

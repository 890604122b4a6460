"""The files of deploy/ray name what exists, and HAProxy is started with what Ray's template leaves out."""

from __future__ import annotations

import importlib
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from service.ray_serve.application import DEPLOYMENT
from service.ray_serve.deployment import read_arguments, read_replica_config

FOLDER = Path(__file__).resolve().parents[3] / "deploy/ray"
#: What Ray 2.60 writes, shortened to the lines that matter.
TEMPLATE = """\
global
    maxconn 4096
defaults
    mode http
    timeout client 30s
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
    use_backend vae if is_vae
listen stats
  bind *:8404
  stats enable
"""


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "serve.yaml").read_text())
    return found


def test_the_configuration_is_one_that_the_application_accepts() -> None:
    (application,) = configuration()["applications"]
    module, _, name = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    settings = read_arguments(application["args"]).read()
    (deployment,) = application["deployments"]
    assert deployment["name"] == DEPLOYMENT
    read_replica_config(deployment["user_config"])
    # Ray would answer 503 before the application's own queue answers 429 with a time to retry.
    assert deployment["max_ongoing_requests"] >= settings.max_queue_images
    assert deployment["graceful_shutdown_timeout_s"] > settings.request_timeout_s
    assert deployment["health_check_timeout_s"] > deployment["health_check_period_s"]


def test_ray_listens_on_this_machine_alone() -> None:
    assert configuration()["http_options"]["host"] == "127.0.0.1"


def started(tmp_path: Path, *arguments: str) -> list[str]:
    """What HAProxy is started with by the script."""
    haproxy = tmp_path / "haproxy"
    haproxy.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    haproxy.chmod(0o755)
    done = subprocess.run(
        [str(FOLDER / "haproxy"), *arguments],
        env={"PATH": os.environ["PATH"], "HAPROXY_OF_RAY": str(haproxy)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_haproxy_bounds_requests_and_hides_its_ports(tmp_path: Path) -> None:
    given = tmp_path / "haproxy.cfg"
    given.write_text(TEMPLATE)
    bounded = f"{given}.bounded"
    assert started(tmp_path, "-db", "-f", str(given), "-sf", "17", "18") == [
        "-db", "-f", bounded, "-sf", "17", "18",
    ]  # fmt: skip
    lines = Path(bounded).read_text().splitlines()
    assert [line.strip() for line in lines if "bind" in line] == [
        "bind 127.0.0.1:9101", "bind 127.0.0.1:8000", "bind 127.0.0.1:8404",
    ]  # fmt: skip
    assert (
        "    timeout http-request 10s" in lines[lines.index("defaults") : lines.index("frontend prometheus")]
    )
    assert "    option http-buffer-request" in lines
    frontend = lines[lines.index("frontend http_frontend") : lines.index("listen stats")]
    assert "    http-response del-header server" in frontend
    assert [line for line in TEMPLATE.splitlines() if line not in lines] == [
        "    bind :9101",
        "  bind *:8404",
    ]
    assert given.read_text() == TEMPLATE, "Ray compares it with what it would write"


def test_haproxy_that_is_asked_for_something_else_is_left_alone(tmp_path: Path) -> None:
    assert started(tmp_path, "-v") == ["-v"]


def test_the_variables_name_the_files_here(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho /opt/haproxy\n")
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", ". deploy/ray/environment.sh; env"],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert found["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(FOLDER / "haproxy")
    assert found["HAPROXY_OF_RAY"] == "/opt/haproxy"
    module, _, name = found["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))

"""deploy/compose: numbers of nginx, of Docker and of the servers that must fit together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_rules.manifests import DEPLOY, REPOSITORY

from service.http.problems import PROBLEMS
from service.settings import Settings, load_settings

FOLDER = DEPLOY / "compose"
NGINX = FOLDER / "nginx"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
SERVER, PROXY = COMPOSE["services"]["server"], COMPOSE["services"]["nginx"]
ALONE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["server"]
FILES = {path.name: path.read_text() for path in (*NGINX.glob("*.conf"), *NGINX.glob("sites/*.conf"))}
SITES = sorted(path.stem for path in NGINX.glob("sites/*.conf"))


def directive(file: str, name: str) -> str:
    """The value of a directive that a file has once."""
    (found,) = re.findall(rf"^ *{name} ([^;]*);$", FILES[file], re.MULTILINE)
    return str(found)


def seconds(text: str) -> float:
    (number,) = re.findall(r"^(\d+)s$", text)
    return float(number)


def settings_of_the_servers() -> Settings:
    lines = (FOLDER / "server.env").read_text().splitlines()
    return load_settings(environ=dict(line.split("=", 1) for line in lines if line and line[0] != "#"))


def test_servers_are_as_safe_as_one_alone() -> None:
    for key in (
        *("image", "restart", "logging", "mem_limit", "pids_limit"),
        *("read_only", "tmpfs", "cap_drop", "security_opt"),
    ):
        assert SERVER[key] == ALONE[key], key
    assert SERVER["build"]["args"] == ALONE["build"]["args"]
    assert (FOLDER / SERVER["build"]["context"]).resolve() == REPOSITORY
    assert "ports" not in SERVER, "two servers cannot have one port of the machine"
    assert "container_name" not in SERVER, "a name is for one"


def test_one_container_alone_fills_the_volume_of_the_models() -> None:
    """Docker fills a new volume for each container that is made, and fails if two are made at once."""
    first = COMPOSE["services"]["models"]
    assert first["volumes"] == ALONE["volumes"]
    assert SERVER["volumes"] == [f"{volume}:nocopy" for volume in ALONE["volumes"]]
    assert SERVER["depends_on"] == ["models"]
    assert first["restart"] == "no"
    for key in ("image", "build", "logging", "read_only", "cap_drop", "security_opt"):
        assert first[key] == SERVER[key], key


def test_nginx_has_no_privilege_either() -> None:
    for key in ("read_only", "cap_drop", "security_opt", "logging", "restart"):
        assert PROXY[key] == SERVER[key], key
    assert PROXY["user"] not in ("0", "root")
    (port,) = PROXY["ports"]
    assert port.startswith("127.0.0.1:")
    for site in SITES:
        (listening,) = re.findall(r"listen (\d+)", FILES[f"{site}.conf"])
        assert port.endswith(f":{listening}"), site


def test_every_stop_outlives_what_it_waits_for() -> None:
    settings = settings_of_the_servers()
    needed = settings.drain_delay_s + settings.shutdown_grace_s
    assert needed + 5 <= seconds(SERVER["stop_grace_period"])
    assert seconds(PROXY["stop_grace_period"]) >= settings.request_timeout_s
    assert PROXY["stop_signal"] == "SIGQUIT"
    # nginx knows of the end of a server while it still answers.
    resolver = directive("nginx.conf", "resolver")
    (valid,) = re.findall(r"valid=(\d+)s", resolver)
    assert resolver.startswith("127.0.0.11 ")
    assert float(valid) < settings.drain_delay_s


def test_nginx_waits_for_the_server_and_not_the_other_way_round() -> None:
    settings = settings_of_the_servers()
    assert seconds(directive("proxy.conf", "proxy_read_timeout")) > settings.request_timeout_s
    (kept,) = re.findall(r"^ {8}keepalive_timeout (\w+);$", FILES["nginx.conf"], re.MULTILINE)
    assert seconds(kept) < settings.keep_alive_s
    largest = int(directive("proxy.conf", "client_max_body_size").removesuffix("m")) * 1024 * 1024
    assert largest > settings.max_body_bytes


def test_lost_servers_are_answered_by_others() -> None:
    assert directive("proxy.conf", "proxy_next_upstream") == "error timeout non_idempotent http_503"
    (server,) = re.findall(r"^ +server (server:.*);$", FILES["nginx.conf"], re.MULTILINE)
    name, *options = server.split()
    port = re.findall(r"EXPOSE (\d+)", (REPOSITORY / "Dockerfile").read_text())[0]
    assert name == f"server:{port}"
    assert SERVER["expose"] == [port]
    assert "resolve" in options
    assert re.search(r"^ +zone vae ", FILES["nginx.conf"], re.MULTILINE), "`resolve` needs shared memory"
    (image,) = re.findall(r"nginx:(\d+)\.(\d+)", PROXY["image"])
    assert tuple(map(int, image)) > (1, 27), "older ones know no `resolve`"


def test_documents_of_nginx_are_problems_of_the_server() -> None:
    found = [
        (int(status), json.loads(text))
        for content in FILES.values()
        for status, text in re.findall(r"return (\d+) '(\{.*\})\\n';", content)
    ]
    assert len(found) == 2
    for status, problem in found:
        known = PROBLEMS[problem["code"]]
        assert (problem["status"], problem["title"]) == (known.status, known.title) == (status, known.title)
        assert problem["type"] == f"/problems/{problem['code']}"
        assert problem["detail"].endswith(".")


@pytest.mark.parametrize("site", SITES)
def test_every_file_that_a_site_includes_is_there(site: str) -> None:
    included = re.findall(r"include /etc/nginx/vae/([\w.-]+);", FILES[f"{site}.conf"])
    assert "locations.conf" in included
    assert set(included) <= set(FILES)
    assert site in (FOLDER / "docker-compose.yml").read_text().partition("services:")[0]


def test_compose_mounts_what_nginx_reads() -> None:
    for volume in PROXY["volumes"]:
        source, target, mode = re.findall(r"^(\$\{.*?\}|[^:$]*(?:\$\{.*?\})?[^:]*):([^:]+):(\w+)$", volume)[0]
        assert mode == "ro"
        assert target.startswith("/etc/nginx/"), target
        default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", source)
        assert (FOLDER / default).exists(), default
    assert Path(PROXY["command"][2]).name in FILES


def test_prefix_repeats_every_header() -> None:
    """A `proxy_set_header` in a block replaces all of the blocks around it."""
    usual, own = (
        set(re.findall(r"proxy_set_header (\S+ \S+);", FILES[name])) for name in ("proxy.conf", "prefix.conf")
    )
    assert own - usual == {"X-Forwarded-Prefix /vae"}
    assert usual <= own

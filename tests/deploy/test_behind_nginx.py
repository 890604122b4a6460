"""deploy/compose's nginx before two plain servers: one is ended, one is killed, and no client notices."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy_tools import newest_nginx
from kube_rules.manifests import DEPLOY
from nginx import fetch
from patience import PATIENCE_S, eventually
from replicas import clients, kinds_of
from server_process import Running, free_port, serving

from service.settings import Settings

NGINX = DEPLOY / "compose/nginx"
pytestmark = [
    pytest.mark.hard,
    pytest.mark.skipif(newest_nginx() is None, reason="needs nginx (make deploy-tools)"),
]

_MAIN = """\
{user}
pid {home}/pid;
daemon off;
worker_processes 2;
error_log stderr warn;
events {{}}
http {{
    access_log {home}/access.log;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    upstream vae {{
        zone vae 256k;
        least_conn;
        {servers}
        keepalive 64;
        keepalive_timeout 60s;
    }}
    include {home}/proxy.conf;
    include {home}/site.conf;
}}
"""


@contextlib.contextmanager
def nginx(home: Path, ports: list[int], *, site: str = "plain") -> Iterator[int]:
    """The files of deploy/compose, with addresses of this machine, and its port."""
    home.mkdir(exist_ok=True)
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    # Its workers write bodies into the folder of the test.
    user = "user root;" if os.getuid() == 0 else ""
    (home / "nginx.conf").write_text(_MAIN.format(home=home, servers=servers, user=user))
    for name in ("proxy", "problems", "again", "locations", f"sites/{site}"):
        text = (NGINX / f"{name}.conf").read_text().replace("/etc/nginx/vae/", f"{home}/")
        text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
        (home / f"{'site' if '/' in name else name}.conf").write_text(text)
    program = newest_nginx()
    assert program is not None
    with (home / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", "stderr"], stdout=log, stderr=log
        )
    try:

        def is_up() -> bool:
            assert process.poll() is None, (home / "nginx.log").read_text()
            with contextlib.suppress(OSError):
                return fetch(f"http://127.0.0.1:{port}/nginx-livez").status == 200
            return False

        eventually(is_up, (home / "nginx.log").read_text)
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=PATIENCE_S)


@pytest.fixture
def replica(tiny_store: Path, tmp_path: Path) -> Any:
    """Starts a server with the settings of server.env, on a port of its own or that of one that ended."""
    environment = dict(
        line.split("=", 1)
        for line in (DEPLOY / "compose/server.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    environment["VAE_DRAIN_DELAY_S"] = "2"

    def start(name: str, port: int | None = None) -> Any:
        return serving(tiny_store, tmp_path / name, environment=environment, port=port)

    return start


@pytest.mark.hazard_row("replica-lost")
def test_no_request_is_lost_when_a_server_ends_or_dies(replica: Any, tmp_path: Path, hazard: Any) -> None:
    with contextlib.ExitStack() as servers:
        first = servers.enter_context(replica("first"))
        second = servers.enter_context(replica("second"))
        kinds = kinds_of(lambda target, body, kind: post(first, target, body, kind), latent_size=8)
        home = tmp_path / "nginx"
        # The clients end before the servers that are left.
        with nginx(home, [first.port, second.port]) as port, clients(port, kinds, each=4) as seen:
            seen.wait_for(500)
            assert first.stop() == 0, "it drained"
            seen.wait_for(300)
            servers.enter_context(replica("again", first.port))
            seen.wait_for(1200)
            second.process.kill()
            second.process.wait(timeout=PATIENCE_S)
            seen.wait_for(1500)
            while min(seen.answered["json"], seen.answered["npy"]) < 2_000:
                seen.wait_for(100)
        log = (home / "nginx.log").read_text()
    json_count, npy_count = seen.answered["json"], seen.answered["npy"]
    hazard(
        "replica-lost",
        figure=f"{len(seen.lost)} of {json_count} JSON and {npy_count} npy lost; SIGTERM, SIGKILL",
        bar="0 of 2,000 each",
        met=not seen.lost and min(json_count, npy_count) >= 2_000,
    )
    assert not seen.lost, seen.lost[:5]
    assert "upstream" in log, "nginx sent some to another server"


def post(running: Running, target: str, body: bytes, kind: str) -> bytes:
    return fetch(f"http://127.0.0.1:{running.port}{target}", body, Content_Type=kind).body


def test_every_server_gone_is_a_problem_in_json_until_one_returns(replica: Any, tmp_path: Path) -> None:
    with replica("first") as first, nginx(tmp_path / "nginx", [first.port, free_port()]) as port:
        assert fetch(f"http://127.0.0.1:{port}/sample?seed=1").status == 200
        first.process.kill()
        first.process.wait(timeout=PATIENCE_S)
        gone = fetch(f"http://127.0.0.1:{port}/sample?seed=1")
        assert (gone.status, gone.headers["Content-Type"]) == (503, "application/problem+json")
        assert json.loads(gone.body)["code"] == "not-ready"
        assert gone.headers["Retry-After"] == "1"
        with replica("again", first.port):
            eventually(
                lambda: fetch(f"http://127.0.0.1:{port}/sample?seed=1").status == 200,
                (tmp_path / "nginx" / "nginx.log").read_text,
            )


def test_sites_do_what_they_say(replica: Any, tmp_path: Path) -> None:
    with replica("first") as first:
        with nginx(tmp_path / "plain", [first.port]) as port:
            url = f"http://127.0.0.1:{port}"
            answer = fetch(f"{url}/sample?seed=1", X_Request_Id="of-the-client")
            assert answer.headers["X-Request-Id"] == "of-the-client"
            assert re.fullmatch(r"[0-9a-f]{32}", fetch(f"{url}/livez").headers["X-Request-Id"])
            assert fetch(f"{url}/metrics").status == 403
            assert fetch(f"{url}/models/metrics").status == 404, "a name of a model, as any other"
            assert f"127.0.0.1:{port}/sample".encode() in fetch(f"{url}/", Accept="text/plain").body
            large = fetch(
                f"{url}/decode", b"[" * (Settings().max_body_bytes + 1), Content_Type="application/json"
            )
            assert (large.status, json.loads(large.body)["code"]) == (413, "body-too-large")
        with nginx(tmp_path / "prefix", [first.port], site="prefix") as port:
            url = f"http://127.0.0.1:{port}"
            assert fetch(f"{url}/vae/sample?seed=1").status == 200
            assert f"127.0.0.1:{port}/vae/sample".encode() in fetch(f"{url}/vae/", Accept="text/plain").body
            assert fetch(f"{url}/vae/metrics").status == 403
            assert fetch(f"{url}/sample?seed=1").status == 404
        with nginx(tmp_path / "limit", [first.port], site="rate-limit") as port:
            url = f"http://127.0.0.1:{port}"
            begun = time.monotonic()
            answers = [fetch(f"{url}/sample?seed=1") for _ in range(400)]
            if time.monotonic() - begun < 12:  # a slow machine sends fewer than the limit
                refused = [each for each in answers if each.status == 429]
                assert refused
                assert json.loads(refused[0].body)["code"] == "too-busy"
                assert refused[0].headers["Retry-After"] == "1"
            assert all(fetch(f"{url}/readyz").status == 200 for _ in range(100))


def test_nginx_accepts_every_site_of_the_folder(tmp_path: Path) -> None:
    """TLS with a key that OpenSSL makes; `resolve`, which is for Docker's name service, is in nginx.conf."""
    program = newest_nginx()
    assert program is not None
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    version = tuple(int(each) for each in re.findall(r"nginx/(\d+)\.(\d+)\.(\d+)", told)[0])
    if version < (1, 27, 3):
        pytest.skip(f"nginx {version} knows no `resolve` (make deploy-tools)")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out",
         "server.crt", "-days", "1", "-subj", "/CN=localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    for path in (*NGINX.glob("*.conf"), *NGINX.glob("sites/*.conf")):
        text = path.read_text().replace(" /tmp/", f" {tmp_path}/").replace("/etc/nginx/vae", str(tmp_path))
        (tmp_path / path.name).write_text(text.replace("/etc/nginx/certificates", str(tmp_path)))
    main = (tmp_path / "nginx.conf").read_text()
    for site in sorted(path.name for path in NGINX.glob("sites/*.conf")):
        chosen = main.replace("/etc/nginx/site.conf", str(tmp_path / site))
        (tmp_path / "chosen.conf").write_text(chosen.replace("/dev/stdout", f"{tmp_path}/access"))
        done = subprocess.run(
            [program, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "chosen.conf"), "-e", "stderr"],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (site, done.stderr)
        assert "warn" not in done.stderr, (site, done.stderr)

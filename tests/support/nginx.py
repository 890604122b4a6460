"""A real nginx before a server, as a process of its own on a free port.

Knows nginx's configuration and its process. Knows nothing of what is tested.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
from patience import PATIENCE_S
from server_process import free_port

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx (Debian: nginx-light)")

_CONFIGURATION = """\
{user}
pid {home}/pid;
daemon off;
worker_processes 1;
error_log stderr;
events {{}}
http {{
    access_log off;
    proxy_max_temp_file_size 0;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    client_body_buffer_size 40m;  # no files: a worker may have a user of its own
    large_client_header_buffers 4 64k;
    {http}
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


@contextlib.contextmanager
def nginx(home: Path, locations: str, *, http: str = "") -> Iterator[str]:
    """nginx with these `location` blocks, and its address.

    `http` is put before the server. Its workers then have the user of this process, to write files in `home`.
    """
    port = free_port()
    user = f"user {getpass.getuser()};" if http and os.geteuid() == 0 else ""
    (home / "conf").write_text(
        _CONFIGURATION.format(home=home, port=port, locations=locations, http=http, user=user)
    )
    with (home / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            ["nginx", "-p", str(home), "-c", str(home / "conf"), "-e", "stderr"], stdout=log, stderr=log
        )
    try:
        begun = time.monotonic()
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S):
                break
            assert process.poll() is None, (home / "nginx.log").read_text()
            assert time.monotonic() - begun < PATIENCE_S, (home / "nginx.log").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


class Fetched(NamedTuple):
    """What one request got, redirects not followed."""

    status: int
    body: bytes
    headers: Message


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def fetch(url: str, data: bytes | None = None, **headers: str) -> Fetched:
    """A GET, or a POST of `data`; an underscore in the name of a header stands for a hyphen."""
    request = urllib.request.Request(
        url, data, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with _opener.open(request, timeout=PATIENCE_S) as answer:
            return Fetched(answer.status, answer.read(), answer.headers)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Fetched(refusal.code, refusal.read(), refusal.headers)

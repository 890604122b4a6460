"""The exact bytes that the clients of Triton and KServe send, against a running server.

tests/inference_clients/record.py recorded them; tests/hard/test_inference_clients.py runs the clients.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_calls import Result, read_result
from patience import PATIENCE_S
from server_process import Running, serving

FILE = Path(__file__).resolve().parents[3] / "data/inference_clients.json.gz"
RECORDED: list[dict[str, Any]] = json.loads(gzip.decompress(FILE.read_bytes()))
X = (np.arange(2 * 784, dtype=np.int64) % 97 / 96).astype(np.float32).reshape(2, 1, 28, 28)
INFLATE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "": bytes,
}


@pytest.fixture(scope="module")
def administrated(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("clients")
    with serving(tiny_store, home / "log", "--admin", "true") as running:
        yield running


class Connection:
    """One kept-alive connection, as the clients have."""

    def __init__(self, running: Running) -> None:
        self._socket = socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self._socket.sendall(request)
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._file.read(int(headers["content-length"]))


def test_file_has_every_kind_of_call() -> None:
    lines = [each["head"].partition("\r\n")[0] for each in RECORDED]
    assert len(RECORDED) > 90
    assert {each["client"] for each in RECORDED} == {"triton", "kserve"}
    for part in ("/infer", "/config", "/stats", "/ready", "/index", "/load", "/unload", "sharedmemory"):
        assert any(part in line for line in lines), part


def test_every_recorded_request_has_its_status_and_its_numbers(administrated: Running) -> None:
    whole: dict[str, Result] = {}
    with Connection(administrated) as connection:
        for each in RECORDED:
            request = each["head"].encode("latin-1") + base64.b64decode(each["body"])
            line = each["head"].partition("\r\n")[0]
            status, headers, body = connection.send(request)
            assert status == each["status"], (line, body[:300])
            if status != 200:
                assert headers["content-type"] == "application/json", line
                assert json.loads(body)["error"], line
            elif "/models/mnist/infer" in line:
                plain = INFLATE[headers.get("content-encoding", "")](body)
                found = read_result(plain, headers)
                first = whole.setdefault("mnist", found)
                for name, values in found.arrays.items():
                    np.testing.assert_array_equal(values, first.arrays[name], err_msg=line)
    assert list(whole["mnist"].arrays) == ["mu", "logvar", "x_hat"]
    assert "Traceback" not in administrated.log

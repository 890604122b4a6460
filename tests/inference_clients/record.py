"""Records the exact bytes that the clients of Triton and KServe send, for tests that run without the clients.

    make inference-clients
    PYTHONPATH=tests/support:. .venv/bin/python tests/inference_clients/record.py

Writes tests/data/inference_clients.json.gz: each request once, and the status of its response.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from server_process import free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "tests/data/inference_clients.json.gz"


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request or a response with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head, await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)


async def record(port: int) -> list[dict[str, Any]]:
    """What each client sends through a proxy of bytes, and the statuses."""
    found: list[dict[str, Any]] = []
    client = ""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                head, body = await read_message(reader)
                upstream_writer.write(head + body)
                answer_head, answer = await read_message(upstream_reader)
                writer.write(answer_head + answer)
                request = {
                    "client": client,
                    "head": head.decode("latin-1"),
                    "body": base64.b64encode(body).decode(),
                }
                exchange = {**request, "status": int(answer_head.split(b" ")[1])}
                if exchange not in found:
                    found.append(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            upstream_writer.close()

    own = free_port()
    async with await asyncio.start_server(pass_on, "127.0.0.1", own):
        png = await asyncio.to_thread(sample, port)
        for client, scheme in (("triton", ""), ("kserve", "http://")):
            folder = REPOSITORY / "tests/inference_clients" / client
            python = REPOSITORY / ".venv-inference" / client / "bin/python"
            process = await asyncio.create_subprocess_exec(
                str(python), "-W", "ignore", str(folder / "calls.py"), f"{scheme}127.0.0.1:{own}",
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            await process.communicate(png)
            if process.returncode:
                raise SystemExit(f"{client}: exit {process.returncode}")
    return found


def sample(port: int) -> bytes:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/sample.png?seed=7") as answer:
        return bytes(answer.read())


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        store = ModelStore(Path(home) / "models")
        publish_tiny(store, name="mnist", latent_size=8, seed=0, aliases=("stable",))
        publish_tiny(store, name="mnist", latent_size=8, seed=2)
        publish_tiny(store, name="plain", kind="ae", latent_size=8, seed=3)
        with serving(store.root, Path(home) / "log", "--admin", "true") as running:
            found = asyncio.run(record(running.port))
    TARGET.write_bytes(gzip.compress(json.dumps(found, indent=0).encode(), mtime=0))
    print(f"{len(found)} requests, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()

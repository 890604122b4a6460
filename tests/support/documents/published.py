"""Waits until the server at a port serves what a store has: `python published.py STORE PORT SECONDS`.

A reader who publishes and then asks is slower than a server that takes a new version over. A script is not.
Ends at once where no server listens at the port, with 1 after so many seconds.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from pathlib import Path

from model_store import ModelStore


def served(port: int, name: str) -> str | None:
    """The version that a name means to the server; None if it refuses the name, or knows none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"/models/{name}")
        answer = connection.getresponse()
        document = json.loads(answer.read())
        return str(document["version"]) if answer.status == 200 else None
    finally:
        connection.close()


def main() -> int:
    """Compares until all names agree."""
    store, port, deadline = (
        ModelStore(Path(sys.argv[1])),
        int(sys.argv[2]),
        time.monotonic() + float(sys.argv[3]),
    )
    for name in store.names():
        wanted = str(store.resolve(name).version)
        try:
            while (found := served(port, name)) != wanted:
                if time.monotonic() > deadline:
                    sys.stderr.write(f"{name}: expected the server to serve version {wanted}, got {found}\n")
                    return 1
                time.sleep(0.1)
        except ConnectionRefusedError:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())

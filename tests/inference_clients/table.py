"""The table of every call of every client, from a run of them.

    make inference-clients
    PYTHONPATH=tests/support:. .venv/bin/python tests/inference_clients/table.py
    PYTHONPATH=tests/support:. .venv/bin/python tests/inference_clients/table.py HOST:HTTP_PORT HOST:GRPC_PORT MODEL

The first form starts this server and writes the table into docs/reference/open-inference-clients.md. The
second prints what another server answers; MODEL takes `x`, FP32 (N, 1, 28, 28), and returns `mu`. KEEP_MODEL=1
leaves it loaded, for servers that cannot load it again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from server_process import free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs/reference/open-inference-clients.md"
BEGIN, END = "<!-- calls of the clients: begin -->", "<!-- calls of the clients: end -->"
CLIENTS = ("triton", "kserve")
_TIME_LIMIT_S = 600
Outcomes = Mapping[str, Mapping[str, str]]


def is_installed() -> bool:
    """Whether `make inference-clients` has run."""
    return all(python(client).exists() for client in CLIENTS)


def python(client: str) -> Path:
    """The interpreter of a client's environment."""
    return REPOSITORY / ".venv-inference" / client / "bin/python"


def outcomes(http: str, grpc: str, model: str) -> dict[str, dict[str, str]]:
    """Client, call and what came of it, from each client in a process of its own."""
    found: dict[str, dict[str, str]] = {}
    for client in CLIENTS:
        script = REPOSITORY / "tests/inference_clients" / client / "every_method.py"
        done = subprocess.run(
            [str(python(client)), "-W", "ignore", str(script), http, grpc, model],
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{client}: {done.stderr[-3000:]}")
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def served() -> Iterator[tuple[str, str, str]]:
    """A server of a small model: its addresses, and the name of the model."""
    with tempfile.TemporaryDirectory() as name:
        home, port = Path(name), free_port()
        store = ModelStore(home / "models")
        publish_tiny(store, name="mnist", latent_size=8, seed=1)
        with serving(store.root, home / "log", "--grpc-port", str(port), "--admin", "true") as running:
            yield f"127.0.0.1:{running.port}", f"127.0.0.1:{port}", "mnist"


def markdown(found: Outcomes) -> str:
    """One row for each call, one column for each client."""
    calls = dict.fromkeys(call for of_client in found.values() for call in of_client)
    lines = [
        "| call | " + " | ".join(found) + " |",
        "| --- |" + " --- |" * len(found),
    ]
    for call in sorted(calls, key=lambda name: (order(name), name)):
        cells = [short(of_client.get(call)) for of_client in found.values()]
        name, colon, how = call.partition(": ")
        lines.append(f"| `{name}`{colon}{how} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def order(call: str) -> int:
    """Inference first, then facts and the repository, then the rest."""
    groups = (r"infer|async_|stream|start_|stop_", r"is_", r"get_(server|model|inference)", r"(un)?load_")
    return next((at for at, pattern in enumerate(groups) if re.match(pattern, call)), len(groups))


def short(outcome: str | None) -> str:
    """The cell of an outcome: a refusal with its status."""
    if outcome is None:
        return "–"
    kind, _, rest = outcome.partition(": ")
    if kind != "refused":
        return kind if kind in ("works", "not in v2") else f"**{kind}**"
    status = rest.partition(": ")[0].removeprefix("StatusCode.")
    return f"refused ({status})"


def main() -> None:
    """The command line."""
    if len(sys.argv) > 1:
        http, grpc, model = sys.argv[1:]
        found = outcomes(http, grpc, model)
        print(markdown(found))
        for client, calls in found.items():
            for call, outcome in calls.items():
                if outcome != "works":
                    print(f"{client} {call}: {outcome}")
        return
    with served() as server:
        text = markdown(outcomes(*server))
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()

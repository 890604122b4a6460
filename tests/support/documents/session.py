"""The commands of a page as one shell script, as a reader would type them, and what they printed.

Knows shell and the conventions for blocks, below. Knows nothing of pages or pytest.

    sh                      is run
    sh server               the last command is a server: it runs in the background until the page ends, and
                            `localhost:8000` after it means its port
    sh server: s3           the same, with a store on object storage
    sh expect: 422          every request in it is refused with this status
    sh not-run: REASON      is not run; `tests/documents/test_commands.py` has another check
    json answer             what the last command of the block before it prints; "…" stands for anything
    text answer             what the block before it prints, but for a few characters
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from patience import PATIENCE_S

from documents.markdown import REPOSITORY, Fence

ANYTHING: Final = "…"
NOT_RUN: Final = "not-run: "
_MARK: Final = "@@ block at line"
_PUBLISHES: Final = re.compile(
    r"vae-train (export|fit-prior)|vae-store (promote|rollback|alias|add|remove|import|calibrate)"
)
_PREAMBLE: Final = """\
set -euo pipefail
servers=()
finish() {{
    for pid in "${{servers[@]}}"; do kill "$pid" 2>/dev/null || true; done
    wait
}}
trap finish EXIT
make() {{ command make -C {repository} "$@"; }}
# An answer has no end of line of its own.
curl() {{ command curl -sS --fail-with-body --max-time {patience} "$@"; echo; }}
await() {{
    local until=$((SECONDS + {patience}))
    until command curl -sf -o /dev/null "http://127.0.0.1:$VAE_PORT/livez"; do
        kill -0 "$1" && [ "$SECONDS" -lt "$until" ] || {{ cat server.log >&2; return 1; }}
        sleep 0.1
    done
}}
published() {{ {python} {published} "$VAE_MODEL_STORE" "$VAE_PORT" {patience}; }}
"""


@dataclass(frozen=True)
class Session:
    """What came of the commands of a page."""

    printed: Mapping[int, str]
    """What each block printed on standard output, by the line of the block."""
    folder: Path
    """Where they ran."""


def is_run(fence: Fence) -> bool:
    """Whether the script holds a block."""
    return fence.language == "sh" and not fence.note.startswith(NOT_RUN)


def publishes(fences: Sequence[Fence]) -> bool:
    """Whether a page changes the model store."""
    return any(_PUBLISHES.search(fence.text) for fence in filter(is_run, fences))


def run(
    fences: Sequence[Fence],
    *,
    folder: Path,
    environment: Mapping[str, str],
    port: int | None,
    own_port: int,
    appended: Mapping[str, str],
    left_out: Sequence[str] = (),
) -> Session:
    """Runs the commands of a page in a folder.

    Args:
        fences: The blocks of the page.
        folder: Where the commands run.
        environment: Theirs.
        port: Of the server that answers while the page has started none. None: one is started for it.
        own_port: A free port for the one that is started for it, or that it starts.
        appended: Command → what is appended to it, to make it shorter.
        left_out: Commands that have been run already.

    Raises:
        AssertionError: A command failed; the message has the line of its block and what was printed.
    """
    parts = [
        _PREAMBLE.format(
            repository=REPOSITORY,
            patience=f"{PATIENCE_S:.0f}",
            python=REPOSITORY / ".venv/bin/python",
            published=Path(__file__).with_name("published.py"),
        ),
        f"export VAE_PORT={port or own_port}",
    ]
    starts_one = any(fence.note.startswith("server") for fence in filter(is_run, fences))
    if port is None:
        port = own_port
        parts += [] if starts_one else [_in_background("vae-serve run")]
    for fence in filter(is_run, fences):
        text = _shortened(fence.text, appended, left_out)
        if fence.note.startswith("server"):
            port = own_port
            parts.append(f"export VAE_PORT={port}")
            text = _in_background(text)
        text = text.replace("localhost:8000", f"127.0.0.1:{port}")
        if fence.note.startswith("expect: "):
            text = f'(\ncurl() {{ command curl -sS --max-time {PATIENCE_S:.0f} "$@"; echo; }}\n{text})'
        if _PUBLISHES.search(text):
            text += "\npublished"
        mark = f"{_MARK} {fence.line}"
        parts.append(f"echo; echo '{mark}'; echo '{mark}' >&2\n{text}")
    return _run_script("\n".join(parts) + "\n", folder, environment)


def mismatch(fence: Fence, printed: str) -> str | None:
    """Why an `answer` block is not what the block before it printed; None if it is."""
    if fence.language == "json":
        lines = [line for line in printed.splitlines() if line.startswith("{")]
        if not lines:
            return f"expected a JSON object, got: {printed[-300:]}"
        return _differs(json.loads(fence.text), json.loads(lines[-1]), "answer")
    shown, got = (text.rstrip().splitlines() for text in (fence.text, printed.strip("\n")))
    if [len(line) for line in shown] != [len(line) for line in got]:
        return f"expected lines as long as shown, got:\n{printed}"
    # Another processor may round a pixel to the other side of a dot.
    wrong = sum(
        a != b for ours, theirs in zip(shown, got, strict=True) for a, b in zip(ours, theirs, strict=True)
    )
    return f"{wrong} characters differ from:\n{printed}" if wrong > 0.02 * len("".join(shown)) else None


def _shortened(text: str, appended: Mapping[str, str], left_out: Sequence[str]) -> str:
    for command, more in appended.items():
        text = re.sub(rf"{re.escape(command)}(?=\s|$)", f"{command}{more}".replace("\\", r"\\"), text)
    return "\n".join(line for line in text.split("\n") if re.sub(r"\s+#\s.*$", "", line) not in left_out)


def _in_background(text: str) -> str:
    lines = text.rstrip().splitlines()
    return "\n".join([*lines[:-1], f"{lines[-1]} >server.log 2>&1 &", 'servers+=("$!")', 'await "$!"', ""])


def _run_script(script: str, folder: Path, environment: Mapping[str, str]) -> Session:
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = (
            stream.decode(errors="replace") for stream in process.communicate(timeout=20 * PATIENCE_S)
        )
    except BaseException:  # too late, or Ctrl-C: nothing that was started may go on
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    blocks = re.split(rf"^{_MARK} (\d+)\n", out, flags=re.MULTILINE)
    printed = {int(line): text for line, text in zip(blocks[1::2], blocks[2::2], strict=True)}
    if process.returncode != 0:
        line = max(printed, default=0)
        raise AssertionError(
            f"the block at line {line} ended with {process.returncode}\n"
            f"{printed.get(line, '')[-3000:]}\n{err.rpartition(f'{_MARK} {line}')[2][-3000:]}"
        )
    return Session(printed, folder)


def _differs(shown: Any, got: Any, where: str) -> str | None:
    """The first place where two documents differ.

    Numbers may differ by a twentieth: on another processor a drawn image may be another by a grey level, and
    its figures by those of a pixel.
    """
    if shown == ANYTHING:
        return None
    if isinstance(shown, dict) and isinstance(got, dict) and shown.keys() == got.keys():
        found = (_differs(value, got[name], f"{where}.{name}") for name, value in shown.items())
        return next(filter(None, found), None)
    if isinstance(shown, list) and isinstance(got, list) and len(shown) == len(got):
        found = (_differs(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(shown, got, strict=True)))
        return next(filter(None, found), None)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (shown, got))
    if (numbers and math.isclose(shown, got, rel_tol=0.05)) or json.dumps(shown) == json.dumps(got):
        return None
    return f"{where}: the page shows {json.dumps(shown)}, the command printed {json.dumps(got)[:300]}"

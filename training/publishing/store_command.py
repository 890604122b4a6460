"""`vae-store import` as a child process: arguments in, its document out.

Knows processes, the options of the command and its JSON. Knows nothing of torch or of models.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from model_store.import_answer import answer_text
from model_store.import_options import Options, as_arguments
from training.errors import ExportError

_COMMAND: Final = "service.commands.vae_store"


@dataclass(frozen=True)
class StoreAnswer:
    """What the command answered."""

    exit_code: int
    document: dict[str, Any]
    """With the exit code 0: version, aliases and checks; otherwise error, message and exit_code."""
    remarks: tuple[str, ...] = ()
    """Its other lines for people, such as where it began a store."""

    def with_check(self, check: str, detail: str) -> StoreAnswer:
        """The same, with one more check that passed, before the others."""
        if self.exit_code:
            return self
        first = {"check": check, "result": "ok", "detail": detail}
        return replace(self, document=self.document | {"checks": [first, *self.document["checks"]]})

    @property
    def text(self) -> str:
        """The findings as the command prints them for people."""
        return answer_text(self.document)


def run_store_import(graphs: Sequence[str], options: Options, *, store: Path | None) -> StoreAnswer:
    """Run the command to its end.

    Args:
        graphs: The arguments that name the graphs.
        options: Every other choice.
        store: The store; None: as the command finds it.

    Returns:
        Its answer, also if it refused.

    Raises:
        ExportError: It ended without an answer.
    """
    arguments = ["import", *graphs, *as_arguments(options), "--json"]
    if store is not None:
        arguments.append(f"--store={store}")
    # The same code, from the location of this process; not from the current folder by chance (-P).
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    with subprocess.Popen(  # noqa: S603  # a program of this distribution, with options that were parsed
        [sys.executable, "-P", "-m", _COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the child and speaks for both
    ) as child:
        try:
            out, err = child.communicate()
        except BaseException:
            child.terminate()
            raise
    lines = err.splitlines()
    try:
        document = json.loads(out if child.returncode == 0 else lines.pop())
        if not isinstance(document, dict):
            raise ValueError("no object")
    except (ValueError, IndexError) as error:
        raise ExportError(
            f"vae-store import: expected a document, got the exit code {child.returncode} and: "
            f"{' '.join(err.split())[-500:] or 'no message'}. Nothing was published."
        ) from error
    return StoreAnswer(child.returncode, document, remarks=tuple(lines))

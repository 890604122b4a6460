"""`vae-serve`, `vae-store` and `vae-train`: help, refusals, and what needs no training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from recorded.commands import Printed, lines_of, run_all
from recorded.notebook import Notebook

#: Lines of a section that is not shown twice.
_LONG_SECTION = 10
_COMMANDS = {
    "vae-serve": ("run", "check", "openapi", "limits", "healthcheck", "key", "bench"),
    "vae-store": ("list", "show", "verify", "promote", "rollback", "add", "remove", "history", "gc"),
    "vae-train": ("fit", "evaluate", "compare", "judge", "fit-prior", "export", "import"),
}
_REFUSED = {
    "vae-serve": (
        (),
        ("run", "--prot", "1"),
        ("run", "--port", "x"),
        ("limits", "--max-images", "0", "--max-body-bytes", "many"),
        ("limits", "--root-path", "vae?"),
        ("openapi", "--api-keys-file", "/nowhere/keys"),
        ("key", "--label", "a b"),
        ("bench",),
    ),
    "vae-store": (
        (),
        ("list", "nobody"),
        ("verify", "nobody@1"),
        ("show", "Not/A-name"),
        ("add", "/nowhere"),
        ("remove", "mnist"),
        ("history", "nobody"),
        ("gc", "--keep", "-1"),
    ),
    "vae-train": ((), ("fit",), ("export", "run"), ("fit", "--out", "/tmp/x", "--unknown")),
}


def helps(notebook: Notebook) -> None:
    """The help of every command, and what is said of a wrong command line."""
    for program, names in _COMMANDS.items():
        commands = [("--help",), *((name, "--help") for name in names), *_REFUSED[program]]
        _note(notebook, program, commands)


def printed(notebook: Notebook) -> None:
    """Tables and documents of the server, and of the store."""
    commands = [
        ("limits",),
        ("limits", "--max-images", "16", "--receipt-timeout-s", "2.5"),
        ("check",),
        ("check", "--default-model", "nobody"),
        ("openapi",),
        ("healthcheck", "--port", "1"),
    ]
    _note(notebook, "vae-serve", commands)
    _note(
        notebook,
        "vae-store",
        [("list",), ("list", "mnist", "--json"), ("verify",), ("verify", "--json", "mnist@2")],
    )


def _note(notebook: Notebook, program: str, commands: Sequence[Sequence[str]]) -> None:
    environment = {"VAE_MODEL_STORE": str(notebook.store), "HOME": str(notebook.scratch)}
    for command, each in zip(commands, run_all(program, commands, environment), strict=True):
        notebook.lines += [f"> {' '.join((program, *command))}", f"< exit code {each.code}"]
        notebook.lines += [*_stream(notebook, each, is_document=command == ("openapi",)), ""]


def _stream(notebook: Notebook, each: Printed, *, is_document: bool) -> list[str]:
    out, err = (text.replace(str(notebook.store), "<store>") for text in (each.out, each.err))
    lines = [f"< {line}".rstrip() for line in _without_repeated(notebook, list(lines_of(out)))]
    if is_document and each.code == 0:
        release = f'"version": "{version("vae-service")}"'
        document = out.replace(release, '"version": "<version>"')
        digest = hashlib.sha256(document.encode()).hexdigest()[:16]
        lines = [f"< ({len(document.splitlines())} lines of JSON, sha256 {digest}; see openapi.txt)"]
    return [*lines, *(f"<2 {line}".rstrip() for line in lines_of(err))]


def _without_repeated(notebook: Notebook, lines: list[str]) -> Iterator[str]:
    """A section that this topic has shown before is shown by its first line: the settings of each command."""
    sections: list[list[str]] = [[]]
    for line in lines:
        if line and not line.startswith(" "):
            sections.append([])
        sections[-1].append(line)
    for section in sections:
        if len(section) > _LONG_SECTION and notebook.is_told("\n".join(section)):
            yield f"{section[0]} … ({len(section)} lines as above)"
        else:
            yield from section

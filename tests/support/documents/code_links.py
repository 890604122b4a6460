"""Links from a page to a function or class: ``[`elbo_terms`](../../training/objectives.py)``.

Knows which file defines which name. Knows nothing of what they do.
"""

from __future__ import annotations

import ast
import functools
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from documents.markdown import REPOSITORY, prose

_PACKAGES: Final = ("service", "training", "model_store")
_CODE_LINK: Final = re.compile(r"\[`(?P<name>[A-Za-z_]\w*)`\]\((?P<target>[^()\s]+\.py)\)")


@functools.cache
def defined(path: Path) -> frozenset[str]:
    """Names of the functions, classes and methods of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def wrong(page: Path, text: str) -> list[str]:
    """Every code link whose file is not there or does not define the name, with the files that do."""
    found = []
    for match in _CODE_LINK.finditer(prose(text)):
        path = (page.parent / match["target"]).resolve()
        if not path.is_file() or match["name"] not in defined(path):
            places = ", ".join(_relative(page, place) for place in _candidates(path, match["name"]))
            found.append(
                f"{match['name']}: expected its definition in {match['target']}. "
                f"Files that define it: {places or 'none'}"
            )
    return found


def mended(page: Path, text: str) -> str:
    """The page with each wrong code link pointed to the one file of that package that defines the name."""

    def mend(match: re.Match[str]) -> str:
        path = (page.parent / match["target"]).resolve()
        if path.is_file() and match["name"] in defined(path):
            return match[0]
        candidates = _candidates(path, match["name"])
        place = _relative(page, candidates[0]) if len(candidates) == 1 else match["target"]
        return f"[`{match['name']}`]({place})"

    return _CODE_LINK.sub(mend, text)


def _candidates(path: Path, name: str) -> list[Path]:
    """Files of the same package that define a name; of several, the one that is called as the file was."""
    package = path.relative_to(REPOSITORY).parts[0]
    found = [place for place in _places()[name] if place.relative_to(REPOSITORY).parts[0] == package]
    called_alike = [place for place in found if place.name == path.name]
    return called_alike if len(called_alike) == 1 else found


def _relative(page: Path, path: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()


@functools.cache
def _places() -> dict[str, list[Path]]:
    places: dict[str, list[Path]] = defaultdict(list)
    for package in _PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for name in defined(path):
                places[name].append(path)
    return places

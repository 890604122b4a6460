"""What must hold of any store at any moment, asked in one line by the tests that break things.

Knows the store's public names. Knows nothing of how it was broken.
"""

from __future__ import annotations

from model_store import ModelStore, VersionId

SYSTEM_FILES = {".lock", ".publishers", ".history.jsonl"}


def leftovers(store: ModelStore) -> list[str]:
    """Anything temporary, anywhere."""
    return [
        str(path)
        for path in store.root.rglob("*")
        if path.name.startswith(".") and path.name not in SYSTEM_FILES
    ]


def sound(store: ModelStore) -> bool:
    """Every version and every alias verifies."""
    return not any(
        problems
        for name in store.names()
        for problems in (
            store.model_problems(name),
            *(store.problems(VersionId(name, number)) for number in store.versions(name)),
        )
    )

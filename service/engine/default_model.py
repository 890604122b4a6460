"""The default model, and the second name under which it is served.

Knows references and which names a store has. Knows nothing of loaded models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from model_store import ModelStore, StoreError
from service.engine.store_listing import parse_reference

T = TypeVar("T")


@dataclass(frozen=True)
class DefaultModel:
    """The model for requests that name none."""

    reference: str
    is_stated: bool = True
    """Whether an operator chose it. Otherwise the store may have a better one."""
    served_name: str | None = None
    """A second name for the model. A model of the store with this name comes first."""

    def choose(self, store: ModelStore) -> str:
        """The reference of the default model of a store at this moment; it may not exist."""
        if self.is_stated:
            return self.reference
        try:
            if (single := store.single_model()) is not None:
                return single
            if self.served_name is not None and self.served_name in store.names():
                return self.served_name
        except (StoreError, OSError):
            pass  # reading the store reports it
        return self.reference

    def second_name(self, names: Collection[str]) -> str | None:
        """The second name, unless the store has a model with it."""
        return None if self.served_name in names else self.served_name


def renamed(entries: Mapping[str, T], *, default: str, second_name: str) -> dict[str, T]:
    """The entries of the default model under its second name: `other`, `other@3` and `other@stable`.

    Args:
        entries: Something for each reference.
        default: Reference of the default model; the second name alone means the same version.
        second_name: The second name.
    """
    name = parse_reference(default).name
    found: dict[str, T] = {}
    for text, entry in entries.items():
        of, at, selector = text.partition("@")
        if at and of == name:
            found[f"{second_name}@{selector}"] = entry
    if default in entries:
        found[second_name] = entries[default]
    return found

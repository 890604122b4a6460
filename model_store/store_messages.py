"""Errors of the store about names, versions and aliases that do not exist or may not be used.

Knows the wording. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model_store.aliases import ALIASES_FILE, LATEST, STABLE
from model_store.directory import version_numbers
from model_store.echo import did_you_mean, echo
from model_store.errors import CorruptAliases, InvalidReference, ModelNotFound, quoted
from model_store.integrity import OpenDirectory
from model_store.location import BUNDLED, STORE_VARIABLE
from model_store.reference import is_alias_name
from model_store.version_id import VersionId

_MAX_LISTED = 20


def check_movable(alias: str) -> None:
    """Refuse an alias that no command may move.

    Raises:
        InvalidReference: Not an alias, or `latest`.
    """
    if not is_alias_name(alias):
        raise InvalidReference(
            f"alias: {quoted(alias)} is none. Use lower-case letters, digits and hyphens, a letter first."
        )
    if alias == LATEST:
        raise InvalidReference(
            f"alias: {LATEST!r} always names the highest version, and only publishing moves it. Promote "
            f"{STABLE!r} or an alias of your own."
        )


def unknown_model(name: str, *, root: Path, names: Sequence[str]) -> ModelNotFound:
    """No such model in the store below `root`, which has `names`."""
    if not names:
        return ModelNotFound(f"{echo(name)}: no such model. {empty_store(root)}")
    hint = " ".join(filter(None, (did_you_mean(name, names), f"Existing models: {listed(names)}.")))
    return ModelNotFound(
        f"{echo(name)}: no such model in {root}. {hint} Publish a model with 'vae-train export', or "
        "point --store or VAE_MODEL_STORE to the right store."
    )


def empty_store(root: Path) -> str:
    """Nothing is published below `root`, and what to do."""
    return (
        f"No model is published in {root}. Publish one with 'vae-train export', fill the store with the "
        f"bundled models ('vae-store add {BUNDLED}'), or point --store or {STORE_VARIABLE} to another."
    )


def unknown_version(model: OpenDirectory, identity: VersionId) -> ModelNotFound:
    """No such version of an existing model."""
    return ModelNotFound(
        f"model {quoted(identity.name)} has no version {identity.version}; "
        f"there is {listed(version_numbers(model))}."
    )


def dangling(model: OpenDirectory, name: str, alias: str, number: int) -> CorruptAliases:
    """An alias points to a version that does not exist."""
    move = "publish the model again" if alias == LATEST else f"run 'vae-store promote {name}@VERSION {alias}'"
    return CorruptAliases(
        f"{model.path / ALIASES_FILE}: expected {alias!r} to name a version that exists, got {number}; "
        f"there is {listed(version_numbers(model))}. Restore {name}@{number}, or {move}."
    )


def listed(items: Sequence[object]) -> str:
    """The last twenty at most: of versions those are the newest."""
    shown = ", ".join(map(str, items[-_MAX_LISTED:]))
    hidden = len(items) - _MAX_LISTED
    return (f"… ({hidden} more), {shown}" if hidden > 0 else shown) or "none"

"""The commands of `vae-store` about aliases: promote, rollback, alias.

Knows references and shares as a person writes them. Knows nothing of arguments, streams or exit codes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from model_store import cli_output
from model_store.aliases import STABLE, AliasEntry
from model_store.cli_output import Answer
from model_store.errors import InvalidReference, quoted
from model_store.reference import ModelReference
from model_store.store import ModelStore

_SHARE = re.compile(r"([1-9][0-9]{0,8})(?:=([0-9]{1,3}(?:\.[0-9]{1,3})?)%?)?", re.ASCII)
_WHOLE = Decimal(100)
_MOST_VERSIONS = 2


def promote(store: ModelStore, reference: str, alias: str) -> Answer:
    """Point an alias to a version."""
    identity = store.resolve(reference)
    store.promote(identity.name, alias, identity.version)
    return cli_output.moved(identity.name, alias, identity.version)


def rollback(store: ModelStore, reference: str) -> Answer:
    """Point an alias to its previous version, or end its split."""
    parsed = ModelReference.parse(reference)
    if parsed.version is not None:
        raise InvalidReference(
            f"rollback: expected NAME@ALIAS, got the version {parsed}. A version never moves; to point "
            f"an alias to it, run 'vae-store promote {parsed} {STABLE}'."
        )
    alias = parsed.alias or STABLE
    version = store.rollback(parsed.name, alias)
    return cli_output.moved(parsed.name, alias, version)


def share(store: ModelStore, reference: str, texts: Sequence[str]) -> Answer:
    """Let one version, or two with their shares, answer for an alias; without any, only report them.

    Args:
        store: The store.
        reference: NAME@ALIAS, or NAME for its stable.
        texts: Such as `4=95` and `5=5`.
    """
    parsed = ModelReference.parse(reference)
    if parsed.version is not None:
        raise InvalidReference(
            f"alias: expected NAME@ALIAS, got the version {parsed}. A version never splits: name the alias, "
            f"such as {parsed.name}@{STABLE}."
        )
    alias, shares = parsed.alias or STABLE, read_shares(texts)
    if not shares:
        store.resolve(ModelReference(parsed.name, alias=alias))  # raises if there is no such alias
        return cli_output.shares(parsed.name, alias, store.alias_entries(parsed.name)[alias])
    if len(shares) == 1:
        (version,) = shares
        store.promote(parsed.name, alias, version)
        return cli_output.shares(parsed.name, alias, AliasEntry(version=version))
    return cli_output.shares(parsed.name, alias, store.split(parsed.name, alias, shares))


def read_shares(texts: Sequence[str]) -> dict[int, float]:
    """Percent by version: `4=95 5=5`, or `4 5=5`, where 4 has the rest.

    Raises:
        InvalidReference: Anything else, or shares that do not add up to 100.
    """
    found: dict[int, Decimal | None] = {}
    for text in texts:
        match = _SHARE.fullmatch(text)
        if match is None or int(match[1]) in found:
            raise _not_shares(texts)
        found[int(match[1])] = None if match[2] is None else Decimal(match[2])
    stated = sum((percent for percent in found.values() if percent is not None), Decimal(0))
    shares = {version: _WHOLE - stated if percent is None else percent for version, percent in found.items()}
    if shares and (
        len(shares) > _MOST_VERSIONS or sum(shares.values()) != _WHOLE or min(shares.values()) <= 0
    ):
        raise _not_shares(texts)
    return {version: float(percent) for version, percent in shares.items()}


def _not_shares(texts: Sequence[str]) -> InvalidReference:
    return InvalidReference(
        "alias: expected one version, or two with shares above 0 that add up to 100, such as 4=95 5=5, got "
        f"{quoted(' '.join(texts))}. To end a split, name one version: it gets all requests."
    )

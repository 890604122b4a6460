"""Add the versions of a source to a store: `vae-store add`.

Knows which versions are missing, which aliases follow, and what to report. Knows nothing of the order of
writes (`placing.py`, `publishing.py`), nor of the way a source is written (`sources.py`).

A version keeps its number and its bytes. No alias of an existing model moves unless that is asked for, except
`latest`; a model that is new here comes with its aliases.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model_store.aliases import LATEST, STABLE
from model_store.errors import CorruptVersion, ModelNotFound, StoreError, VersionTaken
from model_store.manifest import (
    DECODER_FILE,
    ENCODER_FILE,
    PREVIEW_FILE,
    PRIOR_DENSITY_FILE,
    PRIOR_FILE,
    PRIOR_SAMPLER_FILE,
    Manifest,
    ManifestDraft,
)
from model_store.sources import Source
from model_store.store import ModelStore
from model_store.store_messages import check_movable
from model_store.verification import examine
from model_store.version_id import VersionId

#: The files that make two versions the same model, whatever their numbers are.
_OF_THE_MODEL = (
    ENCODER_FILE,
    DECODER_FILE,
    PRIOR_FILE,
    PRIOR_SAMPLER_FILE,
    PRIOR_DENSITY_FILE,
    PREVIEW_FILE,
)


@dataclass(frozen=True)
class AliasMove:
    """An alias with its target; `before` is None for a new alias."""

    name: str
    alias: str
    version: int
    before: int | None


@dataclass
class Addition:
    """The result of an addition."""

    source: str
    added: list[tuple[VersionId, VersionId]] = field(default_factory=list)
    """Each version in the source, and the version here: another number only after a renumbering."""
    present: list[tuple[VersionId, VersionId]] = field(default_factory=list)
    """The same for versions that were here before."""
    refused: list[tuple[VersionId, StoreError]] = field(default_factory=list)
    moved: list[AliasMove] = field(default_factory=list)
    """Aliases that moved or are new, `latest` included."""
    stayed: list[AliasMove] = field(default_factory=list)
    """`stable` of models with added versions, if the source has it on another one: `before` is ours."""


def add_versions(
    store: ModelStore, source: Source, *, alias: str | None = None, renumber: bool = False
) -> Addition:
    """Add every version of the source that the store lacks.

    Args:
        store: Receives the versions.
        source: Contains them.
        alias: Then point this alias of each model to the version that it names in the source, or else that
            the bare name means there; to the version itself if one is selected.
        renumber: Publish a version under the next number if its own belongs to another one.

    Raises:
        InvalidReference: `alias` may not be moved.
        StoreWriteFailed: The store cannot be written. Earlier versions of the same call stay.
    """
    if alias is not None:
        check_movable(alias)
    result = Addition(source.label)
    for name in dict.fromkeys(identity.name for identity in source.versions):
        before = _aliases(store, name)
        here: dict[int, int] = {}
        for identity in source.versions:
            if identity.name == name:
                _add(store, source, identity, result, here, renumber=renumber)
        _follow(store, source, name, result, here, alias=alias, is_new=before is None)
        _compare(store, source, name, result, before or {})
    return result


def _aliases(store: ModelStore, name: str) -> dict[str, int] | None:
    """The aliases of a model before the addition; None if the store has no such model."""
    try:
        return dict(store.aliases(name))
    except ModelNotFound:
        return None


def _add(
    store: ModelStore,
    source: Source,
    identity: VersionId,
    result: Addition,
    here: dict[int, int],
    *,
    renumber: bool,
) -> None:
    try:
        with source.directory(identity) as origin:
            signature = source.signature(identity)
            placed = store.place(identity, origin, source=source.label, signature=signature)
            if not placed and signature is not None and store.signature(identity) is None:
                store.attach(identity, signature)
    except VersionTaken as error:
        if not renumber:
            result.refused.append((identity, error))
            return
        try:
            target, placed = _renumbered(store, source, identity)
        except CorruptVersion as defect:
            result.refused.append((identity, defect))
            return
    except (CorruptVersion, FileNotFoundError) as error:
        known = error if isinstance(error, StoreError) else ModelNotFound(f"{identity}: it disappeared.")
        result.refused.append((identity, known))
        return
    else:
        target = identity
    here[identity.version] = target.version
    (result.added if placed else result.present).append((identity, target))


def _renumbered(store: ModelStore, source: Source, identity: VersionId) -> tuple[VersionId, bool]:
    """The version under another number, and whether it was published now."""
    with source.directory(identity) as origin:
        published = examine(origin, identity, store.limits).verified()
    manifest = published.manifest
    for number in store.versions(identity.name):
        twin = VersionId(identity.name, number)
        if _is_same_model(store, twin, manifest):
            return twin, False
    draft = ManifestDraft(**{key: getattr(manifest, key) for key in ManifestDraft.model_fields})
    target = store.publish(
        draft,
        card=published.card,
        source=f"{source.label} {identity}",
        **published.parts,
    )
    return target, True


def _is_same_model(store: ModelStore, identity: VersionId, manifest: Manifest) -> bool:
    try:
        other = store.manifest(identity)
    except (CorruptVersion, ModelNotFound):
        return False
    return all(other.files.get(file) == manifest.files.get(file) for file in _OF_THE_MODEL)


def _follow(
    store: ModelStore,
    source: Source,
    name: str,
    result: Addition,
    here: dict[int, int],
    *,
    alias: str | None,
    is_new: bool,
) -> None:
    """The aliases of a new model, and the alias that was asked for."""
    if not here:
        return
    if is_new:
        store.adopt_aliases(name, source.aliases(name))
    if alias is None:
        return
    wanted = source.version_of(name, alias)
    if wanted in here:
        store.promote(name, alias, here[wanted])
        return
    refusal = ModelNotFound(f"{name}@{alias}: version {wanted} was not added, so the alias did not move.")
    result.refused.append((VersionId(name, wanted), refusal))


def _compare(store: ModelStore, source: Source, name: str, result: Addition, before: dict[str, int]) -> None:
    """Report the aliases that differ from those before, and `stable` where the source has another."""
    after = _aliases(store, name) or {}
    result.moved += [
        AliasMove(name, alias, version, before.get(alias))
        for alias, version in after.items()
        if before.get(alias) != version
    ]
    if name not in source.whole or not any(target.name == name for _, target in result.added):
        return
    theirs = source.aliases(name).versions().get(STABLE)
    target = next((to.version for of, to in result.added if of == VersionId(name, theirs or 0)), None)
    ours = after.get(STABLE, after.get(LATEST))
    if target is not None and ours is not None and ours != target:
        result.stayed.append(AliasMove(name, STABLE, target, ours))

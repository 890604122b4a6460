"""The models in service after one reading of the store, the failures, and what follows for readiness.

Knows references, loaded models and reasons. Knows nothing of how the store is read or a model is loaded.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from model_store import VersionId
from service.engine.canary import Canary
from service.engine.model import LoadedModel
from service.engine.store_listing import WHOLE_STORE, parse_reference
from service.engine.store_snapshot import StoreSnapshot


@dataclass(frozen=True)
class LoadFailure:
    """An entry of the store that cannot be served, and the reason."""

    model: str
    """`name@version`, a name with unreadable aliases, or `the store`."""
    reason: str


@dataclass(frozen=True)
class Readiness:
    """Whether requests for the default model can be answered; `remedy` is empty when they can."""

    ready: bool
    reason: str
    remedy: str


@dataclass(frozen=True)
class Refusal:
    """The reason why a version was refused, and its files at that time."""

    reason: str
    files: StoreSnapshot


@dataclass(frozen=True)
class Catalogue:
    """The result of one reading of the store. Never changed, only replaced."""

    by_reference: Mapping[str, LoadedModel] = field(default_factory=dict)
    failed_references: Mapping[str, str] = field(default_factory=dict)
    """Reason by reference."""
    failures: tuple[LoadFailure, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Reason by name of each entry that may belong to someone else."""
    refused: Mapping[VersionId, Refusal] = field(default_factory=dict)
    canaries: Mapping[str, tuple[Canary, LoadedModel]] = field(default_factory=dict)
    """By reference, for each that splits, the canary that answers a share of its requests."""
    store_exists: bool = True
    """Whether the directory of the store was there."""
    default: str = ""
    """Reference of the default model; empty before the first reading."""
    second_name: str | None = None
    """Another name of the default model, if the store has no model with that name."""

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Names of the store, also of models that cannot be served, and the second name of the default."""
        failed = (failure.model for failure in self.failures)
        references = (*self.by_reference, *self.failed_references, *self.ignored, *failed)
        found = {text for text in references if "@" not in text and text != WHOLE_STORE}
        if self.second_name is not None and self.name_of(self.second_name) in found:
            found.add(self.second_name)
        return frozenset(found)

    def name_of(self, name: str) -> str:
        """The name in the store; only the second name of the default model differs from it."""
        return parse_reference(self.default).name if self.default and name == self.second_name else name

    def without(self, names: Collection[str]) -> Catalogue:
        """The same without the models of some names."""
        kept = {text: model for text, model in self.by_reference.items() if model.id.name not in names}
        canaries = {text: each for text, each in self.canaries.items() if each[1].id.name not in names}
        return dataclasses.replace(self, by_reference=kept, canaries=canaries)

    @property
    def models(self) -> Mapping[VersionId, LoadedModel]:
        """Every model in service, once."""
        return {model.id: model for model in self.by_reference.values()}

    @property
    def contents(self) -> Mapping[str, tuple[VersionId, str]]:
        """Version and digest of the manifest by reference: equal where the same content is served."""
        return {text: (model.id, model.manifest.manifest_sha256) for text, model in self.by_reference.items()}

    @property
    def shares(self) -> Mapping[str, Canary]:
        """The canary by reference, for each that splits: equal where requests are shared alike."""
        return {text: canary for text, (canary, _) in self.canaries.items()}

    def readiness(self, default: str) -> Readiness:
        """Whether the default model is loaded, which includes having reproduced its golden vectors."""
        model = self.by_reference.get(default)
        if model is not None:
            return Readiness(True, f"{model.label} reproduced its golden vectors.", "")
        reason = self.failed_references.get(default)
        if reason is not None:
            return Readiness(
                False,
                f"The default model '{default}' was refused: {reason}",
                "Publish a sound version, move the alias to one (vae-store promote), or choose another "
                "default model (VAE_DEFAULT_MODEL).",
            )
        name = parse_reference(default).name
        unreadable = [failure for failure in self.failures if failure.model in (WHOLE_STORE, name)]
        if unreadable:
            return Readiness(
                False,
                f"The default model '{default}' cannot be looked up: {unreadable[0].reason}",
                "Repair what the reason names, or point to another store (VAE_MODEL_STORE).",
            )
        return self._missing(default)

    def _missing(self, default: str) -> Readiness:
        """The default model is not in the store."""
        if not self.store_exists:
            return Readiness(
                False,
                "The model store does not exist.",
                "Correct its path (VAE_MODEL_STORE, --store), fill it with the bundled models (vae-store add "
                "bundled), or publish into it (vae-train export).",
            )
        names = {parse_reference(text).name for text in (*self.by_reference, *self.failed_references)}
        names |= {*self.ignored, *(failure.model for failure in self.failures)}
        if not names:
            return Readiness(
                False,
                "The model store is empty.",
                "Fill it with the bundled models (vae-store add bundled), publish into it (vae-train "
                "export), or point to another store (VAE_MODEL_STORE, --store).",
            )
        return Readiness(
            False,
            f"The default model '{default}' is not in the store.",
            "Publish it (vae-train export), add the bundled models (vae-store add bundled), point to a store "
            "that has it (VAE_MODEL_STORE), or choose another default model (VAE_DEFAULT_MODEL).",
        )

"""The contract between training and serving: a directory of published, immutable, verified models.

Knows the manifest, how a version is published, found, verified and read. Knows nothing of torch, onnxruntime
or HTTP: standard library, pydantic and NumPy only. `SPEC.md` beside this file says the same in MUST and MAY.

A name is imported when it is first used: a command line that needs one small module of this package starts
without NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from model_store.aliases import LATEST, STABLE
    from model_store.collecting import CollectionReport
    from model_store.errors import (
        CorruptAliases,
        CorruptVersion,
        DigestMismatch,
        ExtraFile,
        GoldenMismatch,
        HostileGraph,
        InvalidDraft,
        InvalidGolden,
        InvalidManifest,
        InvalidPrior,
        InvalidReference,
        MissingFile,
        ModelNotFound,
        NewerSchema,
        NotPermitted,
        SizeMismatch,
        StoreError,
        StoreLocked,
        StoreWriteFailed,
        UnreadableFile,
        UnsafeFile,
    )
    from model_store.golden import GoldenVectors
    from model_store.integrity import SizeLimits
    from model_store.manifest import (
        BernoulliLikelihood,
        FileEntry,
        FittedPrior,
        GaussianLikelihood,
        GoldenSpec,
        GraphSpec,
        ImageSpec,
        LabelledMixture,
        Manifest,
        ManifestDraft,
        Metric,
        StandardNormalPrior,
        TensorSpec,
        TrainingProvenance,
        graph_specs,
    )
    from model_store.prior import GaussianMixture, PriorMixtures
    from model_store.reference import ModelReference, VersionId
    from model_store.store import BUNDLED_STORE, STORE_VARIABLE, ModelStore, default_store_root
    from model_store.verification import Examination, PublishedModel

__all__ = [
    "BUNDLED_STORE",
    "LATEST",
    "STABLE",
    "STORE_VARIABLE",
    "BernoulliLikelihood",
    "CollectionReport",
    "CorruptAliases",
    "CorruptVersion",
    "DigestMismatch",
    "Examination",
    "ExtraFile",
    "FileEntry",
    "FittedPrior",
    "GaussianLikelihood",
    "GaussianMixture",
    "GoldenMismatch",
    "GoldenSpec",
    "GoldenVectors",
    "GraphSpec",
    "HostileGraph",
    "ImageSpec",
    "InvalidDraft",
    "InvalidGolden",
    "InvalidManifest",
    "InvalidPrior",
    "InvalidReference",
    "LabelledMixture",
    "Manifest",
    "ManifestDraft",
    "Metric",
    "MissingFile",
    "ModelNotFound",
    "ModelReference",
    "ModelStore",
    "NewerSchema",
    "NotPermitted",
    "PriorMixtures",
    "PublishedModel",
    "SizeLimits",
    "SizeMismatch",
    "StandardNormalPrior",
    "StoreError",
    "StoreLocked",
    "StoreWriteFailed",
    "TensorSpec",
    "TrainingProvenance",
    "UnreadableFile",
    "UnsafeFile",
    "VersionId",
    "default_store_root",
    "graph_specs",
]

#: The module that each name comes from, as in the imports above.
_MODULES: Final = {
    "aliases": ("LATEST", "STABLE"),
    "collecting": ("CollectionReport",),
    "errors": (
        "CorruptAliases",
        "CorruptVersion",
        "DigestMismatch",
        "ExtraFile",
        "GoldenMismatch",
        "HostileGraph",
        "InvalidDraft",
        "InvalidGolden",
        "InvalidManifest",
        "InvalidPrior",
        "InvalidReference",
        "MissingFile",
        "ModelNotFound",
        "NewerSchema",
        "NotPermitted",
        "SizeMismatch",
        "StoreError",
        "StoreLocked",
        "StoreWriteFailed",
        "UnreadableFile",
        "UnsafeFile",
    ),
    "golden": ("GoldenVectors",),
    "integrity": ("SizeLimits",),
    "manifest": (
        "BernoulliLikelihood",
        "FileEntry",
        "FittedPrior",
        "GaussianLikelihood",
        "GoldenSpec",
        "GraphSpec",
        "ImageSpec",
        "LabelledMixture",
        "Manifest",
        "ManifestDraft",
        "Metric",
        "StandardNormalPrior",
        "TensorSpec",
        "TrainingProvenance",
        "graph_specs",
    ),
    "prior": ("GaussianMixture", "PriorMixtures"),
    "reference": ("ModelReference", "VersionId"),
    "store": ("BUNDLED_STORE", "ModelStore", "STORE_VARIABLE", "default_store_root"),
    "verification": ("Examination", "PublishedModel"),
}
_HOMES: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """The public name, imported from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

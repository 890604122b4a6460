"""The contract between training and serving: a directory of published, immutable, verified models.

Knows the manifest, and how a version is published, found, verified and read. Knows nothing of torch,
onnxruntime or HTTP: standard library, pydantic and NumPy only. `SPEC.md` in this directory states the
contract in MUST and MAY.

A name is imported on first use, so that a command line that needs one small module starts without NumPy.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # importing `typing` takes longer than all the rest here, before handlers for signals
if TYPE_CHECKING:
    from model_store.aliases import LATEST, STABLE
    from model_store.default_store import DefaultStore, open_store
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
        InvalidPreview,
        InvalidPrior,
        InvalidReference,
        InvalidSignature,
        MissingExtra,
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
        UnusableKey,
        VersionInUse,
        VersionTaken,
    )
    from model_store.garbage import CollectionReport
    from model_store.golden import GoldenVectors
    from model_store.image_spec import ImageSpec
    from model_store.imported import ImportedProvenance, LatentSpec, OpenSizes, UnknownLikelihood
    from model_store.integrity import SizeLimits
    from model_store.label_draws import LabelDraws
    from model_store.label_posterior import LabelPosterior
    from model_store.learned_prior import LearnedPriorFiles, PriorGolden
    from model_store.likelihood_spec import BernoulliLikelihood, GaussianLikelihood
    from model_store.location import BUNDLED_STORE, STORE_VARIABLE, default_store_root, own_store_root
    from model_store.manifest import FileEntry, GoldenSpec, Manifest, ManifestDraft
    from model_store.mounted import MountedStore
    from model_store.preview import Preview
    from model_store.preview_spec import PreviewSpec
    from model_store.prior import GaussianMixture, PriorMixtures
    from model_store.prior_spec import (
        FittedPrior,
        LabelledMixture,
        LearnedPrior,
        PriorGoldenSpec,
        StandardNormalPrior,
    )
    from model_store.provenance import Metric, TrainingProvenance
    from model_store.reference import ModelReference
    from model_store.signature import TrustedKeys
    from model_store.store import ModelStore
    from model_store.tensor_spec import GraphSpec, TensorSpec, graph_specs, prior_graph_specs
    from model_store.verification import Examination, PublishedModel
    from model_store.version_id import VersionId

__all__ = [
    "BUNDLED_STORE",
    "LATEST",
    "STABLE",
    "STORE_VARIABLE",
    "BernoulliLikelihood",
    "CollectionReport",
    "CorruptAliases",
    "CorruptVersion",
    "DefaultStore",
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
    "ImportedProvenance",
    "InvalidDraft",
    "InvalidGolden",
    "InvalidManifest",
    "InvalidPreview",
    "InvalidPrior",
    "InvalidReference",
    "InvalidSignature",
    "LabelDraws",
    "LabelPosterior",
    "LabelledMixture",
    "LatentSpec",
    "LearnedPrior",
    "LearnedPriorFiles",
    "Manifest",
    "ManifestDraft",
    "Metric",
    "MissingExtra",
    "MissingFile",
    "ModelNotFound",
    "ModelReference",
    "ModelStore",
    "MountedStore",
    "NewerSchema",
    "NotPermitted",
    "OpenSizes",
    "Preview",
    "PreviewSpec",
    "PriorGolden",
    "PriorGoldenSpec",
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
    "TrustedKeys",
    "UnknownLikelihood",
    "UnreadableFile",
    "UnsafeFile",
    "UnusableKey",
    "VersionId",
    "VersionInUse",
    "VersionTaken",
    "default_store_root",
    "graph_specs",
    "open_store",
    "own_store_root",
    "prior_graph_specs",
]

#: The modules of the public names, those with the fewest imports first.
_MODULES = (
    "errors",
    "location",
    "version_id",
    "reference",
    "aliases",
    "tensor_spec",
    "imported",
    "label_draws",
    "image_spec",
    "likelihood_spec",
    "preview_spec",
    "provenance",
    "prior_spec",
    "manifest",
    "integrity",
    "golden",
    "preview",
    "prior",
    "label_posterior",
    "learned_prior",
    "garbage",
    "verification",
    "signature",
    "store",
    "default_store",
    "mounted",
)


def __getattr__(name: str) -> object:
    """The public name, from the first module that has it."""
    if name in __all__:
        for module in _MODULES:
            value: object = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

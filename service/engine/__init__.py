"""Inference on arrays: sessions, models, noise and the registry. Knows no HTTP, no pictures and no JSON."""

from service.engine.errors import (
    CallerDisconnected,
    DeadlineExceeded,
    EngineError,
    EngineStopped,
    InferenceFailed,
    InvalidInput,
    InvalidModelReference,
    InvalidParameter,
    LabelNotApplicable,
    ModelRejected,
    ModelUnavailable,
    NoDensity,
    NoPrior,
    NotRun,
    TooBusy,
    UnknownLabel,
    UnknownModel,
)
from service.engine.model import AllOperations, LoadedModel
from service.engine.observer import EngineObserver
from service.engine.operations.core import Operations, Parts, Posterior, Reconstruction, Samples
from service.engine.operations.geometry import METHODS, SPACINGS, Method, Spacing
from service.engine.operations.latent_paths import DEFAULT_SPAN, DEFAULT_STEPS, Interpolation, Traversal
from service.engine.operations.noise import LARGEST_SEED, new_seed
from service.engine.operations.scoring import BINARISE, Binarise, Scores
from service.engine.operations.validation import (
    LARGEST_SPAN,
    LARGEST_TEMPERATURE,
    LATENT_BOUND,
    MOST_DIMS,
    SMALLEST_SPAN,
)
from service.engine.registry import LoadFailure, ModelRegistry, Readiness
from service.engine.runtime.call import Call
from service.engine.runtime.cpu_quota import ThreadBudget, allowed_threads
from service.engine.runtime.worker_pool import WorkerPool

__all__ = [
    "BINARISE",
    "DEFAULT_SPAN",
    "DEFAULT_STEPS",
    "LARGEST_SEED",
    "LARGEST_SPAN",
    "LARGEST_TEMPERATURE",
    "LATENT_BOUND",
    "METHODS",
    "MOST_DIMS",
    "SMALLEST_SPAN",
    "SPACINGS",
    "AllOperations",
    "Binarise",
    "Call",
    "CallerDisconnected",
    "DeadlineExceeded",
    "EngineError",
    "EngineObserver",
    "EngineStopped",
    "InferenceFailed",
    "Interpolation",
    "InvalidInput",
    "InvalidModelReference",
    "InvalidParameter",
    "LabelNotApplicable",
    "LoadFailure",
    "LoadedModel",
    "Method",
    "ModelRegistry",
    "ModelRejected",
    "ModelUnavailable",
    "NoDensity",
    "NoPrior",
    "NotRun",
    "Operations",
    "Parts",
    "Posterior",
    "Readiness",
    "Reconstruction",
    "Samples",
    "Scores",
    "Spacing",
    "ThreadBudget",
    "TooBusy",
    "Traversal",
    "UnknownLabel",
    "UnknownModel",
    "WorkerPool",
    "allowed_threads",
    "new_seed",
]

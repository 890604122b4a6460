"""Inference on arrays: sessions, models, noise and the registry. Knows no HTTP, no pictures and no JSON."""

from service.engine.errors import (
    EngineError,
    InferenceFailed,
    InvalidInput,
    InvalidModelReference,
    ModelRejected,
    ModelUnavailable,
    NoPrior,
    UnknownModel,
)
from service.engine.model import LoadedModel, Posterior, Reconstruction, Samples
from service.engine.registry import LoadFailure, ModelRegistry, Readiness
from service.engine.sampling import LARGEST_SEED, new_seed
from service.engine.threads import ThreadBudget, allowed_threads
from service.engine.validation import LARGEST_TEMPERATURE, LATENT_BOUND

__all__ = [
    "LARGEST_SEED",
    "LARGEST_TEMPERATURE",
    "LATENT_BOUND",
    "EngineError",
    "InferenceFailed",
    "InvalidInput",
    "InvalidModelReference",
    "LoadFailure",
    "LoadedModel",
    "ModelRegistry",
    "ModelRejected",
    "ModelUnavailable",
    "NoPrior",
    "Posterior",
    "Readiness",
    "Reconstruction",
    "Samples",
    "ThreadBudget",
    "UnknownModel",
    "allowed_threads",
    "new_seed",
]

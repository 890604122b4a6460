"""Inference on arrays: sessions, models, noise and the registry. Knows no HTTP, no pictures and no JSON."""

from service.engine.caller import Caller
from service.engine.errors import (
    CallerLeft,
    DeadlineExceeded,
    EngineError,
    EngineStopped,
    InferenceFailed,
    InvalidInput,
    InvalidModelReference,
    LabelNotApplicable,
    ModelRejected,
    ModelUnavailable,
    NoPrior,
    NotRun,
    TooBusy,
    UnknownLabel,
    UnknownModel,
)
from service.engine.lanes import Lanes
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver
from service.engine.operations import Operations, Parts, Posterior, Reconstruction, Samples
from service.engine.registry import LoadFailure, ModelRegistry, Readiness
from service.engine.sampling import LARGEST_SEED, new_seed
from service.engine.threads import ThreadBudget, allowed_threads
from service.engine.validation import LARGEST_TEMPERATURE, LATENT_BOUND

__all__ = [
    "LARGEST_SEED",
    "LARGEST_TEMPERATURE",
    "LATENT_BOUND",
    "Caller",
    "CallerLeft",
    "DeadlineExceeded",
    "EngineError",
    "EngineObserver",
    "EngineStopped",
    "InferenceFailed",
    "InvalidInput",
    "InvalidModelReference",
    "LabelNotApplicable",
    "Lanes",
    "LoadFailure",
    "LoadedModel",
    "ModelRegistry",
    "ModelRejected",
    "ModelUnavailable",
    "NoPrior",
    "NotRun",
    "Operations",
    "Parts",
    "Posterior",
    "Readiness",
    "Reconstruction",
    "Samples",
    "ThreadBudget",
    "TooBusy",
    "UnknownLabel",
    "UnknownModel",
    "allowed_threads",
    "new_seed",
]

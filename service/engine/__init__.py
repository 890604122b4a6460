"""Inference on arrays: the registry of models, and the operations on a model.

Knows no HTTP, no image files and no JSON.

model = registry.get("mnist")
posterior = await encode(model.queued, x, call=call)
"""

from service.engine.canary import Split
from service.engine.catalogue import LoadFailure, Readiness
from service.engine.errors import (
    AcceleratorUnavailable,
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
    NoGraph,
    NoPrior,
    NoThresholds,
    NotRun,
    TooBusy,
    UnknownLabel,
    UnknownModel,
)
from service.engine.loading import load_model
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver
from service.engine.operations.binarisation import BINARISE, Binarise
from service.engine.operations.decode import decode, decode_in_parts, decode_unclipped
from service.engine.operations.decode_tiled import Tiles, decode_tiled
from service.engine.operations.encode import Posterior, encode
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.operations.geometry import (
    DEFAULT_SPAN,
    DEFAULT_STEPS,
    METHODS,
    SPACINGS,
    Method,
    Spacing,
)
from service.engine.operations.interpolate import Interpolation, interpolate
from service.engine.operations.noise import LARGEST_SEED, new_seed
from service.engine.operations.parts import Parts
from service.engine.operations.reconstruct import Encoding, Reconstruction, reconstruct, reconstruct_latents
from service.engine.operations.sample import (
    SamplePlan,
    Samples,
    decode_draw,
    latents_of_seeds,
    plan_sample,
    sample,
    sample_in_parts,
)
from service.engine.operations.score import Scores, score
from service.engine.operations.traverse import Traversal, TraversalPlan, plan_traverse, traverse
from service.engine.operations.validation import (
    LARGEST_SPAN,
    LARGEST_TEMPERATURE,
    LATENT_BOUND,
    MOST_DIMS,
    SMALLEST_SPAN,
)
from service.engine.registry import ModelRegistry
from service.engine.runtime.accelerator import Accelerator, installed_runtimes
from service.engine.runtime.call import Batch, Call, Company, priority_head_start_s
from service.engine.runtime.cpu_quota import ThreadBudget, allowed_threads
from service.engine.runtime.session import check_accelerator
from service.engine.runtime.worker_pool import WorkerPool
from service.engine.tiling import TILE, Tile, TileBounds, plan_decoding
from service.engine.unloaded_names import UnloadedNames

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
    "TILE",
    "Accelerator",
    "AcceleratorUnavailable",
    "Batch",
    "Binarise",
    "Call",
    "CallerDisconnected",
    "Company",
    "DeadlineExceeded",
    "EncoderDecoder",
    "Encoding",
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
    "NoGraph",
    "NoPrior",
    "NoThresholds",
    "NotRun",
    "Parts",
    "Posterior",
    "Readiness",
    "Reconstruction",
    "SamplePlan",
    "Samples",
    "Scores",
    "Spacing",
    "Split",
    "ThreadBudget",
    "Tile",
    "TileBounds",
    "Tiles",
    "TooBusy",
    "Traversal",
    "TraversalPlan",
    "UnknownLabel",
    "UnknownModel",
    "UnloadedNames",
    "WorkerPool",
    "allowed_threads",
    "check_accelerator",
    "decode",
    "decode_draw",
    "decode_in_parts",
    "decode_tiled",
    "decode_unclipped",
    "encode",
    "installed_runtimes",
    "interpolate",
    "latents_of_seeds",
    "load_model",
    "new_seed",
    "plan_decoding",
    "plan_sample",
    "plan_traverse",
    "priority_head_start_s",
    "reconstruct",
    "reconstruct_latents",
    "sample",
    "sample_in_parts",
    "score",
    "traverse",
]

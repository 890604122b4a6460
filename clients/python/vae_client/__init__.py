"""A client of a VAE service: new images, latents, reconstructions, scores and neighbours as NumPy arrays.

from vae_client import Client

with Client("http://localhost:8000") as vae:
    digits = vae.sample(n=16, seed=7)
    mu, logvar = vae.encode(digits)
"""

from vae_client.async_client import AsyncClient
from vae_client.client import Client
from vae_client.errors import (
    AccessDenied,
    ConnectionFailed,
    InvalidInput,
    InvalidRequest,
    Item,
    NotFound,
    NotSplittable,
    Overloaded,
    Refused,
    ServerFailed,
    TimedOut,
    UnexpectedAnswer,
    VaeError,
    VersionMismatch,
)
from vae_client.latents import Latents
from vae_client.results import (
    Images,
    LatentPath,
    Neighbours,
    Posterior,
    Reconstructions,
    Result,
    Samples,
    Scores,
    Timing,
)
from vae_client.retry import Retry
from vae_client.transport import __version__

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "Images",
    "InvalidInput",
    "InvalidRequest",
    "Item",
    "LatentPath",
    "Latents",
    "Neighbours",
    "NotFound",
    "NotSplittable",
    "Overloaded",
    "Posterior",
    "Reconstructions",
    "Refused",
    "Result",
    "Retry",
    "Samples",
    "Scores",
    "ServerFailed",
    "TimedOut",
    "Timing",
    "UnexpectedAnswer",
    "VaeError",
    "VersionMismatch",
    "__version__",
]

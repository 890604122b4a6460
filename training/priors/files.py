"""The fitted prior of a run directory: `prior.npz` in its published form, and its entry for the manifest.

Knows the two files, and the weights they belong to. Knows nothing of fitting, of stores or of the use of a
prior.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from model_store import FittedPrior, InvalidPrior, PriorMixtures
from model_store.manifest import Sha256
from model_store.validation_messages import reason_of
from training.errors import RunDirectoryError
from training.runs.run_directory import RunDirectory, write_bytes, write_text


class _PriorFacts(BaseModel):
    """The contents of `prior.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weights_sha256: Sha256
    """Digest of the weights whose encoder made the latents."""
    prior_sha256: Sha256
    """Digest of `prior.npz`, which is written first. After a crash in between, the digest does not match, and
    neither file is used."""
    fitted: FittedPrior


@dataclass(frozen=True)
class _Stated:
    """The model that `prior.npz` must match before it is part of a version."""

    latent_size: int
    mixture_prior: FittedPrior


@dataclass(frozen=True, eq=False)
class PriorOfRun:
    """The fitted prior of a run directory."""

    entry: FittedPrior
    mixtures: PriorMixtures
    weights_sha256: str
    """Digest of the weights that it was fitted to: a run that continued has others."""


def write_prior(
    directory: RunDirectory, fitted: FittedPrior, mixtures: PriorMixtures, *, weights_sha256: str
) -> None:
    """Write `prior.npz` and `prior.json`, and replace earlier ones."""
    data = mixtures.to_bytes()
    facts = _PriorFacts(
        weights_sha256=weights_sha256, prior_sha256=hashlib.sha256(data).hexdigest(), fitted=fitted
    )
    write_bytes(directory.prior, data)
    write_text(directory.prior_facts, facts.model_dump_json(indent=2) + "\n")


def read_prior(directory: RunDirectory, *, latent_size: int) -> PriorOfRun | None:
    """The prior in the run directory, for any weights; None if there is none.

    Raises:
        RunDirectoryError: The files contain something else, or do not belong together.
    """
    if not directory.prior_facts.exists() and not directory.prior.exists():
        return None
    try:
        facts = _PriorFacts.model_validate_json(directory.prior_facts.read_bytes())
        data = directory.prior.read_bytes()
        if hashlib.sha256(data).hexdigest() != facts.prior_sha256:
            raise ValueError("prior.npz is not the file of prior.json")
        mixtures = PriorMixtures.from_bytes(data, _Stated(latent_size, facts.fitted))
        return PriorOfRun(facts.fitted, mixtures, facts.weights_sha256)
    except (ValueError, OSError, InvalidPrior) as error:
        raise RunDirectoryError(
            f"{directory.prior}: expected the output of `vae-train fit-prior`, got: {reason_of(error)}. "
            f"{fit_again(directory)}, or remove both files to continue without a prior."
        ) from error


def fit_again(directory: RunDirectory) -> str:
    """The remedy for an unusable prior: the beginning of a sentence."""
    return f"Run `vae-train fit-prior {shlex.quote(str(directory.root))} --data DIR`"

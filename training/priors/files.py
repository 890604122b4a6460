"""A fitted prior in a run directory: `prior.npz` as it is published, beside it what goes into the manifest.

Knows the two files, and which weights they belong to. Knows nothing of fitting, of stores or of what is to be
done about a prior of other weights.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from model_store import FittedPrior, InvalidPrior, PriorMixtures
from model_store.manifest import Sha256
from training.errors import RunDirectoryError
from training.runs.run_directory import RunDirectory, write_bytes, write_text


class _PriorFacts(BaseModel):
    """What `prior.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weights_sha256: Sha256
    """Of the weights whose encoder made the latents."""
    prior_sha256: Sha256
    """Of `prior.npz`, which is written first: after a crash in between they do not fit, and are not used."""
    fitted: FittedPrior


@dataclass(frozen=True)
class _Stated:
    """What `prior.npz` is held against before it is part of a version."""

    latent_size: int
    fitted_prior: FittedPrior


@dataclass(frozen=True, eq=False)
class PriorOfRun:
    """What lies in a run directory."""

    entry: FittedPrior
    mixtures: PriorMixtures
    weights_sha256: str
    """Of the weights that it was fitted to: a run that went on has others."""


def write_prior(
    directory: RunDirectory, fitted: FittedPrior, mixtures: PriorMixtures, *, weights_sha256: str
) -> None:
    """Write `prior.npz` and `prior.json`, in place of earlier ones."""
    data = mixtures.to_bytes()
    facts = _PriorFacts(
        weights_sha256=weights_sha256, prior_sha256=hashlib.sha256(data).hexdigest(), fitted=fitted
    )
    write_bytes(directory.prior, data)
    write_text(directory.prior_facts, facts.model_dump_json(indent=2) + "\n")


def read_prior(directory: RunDirectory, *, latent_size: int) -> PriorOfRun | None:
    """The prior that lies in the run directory, of whatever weights; None where none does.

    Raises:
        RunDirectoryError: The files hold something else, or do not belong together.
    """
    if not directory.prior_facts.exists() and not directory.prior.exists():
        return None
    try:
        facts = _PriorFacts.model_validate_json(directory.prior_facts.read_bytes())
        data = directory.prior.read_bytes()
        if hashlib.sha256(data).hexdigest() != facts.prior_sha256:
            raise ValueError("prior.npz is not the file that prior.json speaks of")
        mixtures = PriorMixtures.from_bytes(data, _Stated(latent_size, facts.fitted))
        return PriorOfRun(facts.fitted, mixtures, facts.weights_sha256)
    except (ValueError, OSError, InvalidPrior) as error:
        raise RunDirectoryError(
            f"{directory.prior}: expected what `vae-train fit-prior` writes, got: {str(error)[:300]}. "
            f"{fit_again(directory)}, or remove both files to go on without."
        ) from error


def fit_again(directory: RunDirectory) -> str:
    """What to do about a prior that cannot be used: the beginning of a sentence."""
    return f"Run `vae-train fit-prior {shlex.quote(str(directory.root))} --data DIR`"

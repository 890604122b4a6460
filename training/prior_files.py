"""A fitted prior in a run directory: `prior.npz` as it is published, beside it what goes into the manifest.

Knows the two files, and which weights they belong to. Knows nothing of fitting or of stores.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict

from model_store import FittedPrior, InvalidPrior, ManifestDraft, PriorMixtures
from model_store.manifest import Sha256
from training.errors import ExportError, RunDirectoryError
from training.run_directory import RunDirectory, write_bytes, write_text


class _PriorFacts(BaseModel):
    """What `prior.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weights_sha256: Sha256
    """Of the weights whose encoder made the latents."""
    prior_sha256: Sha256
    """Of `prior.npz`, which is written first: after a crash in between they do not fit, and are not used."""
    fitted: FittedPrior


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


def with_prior_of_run(
    directory: RunDirectory, draft: ManifestDraft, *, weights_sha256: str
) -> tuple[ManifestDraft, PriorMixtures | None]:
    """The draft with the prior that lies in the run directory, and its mixtures; as it is where none does.

    Raises:
        ExportError: The prior is of other weights.
        RunDirectoryError: The files hold something else.
    """
    again = f"Run `vae-train fit-prior {directory.root} --data DIR`, or remove both files to publish without."
    if not directory.prior_facts.exists() and not directory.prior.exists():
        return draft, None
    try:
        facts = _PriorFacts.model_validate_json(directory.prior_facts.read_bytes())
        data = directory.prior.read_bytes()
        if hashlib.sha256(data).hexdigest() != facts.prior_sha256:
            raise ValueError("prior.npz is not the file that prior.json speaks of")
        if facts.weights_sha256 != weights_sha256:
            raise ExportError(
                f"{directory.prior}: expected a prior of the weights in model.pt, got one of others: the "
                f"run went on after it was fitted. {again} Nothing was published."
            )
        with_prior = draft.with_fitted_prior(facts.fitted)
        return with_prior, PriorMixtures.from_bytes(data, with_prior)
    except (ValueError, OSError, InvalidPrior) as error:
        raise RunDirectoryError(
            f"{directory.prior}: expected what `vae-train fit-prior` writes, got: {str(error)[:300]}. {again}"
        ) from error

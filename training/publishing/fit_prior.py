"""`fit-prior` on a run or on a published version: fit a prior to data, and store it with its model.

Knows runs, published versions and the order of the checks. `training.priors.selection` fits. A published
version never changes: the fitted prior becomes part of the next version, whose graphs, golden vectors and
figures are the same bytes. It uses onnxruntime through `training.graphs.parity` alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_store import Manifest, ManifestDraft, ModelStore, VersionId
from training.config.recipe import RunConfig
from training.data import ImageData, fitting_parts, load_images
from training.errors import ConfigError, DataError
from training.evaluation.figures import weights_sha256
from training.graphs.export import Graphs
from training.graphs.parity import OnnxPair
from training.judge.classifier import Judge, load_judge
from training.models import StandardNormal
from training.objectives.progress import Progress
from training.priors.files import write_prior
from training.priors.label_calibration import LabelReader
from training.priors.selection import Encode, Encoder, Parts, PriorFit, fit_prior
from training.publishing.model_card import card_with_prior
from training.randomness.seeds import MAX_SEED, check_seed
from training.runs.origin import training_of
from training.runs.run_directory import load_run

Tell = Callable[[str], None]
Decode = Callable[[torch.Tensor], torch.Tensor]
"""x_hat, (batch, c, h, w), of each z."""
_BATCH = 512
#: A covariance has as many numbers as their square, and needs twice as many images as there are latents.
_MAX_LATENTS = 1024


def _silent(_: str) -> None:
    """Discards the message."""


@dataclass(frozen=True)
class PriorRequest:
    """Options for fitting a prior, for runs and versions alike."""

    data_dir: Path | None = None
    """Folder with the training images; None is the download cache."""
    cache_dir: Path | None = None
    """Directory of downloads, if there is no folder."""
    seed: int | None = None
    """Seed of everything random; None is the recipe's `evaluation.seed`."""
    with_labels: bool = True
    judge_dir: Path | None = None
    """Output of `vae-train judge`: narrows the mixtures of labels until the judge recognises their draws."""
    tell: Tell = _silent
    """Called with a line for people at each step."""
    progress: Progress | None = None


def fit_prior_of_run(run_dir: Path, request: PriorRequest) -> PriorFit:
    """Fit a prior to a run's averaged weights and write it into the run directory, where `export` finds it.

    Raises:
        TrainingError: The run or the data is unusable; nothing was written.
    """
    run = load_run(run_dir)
    if not isinstance(run.model.prior, StandardNormal):
        raise _has_one(str(run_dir))
    _check_latents(str(run_dir), run.model.latent_shape)

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = run.model.encode(x)
        return posterior.mu, posterior.logvar

    fit = _fit(
        encode,
        run.model.decode,
        run.config,
        request,
        trained_on=run.provenance.data_fingerprint,
        image_shape=run.model.image_shape,
    )
    write_prior(run.directory, fit.entry, fit.mixtures, weights_sha256=weights_sha256(run.model))
    return fit


def _has_one(name: str) -> ConfigError:
    return ConfigError(
        f"{name}: expected a model that was trained with N(0, I), got one with a learned prior. It needs no "
        "fitted one: its own describes the latents, because encoder and prior were trained together."
    )


def _check_latents(name: str, shape: tuple[int, ...]) -> None:
    """Reject more latents than a full covariance suits, such as those of large images with positions."""
    latents = math.prod(shape)
    if latents > _MAX_LATENTS:
        raise ConfigError(
            f"{name}: expected at most {_MAX_LATENTS:,} latents for a fitted prior, whose covariances are "
            f"full, got {' × '.join(map(str, shape))} = {latents:,}. Publish it without: /sample then "
            "draws from N(0, I). Spatial latents are fewer with a further stage in "
            "model.trunk.encoder_channels and decoder_channels."
        )


def fit_prior_of_version(
    reference: str, request: PriorRequest, *, store: ModelStore, aliases: Sequence[str] = ()
) -> VersionId:
    """Fit a prior to a published version and publish the next one: the same graphs, with the prior.

    Both graphs are first compared with their golden vectors, so that the latents, and the images for the
    judge, equal those of every server.

    Args:
        reference: `name`, `name@version` or `name@alias`.
        request: Options for the prior.
        store: Contains the version, and receives the next one.
        aliases: Aliases to move to the new version; `latest` moves by itself.

    Raises:
        TrainingError: The data is unusable; nothing was published.
        StoreError: No such version, its graphs have other results here, or the store is not writable.
    """
    published = store.open(reference)
    manifest, origin = published.manifest, training_of(published)
    if manifest.learned_prior is not None:
        raise _has_one(str(published.id))
    _check_latents(str(published.id), manifest.latent_shape)
    runtime = OnnxPair(Graphs(encoder=published.encoder, decoder=published.decoder))
    golden = published.golden
    golden.check_encoder(*runtime.encode(golden.x), manifest.golden)
    golden.check_decoder(runtime.decode(golden.z), manifest.golden)

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mu, logvar = runtime.encode(x.numpy())
        return torch.from_numpy(mu), torch.from_numpy(logvar)

    def decode(z: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(runtime.decode(z.numpy()))

    recipe = json.dumps(origin.recipe)
    config = RunConfig.from_json(recipe, where=f"{published.id}: provenance.recipe")
    fit = _fit(
        encode,
        decode,
        config,
        request,
        trained_on=origin.data_fingerprint,
        image_shape=manifest.image.shape,
    )
    return store.publish(
        _next_draft(manifest, fit),
        card=lambda new: card_with_prior(published.card, of=published.id, manifest=new),
        aliases=tuple(aliases),
        **(published.parts | {"golden": golden, "prior": fit.mixtures}),
    )


def _fit(
    encode: Encode,
    decode: Decode,
    config: RunConfig,
    request: PriorRequest,
    *,
    trained_on: str,
    image_shape: tuple[int, int, int],
) -> PriorFit:
    seed = config.evaluation.seed if request.seed is None else request.seed
    check_seed(seed, most=MAX_SEED)
    data = load_images(request.data_dir, config.data, cache_dir=request.cache_dir, tell=request.tell)
    if data.train.fingerprint != trained_on:
        raise DataError(
            f"{data.train.name}: expected the training images of the model (shape {image_shape}, "
            f"fingerprint {trained_on}), got {len(data.train):,} of shape {data.image_shape}, fingerprint "
            f"{data.train.fingerprint}. A prior is fitted to the codes of those images: name their folder."
        )
    reader = None
    if request.judge_dir is not None:
        if not request.with_labels or data.train.labels is None:
            raise ConfigError(
                "--judge: expected images with labels and no --no-labels, because a judge compares labels; "
                "leave it out."
            )
        judge = load_judge(request.judge_dir)
        judge.check_shape(image_shape, of="the model")
        judge.check_labels(data.train)
        reader = _reader(judge, decode, request.progress)
    return fit_prior(
        Encoder(encode, kind=config.model.kind, binarisation=config.data.binarisation),
        _parts(data, config),
        seed=seed,
        with_labels=request.with_labels,
        label_names=data.label_names,
        reader=reader,
        tell=request.tell,
        progress=request.progress,
    )


def _reader(judge: Judge, decode: Decode, progress: Progress | None) -> LabelReader:
    """The judge of the images that z decodes to."""

    @torch.inference_mode()
    def read(z: NDArray[np.float32]) -> NDArray[np.int64]:
        images = torch.cat([decode(part) for part in torch.split(torch.from_numpy(z), _BATCH)])
        labels = judge.ask(images, what="judging draws of labels", progress=progress).labels
        return np.asarray(labels.numpy(), np.int64)

    return LabelReader(read, about=str(judge))


def _parts(data: ImageData, config: RunConfig) -> Parts:
    """The images in their parts during training: training images, held-out images, test images."""
    train, held_back = fitting_parts(
        data, validation_size=config.data.validation_size, seed=config.trainer.seed
    )
    return Parts(train=train, held_back=held_back, test=data.test)


def _next_draft(manifest: Manifest, fit: PriorFit) -> ManifestDraft:
    now = datetime.now(UTC).replace(microsecond=0)
    provenance = manifest.provenance.model_copy(update={"created_at": now})
    return manifest.with_fitted_prior(fit.entry).model_copy(update={"provenance": provenance})

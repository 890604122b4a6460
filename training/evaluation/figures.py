"""The figures of a fitted model, in nats, each with its protocol.

Knows models, image sets and the choice of figures. The estimators are in `training.objectives.estimators`.
Knows nothing of training steps; files only in `evaluate_run`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from model_store.manifest import Metric, Sha256
from model_store.numbers import told_apart
from model_store.strict_model import FiniteFloat
from model_store.validation_messages import reason_of
from training.compute.batch_size import images_at_once
from training.data import Binarisation, ImageSet, load_images
from training.errors import ConfigError, DataError, NonFiniteTraining, RunDirectoryError
from training.evaluation.measures.active_latents import active_latents, active_protocol
from training.evaluation.measures.principal_components import PrincipalComponents, most_components
from training.evaluation.verdict import has_collapsed, is_worse_than_lines
from training.models import LatentImageModel
from training.objectives.estimators import (
    ElboParts,
    Observations,
    autoencoder_reconstruction_nll,
    elbo_parts,
    importance_weighted_log_px,
    squared_error,
)
from training.objectives.posterior_collapse import (
    COLLAPSED_KL_NATS,
)
from training.objectives.progress import Progress
from training.randomness.seeds import MAX_TORCH_SEED
from training.runs.run_directory import RunDirectory, load_run, write_text

_BATCH = 256


class Evaluation(BaseModel):
    """The figures of one model on one set of images."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metrics: tuple[Metric, ...]
    kl_per_dimension: tuple[FiniteFloat, ...]
    """Mean KL of each latent dimension, in nats; empty for an autoencoder."""
    warnings: tuple[str, ...]
    """Warnings for a reader of the figures; empty if there are none."""
    weights_sha256: Sha256
    """Digest of the measured weights, so that the figures cannot pass for those of others."""

    def __getitem__(self, name: str) -> float:
        """The value of the metric with this name; KeyError if it was not measured."""
        for metric in self.metrics:
            if metric.name == name:
                return metric.value
        raise KeyError(f"{name}; measured: {', '.join(metric.name for metric in self.metrics)}")

    def __contains__(self, name: str) -> bool:
        return any(metric.name == name for metric in self.metrics)

    @property
    def values(self) -> dict[str, float]:
        """The figures by name."""
        return {metric.name: metric.value for metric in self.metrics}

    @property
    def collapsed(self) -> bool:
        """Whether the latents carry no information about the image, or the decoder ignores them."""
        return has_collapsed(self.values)

    def to_markdown(self) -> str:
        """The figures as a table, each with its protocol, and any warnings below it."""
        lines = ["| figure | value | unit | measured on |", "| --- | ---: | --- | --- |"]
        lines += [
            f"| {metric.name} | {format_value(metric)} | {metric.unit} | {metric.protocol} |"
            for metric in self.metrics
        ]
        lines += [f"\n**Warning:** {warning}" for warning in self.warnings]
        return "\n".join(lines) + "\n"


def weights_sha256(model: LatentImageModel) -> str:
    """Digest over every parameter and buffer: name, type, shape and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def format_value(metric: Metric) -> str:
    """A figure with the significant digits of its unit."""
    if metric.unit == "units":
        return f"{metric.value:.0f}"
    return f"{metric.value:.4f}" if metric.unit in ("pixel value", "ratio") else f"{metric.value:.2f}"


def evaluate(
    model: LatentImageModel,
    image_set: ImageSet,
    *,
    train: ImageSet | None = None,
    binarisation: Binarisation | None = None,
    importance_samples: int = 64,
    importance_images: int | None = 400,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model: for a VAE the bound and its parts, the likelihood, the use of the latents.

    A VAE gets `negative_elbo`, `reconstruction_nll`, `kl`, `nll_iw` and `active_units`. An autoencoder has no
    prior and so no likelihood of an image: it gets `reconstruction_nll` at z = mu. Both get
    `reconstruction_rmse`, the error of reconstruction without noise: of the grey images at z = mu. Two
    baselines accompany it: `mean_image_rmse`, and with `train` also `pca_rmse`, with as many principal
    components as the model has active latents. A model that is no better than a baseline was not worth its
    training.

    Args:
        model: It stays on its device and in its mode.
        image_set: All its images are measured, except by `nll_iw`.
        train: The training images of the model, for the baseline; left out, there is no `pca_rmse`.
        binarisation: Binarisation of the pixels; left out, the domain of the likelihood: `dynamic` for
            Bernoulli, `grey` for Gaussian.
        importance_samples: K of the importance-weighted bound.
        importance_images: Number of images, drawn at random, for the importance-weighted bound. None, or a
            number above their count, means all.
        seed: Seed of binarisation, posterior samples and the random subset.
        batch_size: Images, or latents, in one call of the model; left out, 256, or fewer of large images. It
            bounds memory and never changes the noise.
        progress: Called after each batch.

    Returns:
        Metrics with their protocols, KL per dimension and warnings.

    Raises:
        ConfigError: The pixels are grey and the likelihood is Bernoulli, or a size is out of range.
        DataError: The images do not fit the model.
        NonFiniteTraining: A figure is not finite: the weights are broken.
    """
    binarisation = binarisation or natural_binarisation(model)
    batch_size = images_at_once(model.image_shape, most=_BATCH) if batch_size is None else batch_size
    _check_request(model, image_set, binarisation)
    _check_range("importance_samples", importance_samples, 1, 1_000_000)
    _check_range("importance_images", 1 if importance_images is None else importance_images, 1, 2**31)
    _check_range("batch_size", batch_size, 1, 2**20)
    _check_range("seed", seed, 0, MAX_TORCH_SEED)
    observations = Observations(image_set, binarisation, seed=seed)
    with _inference(model):
        if model.kind == "vae":
            parts = elbo_parts(model, observations, batch_size=batch_size, progress=progress)
            chosen = _random_subset(len(image_set), importance_images, seed)
            log_px = importance_weighted_log_px(
                model,
                observations,
                chosen,
                samples=importance_samples,
                batch_size=batch_size,
                progress=progress,
            )
            metrics = [
                *_elbo_metrics(observations, parts),
                _nll_metric(observations, parts, chosen, log_px, importance_samples),
                _active_units_metric(observations, parts),
            ]
            kl_per_dimension = parts.kl_per_dimension.mean(dim=0).tolist()
        else:
            nll = autoencoder_reconstruction_nll(
                model, observations, batch_size=batch_size, progress=progress
            )
            protocol = f"{observations.protocol()}; z = mu, no prior and so no bound on the likelihood"
            metrics = [_nats("reconstruction_nll", nll, protocol)]
            kl_per_dimension = []
        error = squared_error(model, image_set, batch_size=batch_size, progress=progress)
        metrics.append(_rmse_metric(image_set, error))
        active = next((int(m.value) for m in metrics if m.name == "active_units"), model.latent_size)
        metrics += _baselines(image_set, train, components=active)
    return Evaluation(
        metrics=tuple(metrics),
        kl_per_dimension=tuple(kl_per_dimension),
        warnings=tuple(_warnings(model, metrics)),
        weights_sha256=weights_sha256(model),
    )


def natural_binarisation(model: LatentImageModel) -> Binarisation:
    """The domain of the likelihood: zeros and ones for a Bernoulli, grey levels for a Gaussian."""
    return "dynamic" if model.likelihood.spec().name == "bernoulli" else "grey"


def _check_request(model: LatentImageModel, image_set: ImageSet, binarisation: Binarisation) -> None:
    if model.likelihood.spec().name == "bernoulli" and binarisation == "grey":
        raise ConfigError(
            "binarisation: a Bernoulli likelihood expects pixels that are 0 or 1, got 'grey'. A "
            "cross-entropy on grey pixels is not a likelihood; evaluate with 'dynamic'."
        )
    if image_set.image_shape != model.image_shape or len(image_set) == 0:
        raise DataError(
            f"{image_set.name}: expected at least one image of shape {model.image_shape}, as the model "
            f"requires, got {len(image_set):,} of shape {image_set.image_shape}. Evaluate on data with the "
            "shape of the model's training images."
        )


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"{name}: expected {low:,} to {high:,}, got {value:,}. Choose a number in that range."
        )


@contextmanager
def _inference(model: LatentImageModel) -> Iterator[None]:
    """Evaluation mode without gradients; the previous mode is restored even after an error."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _random_subset(count: int, subset: int | None, seed: int) -> Int64[Tensor, " m"]:
    if subset is None or subset >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:subset].sort().values


def _elbo_metrics(observations: Observations, parts: ElboParts) -> list[Metric]:
    learned = parts.estimated_kl is not None
    how = "KL to the learned prior from the same sample" if learned else "KL in closed form"
    protocol = f"{observations.protocol()}; one posterior sample an image, {how}"
    return [
        _nats("negative_elbo", parts.negative_elbo, f"{protocol}; beta = 1"),
        _nats("reconstruction_nll", parts.reconstruction_nll, protocol),
        _nats("kl", parts.kl, protocol if learned else f"{observations.protocol()}; {how}"),
    ]


def _nll_metric(
    observations: Observations,
    parts: ElboParts,
    chosen: Int64[Tensor, " m"],
    log_px: Float64[Tensor, " m"],
    importance_samples: int,
) -> Metric:
    protocol = (
        f"{observations.protocol(len(chosen))}; importance-weighted bound with K = {importance_samples} "
        f"posterior samples an image (arXiv:1509.00519, equation 8)"
    )
    if len(chosen) < len(parts.negative_elbo):
        # The choice of images changes the figure by about this standard error; the bound on the same images
        # shows how.
        error = (log_px.std() / math.sqrt(len(chosen))).item() if len(chosen) > 1 else math.inf
        same = parts.negative_elbo[chosen].mean().item()
        protocol += f"; standard error over images {error:.2f}; -ELBO of the same images {same:.2f}"
    return _nats("nll_iw", -log_px, protocol)


def _active_units_metric(observations: Observations, parts: ElboParts) -> Metric:
    normal = parts.estimated_kl is None
    active = int(active_latents(parts.mu, parts.variance, unit_variance=normal).sum())
    protocol = (
        f"of {parts.mu.shape[1]} latents; {active_protocol(unit_variance=normal)}; {observations.protocol()}"
    )
    return Metric(name="active_units", value=float(active), unit="units", protocol=protocol)


def _rmse_metric(image_set: ImageSet, error: Float64[Tensor, " n"]) -> Metric:
    value = _finite("reconstruction_rmse", error.mean().sqrt())
    protocol = (
        f"all {len(image_set):,} images of {image_set.name}; grey pixels, z = mu; root of the mean squared "
        "difference of all pixels"
    )
    return Metric(name="reconstruction_rmse", value=value, unit="pixel value", protocol=protocol)


def _baselines(image_set: ImageSet, train: ImageSet | None, *, components: int) -> Iterator[Metric]:
    """Reconstruction errors without a model: of the mean image, and of principal components."""
    protocol = f"all {len(image_set):,} images of {image_set.name}; grey pixels; "
    yield Metric(
        name="mean_image_rmse",
        value=PrincipalComponents.of(train or image_set, 0).rmse(image_set),
        unit="pixel value",
        protocol=f"{protocol}the mean of {(train or image_set).name} in place of every image",
    )
    if train is None:
        return
    most = most_components(train.image_shape)
    which = "as many as there are active latents"
    if components > most:
        which = f"the most that were computed for images of this size: {components:,} latents are active"
    yield Metric(
        name="pca_rmse",
        value=PrincipalComponents.of(train, min(components, most)).rmse(image_set),
        unit="pixel value",
        protocol=f"{protocol}projected onto {min(components, most):,} principal components, {which}, "
        f"fitted to the {len(train):,} images of {train.name}",
    )


def _nats(name: str, per_image: Float64[Tensor, " n"], protocol: str) -> Metric:
    return Metric(name=name, value=_finite(name, per_image.mean()), unit="nats per image", protocol=protocol)


def _finite(name: str, value: Float64[Tensor, ""]) -> float:
    number = float(value.item())
    if not math.isfinite(number):
        raise NonFiniteTraining(
            f"{name}: expected a finite figure, got {number}. The weights are broken: train again with a "
            "lower learning rate or tighter gradient clipping, or return to an earlier checkpoint."
        )
    return number


def _warnings(model: LatentImageModel, metrics: list[Metric]) -> Iterator[str]:
    values = {metric.name: metric.value for metric in metrics}
    collapsed = has_collapsed(values)
    if collapsed and "kl" in values:
        kl = told_apart(values["kl"], COLLAPSED_KL_NATS, digits=3)
        yield (
            f"posterior collapse: the KL is {kl} nats, below {COLLAPSED_KL_NATS:.0f}; the "
            "decoder ignores z. Lower beta, warm it up for longer, or weaken the decoder."
        )
    elif collapsed:
        yield (
            f"collapse: the error of reconstructions is {values['reconstruction_rmse']:.4f}, and that of "
            f"the mean image {values['mean_image_rmse']:.4f}; the decoder ignores z. Lower "
            "optimiser.learning_rate, or train for longer."
        )
    elif values.get("active_units", model.latent_size) < model.latent_size:
        dead = model.latent_size - int(values["active_units"])
        yield (
            f"dead units: {dead} of {model.latent_size} latents hardly depend on the image and are useless. "
            "Warm beta up for longer, or train with fewer latents."
        )
    if is_worse_than_lines(values):
        yield (
            "no better than straight lines: the error of reconstructions is "
            f"{values['reconstruction_rmse']:.4f}, and that of as many principal components "
            f"{values['pca_rmse']:.4f}. Train longer, or with wider layers."
        )


def evaluate_run(
    run_dir: Path,
    data_dir: Path | None,
    *,
    importance_samples: int | None = None,
    importance_images: int | None = None,
    seed: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Evaluate a run's averaged weights on the test images and write the figures into its directory.

    Args:
        run_dir: The run directory of `vae-train fit`.
        data_dir: The `--data` of the run; None is the data set of its recipe.
        importance_samples: K; left out, the value of the recipe.
        importance_images: Number of images for that bound, drawn at random; left out, the value of the
            recipe. A number above their count means all.
        seed: Seed of all noise; left out, the value of the recipe.
        cache_dir: Directory of downloads, if `data_dir` is None.
        progress: Called after each batch.
        tell: Called with a line for people at each step of a download.

    Returns:
        The figures, also written to `evaluation.json` and `evaluation.md`.

    Raises:
        TrainingError: The run, the data or a figure is unusable; nothing was written.
    """
    run = load_run(run_dir)
    settings = run.config.evaluation
    data = load_images(data_dir, run.config.data, cache_dir=cache_dir, tell=tell)
    if data_dir is None and data.train.fingerprint != run.provenance.data_fingerprint:
        raise ConfigError(
            f"--data: expected the training images of {run_dir} ({run.provenance.data}), got nothing, which "
            f"would be {data.name}. Name them."
        )
    evaluation = evaluate(
        run.model,
        data.test,
        train=data.train,
        importance_samples=settings.importance_samples if importance_samples is None else importance_samples,
        importance_images=settings.importance_images if importance_images is None else importance_images,
        seed=settings.seed if seed is None else seed,
        progress=progress,
    )
    write_evaluation(run_dir, evaluation)
    return evaluation


def write_evaluation(run_dir: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.json` and, for people, `evaluation.md`; each is replaced atomically."""
    path = RunDirectory(run_dir).evaluation
    write_text(path, evaluation.model_dump_json(indent=2) + "\n")
    write_text(path.with_suffix(".md"), evaluation.to_markdown())


def read_evaluation(run_dir: Path) -> Evaluation | None:
    """The latest figures of this run, or None if it was never evaluated.

    Raises:
        RunDirectoryError: The file contains something else.
    """
    path = RunDirectory(run_dir).evaluation
    if not path.exists():
        return None
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise RunDirectoryError(
            f"{path}: expected the figures of an evaluation, got something else: {reason_of(error)}. Run "
            "`vae-train evaluate` again."
        ) from error

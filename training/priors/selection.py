"""A prior fitted after training: mixtures over the posterior samples of the training images.

Knows encoders, image sets with labels, and mixtures. Knows nothing of files, stores or commands. The encoder
may be a run's model or a published graph: any function from a batch to (mu, logvar).

    training images ──encoder──▶ z ~ q(z|x) ──EM──▶ one mixture of all, one of each label
    images held back                       └──▶ choose the number of components
    a judge, if there is one               └──▶ narrow those of the labels (`label_calibration`)
    test images                            └──▶ the figures: log p(z), fitted and N(0, I)

The mean of log p(z) over posterior samples is the part of the bound that depends on the prior. A prior that
is better by some nats here improves the ELBO of the same encoder and decoder by as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from model_store import FittedPrior, GaussianMixture, LabelledMixture, Metric, PriorMixtures
from model_store.manifest import MAX_COMPONENTS, MAX_COMPONENTS_IN_ALL
from training.data import Binarisation, ImageSet
from training.errors import DataError, NonFiniteTraining
from training.objectives.estimators import Observations
from training.objectives.progress import Progress, in_batches
from training.priors import label_calibration
from training.priors.mixtures import (
    MOST_ROUNDS,
    REGULARISATION,
    TOLERANCE_NATS,
    ChosenMixture,
    choose_mixture,
    joined,
    log_density,
    rows_needed,
    standard_normal_log_density,
)
from training.randomness.seeding import generator_for

#: Numbers of components to try for the mixture of all images, and for the mixture of one label.
CANDIDATES = (1, 10, 20, 40)
LABEL_CANDIDATES = (1, 2, 4, 8, 16)
#: Maximum number of labels with their own mixture in one version, by its manifest.
MAX_LABELS = 1000
#: Posterior samples of each training image, for the mixtures of labels.
DRAWS = 4
_BATCH_SIZE = 256
#: The key of N(0, I), which has no fitted parameters, among the tried numbers of components.
_STANDARD = 0

Encode = Callable[[Float[Tensor, "batch c h w"]], tuple[Tensor, Tensor]]
"""(mu, logvar), each (batch, latent), of images in [0, 1]."""
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Encoder:
    """The map from images to z."""

    encode: Encode
    kind: Literal["vae", "ae"]
    """For an `ae`, whose `logvar` has no meaning, z is the code itself."""
    binarisation: Binarisation
    """The encoder's input in training."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The images, by their purpose."""

    train: ImageSet
    """Images for fitting the mixtures."""
    held_back: ImageSet
    """Images for choosing the numbers of components."""
    test: ImageSet
    """Images for the figures."""

    def __iter__(self) -> Iterator[ImageSet]:
        return iter((self.train, self.held_back, self.test))


@dataclass(frozen=True, eq=False)
class PriorFit:
    """The part of a fitted prior that a version publishes."""

    entry: FittedPrior
    mixtures: PriorMixtures


@dataclass(frozen=True, eq=False)
class _Latents:
    """z of a set of images, (draws, n, latent), and the labels of the n images."""

    z: NDArray[np.float32]
    labels: NDArray[np.int64] | None

    def of(self, label: int) -> NDArray[np.float32]:
        """(draws, images of that label, latent)."""
        assert self.labels is not None
        rows: NDArray[np.float32] = self.z[:, self.labels == label]
        return rows

    def share_of(self, label: int) -> float:
        return float(self.of(label).shape[1] / self.z.shape[1])


def fit_prior(
    encoder: Encoder,
    parts: Parts,
    *,
    seed: int,
    with_labels: bool = True,
    label_names: Sequence[str] = (),
    reader: label_calibration.LabelReader | None = None,
    tell: Tell = lambda _: None,
    progress: Progress | None = None,
) -> PriorFit:
    """Fit the mixtures, choose their sizes on the held-out images, measure them on the test images.

    Args:
        encoder: Returns the posterior of a batch.
        parts: The images; those for fitting must be the model's training images.
        seed: Seed of binarisation, posterior samples and initial clusters; the same seed yields the same
            mixtures.
        with_labels: Also fit a mixture to the images of each label, if they have labels.
        label_names: Names of the labels 0, 1, …; left out, the numbers are the names.
        reader: Narrows the mixtures of labels; left out, they stay as fitted.
        tell: Called with a line for people after each mixture.
        progress: Called with the number of encoded images.

    Raises:
        DataError: There are too few images to fit a covariance to. Labels with too few are left out.
        NonFiniteTraining: The encoder returned NaN or infinity.

    Source:
        Ghosh et al. 2019, arXiv:1903.12436, section 4. They fit to the codes of a deterministic encoder. For
        a VAE we fit to samples of q(z|x), because means alone would omit the spread that the decoder was
        trained with.
    """
    train, held_back, test = (
        _encoded(encoder, images, draws=draws, seed=seed, number=number, progress=progress)
        for number, (images, draws) in enumerate(zip(parts, (_draws(encoder), 1, 1), strict=True))
    )
    labelled: dict[int, ChosenMixture] = {}
    left_out: list[str] = []
    if with_labels and train.labels is not None and held_back.labels is not None:
        labels = np.unique(train.labels).tolist()
        candidates = _label_candidates(len(labels))
        for label in labels:
            of = f"label {label}"
            rows = train.of(label), held_back.of(label)
            if _too_few(*rows):
                left_out.append(label_names[label] if label_names else str(label))
                tell(_left_out(left_out[-1], *rows))
                continue
            labelled[label] = _chosen(of, *rows, candidates=candidates, seed=seed)
            tell(_line(of, labelled[label]))
    elif with_labels and train.labels is not None:
        tell("no mixtures of labels: the validation images have no labels")
    whole = _chosen("all images", train.z[:1], held_back.z, candidates=CANDIDATES, seed=seed)
    if labelled:
        whole = _or_those_of_the_labels(whole, labelled, train, held_back)
    if encoder.kind == "vae":
        whole = _unless_standard_is_better(whole, held_back.z[0])
    tell(_line("all images", whole))
    published = {label: each.mixture for label, each in labelled.items()}
    names = {label: label_names[label] if label_names else str(label) for label in labelled}
    protocol, asked = _protocol(encoder, parts, seed=seed, labels=bool(labelled)), []
    if left_out:
        protocol += f"; labels with too few images to fit to: {', '.join(left_out[:20])}"
        protocol += f" and {len(left_out) - 20} more" if len(left_out) > 20 else ""
    if reader is not None and labelled:
        narrow = label_calibration.narrow_labels(published, reader=reader, seed=seed)
        published = {label: each.mixture for label, each in narrow.items()}
        by_name = {names[label]: each for label, each in narrow.items()}
        for name, each in by_name.items():
            tell(f"label {name}: factor {each.factor:g}, {100 * each.share:.1f} % read as asked")
        protocol += f"; {label_calibration.protocol(by_name, by=reader.about, seed=seed)}"
        asked = [label_calibration.asked_label_share(by_name, by=reader.about, seed=seed)]
    entry = FittedPrior(
        components=len(whole.mixture.weights),
        labels=tuple(
            LabelledMixture(
                label=names[label],
                components=len(each.mixture.weights),
                share=train.share_of(label),
            )
            for label, each in labelled.items()
        ),
        protocol=protocol,
        metrics=(*_metrics(encoder, parts.test, test, whole, published, seed=seed), *asked),
    )
    return PriorFit(entry, PriorMixtures.of((whole.mixture, *published.values())))


def _draws(encoder: Encoder) -> int:
    """z of each training image; the code of an autoencoder is always the same."""
    return DRAWS if encoder.kind == "vae" else 1


def _encoded(
    encoder: Encoder, images: ImageSet, *, draws: int, seed: int, number: int, progress: Progress | None
) -> _Latents:
    """Several z of each image: posterior samples, each newly binarised, or an autoencoder's code."""
    z = []
    for draw in range(draws):
        observations = Observations(images, encoder.binarisation, seed=seed + draw)
        generator = generator_for(seed, "prior", number + draw * len(Parts.__annotations__))
        rows: list[Tensor] = []
        with torch.inference_mode():
            for indices in in_batches(
                torch.arange(len(images)),
                _BATCH_SIZE,
                f"encoding {images.name}",
                progress,
                earlier=draw * len(images),
                total=draws * len(images),
            ):
                mu, logvar = encoder.encode(observations.take(indices))
                eps = torch.randn(mu.shape, generator=generator)
                rows.append(mu if encoder.kind == "ae" else mu + torch.exp(0.5 * logvar) * eps)
        z.append(torch.cat(rows))
    stacked = torch.stack(z)
    if not torch.isfinite(stacked).all():
        raise NonFiniteTraining(
            f"{images.name}: expected finite latents, got NaN or infinity from the encoder. Its weights are "
            "broken: train again with a lower learning rate, or return to an earlier checkpoint."
        )
    return _Latents(stacked.numpy(), None if images.labels is None else images.labels.numpy())


def _chosen(
    of: str,
    z: NDArray[np.float32],
    held_back: NDArray[np.float32],
    *,
    candidates: Sequence[int],
    seed: int,
) -> ChosenMixture:
    """The best of several sizes; `z` and `held_back` are (draws, images, latent)."""
    draws, images, latent = z.shape
    if _too_few(z, held_back):
        raise DataError(
            f"{of}: expected at least {rows_needed(latent, 1):,} training images, to fit a covariance of "
            f"{latent} latents to, and 1 held-out image, got {images:,} and {held_back.shape[1]:,}. Add "
            "images, hold out another number (data.validation_size), or train with fewer latents."
        )
    return choose_mixture(
        z.reshape(-1, latent), held_back[0], candidates=candidates, seed=seed, rows_of_each=draws
    )


def _too_few(z: NDArray[np.float32], held_back: NDArray[np.float32]) -> bool:
    """Whether the images are too few for one covariance, or for the choice; both (draws, images, latent)."""
    return bool(z.shape[1] < rows_needed(z.shape[2], 1) or held_back.shape[1] == 0)


def _left_out(name: str, z: NDArray[np.float32], held_back: NDArray[np.float32]) -> str:
    latent = z.shape[2]
    return (
        f"label {name}: left out, it has no prior of its own: {z.shape[1]:,} training images and "
        f"{held_back.shape[1]:,} held-out ones; a covariance of {latent} latents needs at least "
        f"{rows_needed(latent, 1):,}, and 1 held-out image. Its images are part of the prior of all images. "
        "Add images of it, hold out another number (data.validation_size), or train with fewer latents"
    )


def _label_candidates(labels: int) -> tuple[int, ...]:
    """Numbers of components whose mixtures fit into a version, for so many labels and all images.

    Raises:
        DataError: A version cannot contain mixtures of so many labels.
    """
    if labels > MAX_LABELS:
        raise DataError(
            f"labels: expected at most {MAX_LABELS:,} with their own mixture, got {labels:,}. Use "
            "--no-labels."
        )
    room = (MAX_COMPONENTS_IN_ALL - MAX_COMPONENTS) // max(1, labels)
    return tuple(components for components in LABEL_CANDIDATES if components <= room)


def _or_those_of_the_labels(
    whole: ChosenMixture, labelled: dict[int, ChosenMixture], train: _Latents, held_back: _Latents
) -> ChosenMixture:
    """The Gaussians of all labels together, if they describe the held-out images better."""
    if sum(len(each.mixture.weights) for each in labelled.values()) > MAX_COMPONENTS:
        return whole
    together = joined(
        [each.mixture for each in labelled.values()], [train.share_of(label) for label in labelled]
    )
    nats = float(log_density(together, held_back.z[0]).mean())
    if nats <= max(whole.held_out_nats.values()):
        return whole
    return ChosenMixture(together, {**whole.held_out_nats, len(together.weights): nats})


def _unless_standard_is_better(whole: ChosenMixture, held_back: NDArray[np.float32]) -> ChosenMixture:
    """N(0, I) itself if no mixture is better on other images: a fitted prior is the default for samples."""
    standard_nats = float(standard_normal_log_density(held_back).mean())
    if max(whole.held_out_nats.values()) > standard_nats:
        return whole
    latent = held_back.shape[1]
    unit = GaussianMixture(
        weights=np.ones(1),
        means=np.zeros((1, latent), np.float32),
        cholesky=np.eye(latent, dtype=np.float32)[np.newaxis],
    )
    return ChosenMixture(unit, {**whole.held_out_nats, _STANDARD: standard_nats})


def _line(of: str, chosen: ChosenMixture) -> str:
    tried = ", ".join(
        f"{'N(0, I)' if count == _STANDARD else count}: {nats:.2f}"
        for count, nats in chosen.held_out_nats.items()
    )
    count = len(chosen.mixture.weights)
    what = f"{count} Gaussian{'s' if count > 1 else ''}"
    if _STANDARD in chosen.held_out_nats:
        what = "N(0, I)"
    return f"{of}: {what} (log density of held-out images, by number: {tried})"


def _protocol(encoder: Encoder, parts: Parts, *, seed: int, labels: bool) -> str:
    sizes = f"{', '.join(map(str, CANDIDATES))} for all images"
    if encoder.kind == "vae":
        sizes += " (N(0, I) itself if none is better)"
    if labels:
        sizes += f" and {', '.join(map(str, LABEL_CANDIDATES))} for each label"
    fitted_to = _drawn(encoder, parts.train, seed)
    if labels and encoder.kind == "vae":
        fitted_to += f" ({DRAWS} for the mixtures of labels, binarised anew with the seeds that follow)"
    chosen_by = _drawn(encoder, parts.held_back, seed)
    if labels:
        chosen_by += ", and for all images by the same those of the labels together"
    return (
        f"{fitted_to}; Gaussians with full covariances by EM (scikit-learn "
        f"{metadata.version('scikit-learn')}) from k-means, until the mean log density rises by less than "
        f"{TOLERANCE_NATS:g} nats, at most {MOST_ROUNDS} rounds; {REGULARISATION:g} of the mean variance "
        f"added to each; their number, of {sizes} where the images suffice, by the mean log density of "
        f"{chosen_by} (arXiv:1903.12436, section 4)"
    )


def _drawn(encoder: Encoder, images: ImageSet, seed: int) -> str:
    """The kind of z, in words."""
    what = "the code" if encoder.kind == "ae" else "one posterior sample z ~ q(z∣x)"
    return f"{Observations(images, encoder.binarisation, seed).protocol()}, {what} of each"


def _metrics(
    encoder: Encoder,
    images: ImageSet,
    test: _Latents,
    whole: ChosenMixture,
    labelled: dict[int, GaussianMixture],
    *,
    seed: int,
) -> Iterator[Metric]:
    data = _drawn(encoder, images, seed)
    yield _nats(
        "prior_log_density", log_density(whole.mixture, test.z[0]), f"mean of log p(z), fitted prior; {data}"
    )
    if encoder.kind == "vae":
        yield _nats(
            "standard_prior_log_density",
            standard_normal_log_density(test.z[0]),
            f"mean of log N(z; 0, I); {data}; the bound would gain by the fitted prior what that has more",
        )
    if labelled and test.labels is not None and np.isin(test.labels, list(labelled)).any():
        own = [log_density(each, test.of(label)[0]) for label, each in labelled.items()]
        yield _nats(
            "label_prior_log_density",
            np.concatenate(own),
            f"mean of log p(z ∣ label), each image by the mixture of its own label; {data}",
        )


def _nats(name: str, per_image: NDArray[np.float64], protocol: str) -> Metric:
    return Metric(name=name, value=float(per_image.mean()), unit="nats per image", protocol=protocol)

"""The context of a report: arrays that several sections use, each computed once.

Knows the model's interface, image sets, the judge and the progress. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from training.compute.batch_size import images_at_once
from training.data import ImageData, ImageSet, to_unit_interval
from training.evaluation.figures import natural_binarisation
from training.evaluation.subject import Subject
from training.judge.classifier import Judge, Verdicts
from training.models import LatentImageModel
from training.objectives.estimators import Observations, Posteriors, posteriors
from training.objectives.progress import Progress, in_batches
from training.randomness.seeding import generator_for

#: Images or latents in one call of the model.
BATCH = 256


def is_spatial(bench: EvaluationContext) -> bool:
    """Whether each latent has a position in the image."""
    return len(bench.model.latent_shape) > 1


def latent_names(bench: EvaluationContext, latents: Int64[np.ndarray, " m"]) -> list[str]:
    """Numbers of latents; of spatial ones channel, row and column."""
    places = np.unravel_index(latents, bench.model.latent_shape)
    return [",".join(map(str, place)) for place in zip(*(axis.tolist() for axis in places), strict=True)]


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """One model and the images for its measurement."""

    subject: Subject
    data: ImageData
    seed: int
    judge: Judge | None
    progress: Progress | None = None

    @property
    def model(self) -> LatentImageModel:
        """In evaluation mode."""
        return self.subject.model

    @cached_property
    def observations(self) -> Observations:
        """The test images as the likelihood sees them."""
        return Observations(self.data.test, natural_binarisation(self.model), seed=self.seed)

    @cached_property
    def posteriors(self) -> Posteriors:
        """Terms of the bound for the test images, in the likelihood's domain, with the noise of the bound."""
        with torch.inference_mode():
            return posteriors(self.model, self.observations, batch_size=self.at_once, progress=self.progress)

    @property
    def count(self) -> int:
        """Number of test images."""
        return len(self.data.test)

    @property
    def at_once(self) -> int:
        """Images or latents in one call of the model."""
        return images_at_once(self.model.image_shape, most=BATCH)

    def images(self, chosen: Int64[np.ndarray, " m"]) -> Float[Tensor, "m c h w"]:
        """The chosen test images, grey, as clients send them to `/encode` and `/reconstruct`."""
        return to_unit_interval(self.data.test.images[torch.from_numpy(chosen)])

    def reconstructed(self, chosen: Int64[np.ndarray, " m"]) -> Float[Tensor, "m c h w"]:
        """Reconstructions of the chosen grey test images, from z = mu."""
        return self.decode(self.mu[chosen], "reconstructions")

    @cached_property
    def x(self) -> Float[Tensor, "n c h w"]:
        """All test images, for the judge, which reads small ones only."""
        return to_unit_interval(self.data.test.whole())

    @cached_property
    def mu(self) -> Float64[np.ndarray, "n latent"]:
        """Posterior means of the grey test images."""
        return self.means(self.data.test, "means of test images")

    @cached_property
    def train_mu(self) -> Float64[np.ndarray, "n latent"]:
        """Posterior means of the grey training images."""
        return self.means(self.data.train, "means of training images")

    @cached_property
    def reconstructions(self) -> Float[Tensor, "n c h w"]:
        """Reconstructions of all grey test images, from z = mu, for the judge."""
        return self.decode(self.mu, "reconstructions")

    @cached_property
    def verdicts(self) -> Verdicts:
        """The judge's classification of the test images themselves."""
        assert self.judge is not None
        return self.judge.ask(self.x, what="judging test images", progress=self.progress)

    def means(self, image_set: ImageSet, what: str) -> Float64[np.ndarray, "n latent"]:
        """Posterior mean of each grey image."""
        with torch.inference_mode():
            pieces = self._in_batches(
                torch.arange(len(image_set)),
                lambda rows: self.model.encode(to_unit_interval(image_set.images[rows])).mu,
                what,
            )
        return pieces.double().numpy()

    def decode(self, z: Float64[np.ndarray, "n latent"], what: str) -> Float[Tensor, "n c h w"]:
        """x_hat of each z."""
        with torch.inference_mode():
            return self._in_batches(torch.from_numpy(z).float(), self.model.decode, what)

    def labels(self) -> Int64[np.ndarray, " n"] | None:
        """Labels of the test images."""
        return None if self.data.test.labels is None else self.data.test.labels.numpy()

    def label_names(self, count: int) -> list[str]:
        """Names of the labels 0 to `count` - 1: the data's names, or the numbers."""
        names = self.data.label_names
        return [names[label] if label < len(names) else str(label) for label in range(count)]

    def generator(self, number: int) -> torch.Generator:
        """Noise of one use; each `number` belongs to one place."""
        return generator_for(self.seed, "report", number)

    def normal(self, rows: int, number: int) -> Float64[np.ndarray, "rows latent"]:
        """Standard-normal noise for `rows` latents."""
        noise = torch.randn(
            rows, self.model.latent_size, generator=self.generator(number), dtype=torch.float64
        )
        return noise.numpy()

    def choice(self, count: int, of: int, number: int) -> Int64[np.ndarray, " m"]:
        """At most `count` different indices below `of`, in rising order."""
        return torch.randperm(of, generator=self.generator(number))[:count].sort().values.numpy()

    def _in_batches(self, rows: Tensor, work: Callable[[Tensor], Tensor], what: str) -> Tensor:
        batches = in_batches(rows, self.at_once, what, self.progress)
        return torch.cat([work(batch) for batch in batches])

"""The judge: a small classifier of the training labels, which assesses drawn images.

Knows its network, its file and its interface. `training.judge.fitting` fits it. It judges models and is never
part of one: it is neither exported nor served.

::

    x ── residual stages ── linear ── SiLU ──▶ features ── linear ──▶ logits ── softmax ──▶ probabilities
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from training.data import ImageSet
from training.errors import DataError, RunDirectoryError
from training.models.networks import ImageShape, ResidualEncoder
from training.objectives.progress import Progress, in_batches
from training.runs.run_directory import write_tensors, write_text

#: An image whose most probable label has less than this is unrecognisable to the judge.
READABLE = 0.5
#: From here on it is certain. It is also certain about many odd images: classifiers are, far from their
#: training images.
SURE = 0.9
FEATURES = 64
_CHANNELS = (24, 48)
_BLOCKS = (1, 1)
_WEIGHTS = "judge.pt"
_FACTS = "judge.json"
_BATCH = 500


class JudgeNetwork(nn.Module):
    """Residual stages, features, one logit for each label."""

    def __init__(self, image_shape: ImageShape, classes: int) -> None:
        """For images of `image_shape` and labels 0 … `classes` - 1."""
        super().__init__()
        self.trunk = ResidualEncoder(
            image_shape=image_shape, channels=_CHANNELS, blocks=_BLOCKS, outputs=FEATURES
        )
        self.activation = nn.SiLU()
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """The input of the last layer, in which distances between images are measured."""
        features: Tensor = self.activation(self.trunk(x))
        return features

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch label"]:
        """Logits of images in [0, 1]."""
        logits: Tensor = self.head(self.features(x))
        return logits


@dataclass(frozen=True)
class JudgeFacts:
    """`judge.json`: the origin of this judge, and its reliability."""

    image_shape: ImageShape
    classes: int
    accuracy: float
    """Share of the test images that it classifies correctly."""
    protocol: str
    """Data, test images, epochs and seed behind `accuracy`."""
    trained_on: str
    """Fingerprint of the training images."""
    trained_on_labels: str = ""
    """`labels_fingerprint` of their labels; empty in files of earlier releases."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The judge's result for each image."""

    probabilities: Float[Tensor, "n label"]
    features: Float[Tensor, "n feature"]

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """The most probable label."""
        return self.probabilities.argmax(dim=-1)

    @property
    def confidence(self) -> Float[Tensor, " n"]:
        """Probability of the most probable label."""
        return self.probabilities.max(dim=-1).values

    @property
    def readable(self) -> float:
        """Share of the images whose most probable label has at least probability ½."""
        return (self.confidence >= READABLE).double().mean().item()

    @property
    def sure(self) -> float:
        """Share of the images whose most probable label has at least probability 0.9."""
        return (self.confidence >= SURE).double().mean().item()


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted judge."""

    network: JudgeNetwork
    facts: JudgeFacts

    def __str__(self) -> str:
        return f"a classifier with {100.0 * self.facts.accuracy:.2f} % accuracy ({self.facts.protocol})"

    def check_shape(self, image_shape: ImageShape, *, of: str) -> None:
        """Reject images of another shape than the judge's own.

        Raises:
            DataError: The images, described by `of`, have another shape.
        """
        if self.facts.image_shape != image_shape:
            raise DataError(
                f"judge: expected one for images of shape {image_shape}, as {of} requires, got one for "
                f"{self.facts.image_shape}. Make one for these images with `vae-train judge`."
            )

    def check_labels(self, images: ImageSet) -> None:
        """Reject images whose labels differ from the judge's.

        Raises:
            DataError: It was fitted to other images or labels, or does not record them.
        """
        facts, again = self.facts, "Make one for these with `vae-train judge`."
        if facts.trained_on != images.fingerprint:
            raise DataError(
                f"--judge: expected one that was fitted to {images.name}, because their labels are needed, "
                f"got one for other images. {again}"
            )
        if facts.trained_on_labels != labels_fingerprint(images.labels):
            other = "other labels of the same images" if facts.trained_on_labels else "an earlier release"
            raise DataError(
                f"--judge: expected one that was fitted to the labels of {images.name}, got one of {other}. "
                f"{again}"
            )

    def ask(
        self, images: Float[Tensor, "n c h w"], *, what: str = "judging", progress: Progress | None = None
    ) -> Verdicts:
        """Classify images in [0, 1]."""
        return look(self.network, images, what=what, progress=progress)


def labels_fingerprint(labels: Int64[Tensor, " n"] | None) -> str:
    """SHA-256 over the labels as little-endian int64, in the order of their images; "none" without labels."""
    if labels is None:
        return "none"
    return hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()


@torch.inference_mode()
def look(
    network: JudgeNetwork,
    images: Float[Tensor, "n c h w"],
    *,
    what: str = "judging",
    progress: Progress | None = None,
) -> Verdicts:
    """The result of a network in evaluation mode for images in [0, 1]."""
    probabilities, features = [], []
    for batch in in_batches(images, _BATCH, what, progress):
        seen = network.features(batch)
        features.append(seen)
        probabilities.append(torch.softmax(network.head(seen), dim=-1))
    return Verdicts(probabilities=torch.cat(probabilities), features=torch.cat(features))


def save_judge(folder: Path, judge: Judge) -> None:
    """Write `judge.pt`, tensors only, and `judge.json`."""
    write_tensors(folder / _WEIGHTS, judge.network.state_dict())
    write_text(folder / _FACTS, json.dumps(asdict(judge.facts), indent=2) + "\n")


def load_judge(folder: Path) -> Judge:
    """Read the files of `save_judge`; weights are read with `weights_only=True`.

    Raises:
        RunDirectoryError: The directory has no judge, or its files are unreadable or inconsistent.
    """
    try:
        stated = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        facts = JudgeFacts(**{**stated, "image_shape": tuple(stated["image_shape"])})
        with torch.random.fork_rng(devices=[]):
            network = JudgeNetwork(facts.image_shape, facts.classes)
        weights = io.BytesIO((folder / _WEIGHTS).read_bytes())
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # JSON, files and torch raise many kinds; each reaches the caller
        raise RunDirectoryError(
            f"{folder}: expected a judge, got {type(error).__name__}: {' '.join(str(error).split())[:200]}. "
            f"Make one with `vae-train judge --data DIR --out {shlex.quote(str(folder))}`."
        ) from error
    return Judge(network=network.eval(), facts=facts)

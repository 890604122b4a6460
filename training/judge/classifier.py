"""The judge: a small classifier of the training labels, by which drawn images are judged.

Knows its network, its file and how it is asked. How it is fitted is in `training.judge.fitting`. It judges
models and is never part of one: nothing of it is exported or served.

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

#: An image whose most probable label has less than this is one that the judge cannot read.
READABLE = 0.5
#: From here on it is sure. It is sure of many an odd image too: classifiers are, away from what they learned.
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
        """What the last layer sees; distances between images are taken here."""
        features: Tensor = self.activation(self.trunk(x))
        return features

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch label"]:
        """Logits of images in [0, 1]."""
        logits: Tensor = self.head(self.features(x))
        return logits


@dataclass(frozen=True)
class JudgeFacts:
    """What `judge.json` holds: how this judge came to be, and how far it can be believed."""

    image_shape: ImageShape
    classes: int
    accuracy: float
    """Share of the test images whose label it gives."""
    protocol: str
    """Data, test images, epochs and seed behind `accuracy`."""
    trained_on: str
    """Fingerprint of the training images."""
    trained_on_labels: str = ""
    """`labels_fingerprint` of their labels; empty in files of earlier releases."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What the judge sees in each image."""

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
        """Refuse to look at images of another shape than the judge's own.

        Raises:
            DataError: They are `of` something with another shape.
        """
        if self.facts.image_shape != image_shape:
            raise DataError(
                f"judge: expected one for images shaped {image_shape}, as {of} takes, got one for "
                f"{self.facts.image_shape}. Make one of these images with `vae-train judge`."
            )

    def check_labels(self, images: ImageSet) -> None:
        """Refuse images whose labels are not those that the judge learned to give.

        Raises:
            DataError: It learned from other images, from other labels of them, or does not say from which.
        """
        facts, again = self.facts, "Make one of these with `vae-train judge`."
        if facts.trained_on != images.fingerprint:
            raise DataError(
                f"--judge: expected one fitted to {images.name}, whose labels are asked for, got one of "
                f"other images. {again}"
            )
        if facts.trained_on_labels != labels_fingerprint(images.labels):
            other = "other labels of the same images" if facts.trained_on_labels else "an earlier release"
            raise DataError(
                f"--judge: expected one fitted to the labels of {images.name}, got one of {other}. {again}"
            )

    def ask(
        self, images: Float[Tensor, "n c h w"], *, what: str = "judging", progress: Progress | None = None
    ) -> Verdicts:
        """Look at images in [0, 1]."""
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
    """What a network in evaluation mode sees in images in [0, 1]."""
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
    """Read what `save_judge` wrote; weights are read with `weights_only=True`.

    Raises:
        RunDirectoryError: There is no judge, or its files cannot be read or do not belong together.
    """
    try:
        stated = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        facts = JudgeFacts(**{**stated, "image_shape": tuple(stated["image_shape"])})
        with torch.random.fork_rng(devices=[]):
            network = JudgeNetwork(facts.image_shape, facts.classes)
        weights = io.BytesIO((folder / _WEIGHTS).read_bytes())
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # JSON, files and torch raise many kinds; each is handed to the caller
        raise RunDirectoryError(
            f"{folder}: expected a judge, got {type(error).__name__}: {' '.join(str(error).split())[:200]}. "
            f"Make one with `vae-train judge --data DIR --out {shlex.quote(str(folder))}`."
        ) from error
    return Judge(network=network.eval(), facts=facts)

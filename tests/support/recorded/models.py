"""A store of models whose answers have the same bits on every processor.

Knows ONNX graphs and the store's public names. Knows nothing of requests.

A graph here picks numbers and multiplies them by powers of two, which is exact. It then adds once, which IEEE
754 rounds in one way only. No number is a sum of several products, so neither the order of additions nor a
fused multiply-add changes a bit. `logvar` is 0 or -256, so that exp(logvar / 2) is 1 or 0 everywhere.

    mnist@1   (1, 4, 6), latent 3, `stable`; the default model
    mnist@2   the same with a fitted prior of three labels, `candidate`
    mnist@3   the same as 1 without an alias: loaded when it is asked for
    binary    x_hat is 0 or 1, so that log p(x|z) is a multiple of 25 log 2
    colour    (3, 2, 4), latent 2, Gaussian likelihood with sigma 1; states its preprocessing
    plain     (1, 4, 6), latent 3, an autoencoder
    deep      (2, 2, 2), latent 1: an image that no PNG can show
    fragile   x_hat is NaN where z is 0
    broken    x_hat is NaN everywhere, so that it is refused
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper
from tiny_models import OPSET, make_model

from model_store import (
    BernoulliLikelihood,
    FittedPrior,
    GaussianLikelihood,
    GaussianMixture,
    GoldenVectors,
    ImageSpec,
    LabelledMixture,
    ManifestDraft,
    Metric,
    ModelStore,
    Preview,
    PreviewSpec,
    PriorMixtures,
    StandardNormalPrior,
    TrainingProvenance,
    graph_specs,
)
from model_store.manifest import Preprocessing, lowest_schema_version

Floats = NDArray[np.float32]
#: Labels of the fitted prior of `mnist@2`; the last one has to be escaped in a header.
LABELS = ("0", "7", "süß & klein")

_CARD = "# Exact\n\nA model of selections and powers of two; it has seen no data.\n"
_SCALES = (4.0, 2.0, 8.0)
_OFFSETS = (2.0, 1.0, 3.0)
_WEIGHTS = (0.25, -0.25, 0.5, 0.125)
_BIASES = (0.5, 0.25, 0.75)
_STEEP = 2.0**20


@dataclass(frozen=True, eq=False)
class ExactModel:
    """mu_j = scale_j · x[pixel_j] - offset_j; x_hat_p = clip(weight_p · z[p mod latent] + bias_p, 0, 1)."""

    shape: tuple[int, int, int] = (1, 4, 6)
    latent: int = 3
    kind: Literal["vae", "ae"] = "vae"
    likelihood: BernoulliLikelihood | GaussianLikelihood = field(default_factory=BernoulliLikelihood)
    preprocessing: Preprocessing | None = None
    decoder: Literal["smooth", "step", "fragile", "nan"] = "smooth"
    """`step`: 0 or 1. `fragile`: NaN where z is 0. `nan`: NaN everywhere."""

    @property
    def pixels(self) -> int:
        return math.prod(self.shape)

    def of_latents(self, values: tuple[float, ...]) -> Floats:
        """One value for each latent, from a few that repeat."""
        return np.array([values[i % len(values)] for i in range(self.latent)], np.float32)

    @property
    def mu_pixels(self) -> NDArray[np.int64]:
        return np.array([(5 + 9 * i) % self.pixels for i in range(self.latent)], np.int64)

    @property
    def logvar_pixels(self) -> NDArray[np.int64]:
        return np.array([(7 * i) % self.pixels for i in range(self.latent)], np.int64)

    def encode(self, x: Floats) -> tuple[Floats, Floats]:
        """mu and logvar of images."""
        flat = x.reshape(len(x), -1)
        mu = flat[:, self.mu_pixels] * self.of_latents(_SCALES) - self.of_latents(_OFFSETS)
        return mu, np.float32(0.0) - np.rint(flat[:, self.logvar_pixels]) * np.float32(256.0)

    def decode(self, z: Floats) -> Floats:
        """Images of latents, for the decoders that give numbers."""
        weights, biases = self._weights_and_biases()
        flat = z[:, np.arange(self.pixels) % self.latent]
        if self.decoder == "fragile":
            flat = flat / flat
        x_hat: Floats = np.clip(flat * weights + biases, 0.0, 1.0).reshape(-1, *self.shape)
        return x_hat

    def _weights_and_biases(self) -> tuple[Floats, Floats]:
        weights = np.array([_WEIGHTS[p % 4] for p in range(self.pixels)], np.float32)
        biases = np.array([_BIASES[p % 3] for p in range(self.pixels)], np.float32)
        if self.decoder == "step":
            weights = weights * np.float32(_STEEP)
        if self.decoder == "fragile":
            weights, biases = np.full_like(weights, 0.5), np.full_like(biases, 0.25)
        return weights, biases

    @property
    def encoder_file(self) -> bytes:
        """Pick, scale, subtract."""
        weights: dict[str, NDArray[Any]] = {
            "mu_pixels": self.mu_pixels,
            "scale": self.of_latents(_SCALES),
            "offset": self.of_latents(_OFFSETS),
            "logvar_pixels": self.logvar_pixels,
            "width": np.array(256.0, np.float32),
            "zero": np.array(0.0, np.float32),
        }
        nodes = [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gather", ["flat", "mu_pixels"], ["picked"], axis=1),
            helper.make_node("Mul", ["picked", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "offset"], ["mu"]),
            helper.make_node("Gather", ["flat", "logvar_pixels"], ["others"], axis=1),
            helper.make_node("Round", ["others"], ["rounded"]),
            helper.make_node("Mul", ["rounded", "width"], ["narrowed"]),
            helper.make_node("Sub", ["zero", "narrowed"], ["logvar"]),
        ]
        latent = ("batch", self.latent)
        model = make_model(nodes, {"x": ("batch", *self.shape)}, {"mu": latent, "logvar": latent}, weights)
        return bytes(model.SerializeToString())

    @property
    def decoder_file(self) -> bytes:
        """Pick, scale, add, clip."""
        scale, bias = self._weights_and_biases()
        weights: dict[str, NDArray[Any]] = {
            "latents": (np.arange(self.pixels) % self.latent).astype(np.int64),
            "scale": scale,
            "bias": bias,
            "low": np.array(0.0, np.float32),
            "high": np.array(1.0, np.float32),
            "shape": np.array([-1, *self.shape], np.int64),
        }
        nodes = [helper.make_node("Gather", ["z", "latents"], ["picked"], axis=1), *self._pixel_nodes()]
        if self.decoder == "nan":
            weights["nan"] = np.full(self.pixels, np.nan, np.float32)
        nodes.append(helper.make_node("Reshape", ["pixels", "shape"], ["x_hat"]))
        used = {name for node in nodes for name in node.input}
        model = make_model(
            nodes,
            {"z": ("batch", self.latent)},
            {"x_hat": ("batch", *self.shape)},
            {name: value for name, value in weights.items() if name in used},
        )
        return bytes(model.SerializeToString())

    def _pixel_nodes(self) -> list[NodeProto]:
        if self.decoder == "fragile":
            return [
                helper.make_node("Div", ["picked", "picked"], ["ones"]),
                helper.make_node("Mul", ["ones", "scale"], ["scaled"]),
                helper.make_node("Add", ["scaled", "bias"], ["pixels"]),
            ]
        nodes = [
            helper.make_node("Mul", ["picked", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["shifted"]),
            helper.make_node("Clip", ["shifted", "low", "high"], ["clipped"]),
        ]
        # NaN is added behind the clip: a runtime may clip it to a number.
        if self.decoder == "nan":
            return [*nodes, helper.make_node("Add", ["clipped", "nan"], ["pixels"])]
        nodes[-1].output[0] = "pixels"
        return nodes

    def golden(self) -> GoldenVectors:
        """Inputs by arithmetic alone, and what the formulae give for them."""
        x = steps(3, self.shape, offset=4)
        z: Floats = (np.arange(2.0 * self.latent).reshape(2, self.latent) / 2 - 1.125).astype(np.float32)
        mu, logvar = self.encode(x)
        return GoldenVectors(x=x, mu=mu, logvar=logvar, z=z, x_hat=self.decode(z))

    def preview(self) -> tuple[PreviewSpec, Preview]:
        """Three images by arithmetic, of two labels."""
        thumbnails = (np.arange(3 * self.pixels) % 256).astype(np.uint8).reshape(3, *self.shape)
        mu, logvar = self.encode(thumbnails.astype(np.float32) / np.float32(255))
        spec = PreviewSpec(images=3, labels=("0", "7"), thumbnail=self.shape, protocol="Invented for tests.")
        return spec, Preview(
            mu=np.rint(mu).astype(np.float32),
            thumbnails=thumbnails,
            logvar=logvar,
            kl=np.arange(float(self.latent)).astype(np.float32),
            labels=np.array([1, 0, 1], np.uint16),
        )

    def draft(self, name: str) -> ManifestDraft:
        """A manifest that depends on no library's version."""
        encoder, decoder = graph_specs(image_shape=self.shape, latent_size=self.latent, opset=OPSET)
        image = ImageSpec(shape=self.shape)
        if self.preprocessing is not None:
            image = ImageSpec(shape=self.shape, preprocessing=self.preprocessing)
        return ManifestDraft(
            schema_version=lowest_schema_version(image, fitted=False),
            name=name,
            kind=self.kind,
            description=f"An exact model, {name}.",
            image=image,
            latent_size=self.latent,
            likelihood=self.likelihood,
            encoder=encoder,
            decoder=decoder,
            metrics=(
                Metric(
                    name="negative_elbo", value=100.5, unit="nats per image", protocol="Invented for tests."
                ),
            ),
            provenance=TrainingProvenance(
                recipe={"model": {"latent_size": self.latent}},
                data="none",
                data_fingerprint="0" * 64,
                libraries={"numpy": "2.0.0"},
                seed=0,
                epochs=0,
                git_revision="unknown",
                created_at=datetime(2024, 1, 1, tzinfo=UTC),
            ),
            priors=(StandardNormalPrior(),) if self.kind == "vae" else (),
            licence="MIT",
        )

    def publish(
        self,
        store: ModelStore,
        name: str,
        *,
        aliases: tuple[str, ...] = (),
        fitted: tuple[FittedPrior, PriorMixtures] | None = None,
        is_shown: bool = False,
    ) -> None:
        """Publishes the next version of `name`, with a preview if it `is_shown`."""
        entry, mixtures = fitted or (None, None)
        draft = self.draft(name)
        spec, preview = self.preview() if is_shown else (None, None)
        draft = draft if entry is None else draft.with_fitted_prior(entry)
        store.publish(
            draft if spec is None else draft.with_preview(spec),
            preview=preview,
            encoder=self.encoder_file,
            decoder=self.decoder_file,
            golden=self.golden(),
            prior=mixtures,
            card=_CARD,
            aliases=aliases,
        )


def steps(count: int, shape: tuple[int, ...], *, offset: int = 0) -> Floats:
    """Images of eighths between 0 and 1, all different."""
    numbers = np.arange(count * math.prod(shape), dtype=np.int64) * 5 + offset
    images: Floats = (numbers % 9 / 8).astype(np.float32).reshape(count, *shape)
    return images


def black_and_white(count: int, shape: tuple[int, ...], *, offset: int = 0) -> Floats:
    """Images of zeros and ones, all different."""
    numbers = np.arange(count * math.prod(shape), dtype=np.int64) + offset
    images: Floats = (numbers * numbers % 7 < 3).astype(np.float32).reshape(count, *shape)
    return images


def publish_all(root: Path) -> None:
    """The store of the module's docstring."""
    store = ModelStore(root)
    grey = ExactModel()
    grey.publish(store, "mnist", aliases=("stable",))
    grey.publish(store, "mnist", aliases=("candidate",), fitted=_fitted_prior())
    grey.publish(store, "mnist")
    ExactModel(decoder="step").publish(store, "binary")
    ExactModel(
        shape=(3, 2, 4),
        latent=2,
        likelihood=GaussianLikelihood(sigma=1.0, learned=False),
        preprocessing=Preprocessing(fit="crop", ground="white", levels=256),
    ).publish(store, "colour")
    ExactModel(kind="ae").publish(store, "plain")
    ExactModel(shape=(2, 2, 2), latent=1).publish(store, "deep")
    ExactModel(decoder="fragile").publish(store, "fragile")
    ExactModel(decoder="nan").publish(store, "broken")


def _fitted_prior() -> tuple[FittedPrior, PriorMixtures]:
    """Two Gaussians of all images, and one or two of each label, in eighths."""
    counts = (1, 1, 2)
    entry = FittedPrior(
        components=2,
        labels=tuple(
            LabelledMixture(label=label, components=count, share=share)
            for label, count, share in zip(LABELS, counts, (0.5, 0.25, 0.25), strict=True)
        ),
        protocol="Made by hand for tests; fitted to nothing.",
        metrics=(
            Metric(
                name="prior_log_density",
                value=-40.25,
                unit="nats per image",
                protocol="Invented for tests.",
            ),
        ),
    )
    return entry, PriorMixtures.of(tuple(_mixture(count, at) for at, count in enumerate((2, *counts))))


def _mixture(components: int, around: int) -> GaussianMixture:
    weights = {1: [1.0], 2: [0.75, 0.25]}[components]
    means: Floats = (np.arange(components * 3).reshape(components, 3) / 8 + around).astype(np.float32)
    factor = np.array([[0.5, 0.0, 0.0], [0.25, 0.5, 0.0], [-0.125, 0.25, 0.25]], np.float32)
    return GaussianMixture(
        weights=np.array(weights), means=means, cholesky=np.repeat(factor[np.newaxis], components, axis=0)
    )

"""Tiny models with known answers: ONNX graphs written by hand, and published in one call.

Knows `onnx.helper`, NumPy and the store. No torch, no training, no download: an encoder is one matrix product
for each output, a decoder one matrix product and a sigmoid, and `TinyModel.encode` and `decode` say in NumPy
what any runtime must answer (to about 1e-6).

    model = TinyModel.make(image_shape=(1, 28, 28), latent_size=8, seed=1)
    identity = publish_tiny(ModelStore(tmp_path), name="tiny", model=model, aliases=("stable",))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_learned import TinyLearnedPrior

from model_store import (
    BernoulliLikelihood,
    FittedPrior,
    GoldenVectors,
    ImageSpec,
    ManifestDraft,
    Metric,
    ModelStore,
    Preview,
    PreviewSpec,
    PriorMixtures,
    StandardNormalPrior,
    TrainingProvenance,
    VersionId,
    graph_specs,
)

OPSET = 20
IR_VERSION = 10
CARD = "# Tiny\n\nA linear model with known answers; it has seen no data.\n"

Array = NDArray[np.float32]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class TinyModel:
    """mu = flat(x) @ w_mu + b_mu, logvar = flat(x) @ w_logvar + b_logvar, x_hat = sigmoid(z @ w_x + b_x)."""

    image_shape: Shape
    latent_size: int
    kind: Literal["vae", "ae"]
    w_mu: Array
    b_mu: Array
    w_logvar: Array
    b_logvar: Array
    w_x: Array
    b_x: Array

    @classmethod
    def make(
        cls,
        *,
        image_shape: Shape = (1, 28, 28),
        latent_size: int = 8,
        kind: Literal["vae", "ae"] = "vae",
        seed: int = 0,
    ) -> TinyModel:
        """Weights drawn from `seed`; an autoencoder's logvar is the constant -6."""
        rng = np.random.default_rng(seed)
        pixels = int(np.prod(image_shape))

        def normal(*shape: int, scale: float) -> Array:
            return rng.normal(0.0, scale, size=shape).astype(np.float32)

        w_logvar = normal(pixels, latent_size, scale=0.5 / pixels**0.5)
        b_logvar = normal(latent_size, scale=0.5) - np.float32(1.0)
        if kind == "ae":
            w_logvar, b_logvar = np.zeros_like(w_logvar), np.full_like(b_logvar, -6.0)
        return cls(
            image_shape=image_shape,
            latent_size=latent_size,
            kind=kind,
            w_mu=normal(pixels, latent_size, scale=2.0 / pixels**0.5),
            b_mu=normal(latent_size, scale=0.1),
            w_logvar=w_logvar,
            b_logvar=b_logvar,
            w_x=normal(latent_size, pixels, scale=1.0 / latent_size**0.5),
            b_x=normal(pixels, scale=0.1),
        )

    def encode(self, x: Array) -> tuple[Array, Array]:
        """(mu, logvar), each (N, latent_size), of images (N, C, H, W)."""
        flat = x.reshape(len(x), -1)
        return flat @ self.w_mu + self.b_mu, flat @ self.w_logvar + self.b_logvar

    def decode(self, z: Array) -> Array:
        """Images (N, C, H, W) in [0, 1] of latents (N, latent_size)."""
        logits = z @ self.w_x + self.b_x
        images: Array = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32).reshape(-1, *self.image_shape)
        return images

    def encoder_proto(self) -> onnx.ModelProto:
        """Flatten, then one Gemm for each output."""
        weights = {
            "w_mu": self.w_mu,
            "b_mu": self.b_mu,
            "w_logvar": self.w_logvar,
            "b_logvar": self.b_logvar,
        }
        nodes = [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w_mu", "b_mu"], ["mu"]),
            helper.make_node("Gemm", ["flat", "w_logvar", "b_logvar"], ["logvar"]),
        ]
        latent = ("batch", self.latent_size)
        return make_model(
            nodes, {"x": ("batch", *self.image_shape)}, {"mu": latent, "logvar": latent}, weights
        )

    def decoder_proto(self) -> onnx.ModelProto:
        """Gemm, Sigmoid, Reshape."""
        weights: dict[str, Array] = {
            "w_x": self.w_x,
            "b_x": self.b_x,
            "image_shape": np.array([-1, *self.image_shape], dtype=np.int64),
        }
        nodes = [
            helper.make_node("Gemm", ["z", "w_x", "b_x"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["pixels"]),
            helper.make_node("Reshape", ["pixels", "image_shape"], ["x_hat"]),
        ]
        return make_model(
            nodes, {"z": ("batch", self.latent_size)}, {"x_hat": ("batch", *self.image_shape)}, weights
        )

    @property
    def encoder(self) -> bytes:
        """The encoder as the bytes of an ONNX file."""
        return bytes(self.encoder_proto().SerializeToString())

    @property
    def decoder(self) -> bytes:
        """The decoder as the bytes of an ONNX file."""
        return bytes(self.decoder_proto().SerializeToString())

    @property
    def decoder_of_nan(self) -> bytes:
        """A decoder of the right signature that answers NaN: intact bytes, broken model."""
        weights = {"nan": np.full(self.image_shape, np.nan, dtype=np.float32)}
        proto = self.decoder_proto()
        proto.graph.node[-1].output[0] = "image"
        proto.graph.node.append(helper.make_node("Add", ["image", "nan"], ["x_hat"]))
        proto.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in weights.items()
        )
        return bytes(proto.SerializeToString())

    def golden(self, *, images: int = 3, latents: int = 2, seed: int = 7) -> GoldenVectors:
        """Inputs drawn from `seed` and the answers that the formulae give for them."""
        rng = np.random.default_rng(seed)
        x = rng.random((images, *self.image_shape), dtype=np.float32)
        z = rng.standard_normal((latents, self.latent_size), dtype=np.float32)
        mu, logvar = self.encode(x)
        return GoldenVectors(x=x, mu=mu, logvar=logvar, z=z, x_hat=self.decode(z))

    def draft(self, name: str = "tiny", **changes: Any) -> ManifestDraft:
        """A manifest draft that fits this model; `changes` replace fields."""
        encoder, decoder = graph_specs(
            image_shape=self.image_shape, latent_size=self.latent_size, opset=OPSET
        )
        fields: dict[str, Any] = {
            "name": name,
            "kind": self.kind,
            "description": "A linear model with known answers.",
            "image": ImageSpec(shape=self.image_shape),
            "latent_size": self.latent_size,
            "likelihood": BernoulliLikelihood(),
            "encoder": encoder,
            "decoder": decoder,
            "metrics": (
                Metric(
                    name="negative_elbo",
                    value=100.5,
                    unit="nats per image",
                    protocol="Invented for tests; measured on nothing.",
                ),
            ),
            "provenance": TrainingProvenance(
                recipe={"model": {"latent_size": self.latent_size}},
                data="none",
                data_fingerprint="0" * 64,
                libraries={"numpy": np.__version__},
                seed=0,
                epochs=0,
                git_revision="unknown",
                created_at=datetime(2024, 1, 1, tzinfo=UTC),
            ),
            "priors": (StandardNormalPrior(),) if self.kind == "vae" else (),
            "licence": "MIT",
        }
        return ManifestDraft(**{**fields, **changes})


def publish_tiny(
    store: ModelStore,
    *,
    name: str = "tiny",
    kind: Literal["vae", "ae"] = "vae",
    image_shape: Shape = (1, 28, 28),
    latent_size: int = 8,
    seed: int = 0,
    aliases: Sequence[str] = (),
    model: TinyModel | None = None,
    encoder: bytes | None = None,
    decoder: bytes | None = None,
    golden: GoldenVectors | None = None,
    fitted: tuple[FittedPrior, PriorMixtures] | None = None,
    shown: tuple[PreviewSpec, Preview] | None = None,
    learned: TinyLearnedPrior | None = None,
) -> VersionId:
    """Publish a tiny model; any part may be replaced, `decoder=model.decoder_of_nan` for instance."""
    model = model or TinyModel.make(image_shape=image_shape, latent_size=latent_size, kind=kind, seed=seed)
    draft = model.draft(name)
    entry, mixtures = fitted or (None, None)
    spec, preview = shown or (None, None)
    draft = draft if entry is None else draft.with_fitted_prior(entry)
    draft = draft if learned is None else draft.with_learned_prior(learned.entry)
    return store.publish(
        draft if spec is None else draft.with_preview(spec),
        encoder=model.encoder if encoder is None else encoder,
        decoder=model.decoder if decoder is None else decoder,
        golden=model.golden() if golden is None else golden,
        prior=mixtures if learned is None else learned.mixtures,
        learned_prior=None if learned is None else learned.files,
        preview=preview,
        card=CARD,
        aliases=aliases,
    )


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[str | int]],
    outputs: dict[str, Sequence[str | int]],
    weights: dict[str, NDArray[Any]],
    *,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A float32 model of the default domain from its parts, not checked: attacks are built with it too."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(shape)) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(shape)) for n, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)

"""A tiny trained model whose latents have a shape: the formulae of `TinyModel` behind reshapes.

Knows `onnx.helper` and the store. Its graphs take and return latents (c, h, w), whose values in C order are
the flat latents of the `TinyModel` with the same seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper
from tiny_models import CARD, OPSET, TinyModel, make_model

from model_store import ManifestDraft, ModelStore, VersionId
from model_store.imported import LatentSpec
from model_store.tensor_spec import graph_specs

IMAGE_SHAPE = (3, 16, 12)
LATENT_SHAPE = (2, 4, 3)


def spatial_draft(model: TinyModel, name: str = "spatial", **changes: Any) -> ManifestDraft:
    """A manifest of `model` with latents of `LATENT_SHAPE`; `changes` replace fields."""
    encoder, decoder = graph_specs(
        image_shape=model.image_shape, latent_size=model.latent_size, latent_shape=LATENT_SHAPE, opset=OPSET
    )
    stated = {
        "schema_version": 5,
        "latent": LatentSpec(shape=LATENT_SHAPE),
        "encoder": encoder,
        "decoder": decoder,
    }
    return model.draft(name, **{**stated, **changes})


def tiny_spatial(*, seed: int = 0) -> TinyModel:
    """The formulae, on flat latents."""
    return TinyModel.make(image_shape=IMAGE_SHAPE, latent_size=int(np.prod(LATENT_SHAPE)), seed=seed)


def spatial_graphs(model: TinyModel) -> tuple[bytes, bytes]:
    """(encoder, decoder) with latents of `LATENT_SHAPE`."""
    shaped, flat = np.array([-1, *LATENT_SHAPE], np.int64), np.array([-1, model.latent_size], np.int64)
    weights = {name: getattr(model, name) for name in ("w_mu", "b_mu", "w_logvar", "b_logvar")}
    encoder = make_model(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w_mu", "b_mu"], ["flat_mu"]),
            helper.make_node("Gemm", ["flat", "w_logvar", "b_logvar"], ["flat_logvar"]),
            helper.make_node("Reshape", ["flat_mu", "latent_shape"], ["mu"]),
            helper.make_node("Reshape", ["flat_logvar", "latent_shape"], ["logvar"]),
        ],
        {"x": ("batch", *IMAGE_SHAPE)},
        {"mu": ("batch", *LATENT_SHAPE), "logvar": ("batch", *LATENT_SHAPE)},
        {**weights, "latent_shape": shaped},
    )
    decoder = make_model(
        [
            helper.make_node("Reshape", ["z", "flat"], ["flat_z"]),
            helper.make_node("Gemm", ["flat_z", "w_x", "b_x"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["pixels"]),
            helper.make_node("Reshape", ["pixels", "image_shape"], ["x_hat"]),
        ],
        {"z": ("batch", *LATENT_SHAPE)},
        {"x_hat": ("batch", *IMAGE_SHAPE)},
        {
            "w_x": model.w_x,
            "b_x": model.b_x,
            "flat": flat,
            "image_shape": np.array([-1, *IMAGE_SHAPE], np.int64),
        },
    )
    return bytes(encoder.SerializeToString()), bytes(decoder.SerializeToString())


def publish_spatial(store: ModelStore, *, name: str = "spatial", seed: int = 0) -> VersionId:
    """Publish it."""
    model = tiny_spatial(seed=seed)
    encoder, decoder = spatial_graphs(model)
    return store.publish(
        spatial_draft(model, name), encoder=encoder, decoder=decoder, golden=model.golden(), card=CARD
    )

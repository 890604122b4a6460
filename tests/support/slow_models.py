"""A tiny model whose encoder takes its time: as many matrix products as are asked for, none of which matters.

Knows onnx. What it answers is what `TinyModel` answers; an image costs the same whatever the batch, about.
"""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore, VersionId

WIDTH = 768


def slow_encoder(model: TinyModel, *, products: int) -> bytes:
    """`mu` plus zero times the end of a chain of `products` products of an image with a square matrix."""
    rng = np.random.default_rng(0)
    pixels = int(np.prod(model.image_shape))
    proto = model.encoder_proto()
    graph = proto.graph
    for node in graph.node:
        if node.output[0] == "mu":
            node.output[0] = "mu_alone"
    weights = {
        "widen": rng.standard_normal((pixels, WIDTH)).astype(np.float32),
        "square": (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32),
        "narrow": np.zeros((WIDTH, model.latent_size), np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    graph.node.append(helper.make_node("MatMul", ["flat", "widen"], ["step0"]))
    for step in range(products):
        # Tanh bounds it, so that zero times it is zero.
        graph.node.append(helper.make_node("MatMul", [f"step{step}", "square"], [f"product{step}"]))
        graph.node.append(helper.make_node("Tanh", [f"product{step}"], [f"step{step + 1}"]))
    graph.node.append(helper.make_node("MatMul", [f"step{products}", "narrow"], ["nothing"]))
    graph.node.append(helper.make_node("Add", ["mu_alone", "nothing"], ["mu"]))
    return bytes(proto.SerializeToString())


def publish_slow(store: ModelStore, *, products: int, name: str = "mnist") -> VersionId:
    """A model of 4 × 4 pixels and 2 latents."""
    model = TinyModel.make(image_shape=(1, 4, 4), latent_size=2)
    return publish_tiny(store, name=name, model=model, encoder=slow_encoder(model, products=products))

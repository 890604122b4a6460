"""Batches, and decoders of several layers, for the tests of a loaded model.

Knows the runtime, golden vectors and the sizes of the engine's tiny model. Knows nothing of the service.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import helper
from tiny_models import make_model

from model_store import GoldenVectors

#: Of the engine's tiny model: (C, H, W) of its images, and the size of its latents.
SHAPE, LATENT = (1, 6, 7), 5


def images(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(8).random((count, *shape), dtype=np.float32)


def latents(count: int, size: int = LATENT) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((count, size), dtype=np.float32)


def softplus_decoder() -> bytes:
    """42 values through Softplus, whose vector and remainder formulas differ in the last bit."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((LATENT, 33)).astype(np.float32),
        "v": rng.standard_normal((33, 42)).astype(np.float32) * np.float32(0.2),
        "shape": np.array([-1, *SHAPE], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["a"]),
        helper.make_node("Softplus", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["x_hat"]),
    ]
    proto = make_model(nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights)
    return bytes(proto.SerializeToString())


def convolutional_decoder() -> bytes:
    """Dense, a residual 3 × 3 convolution with Silu, a transposed convolution, Sigmoid."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)

    weights = {
        "dense": weight(LATENT, 8 * 3 * 7), "grid": np.array([-1, 8, 3, 7], np.int64),
        "c1": weight(8, 8, 3, 3), "c2": weight(8, 8, 3, 3), "up": weight(8, 1, 2, 1),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["z", "dense"], ["h0"]),
        helper.make_node("Reshape", ["h0", "grid"], ["h1"]),
        helper.make_node("Conv", ["h1", "c1"], ["h2"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["h2"], ["gate"]),
        helper.make_node("Mul", ["h2", "gate"], ["h3"]),
        helper.make_node("Conv", ["h3", "c2"], ["h4"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["h1", "h4"], ["h5"]),
        helper.make_node("ConvTranspose", ["h5", "up"], ["h6"], strides=[2, 1]),
        helper.make_node("Sigmoid", ["h6"], ["x_hat"]),
    ]
    proto = make_model(nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights)
    return bytes(proto.SerializeToString())


def golden_of(golden: GoldenVectors, decoder: bytes) -> GoldenVectors:
    """`golden` with what onnxruntime answers for its z by this decoder."""
    import onnxruntime

    session = onnxruntime.InferenceSession(decoder, providers=["CPUExecutionProvider"])
    return replace(golden, x_hat=session.run(None, {"z": golden.z})[0])

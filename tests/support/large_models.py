"""Models of large images: convolutional graphs with the layers of TAESD, of any side and width.

Knows onnx.helper, NumPy, the store and onnxruntime, which computes the golden vectors. The weights are drawn
from a seed: what such a model answers has no meaning, and what it costs is that of a trained one.

    identity = publish_large(ModelStore(tmp_path), name="large", side=512, width=8)

`width` is the number of channels of every layer: 64 and 3 blocks are TAESD, with 1.2 million weights a graph.
Latents are 4 × side/8 × side/8 numbers, flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from tiny_models import CARD, TinyModel, make_model

from model_store import GaussianLikelihood, GoldenVectors, ModelStore, VersionId

#: Channels and blocks of TAESD.
TAESD_WIDTH, TAESD_BLOCKS = 64, 3
_LATENT_CHANNELS = 4
_SHRINKS = 3  # each to half the side


@dataclass
class Layers:
    """Nodes one after another, and their weights."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, name: str, value: NDArray[np.generic]) -> str:
        self.weights[name] = value
        return name

    def conv(self, x: str, into: int, out: int, *, stride: int = 1) -> str:
        at = len(self.nodes)
        scale = (2.0 / (9 * into)) ** 0.5
        values = (self._rng.standard_normal((out, into, 3, 3)) * scale).astype(np.float32)
        w = self.weight(f"w{at}", values)
        b = self.weight(f"b{at}", (self._rng.standard_normal(out) * 0.1).astype(np.float32))
        return self.add("Conv", x, w, b, pads=[1, 1, 1, 1], strides=[stride, stride])

    def block(self, x: str, width: int) -> str:
        """Three convolutions and a way around them."""
        y = x
        for at in range(3):
            y = self.conv(y, width, width)
            y = self.add("Relu", y) if at < 2 else y
        half = self.weight("half", np.array(0.5, np.float32))
        return self.add("Relu", self.add("Add", self.add("Mul", y, half), x))

    def reshape(self, x: str, shape: Sequence[int], *, output: str | None = None) -> str:
        at = f"shape{len(self.nodes)}"
        return self.add("Reshape", x, self.weight(at, np.array([-1, *shape], np.int64)), output=output)


def latent_size(side: int) -> int:
    return _LATENT_CHANNELS * (side >> _SHRINKS) ** 2


def encoder(side: int, *, channels: int = 3, width: int, blocks: int, seed: int = 0) -> bytes:
    """x ─▶ mu, logvar."""
    layers = Layers(seed)
    y = layers.block(layers.conv("x", channels, width), width)
    for _ in range(_SHRINKS):
        y = layers.conv(y, width, width, stride=2)
        for _ in range(blocks):
            y = layers.block(y, width)
    latents = latent_size(side)
    for output in ("mu", "logvar"):
        flat = layers.reshape(layers.conv(y, width, _LATENT_CHANNELS), (latents,))
        layers.add("Tanh", flat, output=output)
    latent = ("batch", latents)
    proto = make_model(
        layers.nodes, {"x": ("batch", channels, side, side)}, {"mu": latent, "logvar": latent}, layers.weights
    )
    return bytes(proto.SerializeToString())


def decoder(side: int, *, channels: int = 3, width: int, blocks: int, seed: int = 1) -> bytes:
    """z ─▶ x_hat in [0, 1]."""
    layers = Layers(seed)
    small = side >> _SHRINKS
    y = layers.reshape("z", (_LATENT_CHANNELS, small, small))
    y = layers.add("Relu", layers.conv(y, _LATENT_CHANNELS, width))
    scales = layers.weight("scales", np.array([1, 1, 2, 2], np.float32))
    for _ in range(_SHRINKS):
        for _ in range(blocks):
            y = layers.block(y, width)
        y = layers.add("Resize", y, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")
        y = layers.conv(y, width, width)
    y = layers.block(y, width)
    layers.add("Sigmoid", layers.conv(y, width, channels), output="x_hat")
    proto = make_model(
        layers.nodes,
        {"z": ("batch", latent_size(side))},
        {"x_hat": ("batch", channels, side, side)},
        layers.weights,
    )
    return bytes(proto.SerializeToString())


def publish_large(
    store: ModelStore,
    *,
    name: str = "large",
    side: int = 256,
    channels: int = 3,
    width: int = 4,
    blocks: int = 1,
    examples: int = 1,
    seed: int = 0,
    aliases: Sequence[str] = ("stable",),
) -> VersionId:
    """Publish such a model with golden vectors of so many examples."""
    parts = {"channels": channels, "width": width, "blocks": blocks}
    graphs = (encoder(side, seed=seed, **parts), decoder(side, seed=seed + 1, **parts))
    size = latent_size(side)
    # Of the linear model only the description is used: its weights are as large as images times latents.
    described = TinyModel.make(image_shape=(1, 1, 1), latent_size=1)
    described = TinyModel(**{**vars(described), "image_shape": (channels, side, side), "latent_size": size})
    return store.publish(
        described.draft(name, likelihood=GaussianLikelihood(sigma=0.1, learned=False)),
        encoder=graphs[0],
        decoder=graphs[1],
        golden=_golden(*graphs, (channels, side, side), size, examples),
        card=CARD,
        aliases=aliases,
    )


def _golden(
    encoding: bytes, decoding: bytes, shape: tuple[int, int, int], size: int, examples: int
) -> GoldenVectors:
    import_module("service.engine.runtime.session")  # first: it starts no telemetry of onnxruntime
    onnxruntime = import_module("onnxruntime")

    rng = np.random.default_rng(7)
    x = rng.random((examples, *shape), dtype=np.float32)
    z = rng.standard_normal((examples, size), dtype=np.float32)

    def run(graph: bytes, name: str, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        each = [session.run(None, {name: row[np.newaxis]}) for row in rows]
        return [np.concatenate(outputs) for outputs in zip(*each, strict=True)]

    mu, logvar = run(encoding, "x", x)
    (x_hat,) = run(decoding, "z", z)
    return GoldenVectors(x=x, mu=mu, logvar=logvar, z=z, x_hat=np.clip(x_hat, 0.0, 1.0))

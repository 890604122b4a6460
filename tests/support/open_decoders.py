"""Decoders of open sizes with the layers of TAESD, and such whose reach has no bound.

Knows onnx.helper and the layers of `large_models`. The weights are drawn from a seed.

    BOUNDED     3 × 3 convolutions and upsampling: a latent reaches some positions
    NORM        normalised over the image, like GroupNorm: a latent reaches every pixel
    ATTENTION   each position looks at all others
    POSITIONS   a bounded reach, but the image depends on where a latent is: tiles are not the whole
"""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from pathlib import Path

import numpy as np
from large_models import Layers
from numpy.typing import NDArray
from tiny_models import make_model

from model_store.cli import main
from service.commands.runtime_commands import COMMANDS

CHANNELS, FACTOR = 4, 8
_SHRINKS = 3


class Kind(Enum):
    """What a decoder has between its first convolution and its blocks."""

    BOUNDED = "bounded"
    NORM = "norm"
    ATTENTION = "attention"
    POSITIONS = "positions"


def open_decoder(kind: Kind = Kind.BOUNDED, *, width: int = 4, blocks: int = 1, seed: int = 1) -> bytes:
    """z (N, 4, h, w) ─▶ image (N, 3, 8 h, 8 w) in [0, 1]."""
    layers = Layers(seed)
    # As TAESD: latents are bounded first.
    bounded = layers.add("Tanh", "z")
    y = layers.add("Relu", layers.conv(bounded, CHANNELS, width))
    y = _KINDS[kind](layers, y, width)
    scales = layers.weight("scales", np.array([1, 1, 2, 2], np.float32))
    for _ in range(_SHRINKS):
        for _ in range(blocks):
            y = layers.block(y, width)
        y = layers.add("Resize", y, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")
        y = layers.conv(y, width, width)
    y = layers.block(y, width)
    last = layers.conv(y, width, 3)
    layers.add("Sigmoid", last, output="image")
    _look_at_the_middle(layers)
    proto = make_model(
        layers.nodes,
        {"z": ["batch_size", CHANNELS, "h", "w"]},
        {"image": ["batch_size", 3, "h8", "w8"]},
        layers.weights,
    )
    return bytes(proto.SerializeToString())


def _look_at_the_middle(layers: Layers) -> None:
    """Weight the middle of each kernel, as trained ones do: the influence of TAESD falls off so fast."""
    mask = np.array([[0.04, 0.2, 0.04], [0.2, 1.0, 0.2], [0.04, 0.2, 0.04]], np.float32)
    mask *= 3.0 / np.linalg.norm(mask)
    kernels = [name for name, weight in layers.weights.items() if weight.ndim == 4]
    for name in kernels:
        # The last one smaller: images between the ends of the sigmoid.
        scale = 0.2 if name == kernels[-1] else 1.0
        layers.weights[name] = (layers.weights[name].astype(np.float32) * mask * scale).astype(np.float32)


def _as_it_is(layers: Layers, y: str, width: int) -> str:
    return y


def _normalised(layers: Layers, y: str, width: int) -> str:
    scale = layers.weight("scale", np.ones(width, np.float32))
    shift = layers.weight("shift", np.zeros(width, np.float32))
    return layers.add("InstanceNormalization", y, scale, shift)


def _attended(layers: Layers, y: str, width: int) -> str:
    flat = layers.add("Reshape", y, layers.weight("flat", np.array([0, width, -1], np.int64)))
    turned = layers.add("Transpose", flat, perm=[0, 2, 1])
    weights = layers.add("Softmax", layers.add("MatMul", turned, flat), axis=-1)
    seen = layers.add("Transpose", layers.add("MatMul", weights, turned), perm=[0, 2, 1])
    return layers.add("Add", y, layers.add("Reshape", seen, layers.add("Shape", y)))


def _placed(layers: Layers, y: str, width: int) -> str:
    none = layers.weight("none", np.zeros((), np.float32))
    one = layers.weight("one", np.ones((), np.float32))
    ones = layers.add("Add", layers.add("Mul", y, none), one)
    column = layers.add("CumSum", ones, layers.weight("axis", np.array(3, np.int64)))
    return layers.add("Add", y, layers.add("Sin", column))


_KINDS = {
    Kind.BOUNDED: _as_it_is,
    Kind.NORM: _normalised,
    Kind.ATTENTION: _attended,
    Kind.POSITIONS: _placed,
}


def import_decoder(store: Path, decoder: bytes, *, name: str, options: tuple[str, ...] = ()) -> None:
    """Import it alone, as the command does."""
    path = store.parent / f"{name}.onnx"
    path.write_bytes(decoder)
    argv = ["import", "--decoder", str(path), "--range=0:1", "--name", name, "--alias", "stable"]
    assert main([*argv, "--store", str(store), *options], more=COMMANDS) == 0


def decoded_whole(decoder: bytes, z: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime computes in one run."""
    import_module("service.engine.runtime.session")  # first: it starts no telemetry of onnxruntime
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(decoder, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"z": row[np.newaxis]})[0] for row in z])

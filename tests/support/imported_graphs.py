"""Graphs as other projects export them, written by hand, with their answers in NumPy.

Knows `onnx.helper` and NumPy. Each pair has the names, shapes and range of one family, and one layer of each
kind that matters: a strided convolution, an upsampling, a 3 × 3 convolution with a bounded reach.

    KL       like AutoencoderKL: [-1, 1], open H and W, factor 8, mean and logvar packed on the channel axis
    TINY     like TAESD: [0, 1], open H and W, factor 4, no logvar
    FLAT     like pythae: [0, 1], one size, flat latents, mu and logvar under foreign names
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_models import TinyModel, make_model

Array = NDArray[np.float32]
#: Scaling and shift of latents in the config.json of the KL pair.
SCALING, SHIFT = 0.5, 0.25


@dataclass(frozen=True)
class Spatial:
    """mu = mean colour of each patch, and zeros; x_hat = its colour on every pixel, slightly blurred."""

    factor: int
    channels: int
    pixels: tuple[float, float]
    has_moments: bool
    is_open: bool = True
    size: tuple[int, int] = (64, 64)

    @property
    def blur(self) -> Array:
        """The 3 × 3 kernel of each colour."""
        kernel = np.array([[0.0, 0.05, 0.0], [0.05, 0.8, 0.05], [0.0, 0.05, 0.0]], np.float32)
        weights = np.zeros((3, 3, 3, 3), np.float32)
        for colour in range(3):
            weights[colour, colour] = kernel
        return weights

    def encode(self, x: Array) -> tuple[Array, Array]:
        """mu and logvar (N, c, h, w) of images in [0, 1]."""
        low, high = self.pixels
        raw = x * (high - low) + low
        n, c, height, width = raw.shape
        f = self.factor
        patches = raw.reshape(n, c, height // f, f, width // f, f).mean(axis=(3, 5))
        mu = np.zeros((n, self.channels, height // f, width // f), np.float32)
        mu[:, :3] = patches
        logvar = np.full_like(mu, -40.0)  # below diffusers' bound, which is outside of the graph
        return mu, np.maximum(logvar, -30.0)

    def decode(self, z: Array) -> Array:
        """Images in units of [0, 1], not clipped, of latents (N, c, h, w)."""
        low, high = self.pixels
        big = z[:, :3].repeat(self.factor, axis=2).repeat(self.factor, axis=3)
        padded = np.pad(big, ((0, 0), (0, 0), (1, 1), (1, 1)))
        height, width = big.shape[2:]
        raw = 0.8 * big
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
            raw = raw + 0.05 * padded[:, :, dy : dy + height, dx : dx + width]
        if self.pixels == (0.0, 1.0):
            raw = np.clip(raw, 0.0, 1.0)
        return np.asarray((raw - low) / (high - low), np.float32)

    def _shape(self, channels: int, factor: int) -> list[str | int]:
        height, width = self.size
        if self.is_open:
            return ["batch_size", channels, "h", "w"]
        return ["batch_size", channels, height // factor, width // factor]

    def encoder_proto(self) -> onnx.ModelProto:
        """sample → latent_parameters, or image → latents."""
        f, c = self.factor, self.channels
        out = 2 * c if self.has_moments else c
        weights = np.zeros((out, 3, f, f), np.float32)
        for colour in range(3):
            weights[colour, colour] = 1.0 / (f * f)
        bias = np.zeros(out, np.float32)
        bias[c:] = -40.0
        names = ("sample", "latent_parameters") if self.has_moments else ("image", "latents")
        nodes = [helper.make_node("Conv", ["clipped", "w", "b"], [names[1]], strides=[f, f])]
        first = (
            helper.make_node("Identity", [names[0]], ["clipped"])
            if self.has_moments
            else helper.make_node("Clip", [names[0], "zero", "one"], ["clipped"])
        )
        values: dict[str, NDArray[Any]] = {"w": weights, "b": bias}
        if not self.has_moments:
            values |= {"zero": np.zeros((), np.float32), "one": np.ones((), np.float32)}
        return make_model(
            [first, *nodes], {names[0]: self._shape(3, 1)}, {names[1]: self._shape(out, f)}, values
        )

    def decoder_proto(self) -> onnx.ModelProto:
        """latent_sample → sample, or latents → image."""
        c, f = self.channels, self.factor
        pick = np.zeros((3, c, 1, 1), np.float32)
        for colour in range(3):
            pick[colour, colour] = 1.0
        names = ("latent_sample", "sample") if self.has_moments else ("latents", "image")
        last = "raw" if self.pixels == (0.0, 1.0) else names[1]
        nodes = [
            helper.make_node("Conv", [names[0], "pick"], ["small"]),
            helper.make_node(
                "Resize",
                ["small", "", "scales"],
                ["big"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            helper.make_node("Conv", ["big", "blur"], [last], pads=[1, 1, 1, 1]),
        ]
        values: dict[str, NDArray[Any]] = {
            "pick": pick,
            "scales": np.array([1.0, 1.0, f, f], np.float32),
            "blur": self.blur,
        }
        if last != names[1]:
            nodes.append(helper.make_node("Clip", ["raw", "zero", "one"], [names[1]]))
            values |= {"zero": np.zeros((), np.float32), "one": np.ones((), np.float32)}
        return make_model(nodes, {names[0]: self._shape(c, f)}, {names[1]: self._shape(3, 1)}, values)

    @property
    def encoder(self) -> bytes:
        """The bytes of the encoder."""
        return bytes(self.encoder_proto().SerializeToString())

    @property
    def decoder(self) -> bytes:
        """The bytes of the decoder."""
        return bytes(self.decoder_proto().SerializeToString())


KL = Spatial(factor=8, channels=4, pixels=(-1.0, 1.0), has_moments=True)
TINY = Spatial(factor=4, channels=4, pixels=(0.0, 1.0), has_moments=False)
FLAT = TinyModel.make(image_shape=(1, 6, 7), latent_size=5, seed=3)


def optimum_folder(folder: Path, model: Spatial = KL, **config: object) -> Path:
    """The folder that Optimum exports, with a config.json next to each graph."""
    settings = {"scaling_factor": SCALING, "shift_factor": SHIFT, "latent_channels": model.channels} | config
    for name, data in (("vae_encoder", model.encoder), ("vae_decoder", model.decoder)):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.onnx").write_bytes(data)
        (folder / name / "config.json").write_text(json.dumps(settings))
    return folder


def two_files(folder: Path, encoder: bytes | onnx.ModelProto, decoder: bytes | onnx.ModelProto) -> list[str]:
    """Arguments of `vae-store import` for two graphs, which this writes."""
    arguments = []
    for name, graph in (("encoder", encoder), ("decoder", decoder)):
        path = folder / f"{name}-file.onnx"
        path.write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
        arguments += [f"--{name}", str(path)]
    return arguments


def flat_encoder() -> bytes:
    """The encoder of `FLAT`, with the names of pythae, logvar first."""
    proto = FLAT.encoder_proto()
    _rename(proto, {"mu": "embedding", "logvar": "log_covariance"})
    return bytes(proto.SerializeToString())


def with_nodes(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    *,
    output: str,
    weights: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """The graph with more nodes between its present output, renamed `before`, and its output."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for node in changed.graph.node:
        node.output[:] = ["before" if name == output else name for name in node.output]
    changed.graph.node.extend(nodes)
    changed.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()
    )
    return changed


def with_external_data(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its first weight in another file."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    weight = changed.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    return changed


def _rename(proto: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in proto.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in proto.graph.output:
        value.name = names.get(value.name, value.name)

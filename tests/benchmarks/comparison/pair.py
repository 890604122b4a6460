"""The two model pairs that everything is measured with, as files, and what a right answer is.

Knows stores and graphs. Knows nothing of servers.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, helper
from tiny_models import TinyModel, make_model, publish_tiny

from model_store import ModelStore

REPOSITORY = Path(__file__).resolve().parents[3]
BATCH = 64
_HIDDEN, _LATENTS = 500, 20
#: The JSON of a batch in the binary extension; the outputs are bytes as well.
MANY_V2 = json.dumps(
    {
        "inputs": [
            {
                "name": "x",
                "shape": [BATCH, 1, 28, 28],
                "datatype": "FP32",
                "parameters": {"binary_data_size": BATCH * 784 * 4},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()


@dataclass(frozen=True)
class Pair:
    """An encoder and a decoder of 1 × 28 × 28, in a store and as files."""

    name: str
    title: str
    store: Path
    encoder: Path
    decoder: Path
    latent_size: int
    home: Path
    """For bodies and logs."""

    @property
    def one(self) -> Path:
        """One image as JSON: pixels of 8 bits, as pictures are."""
        return self.home / "one.json"

    @property
    def one_v2(self) -> Path:
        """The same in the Open Inference Protocol."""
        return self.home / "one-v2.json"

    @property
    def many(self) -> Path:
        return self.home / "many.npy"

    @property
    def many_v2(self) -> Path:
        """The same as a request of the Open Inference Protocol: `MANY_V2`, and then the bytes."""
        return self.home / "many-v2.bin"


def pixels(count: int) -> NDArray[np.float32]:
    picked = np.random.default_rng(0).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    return picked.astype(np.float32) / np.float32(255)


def session(path: Path, *, threads: int) -> ort.InferenceSession:
    """As the service makes its own: no spinning, threads as asked."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def expected_mu(pair: Pair) -> NDArray[np.float32]:
    """Of the one image."""
    encoder = session(pair.encoder, threads=1)
    (mu,) = encoder.run(["mu"], {encoder.get_inputs()[0].name: pixels(1)})
    return np.asarray(mu)


def bundled_pair(home: Path, store: Path = REPOSITORY / "model_store/models") -> Pair:
    """The model that comes with the service, or with another revision of it, whose store that is."""
    return _pair("bundled", "bundled model", store, home, latent_size=None)


def mlp_pair(home: Path) -> Pair:
    """784 → 500 → 2 × 20 and 20 → 500 → 784, of random weights: so small that the server is what costs.

    The sizes are those of the first VAE of MNIST (Kingma & Welling 2013, arXiv:1312.6114, section 5).
    """
    store = home / "mlp-store"
    base = TinyModel.make(image_shape=(1, 28, 28), latent_size=_LATENTS)
    model = _Mlp(**{name: getattr(base, name) for name in base.__dataclass_fields__})
    publish_tiny(ModelStore(store), name="mnist", model=model, aliases=("stable",))
    return _pair("mlp", "MLP pair", store, home, latent_size=_LATENTS)


def _pair(name: str, title: str, store: Path, home: Path, *, latent_size: int | None) -> Pair:
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True)
    version = max((store / "mnist").glob("[0-9]*"), key=lambda path: int(path.name))
    encoder, decoder = version / "encoder.onnx", version / "decoder.onnx"
    latent_size = latent_size or int(session(decoder, threads=1).get_inputs()[0].shape[1])
    pair = Pair(name, title, store, encoder, decoder, latent_size, folder)
    x = pixels(1)
    pair.one.write_text(json.dumps({"images": _digits(x[:, 0].tolist())}))
    tensor = {"name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": _digits(x.ravel().tolist())}
    pair.one_v2.write_text(json.dumps({"inputs": [tensor]}))
    out = io.BytesIO()
    np.save(out, pixels(BATCH))
    pair.many.write_bytes(out.getvalue())
    pair.many_v2.write_bytes(MANY_V2 + pixels(BATCH).tobytes())
    return pair


def _digits(values: Any) -> Any:
    """As clients write float32: no more digits than it has."""
    if isinstance(values, list):
        return [_digits(value) for value in values]
    return float(np.format_float_positional(np.float32(values), unique=True))


class _Mlp(TinyModel):
    """Overrides the graphs and what they compute."""

    def encode(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        hidden = np.maximum(x.reshape(len(x), -1) @ _WEIGHTS["to_hidden"], 0)
        return hidden @ _WEIGHTS["to_mu"], hidden @ _WEIGHTS["to_logvar"]

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        hidden = np.maximum(z @ _WEIGHTS["from_z"], 0)
        x_hat = 1 / (1 + np.exp(-hidden @ _WEIGHTS["to_pixels"]))
        images: NDArray[np.float32] = x_hat.astype(np.float32).reshape(-1, 1, 28, 28)
        return images

    def encoder_proto(self) -> ModelProto:
        nodes = [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "to_hidden"], ["linear"]),
            helper.make_node("Relu", ["linear"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "to_mu"], ["mu"]),
            helper.make_node("Gemm", ["hidden", "to_logvar"], ["logvar"]),
        ]
        weights = {name: _WEIGHTS[name] for name in ("to_hidden", "to_mu", "to_logvar")}
        return make_model(
            nodes,
            {"x": ("batch", 1, 28, 28)},
            {"mu": ("batch", _LATENTS), "logvar": ("batch", _LATENTS)},
            weights,
        )

    def decoder_proto(self) -> ModelProto:
        nodes = [
            helper.make_node("Gemm", ["z", "from_z"], ["linear"]),
            helper.make_node("Relu", ["linear"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "to_pixels"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["x_hat"]),
        ]
        weights: dict[str, NDArray[Any]] = {name: _WEIGHTS[name] for name in ("from_z", "to_pixels")}
        weights["shape"] = np.array([-1, 1, 28, 28], np.int64)
        return make_model(nodes, {"z": ("batch", _LATENTS)}, {"x_hat": ("batch", 1, 28, 28)}, weights)


def _random_weights() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    shapes = {
        "to_hidden": (784, _HIDDEN), "to_mu": (_HIDDEN, _LATENTS), "to_logvar": (_HIDDEN, _LATENTS),
        "from_z": (_LATENTS, _HIDDEN), "to_pixels": (_HIDDEN, 784),
    }  # fmt: skip
    return {
        name: (rng.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


_WEIGHTS = _random_weights()

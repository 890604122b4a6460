"""The remote VAE of diffusers, safetensors, and a model that was imported without its encoder."""

from __future__ import annotations

import contextlib
import io
import json
import struct

import numpy as np
from imported_graphs import TINY, two_files
from numpy.typing import NDArray

from model_store.cli import main
from recorded.models import steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, npy, png, ramp
from service.commands.runtime_commands import COMMANDS

_GREY = (1, 4, 6)
_TENSOR = "tensor/binary"


def _tensor(array: NDArray[np.floating]) -> Payload:
    return Payload(array.tobytes(), _TENSOR, f"(bytes of {array.dtype.str} {array.shape})")


def _safetensors(array: NDArray[np.float32]) -> Payload:
    raw = array.tobytes()
    entry = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, len(raw)]}
    header = json.dumps({"z": entry}).encode()
    data = struct.pack("<Q", len(header)) + header + raw
    return Payload(data, "application/x-safetensors", f"(safetensors z F32 {array.shape})")


def remote(notebook: Notebook) -> None:
    """Both paths as clients send them, and what they refuse."""
    z = np.zeros((1, notebook_latent()), np.float32)
    query = f"shape=1&shape={z.shape[1]}&dtype=float32"
    with notebook.application("decode") as ask:
        for asked in (
            "output_type=pt&partial_postprocess=False",
            "output_type=pt&partial_postprocess=True",
            "output_type=pil&image_format=png",
            "output_type=pil&image_format=jpg",
            "output_type=mp4",
            "scaling_factor=0",
            "do_scaling=True",
            "scaling_facter=1",
            "tile=exact",
            "tile=perhaps",
        ):
            ask.post(f"/remote/decode?{query}&{asked}", _tensor(z))
        ask.post(
            f"/remote/decode?{query}&output_type=pt&model=mnist&scaling_factor=0.5&shift_factor=0.25"
            "&do_scaling=False&height=4&width=6",
            Payload(z.tobytes(), "application/octet-stream", f"(float32 {z.shape})"),
        )
        ask.post(f"/remote/decode?{query}&image_format=webp", _tensor(z), accept="image/webp")
        ask.post(f"/remote/decode?{query}&output_type=pil", _tensor(z), accept=_TENSOR)
        ask.post(f"/remote/decode/?{query}&output_type=pt", _tensor(z))
        ask.post("/remote/decode", _tensor(z))
        ask.post(f"/remote/decode?{query}", _tensor(z[:, 1:]))
        ask.post(
            "/remote/decode?shape=1&shape=2&shape=2&shape=2&dtype=float32",
            _tensor(np.zeros((1, 2, 2, 2), np.float32)),
        )
        ask.get("/remote/decode")
    with notebook.application("encode") as ask:
        ask.post("/remote/encode", png(6, 4, ramp(24)))
        ask.post(
            "/remote/encode?sample=true&seed=3&scaling_factor=0.5&shift_factor=0.25", png(6, 4, ramp(24))
        )
        x = steps(1, _GREY).astype(np.float16) * np.float16(2.0) - np.float16(1.0)
        ask.post("/remote/encode?shape=1&shape=1&shape=4&shape=6&dtype=float16", _tensor(x))
        ask.post(
            "/remote/encode?shape=1&shape=1&shape=4&shape=6&dtype=float16&model=mnist&do_scaling=False",
            Payload(x.tobytes(), "application/octet-stream", f"(float16 {x.shape})"),
        )
        ask.post("/remote/encode", Payload(b"GIF89a", None))
    with notebook.application("turned off", remote_vae=False) as ask:
        ask.post(f"/remote/decode?{query}", _tensor(z))


def imported(notebook: Notebook) -> None:
    """Safetensors of any model, and one without an encoder."""
    z = np.zeros((1, notebook_latent()), np.float32)
    with notebook.application("safetensors") as ask:
        ask.post("/encode.safetensors", npy(steps(1, _GREY)))
        ask.post("/decode", _safetensors(z))
        ask.post("/decode", Payload(b"\x02" + b"\0" * 7 + b"[]", "application/x-safetensors"))
    files = two_files(notebook.scratch, TINY.encoder, TINY.decoder)
    store = notebook.scratch / "imported"
    with contextlib.redirect_stdout(io.StringIO()):
        arguments = [*files[2:], "--name", "half", "--range=0:1", "--store", str(store)]
        assert main(["import", *arguments], more=COMMANDS) == 0
    with notebook.application("imported without its encoder", model_store=store, default_model="half") as ask:
        ask.post("/encode", npy(np.zeros((1, 3, 32, 32), np.float32)))
        ask.get("/sample")
        query = "shape=1&shape=4&shape=16&shape=20&dtype=float32&image_format=png"
        for tile in ("auto", "exact"):
            even = np.zeros((1, 4, 16, 20), np.float32)
            ask.post(f"/remote/decode?{query}&tile={tile}", _tensor(even), accept="image/png")


def notebook_latent() -> int:
    """Length of a latent of the default model."""
    return 3

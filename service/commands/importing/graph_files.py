"""The ONNX files to import: their bytes, their signatures, and the settings of an Optimum folder.

Knows files, protobuf and JSON. Runs nothing: the store's guard has rejected randomness, external data and
unbounded loops before any runtime sees a byte.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from model_store.errors import HostileGraph, UnreadableFile
from model_store.onnx_guard import Signature, check_content, signature_of
from service.commands.importing.report import refuse

#: Names of the graphs in the folders of Optimum, now and before.
_IN_OPTIMUM: Final = {"encoder": "vae_encoder/model.onnx", "decoder": "vae_decoder/model.onnx"}
_MOST_CONFIG_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class GraphFile:
    """One ONNX file, read and guarded."""

    path: Path
    data: bytes
    signature: Signature


@dataclass(frozen=True)
class Normalisation:
    """What a config.json of diffusers says about latents."""

    scaling_factor: float | None = None
    shift_factor: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Source:
    """Everything that was read."""

    described: str
    """Where it came from, for the manifest: names without their folders."""
    encoder: GraphFile | None
    decoder: GraphFile | None
    is_diffusers: bool = False
    """Whether its programs use pixels in [-1, 1]."""
    normalisation: Normalisation = field(default_factory=Normalisation)
    image_channels: int | None = None
    latent_channels: int | None = None


def read_source(
    folder: Path | None, encoder: Path | None, decoder: Path | None, *, most_bytes: int
) -> Source:
    """The graphs of an Optimum folder, or two single files.

    Args:
        folder: Has `vae_encoder` and `vae_decoder`, or None.
        encoder: A file, or None.
        decoder: A file, or None.
        most_bytes: Ceiling for one file.

    Raises:
        ImportRefused: There is no graph, or a config.json that cannot be read.
        UnreadableFile: A file cannot be read.
        HostileGraph: A file is no self-contained and deterministic graph.
    """
    if folder is not None:
        return _read_folder(folder, most_bytes=most_bytes)
    names = [f"{path.name} ({role})" for role, path in (("encoder", encoder), ("decoder", decoder)) if path]
    return Source(
        f"the files {' and '.join(names)}",
        _read_graph(encoder, most_bytes=most_bytes),
        _read_graph(decoder, most_bytes=most_bytes),
    )


def _read_folder(folder: Path, *, most_bytes: int) -> Source:
    found = {role: folder / place for role, place in _IN_OPTIMUM.items() if (folder / place).is_file()}
    if not found:
        raise refuse(
            "files",
            expected=f"{' and '.join(_IN_OPTIMUM.values())} in {folder}, as Optimum exports them",
            got="neither",
            remedy="Name the files instead: --encoder FILE --decoder FILE.",
        )
    configs = [_read_config(path.with_name("config.json")) for path in found.values()]
    config = {key: value for each in configs for key, value in each.items() if value is not None}
    return Source(
        f"the folder {folder.resolve().name} of Optimum",
        _read_graph(found.get("encoder"), most_bytes=most_bytes),
        _read_graph(found.get("decoder"), most_bytes=most_bytes),
        is_diffusers=True,
        normalisation=Normalisation(
            scaling_factor=_number(config, "scaling_factor"),
            shift_factor=_number(config, "shift_factor"),
            mean=_numbers(config, "latents_mean"),
            std=_numbers(config, "latents_std"),
        ),
        image_channels=_whole(config, "in_channels"),
        latent_channels=_whole(config, "latent_channels"),
    )


def _read_graph(path: Path | None, *, most_bytes: int) -> GraphFile | None:
    if path is None:
        return None
    data = _read(path, most_bytes=most_bytes)
    try:
        check_content(data, where=str(path))
        return GraphFile(path, data, signature_of(data, where=str(path)))
    except HostileGraph as error:
        raise HostileGraph(
            f"{error} An encoder of Optimum that draws samples has the output latent_sample: export it with "
            "optimum-onnx 0.1 or later, whose encoder has latent_parameters."
            if "Random" in str(error)
            else str(error)
        ) from error


def _read(path: Path, *, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise UnreadableFile(f"{path}: expected a readable file, got: {error.strerror or error}.") from error
    if len(data) > most_bytes:
        raise refuse(
            f"{path}",
            expected=f"at most {most_bytes} bytes",
            got="more",
            remedy="The store bounds each graph; export it in float32 without optimiser state.",
        )
    return data


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(_read(path, most_bytes=_MOST_CONFIG_BYTES))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise refuse(
            str(path), expected="a JSON object", got="another content", remedy="Export the model again."
        )
    return config


def _number(config: dict[str, Any], key: str) -> float | None:
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise refuse(
            f"config.json: {key}", expected="a number", got=type(value).__name__, remedy="Correct it."
        )
    return float(value)


def _numbers(config: dict[str, Any], key: str) -> tuple[float, ...] | None:
    value = config.get(key)
    if not isinstance(value, list) or not value:
        return None
    return tuple(_number({key: each}, key) or 0.0 for each in value)


def _whole(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024 else None

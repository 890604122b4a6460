"""What the tests of the trainer share: real digits in small numbers, and runs that take a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import RunConfig, parse_config
from training.data import ImageData, load_mnist
from training.fit import Console

#: Half a second of training: two epochs of nine steps.
TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"validation_size": 1000},
    "model": {
        "latent_size": 4,
        "trunk": {"type": "mlp", "encoder_hidden": [32], "decoder_hidden": [32]},
    },
    "optimiser": {"warmup_steps": 2},
    "trainer": {"epochs": 2, "batch_size": 64, "precision": "float32"},
    "evaluation": {"importance_samples": 3, "importance_images": 20},
}


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """2,000 real digits as IDX files."""
    return Path(__file__).parents[1] / "data" / "mnist"


@pytest.fixture(scope="session")
def digits(mnist_folder: Path) -> ImageData:
    """The same, read."""
    return load_mnist(mnist_folder)


@pytest.fixture
def tiny() -> Callable[..., RunConfig]:
    """A run of about a second; keyword arguments replace keys of a section."""

    def make(**sections: dict[str, Any]) -> RunConfig:
        raw = {key: dict(value) if isinstance(value, dict) else value for key, value in TINY.items()}
        for section, keys in sections.items():
            raw[section] = {**raw.get(section, {}), **keys}
        return parse_config(raw, where="tiny")

    return make


@pytest.fixture
def heard() -> list[str]:
    """What a run said to `console`."""
    return []


@pytest.fixture
def console(heard: list[str]) -> Console:
    """Collects instead of printing."""
    return Console(say=heard.append, progress_bar=False)


@pytest.fixture
def generator() -> torch.Generator:
    """Noise that is the same in every run of the suite."""
    return torch.Generator().manual_seed(20)

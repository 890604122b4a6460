"""What the tests of the trainer share: real digits in small numbers, and runs that take a second."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config.reading import parse_config
from training.config.recipe import RunConfig
from training.data import ImageData, load_mnist
from training.fitting.console import Console

#: Two epochs of nine steps.
TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"validation_size": 100},
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
    """The same, read, and fewer of them: 676 to train on, of which tests hold back 100, and 100 to test."""
    data = load_mnist(mnist_folder)
    return ImageData(
        name=data.name,
        train=data.train.take(torch.arange(676)),
        test=data.test.take(torch.arange(100)),
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on two threads, above all while other tests run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for `vae-train` itself and for processes started by tests
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., RunConfig]:
    """A run of half a second; keyword arguments replace keys of a section."""

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
    return Console(say=heard.append)


@pytest.fixture
def generator() -> torch.Generator:
    """Noise that is the same in every run of the suite."""
    return torch.Generator().manual_seed(20)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out drawing, which takes longer than a tiny run's training."""
    monkeypatch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: None)


@pytest.fixture(scope="session")
def log_of() -> Callable[[Path], list[dict[str, float]]]:
    """Reads the log of a run directory."""

    def read(directory: Path) -> list[dict[str, float]]:
        with (directory / "log.csv").open() as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def weights_of() -> Callable[[Path], dict[str, torch.Tensor]]:
    """Reads the kept weights of a run directory."""

    def read(directory: Path) -> dict[str, torch.Tensor]:
        stored: dict[str, torch.Tensor] = torch.load(directory / "model.pt", weights_only=True)["state_dict"]
        return stored

    return read


@pytest.fixture(scope="session")
def same_weights(weights_of: Callable[[Path], dict[str, torch.Tensor]]) -> Callable[[Path, Path], bool]:
    """Whether two runs ended with the same bits."""

    def compare(first: Path, second: Path) -> bool:
        a, b = weights_of(first), weights_of(second)
        return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)

    return compare

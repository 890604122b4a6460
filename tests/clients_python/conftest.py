"""A server with the bundled models, and clients of it.

Knows servers and clients. Knows nothing of what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import Running, serving
from vae_client import Client

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLED = REPOSITORY / "model_store/models"


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the bundled models and its usual limits."""
    with serving(BUNDLED, tmp_path_factory.mktemp("bundled") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def url(bundled: Running) -> str:
    return f"http://127.0.0.1:{bundled.port}"


@pytest.fixture
def vae(url: str) -> Iterator[Client]:
    with Client(url, model="mnist@stable") as client:
        yield client

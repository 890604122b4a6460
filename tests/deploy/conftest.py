"""A small store for the tests of deploy/ that start servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import publish_tiny

from model_store import ModelStore


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of `mnist`."""
    root = tmp_path_factory.mktemp("tiny") / "models"
    publish_tiny(ModelStore(root), name="mnist", latent_size=8, seed=0, aliases=("stable",))
    return root

"""Digests of the small MNIST, which stand in for the original's."""

import gzip
import hashlib

import pytest

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture(scope="session")
def small_sha256(mnist_folder) -> dict[str, str]:
    """Digest of each file of the small MNIST, decompressed."""
    return {
        stem: hashlib.sha256(gzip.decompress((mnist_folder / f"{stem}.gz").read_bytes())).hexdigest()
        for stem in STEMS
    }

"""Read the images of `--data`: IDX files, a folder or archive of images, or a file of arrays.

Knows the reader of each format. Knows nothing of models, nor of the formats themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from training.config.sections import DataConfig
from training.data.idx_folder import load_idx_folder
from training.data.image_files import FORMATS_IN_WORDS, Conversion
from training.data.image_folder import load_folder
from training.data.images import ImageData
from training.data.memory_map import MemoryBudget
from training.data.npz import load_npy, load_npz
from training.data.zip_archive import unpacked
from training.errors import ConfigError, DataError

#: Names of IDX files of any set, gzipped or not.
_IDX_FILE = re.compile(r"[-.]idx[13]-ubyte(\.gz)?$")


def load_images(
    path: Path | None,
    config: DataConfig,
    *,
    cache_dir: Path | None = None,
    budget: MemoryBudget | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ImageData:
    """Read the images for the training, the measurements and the export of a run.

    Args:
        path: A folder of IDX files or of images, a `.zip` of images, a `.npz` or `.npy` file. None selects
            the data set of the configuration.
        config: `dataset`, `side` and `channels` apply here.
        cache_dir: Directory of downloads, if `path` is None.
        budget: Maximum size in memory; left out, the default of `MemoryBudget`.
        tell: Called with a line for people at each long step.

    Returns:
        Training and test images of one shape.

    Raises:
        ConfigError: `path` is None and the configuration names no data set, or the configuration contains
            keys for image files and the data are no image files.
        DataError: The path does not exist, or its content is unreadable or unusable.
    """
    with nullcontext() if path is None else _readable(path):
        return _load(path, config, cache_dir=cache_dir, budget=budget, tell=tell)


def _load(
    path: Path | None,
    config: DataConfig,
    *,
    cache_dir: Path | None,
    budget: MemoryBudget | None,
    tell: Callable[[str], None],
) -> ImageData:
    if path is None and config.dataset == "given":
        raise ConfigError(
            "--data: expected a folder or .zip with images, a .npz or a .npy file, got nothing; this "
            "recipe names no data set. Name your images."
        )
    conversion = Conversion(side=config.side, channels=config.channels, ground=config.ground)
    if path is not None and is_zip(path):
        with unpacked(path, tell=tell) as folder:
            return load_folder(folder, conversion=conversion, budget=budget or MemoryBudget(), tell=tell)
    if path is not None and is_of_pictures(path):
        return load_folder(path, conversion=conversion, budget=budget or MemoryBudget(), tell=tell)
    if path is not None and not (path.is_dir() or is_of_arrays(path)):
        # Checked before the keys for image files: a mistyped path says nothing about them.
        got = "another file" if path.exists() else "nothing there"
        raise DataError(
            f"{path}: expected a folder of IDX files, a folder or .zip of {FORMATS_IN_WORDS} files, or a "
            f".npz or .npy file, got {got}. Name one of these with --data."
        )
    if config.side or config.channels or config.ground != "black":
        raise ConfigError(
            "data.side, data.channels, data.ground: expected 0, 0 and black for data that are no image "
            f"files, got {config.side}, {config.channels} and {config.ground}. Leave them out, and convert "
            "the images yourself."
        )
    if path is not None and is_of_arrays(path):
        return (load_npz if path.suffix == ".npz" else load_npy)(path, budget or MemoryBudget())
    return load_mnist(path, cache_dir, tell=tell)


def load_mnist(
    folder: Path | None, cache_dir: Path | None = None, *, tell: Callable[[str], None] = lambda _: None
) -> ImageData:
    """Read MNIST, or other images in the same format, from a folder or from the download cache.

    Args:
        folder: Contains the four files, gzipped or plain. With None, the originals are downloaded once into
            the cache.
        cache_dir: Directory of downloads; None is the user's cache directory. Unused with a folder.
        tell: Called with a line for people at each step of a download.

    Returns:
        As `load_idx_folder`.

    Raises:
        DataError: As `load_idx_folder` and `ensure_mnist`.
    """
    if folder is None:
        # Imported here: a user with a folder needs no network code.
        from training.data.mnist_download import ensure_mnist  # noqa: PLC0415

        folder = ensure_mnist(cache_dir, tell=tell)
    return load_idx_folder(folder)


def is_zip(path: Path) -> bool:
    """Whether it is read as an archive of images."""
    return path.suffix.lower() == ".zip" and path.is_file()


def is_of_arrays(path: Path) -> bool:
    """Whether it is read as a file of arrays."""
    return path.suffix in (".npz", ".npy") and path.is_file()


def is_of_pictures(path: Path) -> bool:
    """Whether a folder or archive contains image files, which `side` and `channels` convert."""
    if is_zip(path):
        return True
    with _readable(path):
        return path.is_dir() and not any(_IDX_FILE.search(entry.name) for entry in path.iterdir())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Report missing permissions for the images as data errors; errors about other files pass."""
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if named is None or not named.is_relative_to(path):
            raise
        raise DataError(
            f"{named}: expected a readable file or folder, got: {error.strerror}. Check the path and its "
            "permissions."
        ) from error

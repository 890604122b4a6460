"""Images from whatever `--data` names: IDX files, a folder or archive of pictures, or a file of arrays.

Knows which reader reads what. Knows nothing of models, nor of the formats themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from training.config.recipe import DataConfig
from training.data.idx_folder import load_idx_folder
from training.data.image_files import FORMATS_IN_WORDS, Conversion
from training.data.image_folder import load_folder
from training.data.images import ImageData
from training.data.memory_map import Room
from training.data.npz import load_npy, load_npz
from training.data.zip_archive import unpacked
from training.errors import ConfigError, DataError

#: Names of IDX files, whatever set they are of, gzipped or not.
_IDX_FILE = re.compile(r"[-.]idx[13]-ubyte(\.gz)?$")


def load_images(
    path: Path | None,
    config: DataConfig,
    *,
    cache_dir: Path | None = None,
    room: Room | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ImageData:
    """The images that a run trains on, is measured on and is exported with.

    Args:
        path: A folder of IDX files or of pictures, a `.zip` of pictures, a `.npz` or `.npy` file; None is
            what the configuration says.
        config: `dataset`, `side` and `channels` have a say here.
        cache_dir: Where downloads are kept, when `path` is None.
        room: How much may lie in memory; left out, what `Room` says.
        tell: Given a line for people at each step that takes time.

    Returns:
        Training and test images of one shape.

    Raises:
        ConfigError: No path although the configuration names no images, or keys that are for picture files
            where there are none.
        DataError: Nothing lies there, or it cannot be read or used.
    """
    with nullcontext() if path is None else _readable(path):
        return _load(path, config, cache_dir=cache_dir, room=room, tell=tell)


def _load(
    path: Path | None,
    config: DataConfig,
    *,
    cache_dir: Path | None,
    room: Room | None,
    tell: Callable[[str], None],
) -> ImageData:
    if path is None and config.dataset == "given":
        raise ConfigError(
            "--data: expected a folder or .zip with images, a .npz or a .npy file, got nothing; this "
            "recipe has no images of its own. Name yours."
        )
    conversion = Conversion(side=config.side, channels=config.channels, ground=config.ground)
    if path is not None and is_zip(path):
        with unpacked(path, tell=tell) as folder:
            return load_folder(folder, conversion=conversion, room=room or Room(), tell=tell)
    if path is not None and is_of_pictures(path):
        return load_folder(path, conversion=conversion, room=room or Room(), tell=tell)
    if path is not None and not (path.is_dir() or is_of_arrays(path)):
        # Before the keys for picture files, which a mistyped path does not make wrong.
        got = "another file" if path.exists() else "nothing there"
        raise DataError(
            f"{path}: expected a folder of IDX files, a folder or .zip of {FORMATS_IN_WORDS} files, or a "
            f".npz or .npy file, got {got}. Name one of these with --data."
        )
    if config.side or config.channels or config.ground != "black":
        raise ConfigError(
            "data.side, data.channels, data.ground: expected 0, 0 and black for images that do not come as "
            f"picture files, got {config.side}, {config.channels} and {config.ground}. Leave them out, and "
            "convert the images before."
        )
    if path is not None and is_of_arrays(path):
        return (load_npz if path.suffix == ".npz" else load_npy)(path, room or Room())
    return load_mnist(path, cache_dir, tell=tell)


def load_mnist(
    folder: Path | None, cache_dir: Path | None = None, *, tell: Callable[[str], None] = lambda _: None
) -> ImageData:
    """Read MNIST, or other images packed the same way, from a folder or from the download cache.

    Args:
        folder: Holds the four files, gzipped or plain. None: the originals are downloaded once
            into the cache and read from there.
        cache_dir: Where downloads are kept; None is the user's cache directory. Unused with a folder.
        tell: Given a line for people at each step of a download.

    Returns:
        As `load_idx_folder`.

    Raises:
        DataError: As `load_idx_folder` and `ensure_mnist`.
    """
    if folder is None:
        # Here and not above: someone with a folder needs no network code.
        from training.data.mnist_download import ensure_mnist  # noqa: PLC0415

        folder = ensure_mnist(cache_dir, tell=tell)
    return load_idx_folder(folder)


def is_zip(path: Path) -> bool:
    """Whether it is read as an archive of pictures."""
    return path.suffix.lower() == ".zip" and path.is_file()


def is_of_arrays(path: Path) -> bool:
    """Whether it is read as a file of arrays."""
    return path.suffix in (".npz", ".npy") and path.is_file()


def is_of_pictures(path: Path) -> bool:
    """Whether a folder or archive is read as one of pictures, which `side` and `channels` convert."""
    if is_zip(path):
        return True
    with _readable(path):
        return path.is_dir() and not any(_IDX_FILE.search(entry.name) for entry in path.iterdir())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Reports images that the system does not let us read as such; errors about other files are not ours."""
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if named is None or not named.is_relative_to(path):
            raise
        raise DataError(
            f"{named}: expected a file or folder that can be read, got: {error.strerror}. Check the path, "
            "and that you have the right to read it."
        ) from error

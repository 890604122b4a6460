"""A folder of four IDX files, as MNIST and its like are given out, turned into a training and a test set.

Knows the usual file names, what must agree between the files, and the digests of the original.
Knows nothing of models. Everything is checked here, before any training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from training.data.idx import IdxFile, read_idx
from training.data.images import ImageData, ImageSet
from training.errors import DataError

#: SHA-256 of the four original files, decompressed: what is inside counts, however it was packed.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
#: The same of Fashion-MNIST, which comes under the same names.
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
#: Decompressed size of each original, in bytes.
MNIST_SIZE_BYTES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
CLASSES = 10
_MAX_SIDE = 1024
_LISTED_FILES = 8


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
        Training and test images (N, 1, H, W) with labels 0 to 9, or with none where neither label file is
        there. Its name is `mnist`, or `fashion-mnist`, only when all four files hold exactly the original
        bytes, otherwise `idx`.

    Raises:
        DataError: A file is missing, damaged or not what its name says, or the files disagree.
    """
    if folder is None:
        # Here and not above: someone with a folder needs no network code.
        from training.data.download import ensure_mnist  # noqa: PLC0415

        folder = ensure_mnist(cache_dir, tell=tell)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder with the four MNIST files, got "
            f"{'a file' if folder.exists() else 'nothing there'}. Name the folder that holds them."
        )
    files = _read(folder)
    name = _name(files)
    train, test = (
        _image_set(
            f"{name} {what}", files[f"{stem}-images-idx3-ubyte"], files.get(f"{stem}-labels-idx1-ubyte")
        )
        for what, stem in (("train", "train"), ("test", "t10k"))
    )
    if train.image_shape != test.image_shape:
        raise DataError(
            f"{folder}: expected training and test images of one shape, got {train.image_shape} and "
            f"{test.image_shape}. Give the two parts of one data set."
        )
    if train.fingerprint == test.fingerprint:
        raise DataError(
            f"{folder}: the training and the test images are the same {len(train):,} images. "
            "Give the real test images: figures measured on training images say nothing."
        )
    return ImageData(name=name, train=train, test=test)


def _read(folder: Path) -> dict[str, IdxFile]:
    """All files of the set; what is wrong with several of them is told together."""
    unlabelled = not any(folder.glob("*-labels*"))
    files, objections = {}, []
    for stem in MNIST_SHA256:
        if unlabelled and "labels" in stem:
            continue
        try:
            files[stem] = read_idx(_find(folder, stem))
        except DataError as error:
            objections.append(str(error))
    if objections:
        raise DataError("\n".join(objections))
    return files


def _name(files: Mapping[str, IdxFile]) -> str:
    for name, known in (("mnist", MNIST_SHA256), ("fashion-mnist", FASHION_MNIST_SHA256)):
        if {stem: file.sha256 for stem, file in files.items()} == known:
            return name
    return "idx"


def _find(folder: Path, stem: str) -> Path:
    """The file with this name: plain before gzipped, and with the dot that some archives put in."""
    variants = [stem, stem.replace("-idx", ".idx")]
    for candidate in (folder / f"{variant}{suffix}" for variant in variants for suffix in ("", ".gz")):
        if candidate.is_file():
            return candidate
    present = sorted(entry.name for entry in folder.iterdir())
    listed = ", ".join(present[:_LISTED_FILES]) or "nothing"
    more = f" and {len(present) - _LISTED_FILES} more" if len(present) > _LISTED_FILES else ""
    raise DataError(
        f"{folder}: expected {stem} or {stem}.gz, got a folder with {listed}{more}. "
        f"Put the four IDX files there: {', '.join(MNIST_SHA256)}."
    )


def _image_set(name: str, images: IdxFile, labels: IdxFile | None) -> ImageSet:
    if images.array.ndim != 3:
        hint = "That looks like a label file" if images.array.ndim == 1 else "Grey images have three axes"
        raise DataError(
            f"{images.path}: expected images (N, height, width), got shape {images.array.shape}. "
            f"{hint}: put the image file there."
        )
    if max(images.array.shape[1:]) > _MAX_SIDE:
        raise DataError(
            f"{images.path}: expected images of at most {_MAX_SIDE} × {_MAX_SIDE} pixels, got "
            f"{images.array.shape[1]} × {images.array.shape[2]}. Scale them down."
        )
    if labels is not None:
        _check_labels(images, labels)
    _check_brightness(images)
    return ImageSet(
        name=name,
        images=torch.from_numpy(images.array[:, np.newaxis]),
        labels=None if labels is None else torch.from_numpy(labels.array.astype(np.int64)),
    )


def _check_labels(images: IdxFile, labels: IdxFile) -> None:
    if labels.array.ndim != 1:
        raise DataError(
            f"{labels.path}: expected labels (N,), got shape {labels.array.shape}. "
            "That looks like an image file: put the label file there."
        )
    if len(images.array) != len(labels.array):
        raise DataError(
            f"{labels.path}: expected {len(images.array):,} labels, one for each image of "
            f"{images.path.name}, got {len(labels.array):,}. Give the label file of these images."
        )
    wrong = np.flatnonzero(labels.array >= CLASSES)
    if wrong.size:
        raise DataError(
            f"{labels.path}: expected labels 0 to {CLASSES - 1}, got {labels.array[wrong[0]]} at index "
            f"{wrong[0]:,} ({wrong.size:,} in all are out of range). Give the label file of these images."
        )


def _check_brightness(images: IdxFile) -> None:
    brightest = int(images.array.max())
    if brightest <= 1:
        raise DataError(
            f"{images.path}: expected grey levels 0 to 255, got none above {brightest}. "
            "Multiply pixels that are 0 or 1 by 255; an all-black file holds nothing to learn."
        )

"""A folder of four IDX files, such as MNIST's, turned into a training and a test set.

Knows the usual file names and the consistency of the files. Knows nothing of models or downloads. All checks
happen here, before any training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.data.assembly import Part, data_of_parts, shape_objection
from training.data.idx import IdxFile, read_idx
from training.data.images import ImageData
from training.data.mnist_originals import FASHION_MNIST_LABELS, FASHION_MNIST_SHA256, MNIST_SHA256
from training.errors import DataError

_LISTED_FILES = 8
_PREFIXED = re.compile(r"(?P<prefix>|.*[-_.])(?:train|t10k|test)-(?:images|labels)[-.]idx[13]-ubyte(?:\.gz)?")


def load_idx_folder(folder: Path) -> ImageData:
    """Read MNIST, or other images packed the same way, from a folder.

    Args:
        folder: Contains the four files, gzipped or plain.

    Returns:
        Training and test images (N, 1, H, W) with labels 0 to 255, or without labels if both label files are
        missing. Its name is `mnist` or `fashion-mnist` only if all four files equal the originals byte for
        byte, otherwise `idx`. The labels of Fashion-MNIST have names.

    Raises:
        DataError: A file is missing, damaged or does not match its name, or the files disagree.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder with the four MNIST files, got "
            f"{'a file' if folder.exists() else 'nothing there'}. Name the folder that contains them."
        )
    files = _read(folder)
    parts = [
        _part(files[f"{stem}-images-idx3-ubyte"], files.get(f"{stem}-labels-idx1-ubyte"))
        for stem in ("train", "t10k")
    ]
    data = data_of_parts(_name(files), str(folder), *parts)
    return replace(data, label_names=FASHION_MNIST_LABELS) if data.name == "fashion-mnist" else data


def _read(folder: Path) -> dict[str, IdxFile]:
    """All files of the set; errors of several files are reported together."""
    prefix = _prefix(folder)
    unlabelled = not any(folder.glob("*-labels*"))
    files, objections = {}, []
    for stem in MNIST_SHA256:
        if unlabelled and "labels" in stem:
            continue
        try:
            files[stem] = read_idx(_find(folder, stem, prefix))
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


def _prefix(folder: Path) -> str:
    """Prefix of the names of the four files, as in `emnist-letters-train-images-idx3-ubyte`; mostly empty."""
    matches = (_PREFIXED.fullmatch(entry.name) for entry in folder.iterdir())
    prefixes = sorted({match["prefix"] for match in matches if match})
    if len(prefixes) > 1 and "" not in prefixes:
        raise DataError(
            f"{folder}: expected the files of one data set, got those of {', '.join(prefixes)}. Put the "
            "four files of one set into a folder of their own."
        )
    return "" if not prefixes or "" in prefixes else prefixes[0]


def _find(folder: Path, stem: str, prefix: str) -> Path:
    """The file with this name: plain before gzipped, and also with the dot that some archives use."""
    stems = (f"{prefix}{stem}", f"{prefix}{stem.replace('t10k', 'test')}")
    variants = [variant for each in stems for variant in (each, each.replace("-idx", ".idx"))]
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


def _part(images: IdxFile, labels: IdxFile | None) -> Part:
    if images.array.ndim != 3:
        hint = "That looks like a label file" if images.array.ndim == 1 else "Grey images have three axes"
        raise DataError(
            f"{images.path}: expected images (N, height, width), got shape {images.array.shape}. "
            f"{hint}: put the image file there."
        )
    height, width = images.array.shape[1:]
    if objection := shape_objection((1, height, width)):
        raise DataError(f"{images.path}: {objection}. Scale the images, or pad them.")
    if labels is not None:
        _check_labels(images, labels)
    return Part(
        images=torch.from_numpy(images.array[:, np.newaxis]), labels=None if labels is None else labels.array
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
            f"{images.path.name}, got {len(labels.array):,}. Use the label file of these images."
        )

"""A folder of PNG, JPEG and WebP files, class by class or not, turned into a training and a test set.

Knows folders, and which part and class a file belongs to. How a file becomes pixels is in
`training.data.image_files`. Knows nothing of models. Every file is read before any training, and all that
cannot be used are told together.

    pets/1.png  pets/2.png …                  images without labels
    pets/cat/1.png  pets/dog/7.jpg …          the class is the name of the folder
    pets/train/…  pets/test/…                 either of these, twice; `train/` itself may be left out

Hidden files and folders are left alone; files that are no pictures are left out and told of.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.image_files import (
    OTHER_SUFFIXES,
    SUFFIXES,
    BadImageError,
    Conversion,
    read_pixels,
    read_shape,
)
from training.data.images import ImageData
from training.data.on_disk import CHUNK_BYTES, ImageShape, Room
from training.data.parts import Part, data_of_parts, shape_objection
from training.errors import DataError

#: All bad files are counted and this many are named: more is a wrong folder or a wrong setting.
MAX_TOLD = 20
_LEFT_OUT_TOLD = 3
#: Some seconds of reading, or minutes when they are photographs that are scaled down.
_MANY = 5_000

#: File, relative to the folder that was given, → why it cannot be used.
Reasons = dict[str, str]


@dataclass(frozen=True)
class _Found:
    """What lies in one part, sorted by name."""

    files: list[str]
    """Relative to the folder that was given."""
    classes: list[str] | None
    """Of each file; None where no file lies in a class folder."""


def load_folder(root: Path, *, conversion: Conversion, room: Room, tell: Callable[[str], None]) -> ImageData:
    """Read a folder of image files.

    Args:
        root: The folder.
        conversion: What is done to every file.
        room: Where the pixels go.
        tell: Given a line for people when there are so many files that reading them takes a while.

    Returns:
        Training and test images, with the names of the class folders for labels. Without a folder `test`, a
        tenth of the images, chosen by content, is the test.

    Raises:
        DataError: Files that cannot be used, all of them; folders that are neither classes nor parts; or
            images that are all of a size that cannot be trained on.
    """
    bad: Reasons = {}
    left_out: list[str] = []
    roots = _parts(root)
    found = [_find(root, part, bad, left_out) for part in roots]
    files = [file for part in found for file in part.files]
    if not files and not bad:
        raise DataError(
            f"{root}: expected {', '.join(SUFFIXES)} files, class folders of them, or the four IDX files of "
            f"MNIST or its like; got {_some(left_out) or 'an empty folder'}. Give a folder with images, or a "
            ".npz file."
        )
    for part, inside in zip(roots, found, strict=True):
        if not inside.files and not bad:
            raise DataError(f"{part}: expected image files, got none. Put some there, or take it away.")
    if len(files) >= _MANY:
        tell(f"reading {len(files):,} pictures of {root}")
    shapes = _shapes(root, files, conversion, bad)
    if not shapes:
        raise _refusal(root, bad, conversion)
    image_shape = _agreed(root, shapes, bad)
    parts = []
    for inside in found:
        pixels = room.gather(
            _pixels(root, inside.files, image_shape, bad), count=len(inside.files), image_shape=image_shape
        )
        parts.append(Part(pixels, None if inside.classes is None else np.array(inside.classes, np.str_)))
    if bad:
        raise _refusal(root, bad, conversion)
    name = f"folder {root.resolve().name}"
    data = data_of_parts(name, str(root), parts[0], parts[1] if len(parts) > 1 else None)
    if not left_out:
        return data
    note = f"{len(left_out):,} files that are no pictures were left out: {_some(left_out)}"
    return replace(data, notes=(*data.notes, note))


def _parts(root: Path) -> list[Path]:
    """Where the training images lie, and where the test images do if they lie apart."""
    train, test = root / "train", root / "test"
    if not train.is_dir():
        return [root, test] if test.is_dir() else [root]
    beside = sorted(
        entry.name
        for entry in root.iterdir()
        if entry not in (train, test)
        and _counts(entry.name)
        and (entry.is_dir() or entry.suffix.lower() in SUFFIXES)
    )
    if beside:
        raise DataError(
            f"{root}: expected nothing beside train and test, got {_some(beside)}. Move it into train."
        )
    return [train, test] if test.is_dir() else [train]


def _find(root: Path, part: Path, bad: Reasons, left_out: list[str]) -> _Found:
    """The image files below a part, and the class folder of each; `root/test` is a part of its own."""
    files: list[tuple[str, str]] = []
    for folder, folders, names in os.walk(part):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if _counts(f) and not (here == part == root and f == "test"))
        for name in sorted(filter(_counts, names)):
            file = (here / name).relative_to(root).as_posix()
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES:
                inside = (here / name).relative_to(part).parts
                files.append((file, inside[0] if len(inside) > 1 else ""))
            elif suffix in OTHER_SUFFIXES:
                bad[file] = "a picture of another format; save it as PNG, JPEG or WebP"
            else:
                left_out.append(file)
    files.sort()
    without = [file for file, label in files if not label]
    if 0 < len(without) < len(files):
        raise DataError(
            f"{part}: expected all images in class folders or none, got {len(without):,} of {len(files):,} "
            f"outside of them: {_some(without)}. Move them into a class folder, or take the folders away."
        )
    return _Found(
        [file for file, _ in files], None if without or not files else [label for _, label in files]
    )


def _counts(name: str) -> bool:
    """Not hidden, and none of the folders that archives from a Mac bring along."""
    return not name.startswith(".") and name != "__MACOSX"


def _shapes(root: Path, files: list[str], conversion: Conversion, bad: Reasons) -> dict[str, ImageShape]:
    """(C, H, W) of each file whose header can be read."""
    shapes = {}
    for file in files:
        try:
            shapes[file] = read_shape(root / file, conversion)
        except BadImageError as error:
            bad[file] = str(error)
    return shapes


def _agreed(root: Path, shapes: Mapping[str, ImageShape], bad: Reasons) -> ImageShape:
    """The shape that most files have; others are bad."""
    (usual, _), *_ = Counter(shapes.values()).most_common(1)
    if objection := shape_objection(usual):
        raise DataError(
            f"{root}: {objection} in most files. Scale them, or have them cut and scaled: --set data.side=32."
        )
    for file, shape in shapes.items():
        if shape != usual:
            bad[file] = f"{_in_words(shape)}; most are {_in_words(usual)}"
    return usual


def _in_words(shape: ImageShape) -> str:
    channels, height, width = shape
    return f"{'grey' if channels == 1 else 'colour'}, {width} × {height}"


def _pixels(
    root: Path, files: list[str], image_shape: ImageShape, bad: Reasons
) -> Iterator[npt.NDArray[np.uint8]]:
    """Every file, black where it is bad: those that follow are still looked at, so that all are told."""
    step = max(1, CHUNK_BYTES // int(np.prod(image_shape)))
    for start in range(0, len(files), step):
        chunk = np.zeros((len(files[start : start + step]), *image_shape), np.uint8)
        for number, file in enumerate(files[start : start + step]):
            if file in bad:
                continue
            try:
                chunk[number] = read_pixels(root / file, image_shape)
            except BadImageError as error:
                bad[file] = str(error)
        yield chunk


def _refusal(root: Path, bad: Mapping[str, str], conversion: Conversion) -> DataError:
    told = [f"  {file}: {reason}" for file, reason in sorted(bad.items())[:MAX_TOLD]]
    if len(bad) > MAX_TOLD:
        told.append(f"  and {len(bad) - MAX_TOLD:,} more")
    remedies = ["Correct them or take them away"]
    if not conversion.side:
        remedies.append("have all cut and scaled to one size: --set data.side=32")
    if not conversion.channels:
        remedies.append("have all turned into grey or colour: --set data.channels=1 or 3")
    return DataError(
        f"{root}: expected image files of one kind and size, got {len(bad):,} that cannot be used:\n"
        + "\n".join(told)
        + f"\n{'; or '.join(remedies)}."
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LEFT_OUT_TOLD:,} more" if len(names) > _LEFT_OUT_TOLD else ""
    return ", ".join(names[:_LEFT_OUT_TOLD]) + more

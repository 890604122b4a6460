"""A folder of image files, with or without class folders, turned into a training and a test set.

Knows the fate of every file. `training.data.folder_tree` finds the files, `training.data.folder_layout` their
parts and classes, and `training.data.image_files` reads their pixels. Knows nothing of models. It reads every
file before any training, and reports all unusable files together.

    pets/1.png  pets/2.png …                  images without labels
    pets/cat/1.png  pets/dog/7.jpg …          the class is the name of the folder
    pets/train/…  pets/test/…                 either of these, twice; `train/` itself may be left out
    pets/validation/…                         and a third time

Hidden files and folders are skipped silently. Files that are no images and run directories are skipped and
reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from training.data.assembly import Part, data_of_parts, shape_objection
from training.data.folder_layout import TEST, TRAINING, VALIDATION, arrange
from training.data.folder_tree import scan
from training.data.image_files import (
    FORMATS_IN_WORDS,
    OTHER_SUFFIXES,
    SUFFIXES,
    BadImageError,
    Conversion,
    Header,
    read_header,
    read_pixels,
)
from training.data.images import ImageData, ImageSet
from training.data.memory_map import CHUNK_BYTES, ImageShape, ImagesOnDisk, MemoryBudget
from training.errors import DataError

#: All bad files are counted, and this many are named: more would mean a wrong folder or a wrong setting.
MAX_TOLD = 20
_LEFT_OUT_TOLD = 3
#: Some seconds of reading, or minutes for photographs that are scaled down.
_MANY = 5_000

#: File, relative to the root folder, → the reason why it is unusable.
Reasons = dict[str, str]


def load_folder(
    root: Path, *, conversion: Conversion, budget: MemoryBudget, tell: Callable[[str], None]
) -> ImageData:
    """Read a folder of image files.

    Args:
        root: The folder.
        conversion: The conversion of every file.
        budget: Memory or disk space for the pixels.
        tell: Called with a line for people if there are so many files that reading takes long.

    Returns:
        Training and test images, optional validation images, and the names of the class folders. Without a
        test part, a tenth of the images, chosen by content, is the test.

    Raises:
        DataError: Some files are unusable (the message lists them), some folders are neither classes nor
            parts, or the images have an unsuitable size.
    """
    tree = scan(root)
    bad: Reasons = dict(tree.unreadable)
    left_out = list(tree.odd)
    pictures: list[str] = []
    for file in tree.files:
        suffix = Path(file).suffix.lower()
        if suffix in OTHER_SUFFIXES:
            bad[file] = f"an image of another format; save it as {FORMATS_IN_WORDS}"
        (pictures if suffix in (*SUFFIXES, *OTHER_SUFFIXES) else left_out).append(file)
    left_out.sort()
    if not pictures and not bad:
        raise DataError(
            f"{root}: expected {', '.join(SUFFIXES)} files, class folders of them, or the four IDX files of "
            f"a set such as MNIST; got {_some([*left_out, *tree.runs]) or 'an empty folder'}. Name a folder "
            "with images, or a .npz file."
        )
    files = [file for file in pictures if file not in bad]
    if tree.unreadable:
        # Before the check of the layout, because unreadable folders may be its missing parts.
        headers = _headers(root, files, conversion, bad)
        raise _refusal(root, bad, [header.shape for header in headers.values()])
    layout = arrange(root, pictures, tree.folders)
    if len(files) >= _MANY:
        tell(f"reading {len(files):,} images of {root}")
    headers = _headers(root, files, conversion, bad)
    shapes = {file: header.shape for file, header in headers.items()}
    if not shapes:
        raise _refusal(root, bad, [])
    image_shape = _agreed(root, shapes, bad)
    parts: dict[str, Part] = {}
    for role, inside in layout.parts.items():
        pixels = budget.gather(
            _pixels(root, inside.files, image_shape, conversion, bad),
            count=len(inside.files),
            image_shape=image_shape,
        )
        labels = None if inside.classes is None else np.array(inside.classes, np.str_)
        parts[role] = Part(pixels, labels)
    if bad:
        raise _refusal(root, bad, shapes.values())
    if any(header.is_transparent for header in headers.values()):
        _check_ground(root, parts[TRAINING].images, conversion)
    name = f"folder {root.resolve().name}"
    data = data_of_parts(name, str(root), parts[TRAINING], parts.get(TEST), validation=parts.get(VALIDATION))
    notes = [*data.notes, *layout.notes]
    for told, paths in (
        ("files that are no images were skipped", left_out),
        ("run directories were skipped", tree.runs),
        ("links to folders were followed", tree.followed),
        ("links to folders that are read anyway were skipped", tree.repeated),
        (
            "files contain several images; only the first of each was read",
            [file for file, header in headers.items() if header.pictures > 1],
        ),
    ):
        if paths:
            notes.append(f"{len(paths):,} {told}: {_some(paths)}")
    return replace(data, notes=tuple(notes))


def _headers(root: Path, files: list[str], conversion: Conversion, bad: Reasons) -> dict[str, Header]:
    """The properties of each file with a readable header."""
    headers = {}
    for file in files:
        try:
            headers[file] = read_header(root / file, conversion)
        except BadImageError as error:
            bad[file] = str(error)
    return headers


def _agreed(root: Path, shapes: Mapping[str, ImageShape], bad: Reasons) -> ImageShape:
    """The shape of most files; files of another shape are bad."""
    (usual, _), *_ = Counter(shapes.values()).most_common(1)
    if objection := shape_objection(usual):
        raise DataError(
            f"{root}: {objection} in most files. Scale them, or crop and scale them with: --set data.side=32."
        )
    for file, shape in shapes.items():
        if shape != usual:
            bad[file] = f"{_in_words(shape)}; most are {_in_words(usual)}"
    return usual


def _in_words(shape: ImageShape) -> str:
    channels, height, width = shape
    return f"{'grey' if channels == 1 else 'colour'}, {width} × {height}"


def _pixels(
    root: Path, files: list[str], image_shape: ImageShape, conversion: Conversion, bad: Reasons
) -> Iterator[npt.NDArray[np.uint8]]:
    """Read every file; a bad one becomes black. Reading continues, so that all bad files are reported."""
    step = max(1, CHUNK_BYTES // int(np.prod(image_shape)))
    for start in range(0, len(files), step):
        chunk = np.zeros((len(files[start : start + step]), *image_shape), np.uint8)
        for number, file in enumerate(files[start : start + step]):
            if file in bad:
                continue
            try:
                chunk[number] = read_pixels(root / file, image_shape, conversion)
            except BadImageError as error:
                bad[file] = str(error)
        yield chunk


def _check_ground(root: Path, images: Tensor | ImagesOnDisk, conversion: Conversion) -> None:
    """Reject images in which only the transparency varies."""
    whole = ImageSet("pictures", images)
    if all(chunk.min() == chunk.max() in (0, 255) for chunk in whole.chunks()):
        other = "white" if conversion.ground == "black" else "black"
        raise DataError(
            f"{root}: expected images with visible content on a {conversion.ground} ground, got one colour "
            f"in all of them, transparent pixels included. Set the other ground: --set data.ground={other}."
        )


def _refusal(root: Path, bad: Mapping[str, str], shapes: Collection[ImageShape]) -> DataError:
    """One error for all bad files; `shapes` are the converted shapes of files with a readable header."""
    told = [f"  {file}: {bad[file]}" for file in _some_of_each_kind(bad)]
    if len(bad) > MAX_TOLD:
        told.append(f"  and {len(bad) - MAX_TOLD:,} more")
    remedies = ["Correct or remove them"]
    if len({(height, width) for _, height, width in shapes}) > 1:
        remedies.append("crop and scale all to one size: --set data.side=32")
    if len({channels for channels, _, _ in shapes}) > 1:
        remedies.append("convert all to grey or colour: --set data.channels=1 or 3")
    return DataError(
        f"{root}: expected image files of one kind and size, got {len(bad):,} unusable ones:\n"
        + "\n".join(told)
        + f"\n{'; or '.join(remedies)}."
    )


def _some_of_each_kind(bad: Mapping[str, str]) -> list[str]:
    """The files that the message names, with different reasons first: a frequent one must hide no other."""
    kinds: Counter[str] = Counter()
    ranked = []
    for file, reason in sorted(bad.items()):
        kind = reason.partition(" (")[0]  # without Pillow's details about this file alone
        ranked.append((kinds[kind], file))
        kinds[kind] += 1
    return sorted(file for _, file in sorted(ranked)[:MAX_TOLD])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LEFT_OUT_TOLD:,} more" if len(names) > _LEFT_OUT_TOLD else ""
    return ", ".join(names[:_LEFT_OUT_TOLD]) + more

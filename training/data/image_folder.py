"""A folder of picture files, class by class or not, turned into a training and a test set.

Knows what becomes of every file. What is in a folder is found by `training.data.folder_tree`, which part and
class a file belongs to by `training.data.folder_layout`, and how it becomes pixels is in
`training.data.image_files`. Knows nothing of models. Every file is read before any training, and all that
cannot be used are told together.

    pets/1.png  pets/2.png …                  images without labels
    pets/cat/1.png  pets/dog/7.jpg …          the class is the name of the folder
    pets/train/…  pets/test/…                 either of these, twice; `train/` itself may be left out
    pets/validation/…                         and a third time

Hidden files and folders are left alone; files that are no pictures are left out and told of, as are run
directories.
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
from training.data.memory_map import CHUNK_BYTES, ImageShape, ImagesOnDisk, Room
from training.errors import DataError

#: All bad files are counted and this many are named: more is a wrong folder or a wrong setting.
MAX_TOLD = 20
_LEFT_OUT_TOLD = 3
#: Some seconds of reading, or minutes when they are photographs that are scaled down.
_MANY = 5_000

#: File, relative to the folder that was given, → why it cannot be used.
Reasons = dict[str, str]


def load_folder(root: Path, *, conversion: Conversion, room: Room, tell: Callable[[str], None]) -> ImageData:
    """Read a folder of image files.

    Args:
        root: The folder.
        conversion: What is done to every file.
        room: Where the pixels go.
        tell: Given a line for people when there are so many files that reading them takes a while.

    Returns:
        Training and test images, and validation images where there are some, with the names of the class
        folders for labels. Without a test part, a tenth of the images, chosen by content, is the test.

    Raises:
        DataError: Files that cannot be used, all of them; folders that are neither classes nor parts; or
            images that are all of a size that cannot be trained on.
    """
    tree = scan(root)
    bad: Reasons = dict(tree.unreadable)
    left_out = list(tree.odd)
    pictures: list[str] = []
    for file in tree.files:
        suffix = Path(file).suffix.lower()
        if suffix in OTHER_SUFFIXES:
            bad[file] = f"a picture of another format; save it as {FORMATS_IN_WORDS}"
        (pictures if suffix in (*SUFFIXES, *OTHER_SUFFIXES) else left_out).append(file)
    left_out.sort()
    if not pictures and not bad:
        raise DataError(
            f"{root}: expected {', '.join(SUFFIXES)} files, class folders of them, or the four IDX files of "
            f"MNIST or its like; got {_some([*left_out, *tree.runs]) or 'an empty folder'}. Give a "
            "folder with images, or a .npz file."
        )
    files = [file for file in pictures if file not in bad]
    if tree.unreadable:
        # Before the layout is judged, of which parts may be missing.
        headers = _headers(root, files, conversion, bad)
        raise _refusal(root, bad, [header.shape for header in headers.values()])
    layout = arrange(root, pictures, tree.folders)
    if len(files) >= _MANY:
        tell(f"reading {len(files):,} pictures of {root}")
    headers = _headers(root, files, conversion, bad)
    shapes = {file: header.shape for file, header in headers.items()}
    if not shapes:
        raise _refusal(root, bad, [])
    image_shape = _agreed(root, shapes, bad)
    parts: dict[str, Part] = {}
    for role, inside in layout.parts.items():
        pixels = room.gather(
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
        ("files that are no pictures were left out", left_out),
        ("run directories were left out", tree.runs),
        ("links to folders were followed", tree.followed),
        ("links to folders that are read anyway were left out", tree.repeated),
        (
            "files hold several pictures, of which the first was read",
            [file for file, header in headers.items() if header.pictures > 1],
        ),
    ):
        if paths:
            notes.append(f"{len(paths):,} {told}: {_some(paths)}")
    return replace(data, notes=tuple(notes))


def _headers(root: Path, files: list[str], conversion: Conversion, bad: Reasons) -> dict[str, Header]:
    """What each file holds whose header can be read."""
    headers = {}
    for file in files:
        try:
            headers[file] = read_header(root / file, conversion)
        except BadImageError as error:
            bad[file] = str(error)
    return headers


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
    root: Path, files: list[str], image_shape: ImageShape, conversion: Conversion, bad: Reasons
) -> Iterator[npt.NDArray[np.uint8]]:
    """Every file, black where it is bad: those that follow are still looked at, so that all are told."""
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
    """Refuse pictures of which only the transparency shows anything."""
    whole = ImageSet("pictures", images)
    if all(chunk.min() == chunk.max() in (0, 255) for chunk in whole.chunks()):
        other = "white" if conversion.ground == "black" else "black"
        raise DataError(
            f"{root}: expected pictures that show something on a {conversion.ground} ground, got one colour "
            f"in all of them, transparent pixels included. Set the other ground: --set data.ground={other}."
        )


def _refusal(root: Path, bad: Mapping[str, str], shapes: Collection[ImageShape]) -> DataError:
    """`shapes` are those of the files with a readable header, converted; where they agree, none is to be."""
    told = [f"  {file}: {bad[file]}" for file in _some_of_each_kind(bad)]
    if len(bad) > MAX_TOLD:
        told.append(f"  and {len(bad) - MAX_TOLD:,} more")
    remedies = ["Correct them or take them away"]
    if len({(height, width) for _, height, width in shapes}) > 1:
        remedies.append("have all cut and scaled to one size: --set data.side=32")
    if len({channels for channels, _, _ in shapes}) > 1:
        remedies.append("have all turned into grey or colour: --set data.channels=1 or 3")
    return DataError(
        f"{root}: expected image files of one kind and size, got {len(bad):,} that cannot be used:\n"
        + "\n".join(told)
        + f"\n{'; or '.join(remedies)}."
    )


def _some_of_each_kind(bad: Mapping[str, str]) -> list[str]:
    """As many files as are named: many with one reason hide no file with another."""
    kinds: Counter[str] = Counter()
    ranked = []
    for file, reason in sorted(bad.items()):
        kind = reason.partition(" (")[0]  # without what Pillow says of this file alone
        ranked.append((kinds[kind], file))
        kinds[kind] += 1
    return sorted(file for _, file in sorted(ranked)[:MAX_TOLD])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LEFT_OUT_TOLD:,} more" if len(names) > _LEFT_OUT_TOLD else ""
    return ", ".join(names[:_LEFT_OUT_TOLD]) + more

"""A zip archive of images, unpacked only while it is read.

Knows archives, and their forbidden contents: paths that lead outside, links, encryption, more bytes than the
archive's size explains. Knows nothing of images. The contents are read as a folder.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from training.data.cache import default_cache_dir
from training.errors import DataError

#: Exceptions of `zipfile` for an archive that cannot be read: BadZipFile also reports a wrong checksum,
#: RuntimeError encryption, NotImplementedError an unknown method.
DAMAGED_ZIP: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)

MAX_FILES = 1_000_000
#: Maximum size of one file: a photograph of 50 megapixels, decoded.
MAX_FILE_BYTES = 512 * 1024**2
#: A small archive may unpack to this size, a larger one to this multiple of its own size.
MAX_BYTES_OF_SMALL = 1024**3
MAX_RATIO = 20
_CHUNK_BYTES = 1024**2
#: A single folder of this name is a part, and not just a wrapper around the rest.
_PARTS = ("train", "training", "test", "testing", "val", "valid", "validation")
_REMEDY = "Unpack it yourself, check its contents, and name the folder with --data."


@contextmanager
def unpacked(path: Path, *, into: Path | None = None, tell: Callable[[str], None]) -> Iterator[Path]:
    """A folder with the contents of the archive, removed at the end of the context.

    Hidden files and `__MACOSX` stay in the archive. A folder that contains all the rest is entered.

    Args:
        path: The archive.
        into: Parent of the folder; None is the user's cache, because temporary folders are in memory on many
            machines.
        tell: Called with a line for people.

    Raises:
        DataError: The archive is unreadable, or contains something forbidden; nothing is left behind.
        OSError: The disk is full or cannot be written.
    """
    parent = into or default_cache_dir()
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="unpacked-") as temporary:
        # The folder has the name of the archive, because the data set takes its name.
        root = Path(temporary) / (path.stem or "archive")
        root.mkdir()
        _unpack(path, root, tell)
        try:
            yield _entered(root)
        except DataError as error:
            # The archive is the file that its owner can inspect.
            raise DataError(str(error).replace(str(_entered(root)), str(path))) from error


def _unpack(path: Path, root: Path, tell: Callable[[str], None]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir() and _counts(each.filename)]
            _check(path, members)
            tell(f"unpacking {len(members):,} files of {path}")
            left = max(MAX_BYTES_OF_SMALL, MAX_RATIO * path.stat().st_size)
            for member in members:
                target = root / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _copy(path, archive, member, target, at_most=min(left, MAX_FILE_BYTES))
    except DAMAGED_ZIP as error:
        raise DataError(
            f"{path}: expected a readable zip archive, got {type(error).__name__}: {error}. Create it again."
        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f"{path}: expected each name once, got a file and a folder of the same name."
        ) from error


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if not members:
        raise DataError(f"{path}: expected an archive of images, got one without files.")
    if len(members) > MAX_FILES:
        raise DataError(f"{path}: expected at most {MAX_FILES:,} files, got {len(members):,}. {_REMEDY}")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if objection := _objection(member, seen):
            raise DataError(
                f"{path}: expected files inside of the archive, got {objection}: {name!r:.120}. {_REMEDY}"
            )
        seen.add(name)


def _objection(member: zipfile.ZipInfo, seen: set[str]) -> str | None:
    """The reason why an archive may not contain this entry, or None."""
    name = member.filename
    steps = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in steps or not steps or ":" in steps[0]:
        return "a path that leads outside"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link"
    if member.flag_bits & 0x1:
        return "an encrypted file"
    if any(len(step.encode("utf-8", "surrogateescape")) > 255 for step in steps):
        return "a name that is too long"
    return "a file twice" if name in seen else None


def _copy(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, *, at_most: int
) -> int:
    """Number of bytes written; counted, because the archive may claim any size."""
    written = 0
    with archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > at_most:
                raise DataError(
                    f"{path}: expected at most {MAX_FILE_BYTES:,} bytes in a file, and in all files "
                    f"together {MAX_BYTES_OF_SMALL:,} or {MAX_RATIO} times the size of the archive; "
                    f"{member.filename!r:.120} exceeds that. {_REMEDY}"
                )
            file.write(chunk)
    return written


def _counts(name: str) -> bool:
    """Neither hidden nor below a hidden folder, and no addition of a Mac.

    `..` counts, so that it is rejected.
    """
    steps = PurePosixPath(name).parts
    return not any(step == "__MACOSX" or (step.startswith(".") and step != "..") for step in steps)


def _entered(root: Path) -> Path:
    """The first folder from the root on that contains more than one folder."""
    entries = list(root.iterdir())
    while len(entries) == 1 and entries[0].is_dir() and entries[0].name.lower() not in _PARTS:
        below = list(entries[0].iterdir())
        root, entries = entries[0], below
    return root

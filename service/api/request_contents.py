"""What a body of pictures and files contains: one picture, a form, or an archive, opened and not yet decoded.

Knows parts, files and their first bytes. Knows nothing of the sizes of a model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from service.codecs.picture_reader import a_file_of, kind_of, other_kind, stated_pixels
from service.codecs.zip_reader import read_zip
from service.http.form_data import Part, read_form
from service.http.parameters import Limits
from service.http.problems import Item, ProblemError
from service.http.request_body import Body, BodyKind

#: Kinds of body that contain one picture, and nothing else.
PICTURES: Final = frozenset({BodyKind.PNG, BodyKind.JPEG, BodyKind.WEBP})
#: Parts or files besides images: arrays and parameters.
_SPARE_PARTS: Final = 16
_NPY: Final = b"\x93NUMPY"
_ZIP: Final = b"PK\x03\x04"
#: A picture to decode on the event loop: about half a millisecond of work.
_QUICK_PIXELS: Final = 16_384
_QUICK_PICTURE_BYTES: Final = 2_048


@dataclass(frozen=True, slots=True)
class Contents:
    """The files and fields of a body."""

    pictures: tuple[bytes, ...] = ()
    """In their order."""
    arrays: Mapping[str, bytes] = field(default_factory=dict)
    """npy files by the name of their array."""
    fields: tuple[tuple[str, str], ...] = ()
    """Name and text of each field of a form."""

    file_names: tuple[str, ...] = ()
    """Of the pictures in a form or an archive, for messages; an empty one is unknown."""
    is_one_picture: bool = False
    """Whether the body is the picture itself."""

    @property
    def pixels(self) -> list[int]:
        """Number of pixels of each picture, by its header alone."""
        return [stated_pixels(each) for each in self.pictures]

    @property
    def is_quick(self) -> bool:
        """Whether it is one picture, short and small."""
        return (
            len(self.pictures) == 1
            and not self.arrays
            and len(self.pictures[0]) <= _QUICK_PICTURE_BYTES
            and stated_pixels(self.pictures[0]) <= _QUICK_PIXELS
        )


def contents_of(body: Body, names: Collection[str], limits: Limits) -> Contents:
    """The contents of one picture, a form or an archive of files.

    Args:
        body: The body.
        names: Names of arrays; the first one is that of an npy file with any other name.
        limits: Bounds from the settings.

    Raises:
        MalformedBody: It cannot be taken apart.
        InvalidValue: Too many parts or too many bytes.
        ProblemError: `invalid-value`: a part is neither a picture nor an array nor a field.
    """
    if body.kind in PICTURES:
        return Contents((bytes(body.data),), is_one_picture=True)
    most = limits.max_images + _SPARE_PARTS
    if body.kind is BodyKind.FORM:
        parts = read_form(body.data, body.boundary, max_parts=most)
        return _sorted((part for part in parts if not part.is_unfilled), names)
    files = read_zip(body.data, max_files=most, max_bytes=limits.max_body_bytes)
    paths = ((PurePosixPath(name), data) for name, data in files)
    return _sorted((Part(path.stem, True, data, path.name) for path, data in paths), names)


def _sorted(parts: Iterable[Part], names: Collection[str]) -> Contents:
    pictures: list[bytes] = []
    file_names: list[str] = []
    arrays: dict[str, bytes] = {}
    fields: list[tuple[str, str]] = []
    for position, part in enumerate(parts, start=1):
        name, data = part.name, part.data
        if data.startswith(_NPY):
            array = name if name in names else next(iter(names))
            if array in arrays:
                raise _refused(f"body: {array}", "one array", "several", f"Send {array} once.")
            arrays[array] = data
        elif part.is_file or kind_of(data) is not None:
            if data.startswith(_ZIP):
                remedy = "Send the archive as the body: --data-binary @pictures.zip."
                raise _refused(f"body: file {position}", "a picture or an npy file", "a zip archive", remedy)
            pictures.append(data)
            file_names.append(part.file_name)
        else:
            fields.append((name, _text(data, position)))
    return Contents(tuple(pictures), arrays, tuple(fields), tuple(file_names))


def _text(data: bytes, position: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        got = a_file_of(other) if (other := other_kind(data)) else f"{len(data)} bytes of something else"
        raise _refused(
            f"body: part {position}",
            "a PNG, JPEG or WebP, an npy file, or text in UTF-8",
            got,
            "Convert it to JPEG or PNG.",
        ) from None


def _refused(where: str, expected: str, got: str, remedy: str) -> ProblemError:
    return ProblemError.of_item("invalid-value", Item(where, expected, got, remedy))

"""Errors about bytes that should be images or latents.

    CodecError            says where, expected, got and remedy; may carry up to ten such defects
    ├── MalformedBody     the bytes are not the format they claim to be, or are broken
    ├── InvalidValue      the format is right and something in it does not fit: type, shape, length, range
    └── PictureTooLarge   more pixels than are read or drawn

Knows no status codes. A message contains numbers, shapes, types and places, cut to a bounded length, and
never a client's text; the API adds the short name of a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Enough to see a pattern, too few to fill a response.
MAX_DEFECTS: Final = 10


@dataclass(frozen=True)
class Defect:
    """One defect: its place, the expected value, the actual value, and the remedy."""

    where: str
    expected: str
    got: str
    remedy: str

    def __str__(self) -> str:
        """`images[2]: expected …, got …. Do …`."""
        return f"{self.where}: expected {self.expected}, got {self.got}. {self.remedy}".rstrip()


class CodecError(Exception):
    """Bytes or values that cannot be translated. The attributes are those of the first defect.

    Attributes:
        defects: All defects found, at most `MAX_DEFECTS`.
    """

    def __init__(
        self, where: str, expected: str, got: str, remedy: str, *, others: Sequence[Defect] = ()
    ) -> None:
        first = Defect(where, expected, got, remedy)
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy
        self.defects = (first, *others)[:MAX_DEFECTS]
        super().__init__("\n".join(map(str, self.defects)))


class MalformedBody(CodecError):
    """Not JSON, not PNG, not npy: broken, cut short, or of another format."""


class InvalidValue(CodecError):
    """Readable, but invalid for the model."""


class PictureTooLarge(CodecError):
    """More pixels than this server reads or draws."""


def invalid(defects: Sequence[Defect]) -> InvalidValue:
    """One error for several defects of the same body."""
    first, *others = defects
    return InvalidValue(first.where, first.expected, first.got, first.remedy, others=others)

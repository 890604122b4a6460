"""The parts of a multipart/form-data body that is in memory.

Knows boundaries and the headers of a part (RFC 7578; RFC 2046, section 5.1). Knows nothing of files or
parameters. The middleware has bounded the body while it arrived, so that a part is a slice between two
delimiters and no state is kept from one piece of the body to the next. The parsers that frameworks use are
written for streams into files; this server may not have one more dependency, and needs none for this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from service.codecs.errors import InvalidValue, MalformedBody
from service.http.media_types import elements

#: Longest head of a part: name, file name and type.
MAX_PART_HEAD_BYTES: Final = 4_096
_MAX_BOUNDARY_CHARACTERS: Final = 200
#: RFC 2046 allows spaces and tabs after a delimiter.
_AFTER_DELIMITER: Final = re.compile(rb"[ \t]{0,64}\r\n")
_LINE_END: Final = b"\r\n"
_REMEDY: Final = "Let the client write it: curl -F images=@digit.png, or FormData in a browser."
#: Encodings that leave the bytes as they are.
_AS_IT_IS: Final = ("", "binary", "8bit", "7bit")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    """Of the field."""
    is_file: bool
    """Whether it has a file name."""
    data: bytes
    file_name: str = ""
    """As the client states it, for messages."""

    @property
    def is_unfilled(self) -> bool:
        """Whether it is what a browser sends for a file that was not chosen."""
        return self.is_file and not self.data


def read_form(data: bytes | bytearray, boundary: str, *, max_parts: int) -> list[Part]:
    """The parts in their order.

    Args:
        data: The whole body.
        boundary: The parameter of the Content-Type.
        max_parts: Maximum number of parts.

    Raises:
        MalformedBody: No boundary, a missing delimiter, or a part without a readable head.
        InvalidValue: More parts than that.
    """
    if not 1 <= len(boundary) <= _MAX_BOUNDARY_CHARACTERS or not boundary.isascii():
        raise MalformedBody(
            "Content-Type",
            "multipart/form-data with a boundary",
            f"a boundary of {len(boundary)} characters" if boundary else "no boundary",
            f"Do not set this header yourself. {_REMEDY}",
        )
    delimiter = b"--" + boundary.encode("ascii")
    if not data.startswith((delimiter, _LINE_END + delimiter)):
        raise MalformedBody("body", "the delimiter of its Content-Type", "another beginning", _REMEDY)
    position = data.index(delimiter) + len(delimiter)
    parts: list[Part] = []
    while not data.startswith(b"--", position):
        number = len(parts) + 1
        if number > max_parts:
            raise InvalidValue("body", f"at most {max_parts} parts", "more", "Send several requests.")
        begin = _AFTER_DELIMITER.match(data, position)
        if begin is None:
            raise _malformed(number, "a line break after its delimiter", "something else")
        head_end = data.find(_LINE_END * 2, begin.end() - 2, begin.end() + MAX_PART_HEAD_BYTES)
        if head_end < 0:
            raise _malformed(number, f"a head of at most {MAX_PART_HEAD_BYTES} bytes", "a longer one")
        name, file_name = _read_head(bytes(data[begin.end() : head_end]), number)
        start = head_end + 4
        end = data.find(_LINE_END + delimiter, start)
        if end < 0:
            raise _malformed(number, "a delimiter after it", "none: the body is cut short")
        parts.append(Part(name, file_name is not None, bytes(data[start:end]), file_name or ""))
        position = end + 2 + len(delimiter)
    return parts


def _read_head(head: bytes, number: int) -> tuple[str, str | None]:
    """The field's name, and that of a file if there is one; it is empty where only `filename*` states it."""
    name: str | None = None
    file_name: str | None = None
    for line in head.split(_LINE_END):
        header, _, value = line.decode("utf-8", "replace").partition(":")
        match header.strip().lower():
            case "content-disposition":
                for element in elements(value, most=1):
                    name = element.parameters.get("name")
                    file_name = element.parameters.get("filename")
                    if file_name is None and "filename*" in element.parameters:
                        file_name = ""
            case "content-transfer-encoding" if value.strip().lower() not in _AS_IT_IS:
                raise _malformed(number, "the bytes of a file", "a Content-Transfer-Encoding")
    if name is None:
        raise _malformed(number, "Content-Disposition: form-data with a name", "another head")
    return name, file_name


def _malformed(number: int, expected: str, got: str) -> MalformedBody:
    return MalformedBody(f"body: part {number}", expected, got, _REMEDY)

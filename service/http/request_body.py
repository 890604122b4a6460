"""The kind of a body, and its bytes.

Knows headers, the first bytes of a file and `curl`'s habits. Knows nothing of pixels, arrays or models; the
codecs know the names of other pictures.

`curl --data` labels everything `application/x-www-form-urlencoded`. The first bytes determine the kind of
such a body, and of one without a type. An unknown kind is rejected, with a working command.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request

from model_store.echo import echo
from service.codecs.picture_reader import a_file_of, how_to_convert, kind_of_type, other_kind
from service.http.headers import first_header
from service.http.media_types import elements
from service.http.problems import Item, ProblemError
from service.http.public_address import HOST, prefix_of
from service.observability.request_trace import current_trace

_SAFE_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,98}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z"
)
#: Types that contain no information about the body: curl's own, and "some bytes".
_SAYS_NOTHING = ("", "application/x-www-form-urlencoded", "application/octet-stream")
#: Bytes to copy in one turn of the event loop: about half a millisecond of work.
_JOINED_BYTES = 1_048_576
#: Charsets whose texts are valid UTF-8.
_UTF_8 = {
    *("", "utf-8", "utf8", "utf_8", "csutf8", "unicode-1-1-utf-8"),
    *("us-ascii", "ascii", "csascii", "ansi_x3.4-1968", "ansi_x3.4-1986", "iso646-us", "iso-ir-6", "cp367"),
}
#: Charsets in which ASCII bytes have their meaning in UTF-8. Some clients name one by default.
_ASCII_AND_MORE = re.compile(
    r"iso[-_]?8859[-_]?[0-9]{1,2}|latin[-_]?[0-9]{1,2}|(?:windows-|cp)125[0-9]|koi8-[ru]|gb2312|gbk|gb18030|big5"
    r"|euc-(?:jp|kr)"
)
_MOST_REMEMBERED_CHARACTERS = 128
#: `curl -d @file` sends a file without these; every file of those kinds has one of them near its beginning.
_REMOVED_BY_CURL = b"\0\r\n"
#: Bytes that are enough to know a format by.
_LONGEST_BEGINNING = 64
_FIELDS = re.compile(rb"[A-Za-z][A-Za-z0-9_.%\[\]-]{0,63}=[^\0-\x1f]*\Z")


class BodyKind(Enum):
    """A kind of request body: its media type and its first bytes."""

    JSON = ("application/json", rb"[ \t\r\n]*\{", ("text/json", "text/x-json", "application/x-json"))
    PNG = ("image/png", rb"\x89PNG\r\n\x1a\n", ("image/x-png",))
    JPEG = ("image/jpeg", rb"\xff\xd8\xff", ("image/jpg", "image/pjpeg"))
    WEBP = ("image/webp", rb"(?s:RIFF.{4}WEBP)", ())
    FORM = ("multipart/form-data", rb"(?!)", ())
    ZIP = ("application/zip", rb"PK\x03\x04", ("application/x-zip-compressed",))
    NPY = ("application/x-npy", rb"\x93NUMPY", ())
    SAFETENSORS = ("application/x-safetensors", rb"(?s:.{5}\0\0\0\{)", ())
    NPZ = ("application/x-npz", rb"PK\x03\x04", ("application/zip", "application/x-zip-compressed"))

    def __init__(self, media_type: str, beginning: bytes, synonyms: tuple[str, ...]) -> None:
        self.media_type = media_type
        self.beginning = re.compile(beginning)
        self.media_types = frozenset((media_type, *synonyms))


#: The first bytes of files, without those that `curl -d` removes.
_BY_BEGINNING = {
    b"\x89PNG": BodyKind.PNG,
    b"\xff\xd8\xff": BodyKind.JPEG,
    b"RIFF": BodyKind.WEBP,
    b"\x93NUMPY": BodyKind.NPY,
    b"PK": BodyKind.ZIP,
}


class Body(NamedTuple):
    """A request body, whole."""

    kind: BodyKind
    data: bytes | bytearray
    boundary: str = ""
    """Of a form."""

    @property
    def is_blank(self) -> bool:
        """Whether it contains only white space."""
        return not self.data or self.data.isspace()


def base_url(request: Request) -> str:
    """Address that the client used, for commands to paste; `localhost` without a usable Host header."""
    host = request.scope.get(HOST) or request.headers.get("host", "")
    if not _SAFE_HOST.match(host):
        _, port = request.scope.get("server") or ("", None)
        host = f"localhost:{port or 8000}"
    scheme = "https" if request.scope.get("scheme") == "https" else "http"
    return f"{scheme}://{host}{prefix_of(request.scope)}"


async def read_body(request: Request, *, path: str, kinds: Mapping[BodyKind, str]) -> Body:
    """Read the body to its end, and determine its kind.

    Args:
        request: A request with an unread body.
        path: The endpoint's path, for the command in an error.
        kinds: Kinds that this endpoint accepts, each with curl's argument for it.

    Raises:
        ProblemError: `media-type-not-supported`, with a command for each accepted kind.
        ClientDisconnect: The client disconnected before the end.
    """
    refuse = _Refusal(request, path=path, kinds=kinds)
    declared, parameter = _declared_kind(request, refuse)
    with current_trace().phase("read"):
        data = await read_all(request)
    if declared is BodyKind.FORM:
        return Body(declared, data, parameter)
    if declared is not None:
        if parameter not in _UTF_8 and not data.isascii():
            raise refuse.because_of_charset(parameter)
        return Body(declared, data)
    if not data:
        return Body(next(iter(kinds)), data)
    if data.startswith(tuple(_BY_BEGINNING)) and not any(byte in data for byte in _REMOVED_BY_CURL):
        file = next(kind for beginning, kind in _BY_BEGINNING.items() if data.startswith(beginning))
        raise refuse.because("a file without its line breaks, which curl -d removes", like=file)
    for kind in kinds:
        if kind.beginning.match(data):
            return Body(kind, data)
    if _FIELDS.match(data):
        # `curl -d image=@digit.png` sends the name of the file.
        like = BodyKind.FORM if b"@" in data or b"%40" in data else None
        raise refuse.because("fields of a form, name=value", like=like)
    if BodyKind.PNG in kinds and (other := other_kind(bytes(data[:_LONGEST_BEGINNING]))):
        raise refuse.because_of_picture(other)
    raise refuse.because("a body of no known type")


async def read_all(request: Request) -> bytes | bytearray:
    """The whole body; most come in one piece, which is not copied.

    Raises:
        ClientDisconnect: The client disconnected before the end.
    """
    parts: list[bytes] = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            break
        parts.append(part)
    if not parts:
        return part
    parts.append(part)
    if sum(map(len, parts)) <= _JOINED_BYTES:
        return b"".join(parts)
    return await _joined_by_and_by(parts)


async def _joined_by_and_by(parts: list[bytes]) -> bytearray:
    """A long body: joining 12 MB at once would block all other requests for 5 ms."""
    whole = bytearray()
    parts.reverse()
    while parts:
        long_enough = len(whole) + _JOINED_BYTES
        while parts and len(whole) < long_enough:
            whole += parts.pop()
        await asyncio.sleep(0)
    return whole


class _Refusal:
    """The problem of a body that this endpoint does not accept."""

    def __init__(self, request: Request, *, path: str, kinds: Mapping[BodyKind, str]) -> None:
        self._request = request
        self._path = path
        self.kinds = kinds

    def because_of_picture(self, other: str) -> ProblemError:
        """The problem of a picture in a format that is not read."""
        return self.because(a_file_of(other), like=BodyKind.JPEG, remedy=how_to_convert(other))

    def because(self, got: str, *, like: BodyKind | None = None, remedy: str = "") -> ProblemError:
        """The problem; its detail has the command for a kind like that of the body, if it is accepted."""
        url = f"{base_url(self._request)}{self._path}"
        listed = " or ".join(kind.media_type for kind in self.kinds)
        items = [
            Item("Content-Type", kind.media_type, got, _command(kind, argument, url))
            for kind, argument in self.kinds.items()
        ]
        example = next((i.remedy for i in items if like and i.expected == like.media_type), items[0].remedy)
        return ProblemError(
            "media-type-not-supported",
            f"Content-Type: expected {listed}, got {got}. {remedy + ' ' if remedy else ''}"
            f"errors[] contains a command for each, such as: {example}",
            items=items,
            headers=self._accept_post,
        )

    def because_of_charset(self, charset: str) -> ProblemError:
        item = Item(
            "Content-Type: charset",
            "JSON in UTF-8",
            echo(charset),
            f"Encode the body as UTF-8, and send Content-Type: {BodyKind.JSON.media_type}.",
        )
        return ProblemError("media-type-not-supported", str(item), items=(item,), headers=self._accept_post)

    @property
    def _accept_post(self) -> dict[str, str]:
        return {"Accept-Post": ", ".join(kind.media_type for kind in self.kinds)}


def _command(kind: BodyKind, argument: str, url: str) -> str:
    """curl writes the type of a form itself, with its boundary."""
    header = "" if kind is BodyKind.FORM else f"-H 'Content-Type: {kind.media_type}' "
    return f"curl {header}{argument} {url}"


def _declared_kind(request: Request, refuse: _Refusal) -> tuple[BodyKind | None, str]:
    """The kind in the headers, or None if the body determines it; and JSON's charset or a form's boundary."""
    if (first_header(request.scope, b"content-encoding") or "").strip().lower() not in ("", "identity"):
        raise refuse.because("a compressed body")
    stated = first_header(request.scope, b"content-type") or ""
    # Every form has its own boundary, and would push the others out.
    is_remembered = len(stated) <= _MOST_REMEMBERED_CHARACTERS and "boundary" not in stated
    media_type, charset = (_remembered if is_remembered else _media_type)(stated)
    if media_type in _SAYS_NOTHING:
        return None, ""
    for kind in refuse.kinds:
        if media_type in kind.media_types:
            if kind is BodyKind.FORM:
                return kind, _boundary(stated)
            if kind is not BodyKind.JSON:
                return kind, ""
            if charset not in _UTF_8 and not _ASCII_AND_MORE.fullmatch(charset):
                raise refuse.because_of_charset(charset)
            return kind, charset
    other = kind_of_type(media_type) if BodyKind.PNG in refuse.kinds else None
    if other is not None:
        raise refuse.because_of_picture(other)
    like = BodyKind.PNG if media_type.startswith("image/") else None
    raise refuse.because(echo(media_type), like=like)


def _media_type(header: str) -> tuple[str, str]:
    """Media type and charset of a Content-Type, both in lower case, empty if absent."""
    for element in elements(header, most=1):
        return element.value.lower(), element.parameters.get("charset", "").lower()
    return "", ""


def _boundary(header: str) -> str:
    return next((each.parameters.get("boundary", "") for each in elements(header, most=1)), "")


_remembered = functools.lru_cache(maxsize=64)(_media_type)

"""One exchange as text: what was asked, and all of what was answered.

Knows headers and the formats of bodies. Knows nothing of the service. What varies from run to run is replaced
by a name in angle brackets; everything else is kept to the byte, or stands as digest and length.

    > POST /encode.npz              the request line
    > content-type: …               headers, as they were sent
    > {"images": …}                 the body; in brackets what it is, if it is no text
    < 200                           the status
    < content-type: …               headers, in their order; "(safe)" stands for two of them
    < server-timing: queue, total   each with a duration in milliseconds
    <
    < (npz of 612 bytes, …)         the body

A body in gzip is shown unpacked; how long it was depends on the library.
An answer whose headers are, but for its length, those of the last one of the same status and type says so:
`< 200 as above, content-type: …, content-length: …`. A problem shows its type, title, status and remedy once.
`errors` is `[the parts of detail]` where it holds one item and `detail` is the sentence of its four parts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recorded.json_text import lines_of

Headers = Sequence[tuple[str, str]]

#: The server's own request ids.
_ID: Final = re.compile(r"[0-9a-f]{16}")
_DURATION: Final = re.compile(r";dur=[0-9]+\.[0-9]{3}(?=,|$)")
#: By header. An ETag contains the versions of libraries.
_PARTS_THAT_VARY: Final = {"server-timing": (_DURATION, ""), "etag": (re.compile("[0-9a-f]{32}"), "<digest>")}
_SEED_IN_NAME: Final = re.compile(r"-seed-[0-9]+")
#: Longest text of a request that is shown whole.
_SHOWN_CHARACTERS: Final = 1_600
#: Most lines of a request as bytes.
_SHOWN_LINES: Final = 20
#: Most numbers of an array that are shown.
_SHOWN_NUMBERS: Final = 400
#: Headers that stand next to one another in nearly every answer.
_SAFE: Final = "< x-content-type-options: nosniff\n< cross-origin-resource-policy: same-site"
_OF_EVERY_ANSWER: Final = {f"{_SAFE}\n< cache-control: no-store": "< (safe, no-store)", _SAFE: "< (safe)"}
_OF_THE_BODY: Final = "<length of the body>"
_NO_NEWLINE: Final = "(no newline at the end)"


@dataclass(frozen=True)
class Answer:
    """Status, headers in order, body."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """The first of that name, or nothing."""
        return next((value for found, value in self.headers if found.lower() == name), "")


@dataclass(frozen=True)
class Varying:
    """What an answer may hold that differs from machine to machine, and what stands for it."""

    texts: dict[str, str] = field(default_factory=dict)
    """Such as the directory of the store."""
    body: bool = False
    """The whole body, and its length."""
    seed: bool = False
    """The seed that the server draws: no body and no latents then."""


NOTHING_VARIES: Final = Varying()


def request_lines(line: str, headers: Headers, body: bytes, shown: str | None) -> Iterator[str]:
    """The lines of a request; headers that every request has are left out by the caller."""
    yield f"> {_shortened(line)}"
    for name, value in headers:
        yield f"> {name}: {_shortened(value)}"
    if shown is not None:
        yield f"> {shown}"
    elif body:
        yield from (f"> {each}" for each in _request_body(body))


def wire_lines(request: bytes) -> Iterator[str]:
    """The lines of a request as bytes, of many lines the first few."""
    lines = request.split(b"\r\n")
    for line in lines if len(lines) <= _SHOWN_LINES else lines[:4]:
        yield f"> {_shortened(repr(line)[2:-1])}".rstrip()
    if len(lines) > _SHOWN_LINES:
        yield f"> … ({len(lines)} lines, {_digest(request)})"


def answer_lines(
    answer: Answer, varying: Varying = NOTHING_VARIES, *, line: str | None = None
) -> Iterator[str]:
    """The lines of an answer; `line` is its first one, where it came over a connection."""
    packed = answer.header("content-encoding") == "gzip"
    own_id = answer.header("x-request-id")
    texts = dict(varying.texts)
    if _ID.fullmatch(own_id):
        texts[own_id] = "<id>"
    body, is_length_kept = _with_names(gzip.decompress(answer.body) if packed else answer.body, texts)
    is_length_kept = is_length_kept and not (
        varying.body or varying.seed or packed or _has_own_length(answer)
    )
    yield f"< {answer.status if line is None else line}"
    headers = [
        f"< {name}: {_header_value(name.lower(), value, answer, varying, is_length_kept)}"
        for name, value in answer.headers
    ]
    text = "\n".join(headers)
    for run, short in _OF_EVERY_ANSWER.items():
        text = text.replace(run, short)
    yield from text.split("\n")
    yield "<"
    if varying.body or varying.seed:
        yield "< (not compared)"
    else:
        yield from (f"< {line}" if line else "<" for line in _body_lines(answer, body))


def _with_names(body: bytes, texts: dict[str, str]) -> tuple[bytes, bool]:
    """The body with its names in place of what varies, and whether its length is always the same."""
    is_length_kept = True
    for text, name in texts.items():
        if text.encode() in body:
            body = body.replace(text.encode(), name.encode())
            is_length_kept = is_length_kept and name == "<id>"
    return body, is_length_kept


def _header_value(name: str, value: str, answer: Answer, varying: Varying, is_length_kept: bool) -> str:
    if name == "x-request-id" and _ID.fullmatch(value):
        return "<id>"
    if name in _PARTS_THAT_VARY:
        pattern, text = _PARTS_THAT_VARY[name]
        return pattern.sub(text, value)
    if name == "date":
        return "<date>"
    if name == "content-length" and not is_length_kept:
        return _OF_THE_BODY if value == str(len(answer.body)) else value
    if varying.seed and name in ("x-seed", "x-z", "content-disposition"):
        return _SEED_IN_NAME.sub("-seed-<drawn>", value) if name.startswith("content") else "<drawn>"
    return value


def _has_own_length(answer: Answer) -> bool:
    """A picture or a packed archive is as long as zlib makes it, and metrics are as long as their values."""
    is_packed = answer.body.startswith(b"PK") and answer.body[8:10] == b"\x08\x00"
    return (
        is_packed or answer.header("content-type").startswith("image/") or answer.body.startswith(b"# HELP ")
    )


def _body_lines(answer: Answer, body: bytes) -> Iterable[str]:
    """What is shown of a body: whole if it is text, decoded and by its digest if it is not."""
    media_type = answer.header("content-type").partition(";")[0]
    if not body:
        return ["(no body)"]
    if body.startswith(b"# HELP "):
        return _names_of_metrics(body.decode())
    for kind, lines in _LINES_BY_TYPE.items():
        if media_type.startswith(kind):
            return lines(body)
    packed = base64.b64encode(body).decode()
    return [f"({media_type or 'no type'}, {len(body)} bytes, base64)", *_wrapped(packed)]


def _json_lines(body: bytes) -> list[str]:
    text = body.decode()
    lines = lines_of(text.removesuffix("\n"))
    if lines is None:
        return ["(JSON that is not compact)", *_text_lines(body)]
    return lines if text.endswith("\n") else [*lines, _NO_NEWLINE]


def _text_lines(body: bytes) -> list[str]:
    lines = body.decode().split("\n")
    return lines[:-1] if not lines[-1] else [*lines, _NO_NEWLINE]


def _names_of_metrics(text: str) -> Iterator[str]:
    """Names, labels, types and texts without the values; the bounds of one histogram in one line.

    The samples of one metric are in an order that Python's hashes decide, so they are sorted.
    """
    samples: list[str] = []
    for line in [*text.splitlines(), "# "]:
        if not line.startswith("#"):
            samples.append(line.rpartition(" ")[0])
            continue
        yield from _with_bounds(sorted(samples, key=lambda name: name.partition(',le="')[0]))
        samples = []
        if line != "# ":
            yield line


def _with_bounds(samples: Iterable[str]) -> Iterator[str]:
    bounds: dict[str, list[str]] = {}
    for name in samples:
        found = re.fullmatch(r'(.*_bucket\{.*?),?le="([^"]*)"\}', name)
        if found is None:
            yield name
        else:
            bounds.setdefault(found[1], []).append(found[2])
    yield from (f"{bucket}, le={' '.join(each)}}}" for bucket, each in bounds.items())


def _png_lines(body: bytes) -> Iterator[str]:
    """Chunks, and the rows before they were compressed: libraries compress differently."""
    if not body.startswith(b"\x89PNG\r\n\x1a\n"):
        yield "(no PNG)"
        return
    at, packed = 8, b""
    while at < len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        data = body[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", body, at + 8 + length)
        sound = "" if checksum == zlib.crc32(kind + data) else ", wrong checksum"
        if kind == b"IDAT":
            packed += data
            yield f"(IDAT, zlib level {data[1] >> 6}{sound})"
        else:
            yield f"({kind.decode()} {data.hex()}{sound})"
        at += 12 + length
    width, height = struct.unpack_from(">II", body, 16)
    rows = zlib.decompress(packed)
    yield f"({width} × {height}, rows of {len(rows)} bytes, {_digest(rows)})"
    stride = len(rows) // height
    if len(rows) <= _SHOWN_NUMBERS:
        yield from (rows[start : start + stride].hex() for start in range(0, len(rows), stride))


def _picture_lines(body: bytes) -> Iterator[str]:
    """Format, size and, where nothing was lost, the pixels: libraries write other bytes and losses."""
    with Image.open(io.BytesIO(body)) as picture:
        yield f"({picture.format}, {picture.width} × {picture.height}, {picture.mode})"
        if body[12:16] == b"VP8L":
            yield f"({_digest(picture.tobytes())})"


def _npy_lines(data: bytes, name: str) -> Iterator[str]:
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    yield f"({name} {array.dtype.str} {array.shape}, {len(data)} bytes, {_digest(data)})"
    if array.size <= _SHOWN_NUMBERS:
        yield from _wrapped(" ".join(map(_number, array.ravel().tolist())))


def _number(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) and value == np.float32(value) else repr(value)


def _npz_lines(body: bytes) -> Iterator[str]:
    yield f"(npz, {len(body)} bytes, {_digest(body)})"
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for entry in archive.infolist():
            yield from _npy_lines(archive.read(entry), entry.filename)


_LINES_BY_TYPE: Final[dict[str, Callable[[bytes], Iterable[str]]]] = {
    "application/json": _json_lines,
    "application/problem+json": _json_lines,
    "application/x-npy": lambda body: _npy_lines(body, "npy"),
    "application/x-npz": _npz_lines,
    "image/png": _png_lines,
    "image/": _picture_lines,
    "text/": _text_lines,
}


def _request_body(body: bytes) -> Iterable[str]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return [repr(body)[2:-1]] if len(body) <= _SHOWN_CHARACTERS else [_shortened(repr(body)[2:-1])]
    if len(text) > _SHOWN_CHARACTERS:
        return [_shortened(text)]
    lines = lines_of(text)
    return [repr(text)[1:-1] if not text.isprintable() else text] if lines is None else lines


def _shortened(text: str) -> str:
    """`text`, or its beginning and the digest of all of it."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:60]}… ({len(text)} characters, {_digest(text.encode())})"


def _wrapped(text: str, width: int = 100) -> Iterator[str]:
    """Words filled into lines; a word that is longer is broken."""
    line = ""
    for word in text.split(" "):
        while len(word) > width:
            yield word[:width]
            word = word[width:]  # noqa: PLW2901  (what is left of it)
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def _digest(data: bytes) -> str:
    return f"sha256 {hashlib.sha256(data).hexdigest()[:16]}"

"""The format of a response: the suffix first, then the Accept header, then JSON.

Knows media types and weights (RFC 9110, section 12.5.1). Knows nothing of models, arrays or routes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from model_store.echo import echo
from service.http.media_types import elements, weight
from service.http.problems import Item, ProblemError

_MAX_ACCEPT_CHARACTERS = 4_000
_MAX_ACCEPT_RANGES = 64
#: Weight of `*/*` instead of the unread part of a very long header.
_LEAST_WEIGHT = 1e-6
#: Parameters of a media range that do not make it narrower than its type.
_NEUTRAL = {"q", "charset"}
#: Other spellings of a suffix.
_SYNONYMS = {"jpeg": "jpg"}
#: Every browser requests it when it opens an address. Java's default header has `text/html`, but not this.
_OF_BROWSERS = ("application", "xhtml+xml")


class Format(Enum):
    """A format of a response: its suffix and its media type."""

    JSON = ("json", "application/json")
    PNG = ("png", "image/png")
    JPEG = ("jpg", "image/jpeg")
    WEBP = ("webp", "image/webp")
    NPY = ("npy", "application/x-npy")
    NPZ = ("npz", "application/x-npz")
    SAFETENSORS = ("safetensors", "application/x-safetensors")
    TEXT = ("txt", "text/plain")

    __hash__ = object.__hash__  # Enum hashes in Python: a look-up would take four times as long

    def __init__(self, suffix: str, media_type: str) -> None:
        self.suffix = suffix
        self.media_type = media_type

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""
        return "text/plain; charset=utf-8" if self is Format.TEXT else self.media_type


#: A client that takes a PNG as gladly receives one. Java's client, and a browser that opens an address, list
#: these next to pages, and mean neither.
_PNG_COMES_FIRST = (Format.JPEG, Format.WEBP)


@dataclass(frozen=True)
class _Range:
    """One element of an Accept header."""

    kind: str
    subtype: str
    quality: float

    @property
    def is_page(self) -> bool:
        """Whether it is the type of a page, which only a browser or Java's own client requests."""
        return (self.kind, self.subtype) == ("text", "html")

    def precision(self, form: Format) -> int:
        """How exactly it names the format: 3 exactly, 2 by `type/*`, 1 by `*/*`, 0 not at all."""
        kind, subtype = form.media_type.split("/")
        if (self.kind, self.subtype) == (kind, subtype):
            return 3
        if (self.kind, self.subtype) == (kind, "*"):
            return 2
        return 1 if (self.kind, self.subtype) == ("*", "*") else 0


def choose_format(*, suffix: str | None, accept: str | None, forms: Sequence[Format]) -> Format:
    """The format of the response, from the available ones, whose first member is the default.

    A suffix wins over any Accept header. Without one, the format with the highest weight wins; among equals
    the most exactly named one, then the first one here: `*/*` is JSON. A browser that opens an address
    accepts pages and, at a lower weight, `*/*`: it receives the PNG if there is one.

    An unreadable header counts as absent. Only the beginning of a very long header is read, and it excludes
    only the formats that it names.

    Raises:
        ProblemError: `form-not-available`, listing the available formats.
    """
    if suffix is not None:
        stated = _SYNONYMS.get(suffix, suffix)
        for form in forms:
            if form.suffix == stated:
                return form
        raise _no_such_form("suffix", echo(suffix), forms)
    if accept is None or not accept.strip() or accept.strip() == "*/*":
        return forms[0]
    if len(accept) > _MAX_ACCEPT_CHARACTERS:
        accept = accept[: _MAX_ACCEPT_CHARACTERS + 1]  # one more, to detect that it is too long
    return _by_accept(accept, tuple(forms))


@functools.lru_cache(maxsize=128)  # clients send few different ones, and at most half a megabyte of them
def _by_accept(accept: str, forms: tuple[Format, ...]) -> Format:
    ranges = _parse_accept(accept)
    if not ranges:
        return forms[0]
    best = _best(ranges, forms)
    if best is None:
        raise _no_such_form("Accept", echo(accept), forms)
    form, precision = best
    opened_by_browser = precision == 1 and any((r.kind, r.subtype) == _OF_BROWSERS for r in ranges)
    if opened_by_browser and Format.PNG in forms:
        return Format.PNG
    return form


def prefers_page(accept: str | None) -> bool:
    """Whether a client prefers HTML to text, as browsers do.

    Its header must name `text/html`, with more weight than text: curl and scripts send `*/*`, which includes
    both, and a text browser that weighs both equally can run no script.

    Args:
        accept: The Accept header.
    """
    return accept is not None and _prefers_page(accept[: _MAX_ACCEPT_CHARACTERS + 1])


@functools.lru_cache(maxsize=128)
def _prefers_page(accept: str) -> bool:
    ranges = _parse_accept(accept)
    page = max((each.quality for each in ranges if each.is_page), default=0.0)
    precision, text = max(((each.precision(Format.TEXT), each.quality) for each in ranges), default=(0, 0.0))
    return page > (text if precision else 0.0)


def _best(ranges: Sequence[_Range], forms: Sequence[Format]) -> tuple[Format, int] | None:
    """The acceptable format of highest quality, then precision, then order; with its precision."""
    ranked: list[tuple[float, int, int]] = []
    as_png = 0.0
    for order, form in enumerate(forms):
        # The most exact range determines the quality of a format, not the most favourable one.
        precision, quality = max(((r.precision(form), r.quality) for r in ranges), default=(0, 0.0))
        if form is Format.PNG and precision > 1:
            as_png = quality
        if form in _PNG_COMES_FIRST and (quality <= as_png or any(r.is_page for r in ranges)):
            continue
        if precision and quality > 0:
            ranked.append((quality, precision, -order))
    if not ranked:
        return None
    _, precision, order = max(ranked)
    return forms[-order], precision


def _parse_accept(accept: str) -> list[_Range]:
    """The readable ranges; any other element counts as absent.

    A range with its own parameter, such as `application/json;version=2`, names a kind of that type. The type
    satisfies it, but with the weight 0 it does not exclude the type.
    """
    is_cut = len(accept) > _MAX_ACCEPT_CHARACTERS
    whole = accept.rpartition(",")[0] if is_cut else accept
    found = elements(whole, most=_MAX_ACCEPT_RANGES + 1)
    ranges = []
    for element in found[:_MAX_ACCEPT_RANGES]:
        kind, slash, subtype = element.value.lower().partition("/")
        if kind == "*" and not slash:
            subtype = "*"  # as in older Java
        quality = weight(element.parameters)
        is_narrower = not element.parameters.keys() <= _NEUTRAL
        if kind and subtype and not (quality == 0 and is_narrower):
            ranges.append(_Range(kind, subtype, quality))
    if is_cut or len(found) > _MAX_ACCEPT_RANGES:
        ranges.append(_Range("*", "*", _LEAST_WEIGHT))
    return ranges


def _no_such_form(where: str, got: str, forms: Sequence[Format]) -> ProblemError:
    listed = ", ".join(f".{form.suffix} ({form.media_type})" for form in forms)
    return ProblemError.of_item(
        "form-not-available",
        Item(
            where,
            f"one of {listed}",
            got,
            f"Append a suffix such as .{forms[0].suffix} to the path, or send Accept: {forms[0].media_type}.",
        ),
    )

"""Which form an answer takes: the suffix first, then the Accept header, then JSON.

Knows media types and q-values (RFC 9110, section 12.5.1). Knows nothing of models, arrays or routes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from service.problems import Item, ProblemError

_MAX_ACCEPT_CHARACTERS = 4_000
_MAX_ACCEPT_RANGES = 64
_QVALUE = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")


class Form(Enum):
    """A form of an answer: its suffix and its media type."""

    JSON = ("json", "application/json")
    PNG = ("png", "image/png")
    NPY = ("npy", "application/x-npy")
    NPZ = ("npz", "application/x-npz")
    TEXT = ("txt", "text/plain")

    def __init__(self, suffix: str, media_type: str) -> None:
        self.suffix = suffix
        self.media_type = media_type

    @property
    def content_type(self) -> str:
        return "text/plain; charset=utf-8" if self is Form.TEXT else self.media_type


@dataclass(frozen=True)
class _Range:
    """One element of an Accept header."""

    kind: str
    subtype: str
    quality: float

    def precision(self, form: Form) -> int:
        """How exactly it names the form: 3 exactly, 2 by `type/*`, 1 by `*/*`, 0 not at all."""
        kind, subtype = form.media_type.split("/")
        if (self.kind, self.subtype) == (kind, subtype):
            return 3
        if (self.kind, self.subtype) == (kind, "*"):
            return 2
        return 1 if (self.kind, self.subtype) == ("*", "*") else 0


def choose_form(*, suffix: str | None, accept: str | None, forms: Sequence[Form]) -> Form:
    """The form to answer in, out of `forms`, whose first member is the default.

    A suffix wins over any Accept header. Without one, the form with the highest q-value wins, and among
    equals the one named most exactly, then the one listed first here: `*/*` is JSON. A browser that opens an
    address sends `text/html` and, at a lower q, `*/*`: it is shown the picture where there is one.

    Raises:
        ProblemError: `form-not-available`, listing the forms there are.
    """
    if suffix is not None:
        for form in forms:
            if form.suffix == suffix:
                return form
        raise _no_such_form("suffix", "another suffix", forms)
    if accept is None or not accept.strip() or accept.strip() == "*/*":
        return forms[0]
    if len(accept) > _MAX_ACCEPT_CHARACTERS:
        raise _no_such_form("Accept", f"a header of {len(accept)} characters", forms)
    return _by_accept(accept, tuple(forms))


@functools.lru_cache(maxsize=128)  # clients send few different ones, and half a megabyte of them at the most
def _by_accept(accept: str, forms: tuple[Form, ...]) -> Form:
    ranges = _parse_accept(accept)
    best = _best(ranges, forms)
    if best is None:
        raise _no_such_form("Accept", "media types of which none is among them", forms)
    form, precision = best
    opened_by_browser = precision == 1 and any((r.kind, r.subtype) == ("text", "html") for r in ranges)
    if opened_by_browser and Form.PNG in forms:
        return Form.PNG
    return form


def _best(ranges: Sequence[_Range], forms: Sequence[Form]) -> tuple[Form, int] | None:
    """The acceptable form of highest quality, then precision, then order; with its precision."""
    ranked: list[tuple[float, int, int]] = []
    for order, form in enumerate(forms):
        # The most exact range decides the quality of a form, not the kindest one.
        precision, quality = max(((r.precision(form), r.quality) for r in ranges), default=(0, 0.0))
        if precision and quality > 0:
            ranked.append((quality, precision, -order))
    if not ranked:
        return None
    _, precision, order = max(ranked)
    return forms[-order], precision


def _parse_accept(accept: str) -> list[_Range]:
    """The ranges that can be read; one that cannot be is as good as absent."""
    ranges = []
    for element in accept.split(",")[:_MAX_ACCEPT_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        kind, slash, subtype = media_range.partition("/")
        if not slash or not kind or not subtype:
            continue
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = float(value) if _QVALUE.match(value.strip()) else 0.0
        ranges.append(_Range(kind, subtype, quality))
    return ranges


def _no_such_form(where: str, got: str, forms: Sequence[Form]) -> ProblemError:
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

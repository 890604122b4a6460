"""The query of a remote decode or encode: repeated `shape`, booleans of Python, and names of other clients.

Knows names, words and numbers. Knows nothing of tensors or models. The strict reader of the native paths is
not for this protocol: `requests` prints Python's booleans, and sends a parameter once for each axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl

from model_store.echo import did_you_mean, echo
from service.codecs.raw_tensor import MOST_AXES
from service.engine import LARGEST_SEED, TILE, Tile
from service.http.problems import Item, ProblemError

_MOST_PARAMETERS: Final = 64
_MOST_DIGITS: Final = 12
#: Of a scaling factor; smaller ones would turn any latent into infinity.
SMALLEST_FACTOR: Final = 1e-6
LARGEST_FACTOR: Final = 1e6
#: Of `height` and `width`, in pixels.
LARGEST_SIDE: Final = 65_536
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
#: `requests` prints Python's None in some clients' own code.
_ABSENT: Final = ("", "None", "null")
#: Sent by clients, and without a meaning here.
_IGNORED: Final = frozenset({"input_tensor_type", "output_tensor_type", "return_type", "processor"})

ImageFormat = Literal["jpg", "png", "webp"]
OutputType = Literal["pil", "pt"]
OUTPUT_TYPES: Final = ("pil", "pt")
IMAGE_FORMATS: Final[Mapping[str, ImageFormat]] = {
    "jpg": "jpg",
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
}


@dataclass(frozen=True, slots=True)
class RemoteQuery:
    """The parameters of one request."""

    model: str | None
    shape: tuple[int, ...]
    """Empty: the body is a picture."""
    dtype: str
    scaling_factor: float | None
    """None: latents are not scaled, unless `own_scaling`."""
    shift_factor: float | None
    own_scaling: bool
    """Scale by the factors of the model."""
    image_format: ImageFormat = "jpg"
    output_type: OutputType = "pil"
    partial_postprocess: bool = False
    height: int | None = None
    width: int | None = None
    tile: Tile = "auto"
    sample: bool = False
    seed: int | None = None


_OF_BOTH: Final = frozenset({"model", "shape", "dtype", "scaling_factor", "shift_factor", "do_scaling"})
OF_DECODE: Final = _OF_BOTH | {
    "image_format",
    "output_type",
    "partial_postprocess",
    "height",
    "width",
    "tile",
}
OF_ENCODE: Final = _OF_BOTH | {"sample", "seed"}


def read_remote_query(query: bytes, *, is_decode: bool) -> RemoteQuery:
    """The parameters of a query.

    Args:
        query: The raw query of the address.
        is_decode: Whether it is that of /remote/decode.

    Raises:
        ProblemError: `invalid-parameter`: an unknown name, one twice, or an invalid value.
    """
    known = OF_DECODE if is_decode else OF_ENCODE
    values, sizes = _split(query, known)
    reader = _Values(values)
    do_scaling = reader.boolean("do_scaling")
    scaling = reader.number("scaling_factor", least=SMALLEST_FACTOR, most=LARGEST_FACTOR)
    shift = reader.number("shift_factor", least=-LARGEST_FACTOR, most=LARGEST_FACTOR)
    is_off = do_scaling is False
    return RemoteQuery(
        model=values.get("model"),
        shape=tuple(_size(size) for size in sizes),
        dtype=values.get("dtype", "float32").removeprefix("torch."),
        scaling_factor=None if is_off else scaling,
        shift_factor=None if is_off else shift,
        own_scaling=bool(do_scaling) and scaling is None,
        image_format=IMAGE_FORMATS[reader.word("image_format", IMAGE_FORMATS, "jpg")],
        output_type="pt" if reader.word("output_type", OUTPUT_TYPES, "pil") == "pt" else "pil",
        partial_postprocess=bool(reader.boolean("partial_postprocess")),
        height=reader.whole("height", most=LARGEST_SIDE),
        width=reader.whole("width", most=LARGEST_SIDE),
        tile=TILE[reader.word("tile", TILE, "auto")],
        sample=bool(reader.boolean("sample")),
        seed=reader.whole("seed", most=LARGEST_SEED, least=0),
    )


def _split(query: bytes, known: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    """Values by name, and the values of `shape`."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except (ValueError, UnicodeDecodeError):
        raise _invalid(
            "query", f"at most {_MOST_PARAMETERS} parameters in UTF-8", "another query", "Shorten it."
        ) from None
    values: dict[str, str] = {}
    sizes: list[str] = []
    for name, value in pairs:
        if name == "shape":
            sizes.append(value)
        elif name in _IGNORED:
            continue
        elif name not in known:
            hint = did_you_mean(name, known)
            raise _invalid(
                "query", f"one of {', '.join(sorted(known))}", echo(name), f"{hint} Leave it out.".strip()
            )
        elif value not in _ABSENT:
            if name in values:
                raise _invalid(f"query: {name}", "one value", "several", "Send it once.")
            values[name] = value
    if len(sizes) > MOST_AXES:
        raise _invalid(
            "query: shape", f"at most {MOST_AXES} axes", str(len(sizes)), "Send the shape of the tensor."
        )
    return values, sizes


class _Values:
    """Reads single values."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def boolean(self, name: str) -> bool | None:
        """True, False, true, false, 1 or 0; None if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        found = _BOOLEANS.get(value.lower())
        if found is None:
            raise _invalid(f"query: {name}", "true or false", echo(value), "Correct it.")
        return found

    def number(self, name: str, *, least: float, most: float) -> float | None:
        """A decimal number within bounds; None if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            number = float(value) if len(value) <= 64 and value.isascii() else math.nan
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise _invalid(
                f"query: {name}", f"a number from {least:g} to {most:g}", echo(value), "Correct it."
            )
        return number

    def whole(self, name: str, *, most: int, least: int = 1) -> int | None:
        """A whole number; None if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit() or len(value) > 16 or not least <= int(value) <= most:
            raise _invalid(f"query: {name}", f"an integer from {least} to {most}", echo(value), "Correct it.")
        return int(value)

    def word(self, name: str, words: Mapping[str, object] | tuple[str, ...], default: str) -> str:
        """One of `words`."""
        value = self._values.get(name, default)
        if value not in words:
            raise _invalid(f"query: {name}", f"one of {', '.join(words)}", echo(value), "Correct it.")
        return value


def _size(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > _MOST_DIGITS:
        raise _invalid(
            "query: shape",
            "one whole number for each axis",
            echo(value),
            "Such as shape=1&shape=4&shape=64&shape=64.",
        )
    return int(value)


def _invalid(where: str, expected: str, got: str, remedy: str) -> ProblemError:
    return ProblemError.of_item("invalid-parameter", Item(where, expected, got, remedy))

"""The choices of a person who imports a model, from the command line.

Knows words and numbers. Knows nothing of graphs.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model_store.echo import echo

#: Longest side of a model with open sizes, unless stated.
DEFAULT_MOST = 1024


@dataclass(frozen=True)
class Options:
    """All of them."""

    name: str
    pixels: tuple[float, float] | Literal["none"] | None = None
    """Range of pixels, none, or to be found."""
    roles: dict[str, str] = field(default_factory=dict)
    channels: int | None = None
    size: tuple[int, int] | None = None
    most: int = DEFAULT_MOST
    scaling_factor: float | None = None
    shift_factor: float | None = None
    prior: Literal["standard", "none"] | None = None
    golden: Path | None = None
    licence: str = "unknown"
    description: str | None = None
    aliases: tuple[str, ...] = ()
    check_only: bool = False


def add_arguments(parser: Any) -> None:
    """The arguments of `vae-store import`."""
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="a folder that Optimum exported, with vae_encoder and vae_decoder; or name the files:",
    )
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="the ONNX file from images to latents")
    parser.add_argument("--decoder", type=Path, metavar="FILE", help="the ONNX file from latents to images")
    parser.add_argument("--name", required=True, metavar="NAME", help="name of the model in the store")
    parser.add_argument("--alias", metavar="ALIAS", action="append", default=[], help="also move ALIAS to it")
    parser.add_argument(
        "--range",
        type=_range,
        metavar="LOW:HIGH",
        help="the graphs' values of black and white, --range=-1:1 or --range=0:1, or none if the values are "
        "no pixels (default: found by a round trip)",
    )
    parser.add_argument(
        "--role",
        type=_role,
        action="append",
        default=[],
        metavar="NAME=ROLE",
        help="what an output of the encoder is: mu, logvar, or moments for both in one",
    )
    parser.add_argument(
        "--channels", type=_count, metavar="N", help="channels of images, where the graphs leave them open"
    )
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="default size of images, where the graphs leave it open"
    )
    parser.add_argument(
        "--most",
        type=_count,
        default=DEFAULT_MOST,
        metavar="PIXELS",
        help="longest side of images, where the graphs leave it open (default %(default)s)",
    )
    parser.add_argument(
        "--scaling-factor", type=_positive, metavar="F", help="of latents (default: config.json)"
    )
    parser.add_argument("--shift-factor", type=_number, metavar="F", help="of latents (default: config.json)")
    parser.add_argument(
        "--prior",
        choices=("standard", "none"),
        help="whether latents follow N(0, I), so that /sample may draw from it (default: standard for flat "
        "latents with a logvar, otherwise none)",
    )
    parser.add_argument(
        "--golden", type=Path, metavar="DIR", help="pictures to try the model with (default: drawn ones)"
    )
    parser.add_argument("--licence", default="unknown", metavar="SPDX", help="of the weights")
    parser.add_argument("--description", metavar="TEXT", help="for people")
    parser.add_argument("--check", action="store_true", help="run every check, and publish nothing")


def options_of(arguments: argparse.Namespace) -> Options:
    """The choices in parsed arguments."""
    return Options(
        name=arguments.name,
        pixels=arguments.range,
        roles=dict(arguments.role),
        channels=arguments.channels,
        size=arguments.size,
        most=arguments.most,
        scaling_factor=arguments.scaling_factor,
        shift_factor=arguments.shift_factor,
        prior=arguments.prior,
        golden=arguments.golden,
        licence=arguments.licence,
        description=arguments.description,
        aliases=tuple(arguments.alias),
        check_only=arguments.check,
    )


def _range(text: str) -> tuple[float, float] | Literal["none"]:
    if text == "none":
        return "none"
    low, _, high = text.partition(":")
    try:
        pixels = float(low), float(high)
    except ValueError:
        pixels = math.nan, math.nan
    if not (math.isfinite(pixels[0]) and math.isfinite(pixels[1]) and pixels[0] < pixels[1]):
        raise argparse.ArgumentTypeError(f"expected LOW:HIGH such as -1:1, or none, got {echo(text)}")
    return pixels


def _role(text: str) -> tuple[str, str]:
    name, separator, role = text.rpartition("=")
    if not separator or not name or not role:
        raise argparse.ArgumentTypeError(f"expected NAME=ROLE, got {echo(text)}")
    return name, role


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,3})[x×]([1-9][0-9]{0,3})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 256x256, got {echo(text)}")
    return int(found[1]), int(found[2])


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 8192:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 8192, got {echo(text)}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {echo(text)}")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {echo(text)}")
    return value

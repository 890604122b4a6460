"""The options that `vae-store import` and `vae-train import` share: choices for importing a model.

Knows words and numbers. Knows nothing of graphs, nor of the two commands.
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
    origin: str | None = None
    """Where the graphs came from, for people; None: the names of the files."""
    aliases: tuple[str, ...] = ()
    check_only: bool = False


def add_arguments(parser: Any) -> None:
    """Add the shared options to a command."""
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
        "--size", type=_size, metavar="HxW", help="default size of images, where the graphs leave it open"
    )
    parser.add_argument(
        "--most",
        type=count,
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
    """The choices in parsed arguments; a command may lack `--role`, `--channels` and `--origin`."""
    return Options(
        name=arguments.name,
        pixels=arguments.range,
        roles=dict(getattr(arguments, "role", ())),
        channels=getattr(arguments, "channels", None),
        size=arguments.size,
        most=arguments.most,
        scaling_factor=arguments.scaling_factor,
        shift_factor=arguments.shift_factor,
        prior=arguments.prior,
        golden=arguments.golden,
        licence=arguments.licence,
        description=arguments.description,
        origin=getattr(arguments, "origin", None),
        aliases=tuple(arguments.alias),
        check_only=arguments.check,
    )


def as_arguments(options: Options) -> list[str]:
    """The command line of `vae-store import` with these choices, without the graphs."""
    low_high = options.pixels if options.pixels in (None, "none") else ":".join(map(repr, options.pixels))
    size = None if options.size is None else "x".join(map(str, options.size))
    single: dict[str, object] = {
        "name": options.name,
        "range": low_high,
        "channels": options.channels,
        "size": size,
        "most": options.most,
        "scaling-factor": options.scaling_factor,
        "shift-factor": options.shift_factor,
        "prior": options.prior,
        "golden": options.golden,
        "licence": options.licence,
        "description": options.description,
        "origin": options.origin,
    }
    # With "=", a value may begin with a hyphen.
    arguments = [f"--{option}={value}" for option, value in single.items() if value is not None]
    arguments += [f"--role={name}={role}" for name, role in options.roles.items()]
    arguments += [f"--alias={alias}" for alias in options.aliases]
    return [*arguments, "--check"] if options.check_only else arguments


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


def role(text: str) -> tuple[str, str]:
    """NAME=ROLE of an argument."""
    name, separator, role = text.rpartition("=")
    if not separator or not name or not role:
        raise argparse.ArgumentTypeError(f"expected NAME=ROLE, got {echo(text)}")
    return name, role


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,3})[x×]([1-9][0-9]{0,3})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 256x256, got {echo(text)}")
    return int(found[1]), int(found[2])


def count(text: str) -> int:
    """A number of pixels or channels of an argument."""
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

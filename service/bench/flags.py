"""The flags of `vae-serve bench`.

Knows argparse and the layout of help. Imports nothing of the measurement, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, Final

from model_store.help_format import Help

OPERATIONS: Final = ("encode", "decode", "sample", "reconstruct")
FORMS: Final = ("json", "npy", "png", "txt")
#: Preferred to the flag, because every user of the machine can see flags.
API_KEY_VARIABLE: Final = "VAE_BENCH_API_KEY"

_DESCRIPTION = (
    "Put load on a running server, and print throughput and latencies.\n"
    "\n"
    "Windows of --window-s follow one another without a pause until throughput and p99 of three in a row "
    "agree within 10 %; the command reports these three. Without --rate, each of --concurrency connections "
    "sends its next request after its response (closed loop). With --rate, requests are due by the clock, as "
    "from independent users, and a latency starts when its request was due, so that a stalled server cannot "
    "hide it (open loop)."
)
_EPILOG = f"""\
A server with API keys: set the environment variable {API_KEY_VARIABLE}. Every user of the machine can see \
the value of --api-key.

exit codes of bench:
    0  measured
    1  the response of a request was not 2xx
    2  wrong usage
   69  no server answers at URL
   74  the output cannot be written
   75  the windows never agreed
  130  Ctrl-C
  141  the reader of the output closed it
  143  SIGTERM

examples:
  $ vae-serve bench http://127.0.0.1:8000
  $ vae-serve bench --operation decode --rate 200 http://127.0.0.1:8000
"""


def add_bench_command(commands: Any) -> None:
    """Add `bench` to the subparsers of `vae-serve`."""
    command: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="put load on a running server and plot its latencies",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=Help,
        allow_abbrev=False,
    )
    command.add_argument("url", metavar="URL", help="address of the server, such as http://127.0.0.1:8000")
    asked = command.add_argument_group("what to request")
    asked.add_argument("--operation", choices=OPERATIONS, default="encode", help="default encode")
    asked.add_argument(
        "--form",
        choices=FORMS,
        default="json",
        help=(
            "format of body and response (default json); the response of encode is npz for npy and json for "
            "png; the body of decode is json for png and txt"
        ),
    )
    asked.add_argument(
        "--images", type=_whole(1), default=1, metavar="N", help="images in each request (default 1)"
    )
    asked.add_argument(
        "--model",
        metavar="MODEL",
        help="NAME, NAME@VERSION or NAME@ALIAS (default: the server's default model)",
    )
    asked.add_argument(
        "--seed",
        type=_whole(0),
        default=0,
        metavar="N",
        help="seed of the random images or latents (default 0)",
    )
    asked.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the key to send; prefer {API_KEY_VARIABLE}, which other users cannot see",
    )
    load = command.add_argument_group("how much")
    load.add_argument(
        "--concurrency",
        type=_whole(1),
        default=32,
        metavar="N",
        help="connections of a closed loop (default 32)",
    )
    load.add_argument(
        "--rate",
        dest="rate_per_s",
        type=_positive,
        metavar="PER_S",
        help="requests per second of an open loop, instead of --concurrency",
    )
    load.add_argument(
        "--constant", action="store_true", help="equal gaps between the requests of --rate (default: Poisson)"
    )
    load.add_argument(
        "--max-connections",
        type=_whole(1),
        default=512,
        metavar="N",
        help=(
            "maximum number of connections of an open loop (default 512); further due requests wait, "
            "and their wait counts"
        ),
    )
    load.add_argument(
        "--timeout-s",
        type=_positive,
        default=30.0,
        metavar="SECONDS",
        help="longest wait for a response (default 30)",
    )
    span = command.add_argument_group("how long")
    span.add_argument(
        "--window-s",
        type=_positive,
        default=2.0,
        metavar="SECONDS",
        help="length of one window (default 2)",
    )
    span.add_argument(
        "--max-windows",
        type=_whole(1),
        default=10,
        metavar="N",
        help="most windows to measure (default 10)",
    )
    span.add_argument(
        "--duration-s",
        type=_positive,
        metavar="SECONDS",
        help="measure for this duration and report all of it, stable or not",
    )
    span.add_argument(
        "--warm-up-s",
        type=_not_negative,
        default=1.0,
        metavar="SECONDS",
        help="load before the first window (default 1)",
    )
    command.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _whole(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {value}")
        return value

    number.__name__ = "whole number"
    return number


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return value

"""The commands of `vae-store` that run a model: their words and arguments.

Knows argparse. Knows nothing of their work: the module of a command, and the runtime with it, is imported
when the command runs, so that the other commands answer at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from model_store.calibration import FIGURES
from model_store.cli_output import Answer
from model_store.errors import quoted
from model_store.extra_command import ExtraCommand
from model_store.store import ModelStore
from service.commands.importing.command import IMPORT

_LARGEST_RATE: Final = 0.5


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REFERENCE", help="the version to calibrate")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="normal images that the model was not trained on: a folder of PNG, JPEG and WebP files, or a "
        ".npy file of shape (N, C, H, W), or (N, H, W) for one channel",
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        default=0.01,
        metavar="SHARE",
        help="the share of normal images to flag; needs 10 / SHARE images or more (default %(default)g)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PATH",
        help="other images, of the same forms: print how well each figure separates them from normal ones",
    )
    parser.add_argument(
        "--by", choices=FIGURES, default="negative_elbo", help="the figure that flags (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="seed of the scores (default %(default)s)"
    )
    parser.add_argument(
        "--alias", metavar="ALIAS", help="then point ALIAS to the new version, such as stable"
    )


def _calibrate(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    from service.commands.calibrate import answer, calibrate  # noqa: PLC0415  (the runtime)

    version, made = calibrate(
        store,
        arguments.reference,
        data=arguments.data,
        against=arguments.against,
        rate=arguments.rate,
        flagged_by=arguments.by,
        seed=arguments.seed,
        aliases=() if arguments.alias is None else (arguments.alias,),
        tell=_tell,
    )
    return answer(version, made), 0


def _tell(line: str) -> None:
    """A line for the person, on standard error: standard output may be a document."""
    sys.stderr.write(f"vae-store: {line}\n")
    sys.stderr.flush()


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate <= _LARGEST_RATE:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 0.5, got {quoted(text)}")
    return rate


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {quoted(text)}")
    return int(text)


COMMANDS: Final = (
    IMPORT,
    ExtraCommand(
        name="calibrate",
        text="publish the next version of a model with thresholds of scores, from your own normal images",
        examples=("vae-store calibrate mine@stable --data normal --rate 0.01 --against other",),
        add_arguments=_add_arguments,
        run=_calibrate,
    ),
)

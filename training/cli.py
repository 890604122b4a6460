"""`vae-train`: the command line of the trainer.

Knows arguments, exit codes and the module of each command. Knows nothing of training: each command is a
module of `training.commands`, imported on demand, so that `--help` and a misspelt option need no torch.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from model_store.errors import StoreError, StoreWriteFailed
from model_store.release import add_version_flag
from model_store.standard_streams import EXIT_BROKEN_PIPE, OutputError, run_command
from training.errors import (
    ConfigError,
    DataError,
    ExportError,
    NonFiniteTraining,
    PosteriorCollapse,
    ProcessLost,
    RunDirectoryError,
    TrainingError,
    TrainingInterrupted,
    WriteFailed,
)

#: Exit codes by the class of the error that ends a command; the first match counts.
EXIT_CODES: tuple[tuple[type[BaseException], int, str], ...] = (
    (ConfigError, 2, "command line or recipe refused (nothing was started)"),
    (DataError, 65, "images missing, damaged or not as expected"),
    (RunDirectoryError, 73, "run directory unusable for this command"),
    (NonFiniteTraining, 70, "training diverged; the last checkpoint is kept"),
    (
        PosteriorCollapse,
        70,
        "posterior collapse: the latents carry no information about the images; the last checkpoint is kept",
    ),
    (ProcessLost, 71, "another process of the run ended or never came; the last checkpoint is kept"),
    (ExportError, 70, "exported graphs disagree with the model; nothing was published"),
    (TrainingInterrupted, 130, "stopped by Ctrl-C or SIGTERM; the state was saved"),
    (KeyboardInterrupt, 130, "stopped by Ctrl-C before the first checkpoint"),
    (WriteFailed, 74, "the disk is full or cannot be written"),
    (StoreWriteFailed, 74, "the disk is full or cannot be written"),
    (StoreError, 1, "the model store refused"),
    (TrainingError, 1, "any other error of this package"),
)

#: Errors of a disk inside a library; `training.runs.writing` reports those of our own files.
_OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
)

#: Import names of the extra `train`, without which only `--help` works.
TRAINER_LIBRARIES = frozenset(
    {
        "torch",
        "lightning",
        "jaxtyping",
        "onnx",
        "onnxscript",
        "matplotlib",
        "rich",
        "sklearn",
        "scipy",
        "threadpoolctl",
    }
)
EXIT_NOT_INSTALLED = 69
_ALL_IMAGES = 2**31


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_command("vae-train", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        command = importlib.import_module(f"training.commands.{arguments.command.replace('-', '_')}")
        code: int = command.run(arguments)
        return code
    except (TrainingError, StoreError, KeyboardInterrupt) as error:
        code = next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind))
        print(f"vae-train: {error or 'stopped before the first checkpoint'}", file=sys.stderr)
        return code
    except ModuleNotFoundError as error:
        # The server is installed with this command, but without the trainer's libraries.
        if (error.name or "").partition(".")[0] not in TRAINER_LIBRARIES:
            raise
        print(
            f"vae-train: expected the trainer's libraries, found no {error.name}: only the server is "
            "installed. Install them with `make install-dev` in the source tree, or with `pip install "
            "'vae-service[train]'`.",
            file=sys.stderr,
        )
        return EXIT_NOT_INSTALLED
    except OutputError:
        raise  # `run_command` reports it
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        print(
            f"vae-train: {error.filename or 'the disk'}: expected a writable file, got: {error.strerror}. "
            "Make room or choose another directory.",
            file=sys.stderr,
        )
        return 74


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, without torch."""
    parser = argparse.ArgumentParser(
        prog="vae-train",
        description="Train, evaluate and export variational autoencoders.",
        epilog=_exit_code_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    fit = commands.add_parser(
        "fit", help="train a model from images into a run directory", allow_abbrev=False
    )
    fit.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help="the name of a recipe in the package, or a path that ends in .toml; optional with --resume",
    )
    _add_data(fit)
    fit.add_argument("--out", metavar="DIR", required=True, type=Path, help="the run directory")
    fit.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint in --out; --set trainer.epochs=N extends a finished run",
    )
    fit.add_argument(
        "--start-from",
        metavar="VERSION",
        help=(
            "name, name@3 or name@alias in the store: start with its weights, instead of the recipe's "
            "trainer.start_from"
        ),
    )
    _add_store(fit)
    fit.add_argument("--seed", type=int, metavar="N", help="replaces the recipe's trainer.seed")
    fit.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="replace one value of the recipe; may be repeated",
    )

    fit.add_argument(
        "--devices",
        type=int,
        metavar="N",
        default=1,
        help="processes on this machine, one per GPU (default 1)",
    )
    fit.add_argument(
        "--nodes",
        type=int,
        metavar="N",
        default=1,
        help=(
            "number of machines (default 1); run the same command on each, with MASTER_ADDR, MASTER_PORT "
            "and NODE_RANK in its environment"
        ),
    )
    fit.add_argument(
        "--on-collapse",
        choices=("stop", "restart", "go-on"),
        default="restart",
        help=(
            "on posterior collapse, when the latents carry no information about the images: end the run; "
            "restart it once with smaller learning rates and a slower KL term (default); or only warn"
        ),
    )
    fit.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="hardware for the computation; auto is a GPU if torch finds one",
    )

    evaluate = commands.add_parser(
        "evaluate",
        help="measure a run or a published version on the test images, and write a report with pictures",
        allow_abbrev=False,
    )
    evaluate.add_argument(
        "model", metavar="RUN|VERSION", help="a run directory, or name, name@3, name@alias of the store"
    )
    _add_data(evaluate)
    _add_measuring(evaluate)
    evaluate.add_argument(
        "--second-data",
        metavar="PATH",
        type=Path,
        help=(
            "another data set of the same image shape, in any format of --data: can bound and "
            "reconstruction error distinguish it from the model's own data?"
        ),
    )
    evaluate.add_argument(
        "--second-model",
        metavar="RUN|VERSION",
        help="a model of that other data, for the same test in the other direction",
    )
    evaluate.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help=(
            "directory for report.html and report.json; default: the run's directory, or reports/NAME-VERSION"
        ),
    )
    evaluate.add_argument(
        "--figures-only",
        action="store_true",
        help="measure a run for its export, without a report",
    )

    compare = commands.add_parser(
        "compare", help="compare runs and published versions on one page", allow_abbrev=False
    )
    compare.add_argument(
        "models",
        metavar="RUN|VERSION",
        nargs="+",
        help="run directories, or name, name@3, name@alias of the store; two or more",
    )
    _add_data(compare)
    _add_measuring(compare)
    compare.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="directory for compare.html and compare.json"
    )

    judge = commands.add_parser(
        "judge",
        help="fit the classifier with which evaluate and compare judge samples",
        allow_abbrev=False,
    )
    _add_data(judge)
    judge.add_argument("--out", metavar="DIR", required=True, type=Path, help="a new directory for it")
    judge.add_argument(
        "--seed", type=int, metavar="N", default=0, help="seed for weights, order and shifts (default 0)"
    )
    judge.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")

    fit_prior = commands.add_parser(
        "fit-prior",
        help="fit a prior to the posterior means of the training images, for a run or a published version",
        allow_abbrev=False,
    )
    fit_prior.add_argument(
        "model",
        metavar="RUN|NAME@VERSION",
        help=(
            "a run directory, whose prior `export` then publishes; or a published version: its graphs "
            "and the prior become the next version"
        ),
    )
    _add_data(fit_prior)
    fit_prior.add_argument("--seed", type=int, metavar="N", help="replaces the recipe's evaluation.seed")
    fit_prior.add_argument(
        "--no-labels",
        dest="labels",
        action="store_false",
        help="fit one prior for all images, and none for single labels",
    )
    fit_prior.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        help=(
            "the output of `vae-train judge`: narrow each label's prior until the judge recognises that label"
        ),
    )
    fit_prior.add_argument(
        "--alias", metavar="ALIAS", help=("alias to move to the new version, such as stable")
    )
    _add_store(fit_prior)

    export = commands.add_parser(
        "export", help="publish a run's model in the model store", allow_abbrev=False
    )
    export.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    export.add_argument("--name", required=True, help="name of the model in the store")
    export.add_argument("--alias", metavar="ALIAS", help="alias to move to the new version, such as stable")
    _add_store(export)
    export.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help=(
            "images for the comparison of torch and onnxruntime; the version contains some of them. "
            "Default: the downloaded digits for a run on MNIST, otherwise images that the model draws"
        ),
    )
    export.add_argument(
        "--allow-collapsed",
        action="store_true",
        help="publish a model even if its latents carry no information about the image",
    )
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help=(
            "a folder with the IDX files of MNIST or a similar set, gzipped or plain; a folder or .zip "
            "of PNG, JPEG, WebP, TIFF, BMP or GIF files, with or without class folders; a .npz file with "
            "images and optional labels; or a .npy file with images. Default for MNIST recipes: MNIST, "
            "downloaded once"
        ),
    )


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", metavar="DIR", type=Path, help="replaces VAE_MODEL_STORE or your own store"
    )


def _add_measuring(command: argparse.ArgumentParser) -> None:
    """The options that `evaluate` and `compare` share."""
    command.add_argument(
        "--store", metavar="DIR", type=Path, help="replaces VAE_MODEL_STORE or your own store"
    )
    command.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        help="the output of `vae-train judge`: judges samples and reconstructions",
    )
    command.add_argument(
        "--importance-samples",
        type=int,
        metavar="K",
        help="replaces the recipe's evaluation.importance_samples",
    )
    command.add_argument(
        "--importance-images",
        type=_images,
        metavar="N|all",
        help="replaces the recipe's evaluation.importance_images",
    )
    command.add_argument("--seed", type=int, metavar="N", help="replaces the recipe's evaluation.seed")


def _images(text: str) -> int:
    """A number of images; a number above their count means all."""
    return _ALL_IMAGES if text == "all" else int(text)


def _exit_code_table() -> str:
    lines = ["exit codes:", "    0  done"]
    by_code: dict[int, list[str]] = {}
    by_code[EXIT_NOT_INSTALLED] = ["the trainer's libraries are not installed"]
    by_code[EXIT_BROKEN_PIPE] = ["the reader of standard output closed it; the command had finished"]
    for _, code, meaning in EXIT_CODES:
        meanings = by_code.setdefault(code, [])
        if meaning not in meanings:
            meanings.append(meaning)
    lines += [f"{code:>5}  {'; '.join(meanings)}" for code, meanings in sorted(by_code.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

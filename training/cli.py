"""`vae-train`: the command line of the trainer.

Knows arguments, exit codes and which module runs which command. Knows nothing of training: each
command lives in `training.commands` and is imported when it is asked for, so that `--help` and a
misspelt option need no torch.
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

#: Exit codes by the class that ends a command; the first match counts.
EXIT_CODES: tuple[tuple[type[BaseException], int, str], ...] = (
    (ConfigError, 2, "command line or recipe refused (nothing was started)"),
    (DataError, 65, "images missing, damaged or not what was expected"),
    (RunDirectoryError, 73, "run directory cannot be used as asked"),
    (NonFiniteTraining, 70, "training diverged; the last checkpoint is kept"),
    (PosteriorCollapse, 70, "the latents say nothing of the images; the last checkpoint is kept"),
    (ProcessLost, 71, "another process of the run ended or never came; the last checkpoint is kept"),
    (ExportError, 70, "exported graphs disagree with the model; nothing was published"),
    (TrainingInterrupted, 130, "stopped by Ctrl-C or SIGTERM; the state was saved"),
    (KeyboardInterrupt, 130, "stopped by Ctrl-C before anything was worth saving"),
    (WriteFailed, 74, "the disk is full or cannot be written"),
    (StoreWriteFailed, 74, "the disk is full or cannot be written"),
    (StoreError, 1, "the model store refused"),
    (TrainingError, 1, "anything else this package tells about"),
)

#: What a disk may answer where a library writes; `training.runs.writing` reports our own files.
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
    """Run one command and give its exit code."""
    return run_command("vae-train", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        command = importlib.import_module(f"training.commands.{arguments.command.replace('-', '_')}")
        code: int = command.run(arguments)
        return code
    except (TrainingError, StoreError, KeyboardInterrupt) as error:
        code = next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind))
        print(f"vae-train: {error or 'stopped before anything was worth saving'}", file=sys.stderr)
        return code
    except ModuleNotFoundError as error:
        # The server is installed without the trainer's libraries, but with its command.
        if (error.name or "").partition(".")[0] not in TRAINER_LIBRARIES:
            raise
        print(
            f"vae-train: expected the trainer's libraries, found no {error.name}: only the server is "
            "installed here. Install them by `make install-dev` in the source tree, or by "
            "`pip install 'vae-service[train]'`.",
            file=sys.stderr,
        )
        return EXIT_NOT_INSTALLED
    except OutputError:
        raise  # `run_command` reports it
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        print(
            f"vae-train: {error.filename or 'the disk'}: expected to be able to write, got: "
            f"{error.strerror}. Make room or choose another directory.",
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
        help="a recipe that comes with the package, or a path ending in .toml; may be left out with --resume",
    )
    _add_data(fit)
    fit.add_argument("--out", metavar="DIR", required=True, type=Path, help="the run directory")
    fit.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in --out; --set trainer.epochs=N trains a finished run longer",
    )
    fit.add_argument(
        "--start-from",
        metavar="VERSION",
        help="name, name@3 or name@alias of the store: begin with its weights, in place of the recipe's "
        "trainer.start_from",
    )
    _add_store(fit)
    fit.add_argument("--seed", type=int, metavar="N", help="in place of the recipe's trainer.seed")
    fit.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="replace one value of the recipe; may be given several times",
    )

    fit.add_argument(
        "--devices",
        type=int,
        metavar="N",
        default=1,
        help="processes on this machine, one a GPU (1 when left out)",
    )
    fit.add_argument(
        "--nodes",
        type=int,
        metavar="N",
        default=1,
        help="machines; each is given the same command, and MASTER_ADDR, MASTER_PORT and NODE_RANK in its "
        "environment (1 when left out)",
    )
    fit.add_argument(
        "--on-collapse",
        choices=("stop", "restart", "go-on"),
        default="restart",
        help="what to do when the latents say nothing of the images any more: end the run; begin it anew, "
        "once, with shorter steps and a slower KL term (when left out); or only warn",
    )
    fit.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="what computes; auto is a GPU where torch finds one",
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
        help="another data set of the same shape, in any form that --data takes: do bound and reconstruction "
        "error tell it from the model's own?",
    )
    evaluate.add_argument(
        "--second-model",
        metavar="RUN|VERSION",
        help="a model of that other data, to ask the same in the other direction",
    )
    evaluate.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="where report.html and report.json go; left out, the run's directory, or reports/NAME-VERSION",
    )
    evaluate.add_argument(
        "--figures-only",
        action="store_true",
        help="measure a run for its export, without a report",
    )

    compare = commands.add_parser(
        "compare", help="set runs and published versions side by side in one page", allow_abbrev=False
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
        "--out", metavar="DIR", type=Path, required=True, help="where compare.html and compare.json go"
    )

    judge = commands.add_parser(
        "judge",
        help="fit the classifier by which evaluate and compare judge drawn images",
        allow_abbrev=False,
    )
    _add_data(judge)
    judge.add_argument("--out", metavar="DIR", required=True, type=Path, help="a new directory for it")
    judge.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of weights, order and shifts (0 when left out)"
    )
    judge.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")

    fit_prior = commands.add_parser(
        "fit-prior",
        help="fit a prior to where the training images lie, of a run or of a published version",
        allow_abbrev=False,
    )
    fit_prior.add_argument(
        "model",
        metavar="RUN|NAME@VERSION",
        help="a run directory, where `export` then finds the prior; or a published version, whose graphs are "
        "published again as the next version, with the prior",
    )
    _add_data(fit_prior)
    fit_prior.add_argument("--seed", type=int, metavar="N", help="in place of the recipe's evaluation.seed")
    fit_prior.add_argument(
        "--no-labels",
        dest="labels",
        action="store_false",
        help="one prior for all images, and none for those of each label",
    )
    fit_prior.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        help="what `vae-train judge` wrote: narrow the priors of labels until it reads what was asked for",
    )
    fit_prior.add_argument("--alias", metavar="ALIAS", help="such as stable: point it at the new version")
    _add_store(fit_prior)

    export = commands.add_parser(
        "export", help="publish a run's model in the model store", allow_abbrev=False
    )
    export.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    export.add_argument("--name", required=True, help="of the model in the store")
    export.add_argument("--alias", metavar="ALIAS", help="such as stable: point it at the new version")
    _add_store(export)
    export.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help="images to compare torch and onnxruntime on, some of which the version then carries; left out, "
        "digits downloaded earlier for a run on MNIST, and else images that the model draws",
    )
    export.add_argument(
        "--allow-collapsed",
        action="store_true",
        help="publish a model even if its latents say nothing of the image",
    )
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help="a folder with the IDX files of MNIST or its like, gzipped or plain; a folder or .zip of PNG, "
        "JPEG, WebP, TIFF, BMP or GIF files, class by class or not; a .npz file with images and, if any, "
        "labels; or a .npy file with images. Left out, MNIST is downloaded once for recipes of it",
    )


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", metavar="DIR", type=Path, help="in place of VAE_MODEL_STORE or the bundled store"
    )


def _add_measuring(command: argparse.ArgumentParser) -> None:
    """What `evaluate` and `compare` are both asked."""
    command.add_argument(
        "--store", metavar="DIR", type=Path, help="in place of VAE_MODEL_STORE or the bundled store"
    )
    command.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        help="what `vae-train judge` wrote: judges samples and reconstructions",
    )
    command.add_argument(
        "--importance-samples",
        type=int,
        metavar="K",
        help="in place of the recipe's evaluation.importance_samples",
    )
    command.add_argument(
        "--importance-images",
        type=_images,
        metavar="N|all",
        help="in place of the recipe's evaluation.importance_images",
    )
    command.add_argument("--seed", type=int, metavar="N", help="in place of the recipe's evaluation.seed")


def _images(text: str) -> int:
    """A number of images; more than there are is all."""
    return _ALL_IMAGES if text == "all" else int(text)


def _exit_code_table() -> str:
    lines = ["exit codes:", "    0  done"]
    by_code: dict[int, list[str]] = {}
    by_code[EXIT_NOT_INSTALLED] = ["the trainer's libraries are not installed"]
    by_code[EXIT_BROKEN_PIPE] = ["the reader of standard output left; the work itself was finished"]
    for _, code, meaning in EXIT_CODES:
        meanings = by_code.setdefault(code, [])
        if meaning not in meanings:
            meanings.append(meaning)
    lines += [f"{code:>5}  {'; '.join(meanings)}" for code, meanings in sorted(by_code.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

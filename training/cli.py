"""`vae-train`: the command line of the trainer.

Knows exit codes and the module of each command; `training.commands.flags` knows the arguments. Knows nothing
of training: each command is a module of `training.commands`, imported on demand, so that `--help` and a
misspelt option need no torch.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import sys
from collections.abc import Sequence

from model_store import interrupts
from model_store.errors import StoreError, StoreWriteFailed
from model_store.help_format import Help
from model_store.release import add_version_flag
from model_store.standard_streams import EXIT_BROKEN_PIPE, OutputError, run_command
from training.commands.flags import CommandParser, add_commands
from training.errors import (
    ConfigError,
    DataError,
    ExportError,
    ForeignModelError,
    MissingLibrary,
    NonFiniteTraining,
    PosteriorCollapse,
    ProcessLost,
    RunDirectoryError,
    TrainingError,
    TrainingInterrupted,
    WriteFailed,
)

EXIT_NOT_INSTALLED = 69
#: Exit codes by the class of the error that ends a command; the first match counts.
EXIT_CODES: tuple[tuple[type[BaseException], int, str], ...] = (
    (ConfigError, 2, "command line or recipe refused (nothing was started)"),
    (DataError, 65, "images missing, damaged or not as expected"),
    (ForeignModelError, 65, "model of another library missing, damaged or not supported"),
    (MissingLibrary, EXIT_NOT_INSTALLED, "the library of an imported model is not installed"),
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
    (interrupts.Terminated, interrupts.EXIT_TERMINATED, "stopped by SIGTERM while no training ran"),
    (KeyboardInterrupt, interrupts.EXIT_INTERRUPTED, "stopped by Ctrl-C while no training ran"),
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
#: Modules of commands whose name is no name of a module.
_MODULES = {"import": "import_model"}
_END_OF_HELP = """\
`vae-train COMMAND --help` describes a command; `vae-train fit --help` lists the recipes.

example:
  $ vae-train fit --recipe quick --out runs/quick
  $ vae-train export runs/quick --name mine --alias stable
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_command("vae-train", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        name = _MODULES.get(arguments.command, arguments.command.replace("-", "_"))
        command = importlib.import_module(f"training.commands.{name}")
        interrupts.raise_errors()
        code: int = command.run(arguments)
        return code
    except Exception as error:
        # Libraries turn a stop into errors of their own, and we explain those: `run_command` finds it.
        is_stop = interrupts.stop_behind(error) is not None and not isinstance(error, TrainingInterrupted)
        told = None if is_stop else _told(error, as_json=getattr(arguments, "json", False))
        if told is None:
            raise
        return told


def _told(error: Exception, *, as_json: bool) -> int | None:
    """Print what a user can mend, and return the exit code; None if the error is none of these."""
    match error:
        case TrainingError() | StoreError():
            code = next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind))
            document = {"error": type(error).__name__, "message": str(error), "exit_code": code}
            print(json.dumps(document) if as_json else f"vae-train: {error}", file=sys.stderr)
            return code
        # The server is installed with this command, but without the trainer's libraries.
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] in TRAINER_LIBRARIES:
            print(
                f"vae-train: expected the trainer's libraries, found no {name}: only the server is "
                "installed. Install them with `make install-dev` in the source tree, or with `pip install "
                "'vae-service[train]'`.",
                file=sys.stderr,
            )
            return EXIT_NOT_INSTALLED
        case OutputError():
            return None  # `run_command` reports it
        case OSError() if error.errno in _OF_THE_DISK:
            print(
                f"vae-train: {error.filename or 'the disk'}: expected a writable file, got: "
                f"{error.strerror}. Make room or choose another directory.",
                file=sys.stderr,
            )
            return 74
        case _:
            return None


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, without torch."""
    parser = argparse.ArgumentParser(
        prog="vae-train",
        description="Train, evaluate and export variational autoencoders.",
        epilog=f"{_exit_code_table()}\n\n{_END_OF_HELP}",
        formatter_class=Help,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    add_commands(
        parser.add_subparsers(
            title="commands",
            dest="command",
            required=True,
            metavar="COMMAND",
            parser_class=CommandParser,
        )
    )
    return parser


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

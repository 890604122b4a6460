"""Which release of this project is installed, and the flag `--version` of its commands.

Knows the metadata of the installed package, with the version of pyproject.toml. Knows nothing of commands.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from typing import Any

from model_store.ownership import DISTRIBUTION, warning_of_shared_packages


def release() -> str:
    """The version of the installed package, such as `0.1.0`.

    Raises:
        importlib.metadata.PackageNotFoundError: The package runs from a source tree that is not installed.
    """
    return version(DISTRIBUTION)


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    """Adds `--version`, which prints the program's name and the release, and exits with 0."""
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")


class _PrintVersion(argparse.Action):
    """Unlike argparse's own, it reads the metadata when it is asked: that takes longer than a parser."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002
        values: Any,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Prints and ends the program."""
        sys.stdout.write(f"{parser.prog} {release()}\n")
        if warning := warning_of_shared_packages():
            sys.stderr.write(f"{parser.prog}: warning: {warning}\n")
        parser.exit()

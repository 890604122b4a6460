"""The command `vae-store import`.

Knows arguments and the output. Knows nothing of the checks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from model_store.cli_output import Answer
from model_store.errors import InvalidReference, quoted
from model_store.extra_command import ExtraCommand
from model_store.import_answer import answer_text
from model_store.import_options import Options, add_arguments, count, options_of, role
from model_store.reference import is_alias_name, is_model_name
from model_store.store import ModelStore


def run(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    """Check the graphs, and publish them unless `--check` is set.

    Raises:
        StoreError: The command line is wrong, a check failed, or the store cannot be written.
    """
    options = options_of(arguments)
    _check(arguments, options)
    # Only this command needs onnxruntime: the others start in a tenth of the time.
    from service.commands.importing.graph_files import read_source  # noqa: PLC0415
    from service.commands.importing.importer import prepare, publish  # noqa: PLC0415

    source = read_source(
        arguments.source, arguments.encoder, arguments.decoder, most_bytes=store.limits.graph_bytes
    )
    prepared = prepare(source, options)
    document: dict[str, Any] = {"version": None, "aliases": [], "checks": prepared.report.document}
    if options.check_only:
        return Answer(document, answer_text(document)), 0
    identity = publish(prepared, store, aliases=options.aliases)
    document |= {"version": str(identity), "aliases": list(options.aliases)}
    return Answer(document, answer_text(document)), 0


def _check(arguments: argparse.Namespace, options: Options) -> None:
    """The parts of a command line that exclude or need each other."""
    has_files = arguments.encoder is not None or arguments.decoder is not None
    if (arguments.source is not None) == has_files:
        raise InvalidReference(
            "import: expected a folder of Optimum, or --encoder and --decoder (or one of them), got "
            f"{'both' if has_files else 'neither'}. See 'vae-store import --help'."
        )
    if not is_model_name(options.name):
        raise InvalidReference(
            f"--name: expected lower-case letters, digits and hyphens, got {quoted(options.name)}."
        )
    for alias in options.aliases:
        if not is_alias_name(alias) or alias == "latest":
            raise InvalidReference(f"--alias: expected an alias such as stable, got {quoted(alias)}.")


def _add_arguments(parser: Any) -> None:
    """The graphs, and the choices."""
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="a folder that Optimum exported, with vae_encoder and vae_decoder; or name the files:",
    )
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="the ONNX file from images to latents")
    parser.add_argument("--decoder", type=Path, metavar="FILE", help="the ONNX file from latents to images")
    parser.add_argument(
        "--role",
        type=role,
        action="append",
        default=[],
        metavar="NAME=ROLE",
        help="what an output of the encoder is: mu, logvar, or moments for both in one",
    )
    parser.add_argument(
        "--channels", type=count, metavar="N", help="channels of images, where the graphs leave them open"
    )
    parser.add_argument(
        "--origin", metavar="TEXT", help="where the graphs came from (default: the names of the files)"
    )
    add_arguments(parser)


IMPORT: Final = ExtraCommand(
    name="import",
    text="publish ONNX graphs that were made elsewhere, after checking them",
    examples=(
        "vae-store import sd-onnx/ --name sd-vae --alias stable --licence MIT",
        "vae-store import --encoder e.onnx --decoder d.onnx --name mine --check",
    ),
    add_arguments=_add_arguments,
    run=run,
    makes_store=True,
)

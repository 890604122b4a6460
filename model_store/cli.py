"""`vae-store`: inspect a model store, add and remove versions, and move aliases.

Knows arguments, streams and exit codes; the table below lists all of these. `cli_output.py` formats the
output, `store.py` does the work.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from model_store import alias_commands, cli_output, interrupts
from model_store.adding import add_versions
from model_store.aliases import AliasTable
from model_store.cli_output import Answer
from model_store.default_store import open_store
from model_store.errors import (
    CorruptVersion,
    InvalidReference,
    MissingExtra,
    ModelNotFound,
    StoreError,
    StoreWriteFailed,
    UnreadableFile,
    UnusableKey,
    VersionInUse,
    VersionTaken,
    quoted,
)
from model_store.extra_command import ExtraCommand
from model_store.garbage import DEFAULT_OLDER_THAN_S
from model_store.help_format import Help
from model_store.location import BUNDLED, STORE_VARIABLE
from model_store.reference import ModelReference
from model_store.release import add_version_flag
from model_store.signature import TrustedKeys, read_key_file
from model_store.sources import Fetch, open_source
from model_store.standard_streams import OutputError, run_command
from model_store.store import ModelStore
from model_store.text_layout import terminal_width
from model_store.version_id import VersionId

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_CORRUPT = 65
EXIT_NOT_FOUND = 66
EXIT_NO_EXTRA = 72
EXIT_REFUSED = 73
EXIT_INPUT_OUTPUT = 74

_EXIT_CODES = """\
exit codes:
    0  done; for verify: everything is sound
    2  the command line is wrong, a name is no reference, or a key is unusable
   65  corrupt: a version or its aliases do not verify, or images cannot be used; nothing was changed
   66  no such store, model, version or alias
   72  the extra for signatures is not installed
   73  refused: an alias points to the version, or its number belongs to another version
   74  read or write failed: disk full, read-only, permissions, input/output error
  130  stopped by Ctrl-C
  141  the reader of standard output closed it, as head does
  143  stopped by SIGTERM
"""
_REFERENCES = (
    "A reference is NAME, NAME@VERSION or NAME@ALIAS; NAME alone means NAME@stable if that is set, otherwise "
    "the highest version."
)
_JSON = (
    "With --json, one document goes to standard output, and an error to standard error as "
    '{"error": CLASS, "message": TEXT, "exit_code": N}.'
)

_OWN_STORE = (
    "Without --store and VAE_MODEL_STORE the store is your own: vae-service/models in $XDG_DATA_HOME or in "
    "~/.local/share. Until it exists, commands read the bundled store, and the first change copies it there."
)

_EXAMPLES = {
    "list": ("vae-store list mnist --json",),
    "show": ("vae-store show mnist@stable",),
    "verify": ("vae-store verify mnist@3 mine@stable", "vae-store verify mine --key public.pem"),
    "sign": ("vae-store sign mine@stable --key private.pem",),
    "promote": ("vae-store promote mine@2 stable",),
    "rollback": ("vae-store rollback mine@stable",),
    "alias": ("vae-store alias mine@stable 4=95 5=5", "vae-store alias mine@stable"),
    "add": (
        f"vae-store add {BUNDLED} --store models",
        "vae-store add s3://bucket/models/mine@stable --alias stable",
    ),
    "remove": ("vae-store remove mine@1",),
    "history": ("vae-store history mine",),
    "gc": ("vae-store gc --keep 3 --dry-run",),
}

Command = Callable[[ModelStore, argparse.Namespace], tuple[Answer, int]]


def main(
    argv: Sequence[str] | None = None, *, fetch: Fetch | None = None, more: Sequence[ExtraCommand] = ()
) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The command line without the name of the program.
        fetch: Copies a store on object storage; None without a library for it.
        more: Commands that need more than this package.
    """
    return run_command("vae-store", lambda: _run(argv, fetch, more))


def _run(argv: Sequence[str] | None, fetch: Fetch | None, more: Sequence[ExtraCommand]) -> int:
    arguments = _parser(more).parse_args(argv)
    arguments.fetch = fetch
    as_json: bool = arguments.json
    interrupts.raise_errors()
    try:
        store = open_store(arguments.store, tell=_tell)
        if not arguments.makes_store:
            _refuse_absent(store)
        command: Command = arguments.command
        answer, exit_code = command(store, arguments)
        _say(json.dumps(answer.document, indent=2) if as_json else answer.text)
    except StoreError as error:
        if interrupts.stop_behind(error):
            raise  # `run_command` reports the stop
        exit_code = _exit_code(error)
        document = {"error": type(error).__name__, "message": str(error), "exit_code": exit_code}
        print(json.dumps(document) if as_json else f"vae-store: {error}", file=sys.stderr)
    return exit_code


def _say(text: str) -> None:
    """Write to standard output. A failure is reported like any other, with --json as a document."""
    try:
        print(text, flush=True)
    except OutputError as error:
        if error.reader_left:
            raise
        raise StoreWriteFailed(str(error), errno=error.errno) from error


def _exit_code(error: StoreError) -> int:
    """The table in `_EXIT_CODES`, by class."""
    for kind, code in (
        (InvalidReference, EXIT_USAGE),
        (UnusableKey, EXIT_USAGE),
        (MissingExtra, EXIT_NO_EXTRA),
        (ModelNotFound, EXIT_NOT_FOUND),
        (VersionInUse, EXIT_REFUSED),
        (VersionTaken, EXIT_REFUSED),
        (StoreWriteFailed, EXIT_INPUT_OUTPUT),
        (UnreadableFile, EXIT_INPUT_OUTPUT),
    ):
        if isinstance(error, kind):
            return code
    return EXIT_CORRUPT


def _tell(line: str) -> None:
    """A line for the person, on standard error: standard output may be a document."""
    print(f"vae-store: {line}", file=sys.stderr, flush=True)


def _refuse_absent(store: ModelStore) -> None:
    try:
        store.root.stat()
    except FileNotFoundError as error:
        raise ModelNotFound(
            f"{store.root}: expected a model store, found none. Check --store and {STORE_VARIABLE}; the "
            f"first 'vae-train export' into it creates it, and 'vae-store add {BUNDLED}' fills it with the "
            "bundled models."
        ) from error
    except OSError:
        pass  # reading it raises the error with the reason


def _list(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    if arguments.name is None:
        found = cli_output.listing(store, store.names(), unusable=store.unusable(), width=terminal_width())
        return found, EXIT_OK
    store.versions(arguments.name)  # raises if the model does not exist
    return cli_output.listing(store, [arguments.name], width=terminal_width()), EXIT_OK


def _show(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    model = store.open(arguments.reference)
    return cli_output.details(model, store.alias_entries(model.id.name), width=terminal_width()), EXIT_OK


def _verify(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    if arguments.key is not None:
        store.trust_only(TrustedKeys.from_file(arguments.key))
    found: dict[str, Sequence[CorruptVersion]] = {}
    for reference in arguments.references:
        try:
            identity = store.resolve(reference)
            found[str(identity)] = store.problems(identity)
        except CorruptVersion as error:
            found[reference] = (error,)
    if not arguments.references:
        for name in store.names():
            try:
                found |= _verify_model(store, name)
            except ModelNotFound:
                continue  # removed by another process
            except CorruptVersion as error:
                found[name] = (error,)
        found |= {name: (error,) for name, error in store.unusable().items()}
    failed = [error for errors in found.values() for error in errors]
    if failed and all(isinstance(error, UnreadableFile) for error in failed):
        return cli_output.verification(found, root=store.root), EXIT_INPUT_OUTPUT
    return cli_output.verification(found, root=store.root), EXIT_CORRUPT if failed else EXIT_OK


def _verify_model(store: ModelStore, name: str) -> dict[str, Sequence[CorruptVersion]]:
    """Every version of one model, and the model itself if it has a fault."""
    found: dict[str, Sequence[CorruptVersion]] = {}
    for number in store.versions(name):
        identity = VersionId(name, number)
        with suppress(ModelNotFound):  # collected by another process
            found[str(identity)] = store.problems(identity)
    if beside := store.model_problems(name):
        found[name] = beside
    return found


def _sign(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    from model_store.signing import sign_files  # noqa: PLC0415  (a part of an extra)

    password = arguments.password_file and read_key_file(arguments.password_file).rstrip(b"\r\n")
    model = store.open(arguments.reference)
    directory = store.root / model.id.name / str(model.id.version)
    signature = sign_files(directory, model.digests, key=arguments.key, password=password)
    store.attach(model.id, signature)
    return cli_output.signed(model.id, store.root), EXIT_OK


def _promote(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    return alias_commands.promote(store, arguments.reference, arguments.alias), EXIT_OK


def _rollback(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    return alias_commands.rollback(store, arguments.reference), EXIT_OK


def _alias(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    return alias_commands.share(store, arguments.reference, arguments.shares), EXIT_OK


def _add(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    with open_source(arguments.source, fetch=arguments.fetch, limits=store.limits) as source:
        result = add_versions(store, source, alias=arguments.alias, renumber=arguments.renumber)
    codes = {_exit_code(error) for _, error in result.refused}
    # Damage outranks a number that is taken: only the latter has a flag.
    code = next((code for code in (EXIT_CORRUPT, EXIT_INPUT_OUTPUT, EXIT_REFUSED) if code in codes), EXIT_OK)
    return cli_output.addition(result, store), code or (EXIT_NOT_FOUND if codes else EXIT_OK)


def _remove(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    reference = ModelReference.parse(arguments.reference)
    if reference.version is None:
        raise InvalidReference(
            f"remove: expected NAME@VERSION, got {quoted(str(reference))}: an alias may point to another "
            f"version soon. 'vae-store list {reference.name}' shows the numbers."
        )
    lost = store.remove(reference.name, reference.version, with_aliases=arguments.force)
    return cli_output.removed(VersionId(reference.name, reference.version), lost), EXIT_OK


def _history(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    name = arguments.name
    record = store.record(name)
    try:
        table, numbers = store.alias_table(name), store.versions(name)
    except ModelNotFound:
        table, numbers = AliasTable(), ()  # removed; its record is left
    return cli_output.history(store, name, record, table, numbers), EXIT_OK


def _gc(store: ModelStore, arguments: argparse.Namespace) -> tuple[Answer, int]:
    report = store.gc(
        keep=arguments.keep,
        older_than_s=0.0 if arguments.all else arguments.older_than,
        dry_run=arguments.dry_run,
    )
    return cli_output.collection(report), EXIT_OK


def _parser(more: Sequence[ExtraCommand] = ()) -> argparse.ArgumentParser:
    # SUPPRESS in the commands, so that --store and --json work on either side of the command's name.
    common = argparse.ArgumentParser(add_help=False)
    _add_common(common, store=argparse.SUPPRESS, as_json=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="vae-store",
        description="List published models, verify them, add and remove versions, and move aliases.",
        epilog=(
            f"{_EXIT_CODES}\n{_REFERENCES}\n\n{_JSON}\n\n{_OWN_STORE}\n\n"
            "`vae-store COMMAND --help` describes a command."
        ),
        formatter_class=Help,
    )
    _add_common(parser, store=None, as_json=False)
    add_version_flag(parser)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    examples = {**_EXAMPLES, **{each.name: each.examples for each in more}}

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            parents=[common],
            epilog=f"{_REFERENCES} Exit codes: see `vae-store --help`.{_example(examples[name])}",
            formatter_class=Help,
        )
        added.set_defaults(command=command, makes_store=command is _add)
        return added

    listing = add("list", _list, "every version with its aliases, from the manifests alone")
    listing.add_argument("name", metavar="NAME", nargs="?", help="only this model")
    show = add("show", _show, "description, figures and origin of one version, after verification")
    show.add_argument("reference", metavar="REFERENCE", help="NAME, NAME@VERSION or NAME@ALIAS")
    verify = add("verify", _verify, "check every byte and report every failure, not only the first")
    verify.add_argument("references", nargs="*", metavar="REFERENCE", help="default: the whole store")
    verify.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="also require a signature by one of the public keys in this PEM file (extra verify)",
    )
    sign = add("sign", _sign, "sign a version after verification, for servers that require a signature")
    sign.add_argument("reference", metavar="REFERENCE", help="the version")
    sign.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="private key as PEM (extra sign)"
    )
    sign.add_argument(
        "--password-file", type=Path, metavar="FILE", help="password of the private key, if it is encrypted"
    )
    promote = add("promote", _promote, "verify a version and point an alias to it")
    promote.add_argument("reference", metavar="REFERENCE", help="the version: NAME@VERSION or NAME@ALIAS")
    promote.add_argument("alias", metavar="ALIAS", help="such as stable; 'latest' moves automatically")
    rollback = add("rollback", _rollback, "point an alias to its previous version")
    rollback.add_argument("reference", metavar="NAME@ALIAS", help="NAME alone means NAME@stable")
    alias = add("alias", _alias, "split an alias between two versions by their shares, or print its versions")
    alias.add_argument("reference", metavar="NAME@ALIAS", help="NAME alone means NAME@stable")
    alias.add_argument(
        "shares",
        nargs="*",
        metavar="VERSION=PERCENT",
        help="two versions with shares that add up to 100, such as 4=95 5=5; or one version for all requests",
    )
    adding = add("add", _add, "copy versions of another store, or the bundled ones, under their own numbers")
    adding.add_argument(
        "source",
        metavar="SOURCE",
        help=(
            f"{BUNDLED}, a store's directory, or an address such as s3://bucket/prefix; followed by /NAME, "
            "/NAME@VERSION or /NAME@ALIAS for some of it; or one version's directory"
        ),
    )
    adding.add_argument(
        "--alias",
        metavar="ALIAS",
        help="then point ALIAS to the version that it names in the source; without it no alias moves",
    )
    adding.add_argument(
        "--renumber",
        action="store_true",
        help="use the next free number for a version whose own number belongs to another version here",
    )
    removing = add("remove", _remove, "remove one version; its number is never used again")
    removing.add_argument("reference", metavar="NAME@VERSION", help="the version")
    removing.add_argument(
        "--force", action="store_true", help="also if aliases point to it, and remove these aliases"
    )
    history = add(
        "history", _history, "publications, additions, promotions, rollbacks and removals with time"
    )
    history.add_argument("name", metavar="NAME", help="the model")
    collect = add(
        "gc", _gc, "remove leftovers of crashed publishers; with --keep, also old versions without an alias"
    )
    collect.add_argument(
        "--keep",
        type=_count,
        metavar="N",
        help="remove versions without an alias, except the newest N of each model (default: remove none)",
    )
    collect.add_argument(
        "--older-than",
        type=_seconds,
        default=DEFAULT_OLDER_THAN_S,
        metavar="SECONDS",
        help="keep leftovers younger than this (default %(default)g)",
    )
    collect.add_argument("--all", action="store_true", help="remove leftovers of any age")
    collect.add_argument("--dry-run", action="store_true", help="report, and remove nothing")
    for each in more:
        added = add(each.name, each.run, each.text)
        added.set_defaults(makes_store=each.makes_store)
        each.add_arguments(added)
    return parser


def _example(examples: Sequence[str]) -> str:
    lines = "".join(f"\n  $ {example}" for example in examples)
    return f"\n\nexample{'s' if len(examples) > 1 else ''}:{lines}"


def _add_common(parser: argparse.ArgumentParser, *, store: object, as_json: object) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=store,
        metavar="DIR",
        help=f"the store's directory (default: {STORE_VARIABLE}, or else your own; see 'vae-store --help')",
    )
    parser.add_argument(
        "--json", action="store_true", default=as_json, help="print one JSON document instead of text"
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {quoted(text)}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to 1e9, got {quoted(text)}")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""`vae-serve run | check | openapi | limits | healthcheck | key | bench`.

Knows exit codes and output for people; the table `_EXIT_CODES` lists all codes. `service.commands.flags`
knows the flags. Other modules do the work, and are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from model_store import interrupts
from model_store.echo import did_you_mean, echo
from model_store.help_format import Help
from model_store.release import add_version_flag
from model_store.standard_streams import OutputError, run_command
from model_store.text_layout import terminal_width
from service.commands.flags import add_server_commands
from service.process.worker import WorkerPlace
from service.security.api_keys import Scope, new_key
from service.settings import (
    ExtraNotInstalled,
    NoAccelerator,
    Settings,
    SettingsError,
    describe_settings,
    ignored_variables,
    load_settings,
)

EXIT_NOT_HEALTHY = 1
EXIT_USAGE = 2
EXIT_CORRUPT_STORE = 65
EXIT_NO_MODEL = 66
EXIT_ADDRESS = 69
EXIT_NO_ACCELERATOR = 71
EXIT_NO_EXTRA = 72
EXIT_SETTINGS = 78
_EXIT_CODE_OF = {ExtraNotInstalled: EXIT_NO_EXTRA, NoAccelerator: EXIT_NO_ACCELERATOR}

_log = logging.getLogger(__name__)
_NO_BENCH = (
    "vae-serve bench: not part of the server's image. Install it where the load is to come from "
    "(pip install vae-service), and run it there."
)
_EXIT_CODES = """\
exit codes:
    0  done
    1  not healthy, or a request of bench failed
    2  wrong usage
   65  the store is corrupt
   66  the store has no model to serve
   69  the server cannot listen on the address, or bench reaches no server
   71  models cannot run on the accelerator, or in the precision, of the settings
   72  the extra for gRPC or for signatures is not installed
   74  the output cannot be written
   75  the figures of bench never agreed
   78  a setting is invalid, or several workers have no directory to share
  130  Ctrl-C, except in a server that serves: it ends with 0
  141  the reader of the output closed it
  143  SIGTERM, except in a server: it ends with 0

`vae-serve COMMAND --help` describes a command.

examples:
  $ vae-serve run
  $ curl http://127.0.0.1:8000/sample.txt
"""


def main(argv: Sequence[str] | None = None, *, place: WorkerPlace | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The command line without the name of the program.
        place: For one of several workers, the handover of its supervisor.
    """
    started_s = time.perf_counter()
    return run_command("vae-serve", lambda: _command(argv, started_s, place))


def _command(argv: Sequence[str] | None, started_s: float, place: WorkerPlace | None) -> int:
    parser = _parser()
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["bench"] and not _has_bench():
        print(_NO_BENCH, file=sys.stderr)
        return EXIT_USAGE
    arguments = _parse(parser, given)
    if arguments.command == "key":
        return _key(scope=arguments.scope, label=arguments.label)
    if arguments.command == "bench":
        return _bench(arguments)
    return _with_settings(arguments, given, started_s, place)


def _with_settings(
    arguments: argparse.Namespace, given: Sequence[str], started_s: float, place: WorkerPlace | None
) -> int:
    """Run a command that needs settings: every command except `key` and `bench`."""
    fields = {d.field for d in describe_settings()}
    overrides = {
        name: value for name, value in vars(arguments).items() if name in fields and value is not None
    }
    try:
        settings = load_settings(overrides)
    except SettingsError as error:
        print(f"vae-serve: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    try:
        if arguments.command == "run":
            alone = settings.workers == 1 or place is not None
            return _run(settings, started_s, place) if alone else _supervise(settings, given)
        _leave_shared_metrics()
        if arguments.command == "healthcheck":
            return _healthcheck(settings, timeout_s=arguments.timeout_s)
        return {"check": _check, "openapi": _openapi, "limits": _limits}[arguments.command](settings)
    except SettingsError as error:
        print(f"vae-serve: {error}", file=sys.stderr)
        return _EXIT_CODE_OF.get(type(error), EXIT_SETTINGS)


def _leave_shared_metrics() -> None:
    """A process without workers shares no metrics: ignore the directory in its environment.

    Call it before the import of prometheus_client, which reads these variables.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)


def _supervise(settings: Settings, given: Sequence[str]) -> int:
    from service.observability.logs import configure_logging  # noqa: PLC0415
    from service.process.shared_files import NoDirectoryError  # noqa: PLC0415
    from service.process.sockets import AddressError  # noqa: PLC0415
    from service.process.supervisor import Supervisor  # noqa: PLC0415

    configure_logging(log_format=settings.log_format, level=settings.log_level)
    _log_ignored_variables()
    _log_shared_packages()
    try:
        code = Supervisor(settings, given).run()
    except AddressError as error:
        print(f"vae-serve: {error}", file=sys.stderr)
        return EXIT_ADDRESS
    except NoDirectoryError as error:
        print(f"vae-serve: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    if code == interrupts.EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _run(settings: Settings, started_s: float, place: WorkerPlace | None) -> int:
    if place is None:
        _leave_shared_metrics()
    from service.app import create_app  # noqa: PLC0415  (onnxruntime takes longer to import than --help may)
    from service.observability.logs import configure_logging  # noqa: PLC0415
    from service.observability.metrics import share_as  # noqa: PLC0415
    from service.process.server import serve, thread_budget  # noqa: PLC0415
    from service.process.sockets import AddressError  # noqa: PLC0415

    worker = None if place is None else place.number
    configure_logging(log_format=settings.log_format, level=settings.log_level, worker=worker)
    if place is None:
        _log_ignored_variables()
        _log_shared_packages()
    budget = thread_budget(settings, place)
    settings = settings.model_copy(update={"threads": budget.threads})
    if worker is not None:
        share_as(worker)
    app = create_app(settings, reload_siblings=place.reload_siblings if place else None)
    try:
        serve(app, settings, budget=budget, started_s=started_s, place=place)
    except AddressError as error:
        print(f"vae-serve: {error}", file=sys.stderr)
        return EXIT_ADDRESS
    return 0


def _log_ignored_variables() -> None:
    """Log the ignored variables in one line, in case the operator meant one of them as a setting."""
    from service.log_fields import fields  # noqa: PLC0415

    if links := ignored_variables():
        _log.info(
            "variables of service links ignored",
            extra=fields(
                variables=",".join(links)[:400],
                count=len(links),
                remedy=(
                    "Kubernetes or docker --link added them for a service of this name. Set "
                    "enableServiceLinks: false to remove them."
                ),
            ),
        )


def _log_shared_packages() -> None:
    """Log the distributions that overwrite files of this one, in an environment that is not its own."""
    from model_store.ownership import warning_of_shared_packages  # noqa: PLC0415
    from service.log_fields import fields  # noqa: PLC0415

    if warning := warning_of_shared_packages():
        _log.warning("packages of another distribution", extra=fields(reason=warning))


def _check(settings: Settings) -> int:
    """Verify every version in the store and run its golden vectors, as a start does, without serving."""
    from model_store import ModelNotFound, StoreError  # noqa: PLC0415
    from model_store.ownership import warning_of_shared_packages  # noqa: PLC0415
    from service.app import create_app  # noqa: PLC0415
    from service.app_state import AppState  # noqa: PLC0415
    from service.engine import EngineError  # noqa: PLC0415
    from service.observability.logs import configure_logging  # noqa: PLC0415

    interrupts.raise_errors()
    configure_logging(log_format="text", level="critical")
    if warning := warning_of_shared_packages():
        print(f"warning: {warning}", file=sys.stderr)
    app_state: AppState = create_app(settings).state.app_state
    registry, store = app_state.registry, app_state.store
    print(f"store {app_state.store_root}")
    app_state.load_all()
    absent: set[str] = set()
    try:
        store.resolve(registry.default)
    except ModelNotFound:
        absent = {registry.default}  # reported as refused, but nothing is corrupt
    except StoreError:
        pass  # `failures` reports it
    corrupt = False
    for failure in app_state.failures():
        print(f"refused {failure.model}: {failure.reason}", file=sys.stderr)
        corrupt = corrupt or failure.model not in absent
    for entry in app_state.ignored():
        print(f"ignored {entry.model}: {entry.reason}", file=sys.stderr)
    told = {failure.model for failure in app_state.failures()}
    labels: list[str] = []
    with contextlib.suppress(StoreError, OSError):  # `failures` reports what cannot be listed
        for name in store.names():
            with contextlib.suppress(StoreError, OSError):
                labels += [f"{name}@{version}" for version in store.versions(name)]
    for label in labels:
        try:
            model = registry.get(label)
        except EngineError as error:
            corrupt = True
            if label not in told:
                print(f"refused {label}: {error}", file=sys.stderr)
        else:
            aliases = f" ({', '.join(model.aliases)})" if model.aliases else ""
            print(f"ok {label}{aliases}: digests and golden vectors agree")
    if settings.grpc_port is not None:
        print(f"gRPC: ready to listen on {settings.host}:{settings.grpc_port}")
    readiness = registry.readiness()
    print(f"{'ready' if readiness.ready else 'not ready'}: {readiness.reason} {readiness.remedy}".rstrip())
    if corrupt:
        return EXIT_CORRUPT_STORE
    return 0 if readiness.ready else EXIT_NO_MODEL


def _openapi(settings: Settings) -> int:
    """Print the document, with examples for the default model if it exists."""
    from service.app import create_app  # noqa: PLC0415
    from service.observability.logs import configure_logging  # noqa: PLC0415

    interrupts.raise_errors()
    configure_logging(log_format="text", level="critical")
    app = create_app(settings)
    app.state.app_state.load_all()
    print(json.dumps(app.openapi(), indent=2, ensure_ascii=False), flush=True)
    return 0


def _limits(settings: Settings) -> int:
    """Print the table of docs/reference/limits.md and of GET /limits for these settings."""
    from service.api.operators.limits_table import (  # noqa: PLC0415
        limit_table,
        table_markdown,
        table_text,
    )

    table, width = limit_table(settings), terminal_width()
    text = table_markdown(table) if width is None else table_text(table, width=width)
    print(text, end="", flush=True)
    return 0


def _key(*, scope: Scope, label: str | None) -> int:
    """Print the line for the key file on standard output, and the key itself once on standard error."""
    try:
        key, entry = new_key(scope, label)
    except ValueError as error:
        print(f"vae-serve: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"# The key, shown once and stored nowhere: {key}", file=sys.stderr)
    print(f"# Clients send it as:  Authorization: Bearer {key}", file=sys.stderr)
    print(
        "# The line for the file of VAE_API_KEYS_FILE or --api-keys-file:",
        file=sys.stderr,
        flush=True,
    )
    print(entry.line, flush=True)
    return 0


def _has_bench() -> bool:
    """Whether `service.bench` is installed; the image leaves it out."""
    return importlib.util.find_spec("service.bench") is not None


def _bench(arguments: argparse.Namespace) -> int:
    """Send load to a server. It reads no settings, because any server may be measured."""
    from service.bench.cli import run_bench  # noqa: PLC0415

    interrupts.raise_errors()
    return run_bench(arguments)


def _healthcheck(settings: Settings, *, timeout_s: float) -> int:
    """Request /readyz of the server on this machine; for containers, which have no curl."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read(64 * 1024))
        said = body.get("reason") or body.get("detail") or body.get("status")
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        print(f"not healthy: {host}:{settings.port}: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_NOT_HEALTHY
    finally:
        connection.close()
    if answer.status == 200:
        try:
            print(f"healthy: {said}", flush=True)
        except OutputError as error:
            error.matters = False
        return 0
    print(f"not healthy: {answer.status}: {said}", file=sys.stderr)
    return EXIT_NOT_HEALTHY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vae-serve",
        description="Serve variational autoencoders over HTTP.",
        epilog=_EXIT_CODES,
        formatter_class=Help,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    add_server_commands(commands)
    if _has_bench():
        from service.bench.flags import add_bench_command  # noqa: PLC0415

        add_bench_command(commands)
    return parser


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Reject unknown flags and suggest the nearest one."""
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse(parser, unknown[0])
    return arguments


def _refuse(parser: argparse.ArgumentParser, unknown: str) -> NoReturn:
    flags = [setting.flag for setting in describe_settings()]
    flag = unknown.partition("=")[0]
    parser.error(f"unknown argument {echo(flag)}. {did_you_mean(flag, flags)}".rstrip())

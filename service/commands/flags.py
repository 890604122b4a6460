"""The flags of `vae-serve`, and their help: groups of settings, and which command each of them acts on.

Knows argparse, the descriptions of the settings and the names of the commands. Knows nothing of what a
command does. Imports no runtime, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin

from model_store.help_format import Help
from service.security.api_keys import LABEL_RULE, SCOPES
from service.settings import SettingDescription, Settings, describe_settings

_LIMITS_OF_A_REQUEST: Final = (
    "max_images",
    "max_values",
    "max_run_pixels",
    "max_json_values",
    "max_stream_images",
    "max_stream_values",
    "max_score_draws",
    "max_png_pixels",
    "max_picture_pixels",
    "max_body_bytes",
    "request_timeout_s",
)
_LIMITS_OF_THE_SERVER: Final = (
    "max_queue_images",
    "max_queue_values",
    "max_buffered_bytes",
    "max_connections",
    "max_grpc_calls",
    "max_loaded_models",
    "model_idle_s",
    "receipt_timeout_s",
    "keep_alive_s",
    "shutdown_grace_s",
)
#: The settings in the order of the help, by the title of their group.
GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "models": (
        "model_store",
        "default_model",
        "served_name",
        "require_signature",
        "store_poll_s",
        "store_cache",
        "store_copy_s",
    ),
    "address and processes": ("host", "port", "workers", "threads", "drain_delay_s"),
    "accelerator": ("accelerator", "accelerator_device", "accelerator_memory_bytes", "precision"),
    "protocols and compression": ("open_inference", "grpc_port", "remote_vae", "compression"),
    "proxies and browsers": ("root_path", "trusted_proxies", "allowed_hosts", "cors_origins", "playground"),
    "access": ("api_keys_file", "admin"),
    "limits of a request": _LIMITS_OF_A_REQUEST,
    "limits of the server": _LIMITS_OF_THE_SERVER,
    "log and telemetry": ("log_format", "log_level", "access_log", "telemetry"),
}
#: A setting of no group; a test keeps it empty.
OTHERS: Final = "other settings"
#: The settings that change the result of a command other than `run`. The other flags are accepted as well,
#: so that the flags of a server can be checked as they are.
ACTING: Final[Mapping[str, Collection[str]]] = {
    "check": (
        "model_store",
        "store_cache",
        "default_model",
        "served_name",
        "require_signature",
        "host",
        "grpc_port",
        "threads",
        "accelerator",
        "accelerator_device",
        "accelerator_memory_bytes",
        "precision",
        "max_loaded_models",
        "api_keys_file",
    ),
    "openapi": (
        "model_store",
        "store_cache",
        "default_model",
        "open_inference",
        "remote_vae",
        "root_path",
        "allowed_hosts",
        "api_keys_file",
        *_LIMITS_OF_A_REQUEST,
        *_LIMITS_OF_THE_SERVER,
    ),
    "limits": (*_LIMITS_OF_A_REQUEST, *_LIMITS_OF_THE_SERVER),
    "healthcheck": ("host", "port"),
}
_EVERY_FLAG: Final = "Every flag of `vae-serve run` is accepted; these change the result."
_SUMMARIES: Final = {
    "run": (
        "serve until SIGTERM or Ctrl-C",
        "A flag wins over its environment variable.",
    ),
    "check": (
        "verify the store and run every model's golden vectors, without serving",
        f"An unusable value of any setting is reported too. {_EVERY_FLAG}",
    ),
    "openapi": ("print the OpenAPI document", f"{_EVERY_FLAG}"),
    "limits": ("print every limit with its value, as a table", f"{_EVERY_FLAG}"),
    "healthcheck": ("check /readyz of the server on this machine", f"{_EVERY_FLAG}"),
}
_EXAMPLES: Final = {
    "run": (
        "$ vae-serve run --port 9000",
        "$ vae-serve run --store models --default-model mine@stable --workers 4",
    ),
    "check": ("$ vae-serve check --store models",),
    "openapi": ("$ vae-serve openapi > openapi.json",),
    "limits": ("$ vae-serve limits --max-images 16",),
    "healthcheck": ("$ vae-serve healthcheck --port 9000 --timeout-s 1",),
    "key": ("$ (umask 077; vae-serve key --label phone-app >> api-keys)",),
}
_SEE_EXIT_CODES: Final = "Exit codes: see `vae-serve --help`."
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


def add_server_commands(commands: Any) -> None:
    """Add every command except `bench`, which the server's image leaves out."""
    for name, (summary, more) in _SUMMARIES.items():
        command: argparse.ArgumentParser = commands.add_parser(
            name,
            help=summary,
            usage=None if name == "healthcheck" else "%(prog)s [OPTION ...]",
            description=f"{summary[0].upper()}{summary[1:]}. {more}",
            epilog=examples(
                _EXAMPLES[name], "" if name != "run" else "--help-all gives the reason of each. "
            ),
            formatter_class=Help,
            allow_abbrev=False,
        )
        if name == "run":
            command.add_argument(
                "--help-all", action=_HelpAll, nargs=0, help="as --help, with the reason of every setting"
            )
        if name == "healthcheck":
            command.add_argument(
                "--timeout-s", type=float, default=3.0, metavar="SECONDS", help="how long to wait (default 3)"
            )
        _add_settings(command, acting=ACTING.get(name))
    _add_key_command(commands)


def examples(commands: Sequence[str], before: str = "") -> str:
    """The end of a command's help."""
    lines = "\n".join(f"  {command}" for command in commands)
    return f"{before}{_SEE_EXIT_CODES}\n\nexample{'s' if len(commands) > 1 else ''}:\n{lines}"


def _add_key_command(commands: Any) -> None:
    command: argparse.ArgumentParser = commands.add_parser(
        "key",
        help="make an API key and the line for the key file",
        description="Make an API key: the line for the file on standard output, the key on standard error.",
        epilog=examples(_EXAMPLES["key"]),
        formatter_class=Help,
        allow_abbrev=False,
    )
    command.add_argument(
        "--scope",
        choices=SCOPES,
        default="use",
        help="use: everything except administration (default); admin: everything",
    )
    command.add_argument("--label", metavar="NAME", help=f"owner of the key, for the log: {LABEL_RULE}")


def _add_settings(
    command: argparse.ArgumentParser, *, acting: Collection[str] | None, with_reasons: bool = False
) -> None:
    """One flag per setting. Values stay text: the settings class alone validates them.

    Args:
        command: The parser.
        acting: The settings to show; None is all of them.
        with_reasons: Show the whole reason, and not only its first sentence.
    """
    described = {setting.field: setting for setting in describe_settings()}
    for title, names in _groups(described):
        shown = [name for name in names if acting is None or name in acting]
        group = command.add_argument_group(title if shown else None)
        for name in names:
            setting = described[name]
            text = _reason(setting) if with_reasons else short_help(setting)
            group.add_argument(
                setting.flag,
                dest=name,
                metavar=metavar(setting),
                help=text.replace("%", "%%") if name in shown else argparse.SUPPRESS,
            )


def _groups(described: Mapping[str, SettingDescription]) -> Iterator[tuple[str, Sequence[str]]]:
    grouped = {name for names in GROUPS.values() for name in names}
    yield from GROUPS.items()
    if others := [name for name in described if name not in grouped]:
        yield OTHERS, others


def short_help(setting: SettingDescription) -> str:
    """The first sentence of the reason, the default and the variable."""
    first = _SENTENCE_END.split(setting.reason)[0].removesuffix(".")
    default = _default(setting)
    return f"{first}. Default: {default}. [{setting.variable}]"


def _default(setting: SettingDescription) -> str:
    """The default; for a setting that may be left out, the meaning of that."""
    for sentence in _SENTENCE_END.split(setting.reason):
        if sentence.startswith("Left out: ") and setting.default in ("", "left out"):
            return sentence.removeprefix("Left out: ").removesuffix(".").partition(",")[0]
    return setting.default or "empty"


def _reason(setting: SettingDescription) -> str:
    return (
        f"{setting.variable}   unit: {setting.unit}   default: {setting.default or 'empty'}\n{setting.reason}"
    )


def metavar(setting: SettingDescription) -> str:
    """The values of a choice, such as `auto|text|json`, or the unit in capitals."""
    annotation = Settings.model_fields[setting.field].annotation
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if bool in (annotation, *get_args(annotation)):
        return "true|false"
    if setting.field == "default_model":
        return "MODEL"
    kinds = setting.unit.partition(",")[0].split(" | ")
    return "|".join(kind.rpartition(" ")[2].upper() for kind in kinds)


class _HelpAll(argparse.Action):
    """Prints the help of `run` with the whole reason of every setting, and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002
        values: Any,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Prints and ends."""
        whole = argparse.ArgumentParser(
            prog=parser.prog,
            usage=parser.usage,
            description=parser.description,
            epilog=_SEE_EXIT_CODES,
            formatter_class=Help,
        )
        _add_settings(whole, acting=None, with_reasons=True)
        whole.print_help()
        parser.exit()

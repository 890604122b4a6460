"""The three command lines as tables: commands, flags and exit codes, from their parsers.

Knows argparse, whose parsers have no public way to be read. Knows nothing of what a command does.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from documents.tables import table
from model_store.cli import _parser as store_parser
from service.cli import _parser as serve_parser
from service.commands.runtime_commands import COMMANDS
from service.settings import describe_settings
from training.cli import build_parser as train_parser

_SETTINGS: Final = {setting.field for setting in describe_settings()}
_PARSERS: Final[Mapping[str, Callable[[], argparse.ArgumentParser]]] = {
    "vae-serve": serve_parser,
    "vae-store": partial(store_parser, COMMANDS),
    "vae-train": train_parser,
}


#: Of every parser, and the list of commands.
_WITHOUT_ROW: Final = ("-h", "--version")


def parser_of(program: str) -> argparse.ArgumentParser:
    """The parser of one of the three programs."""
    return _PARSERS[program]()


def program(name: str) -> str:
    """Every command of a program with its arguments."""
    parser = parser_of(name)
    common = {action.dest for action in parser._actions}
    parts = [f"Before or after the command:\n\n{own}"] if (own := _arguments(parser, set())) else []
    for command, summary, inner in _commands(parser):
        parts.append(f"### `{name} {command}`\n\n{_sentence(summary)}\n")
        if arguments := _arguments(inner, common):
            parts.append(arguments)
        if acting := _settings(inner):
            parts.append(acting)
    return "\n".join(parts)


def exit_codes() -> str:
    """What each code means, by program."""
    found = {name: _exit_codes(parser_of(name).epilog or "") for name in _PARSERS}
    codes = sorted({code for meanings in found.values() for code in meanings})
    rows = [(f"{code}", *(meanings.get(code, "") for meanings in found.values())) for code in codes]
    return table(("code", *(f"`{name}`" for name in found)), rows)


def _exit_codes(epilog: str) -> dict[int, str]:
    """From the end of `--help`: a line for each code, or one sentence with semicolons."""
    by_line = re.findall(r"^ +(\d+) +(\S.*)$", epilog, re.MULTILINE)
    text = " ".join(epilog.split()).partition("exit codes: ")[2].rstrip(".")
    by_sentence = re.findall(r"(?:^|; )(\d+) ([^;]+)", text)
    return {int(code): meaning for code, meaning in by_line or by_sentence}


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {each.dest: each.help or "" for each in action._choices_actions}
            for name, inner in action.choices.items():
                yield name, summaries[name], inner


def _arguments(parser: argparse.ArgumentParser, known: set[str]) -> str:
    """The arguments of a parser, without the server's settings and those of `known`."""
    known = known | (_SETTINGS if _is_of_server(parser) else set())
    rows = [
        (f"`{_shown(action)}`", _sentence(parser._get_formatter()._expand_help(action)))
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction)
        and not set(_WITHOUT_ROW) & set(action.option_strings)
        and action.dest not in known
    ]
    return table(("argument", "meaning"), rows)


def _is_of_server(parser: argparse.ArgumentParser) -> bool:
    """`bench` has a flag of the name of a setting, and no settings."""
    return any(action.dest == "cors_origins" for action in parser._actions)


def _settings(parser: argparse.ArgumentParser) -> str:
    """The settings that act on a command of the server, in one line."""
    shown = [
        action.option_strings[0]
        for action in parser._actions
        if action.dest in _SETTINGS and action.option_strings and action.help != argparse.SUPPRESS
    ]
    if not _is_of_server(parser):
        return ""
    if len(shown) == len(_SETTINGS):
        return "Every [setting](settings.md) is a flag of this command.\n"
    flags = ", ".join(f"`{flag}`" for flag in shown)
    return f"Of the [settings](settings.md), these change the result: {flags}. All others are accepted too.\n"


def _shown(action: argparse.Action) -> str:
    """`--keep N`, `REFERENCE ...`."""
    flags = ", ".join(action.option_strings)
    if action.nargs == 0:
        return flags
    value: Any = action.metavar
    if value is None:
        value = "|".join(str(each) for each in action.choices) if action.choices else action.dest.upper()
    many = " ..." if action.nargs in ("*", "+") else ""
    return f"{flags} {value}{many}".strip()


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."

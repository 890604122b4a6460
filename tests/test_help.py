"""`--help` of every command of the three programs, as a person reads it on a terminal of 80 columns."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from documents.commands import _PARSERS, parser_of
from patience import PATIENCE_S

from service.api.operators.limits_table import limit_table
from service.app import create_app
from service.commands.flags import ACTING, GROUPS, OTHERS, metavar, short_help
from service.settings import Settings, describe_settings
from training.config.reading import load_recipe, recipe_names
from training.config.recipe_list import recipe_summaries
from training.judge.fitting import EPOCHS

PROGRAMS = tuple(_PARSERS)
#: Valid values that differ from the defaults, for settings whose value decides what a command prints.
OTHER_VALUES = {
    "allowed_hosts": "vae.example",
    "default_model": "plain",
    "served_name": "other",
    "accelerator_memory_bytes": 16_777_216,
    "root_path": "/vae",
    "host": "0.0.0.0",
    "log_format": "json",
    "log_level": "debug",
    "access_log": "errors",
    "compression": "false",
    "open_inference": "false",
    "remote_vae": "false",
    "playground": "false",
    "admin": "true",
    "cors_origins": "https://a.example",
    "trusted_proxies": "10.0.0.0/8",
}


def commands_of(program: str) -> dict[str, argparse.ArgumentParser]:
    for action in parser_of(program)._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError(f"{program} has no commands")


def helps() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for program in PROGRAMS:
        yield program, parser_of(program)
        for name, parser in commands_of(program).items():
            yield f"{program} {name}", parser


def shown_in(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.help != argparse.SUPPRESS]


NAMES = [name for name, _ in helps()]


@pytest.fixture
def helps_at(monkeypatch: pytest.MonkeyPatch):
    """The help of a command on a terminal of so many columns."""

    def at(name: str, columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        return dict(helps())[name].format_help()

    return at


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wider_than_the_terminal(name: str, helps_at) -> None:
    text = helps_at(name, 80)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text == text.rstrip() + "\n", "an end of empty lines"
    # A command to copy is not broken, and no word is.
    narrow = [line for line in helps_at(name, 60).splitlines() if len(line) > 60]
    words = [line.strip() for line in narrow if not line.startswith("  $ ")]
    assert [word for word in words if " " in word and not word.startswith("[--")] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_a_help_and_a_name_for_its_value(name: str) -> None:
    for action in shown_in(dict(helps())[name]):
        if isinstance(action, argparse._SubParsersAction):
            assert all(each.help for each in action._choices_actions)
            continue
        assert action.help, action.dest
        assert not action.help[:1].isspace()
        if action.nargs == 0 or action.choices:
            continue
        assert action.metavar, f"{action.dest} has no name for its value"
        assert str(action.metavar).strip("[]") == str(action.metavar), "brackets break the usage"


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_finished_sentences_of_plain_words(name: str, helps_at) -> None:
    text = helps_at(name, 80)
    assert "%%" not in text
    assert "%(" not in text
    assert "default: None" not in text
    assert not re.search(r"\b(\w+) \1\b", text.replace("NAME NAME", "")), "a word twice"
    parser = dict(helps())[name]
    assert parser.description
    assert parser.description.rstrip().endswith(".")
    assert "exit codes" in text.lower()


@pytest.mark.parametrize("name", [name for name in NAMES if " " in name])
def test_every_command_shows_an_example_that_its_parser_accepts(name: str, helps_at) -> None:
    examples = re.findall(r"^  \$ (.*)$", helps_at(name, 200), re.MULTILINE)
    assert examples, "no example"
    program, command = name.split()
    for example in examples:
        words = re.sub(r"^\(umask 077; | >> .*| > .*|\)$", "", example).split()
        assert words[:2] == [program, command]
        parser_of(program).parse_args(words[1:])


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_default_in_the_text_is_the_default_of_the_parser(program: str) -> None:
    """Where the parser knows it; judge leaves the number of epochs to its module."""
    for name, parser in commands_of(program).items():
        for action in shown_in(parser):
            stated = re.search(r"\(default (\d+)\)", str(action.help))
            if stated and action.default is not None:
                assert float(stated[1]) == action.default, f"{name} {action.dest}"
    assert f"(default {EPOCHS})" in str(
        {a.dest: a.help for a in commands_of("vae-train")["judge"]._actions}["epochs"]
    )


def test_settings_are_in_groups_and_in_one_each() -> None:
    """A new setting belongs into `service.commands.flags.GROUPS`."""
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)
    text = commands_of("vae-serve")["run"].format_help()
    assert OTHERS not in text
    for title in GROUPS:
        assert f"\n{title}:\n" in text


def test_run_names_each_setting_in_a_sentence_with_default_and_variable(helps_at) -> None:
    text = " ".join(helps_at("vae-serve run", 80).split())
    for setting in describe_settings():
        assert f"{setting.flag} {metavar(setting)} {short_help(setting)}" in text
        assert f"[{setting.variable}]" in short_help(setting)
        assert len(short_help(setting)) < 280, "a sentence"
    assert " VALUE " not in text


@pytest.mark.parametrize("command", ACTING)
def test_other_commands_show_only_the_settings_that_act_and_accept_all(command: str) -> None:
    parser = commands_of("vae-serve")[command]
    settings = {action.dest for action in shown_in(parser)} & set(Settings.model_fields)
    assert settings == set(ACTING[command])
    assert len(parser.format_help().splitlines()) < (140 if command == "openapi" else 95)
    flags = [word for setting in describe_settings() for word in (setting.flag, "1")]
    parser.parse_args(flags)


def test_limits_shows_exactly_the_settings_of_its_table() -> None:
    rows = limit_table(Settings()).limits
    assert {row.name for row in rows if row.setting is not None} == set(ACTING["limits"])


def test_settings_shown_for_the_document_change_it_and_the_others_do_not() -> None:
    def document(**changed: Any) -> str:
        return json.dumps(create_app(Settings(**changed)).openapi())

    before = document()
    for name, field in Settings.model_fields.items():
        if name in ("model_store", "store_cache", "api_keys_file", "require_signature", "telemetry"):
            continue  # a store, files and an extra, which this test has not
        if name in ("accelerator", "precision"):
            continue  # another distribution of onnxruntime
        other = OTHER_VALUES.get(name, field.default + 1 if isinstance(field.default, int | float) else 2)
        assert (document(**{name: other}) != before) == (name in ACTING["openapi"]), name


def test_fit_lists_every_recipe_in_one_line_with_its_time(helps_at) -> None:
    text = helps_at("vae-train fit", 80)
    assert [each.name for each in recipe_summaries()] == list(recipe_names())
    for each in recipe_summaries():
        recipe = load_recipe(each.name)
        assert recipe.description.startswith(each.purpose)
        assert recipe.expect is not None
        line = next(line for line in text.splitlines() if line.startswith(f"  {each.name} "))
        assert line.split(maxsplit=1)[1].split() == f"{recipe.expect.minutes:g} min {each.purpose}".split()


def test_no_recipe_is_read_for_another_command() -> None:
    """The list is made when it is asked for."""
    code = (
        "import sys\n"
        "from training.cli import build_parser\n"
        "build_parser().parse_args(['export', 'run', '--name', 'm'])\n"
        "sys.exit(bool({'tomllib', 'torch', 'pydantic'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_S).returncode == 0


def test_help_all_of_run_adds_unit_and_reason_of_every_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "run", "--help-all"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        check=True,
        timeout=PATIENCE_S,
    )
    text = " ".join(done.stdout.split())
    for setting in describe_settings():
        for part in (setting.flag, setting.variable, f"unit: {setting.unit}", setting.reason):
            assert part in text, part
    assert max(map(len, done.stdout.splitlines())) <= 80

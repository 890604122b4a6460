"""The options of an import survive the way from one command to the other."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from model_store.cli import _parser
from model_store.import_options import Options, add_arguments, as_arguments, options_of
from service.commands.runtime_commands import COMMANDS

ALL = Options(
    name="mine",
    pixels=(-1.5, 1e-3),
    roles={"a=b": "mu", "-c": "logvar"},
    channels=3,
    size=(64, 96),
    most=512,
    scaling_factor=0.18215,
    shift_factor=-0.1159,
    prior="none",
    golden=Path("-pictures"),
    licence="MIT OR Apache-2.0",
    description="-- two words, 'quoted' \"and\" not",
    origin="-x of y",
    aliases=("stable", "next"),
    check_only=True,
)


@pytest.mark.parametrize("options", [ALL, Options(name="mine"), Options(name="mine", pixels="none")])
def test_options_written_as_arguments_are_read_as_the_same_options(options: Options) -> None:
    arguments = _parser(COMMANDS).parse_args(["import", "folder", *as_arguments(options)])
    assert options_of(arguments) == options
    assert arguments.source == Path("folder")


def test_a_command_without_roles_has_none() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert options_of(parser.parse_args(["--name", "mine"])) == Options(name="mine")

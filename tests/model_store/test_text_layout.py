"""Output of `vae-store` in a terminal: no line is longer than the terminal is wide."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from patience import PATIENCE_S

from model_store import BUNDLED_STORE
from model_store.text_layout import facts, table

ROWS = [["a", "short"], ["bb", "some words that are longer than the line"]]


def test_lines_of_a_pipe_have_any_length() -> None:
    assert table(("name", "text"), ROWS) == "NAME  TEXT\na     short\nbb    " + ROWS[1][1]
    assert facts([("a", "1"), ("bcd", "2 ")]) == "a    1\nbcd  2"


def test_last_column_continues_below_its_beginning() -> None:
    text = table(("name", "text"), [["bb", "word " * 20]], width=50)
    _, *lines = text.splitlines()
    assert [line[:6] for line in lines] == ["bb    ", "      ", "      "]
    assert max(map(len, lines)) <= 50


def test_last_column_gets_lines_of_its_own_where_little_room_is_left() -> None:
    lines = table(("name", "text"), ROWS, width=30).splitlines()
    assert lines == [
        "NAME  TEXT",
        "a     short",
        "bb",
        "    some words that are longer",
        "    than the line",
    ]


def test_long_word_stays_whole() -> None:
    digest = "0123456789abcdef" * 4
    assert digest in table(("file", "sha256"), [["decoder.onnx", digest]], width=40)
    assert digest in facts([("digest", digest)], width=10)


def in_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a command prints in a terminal of this width."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "model_store.cli", *arguments],
            stdout=theirs,
            env={**os.environ, "COLUMNS": str(columns)},
        )
    finally:
        os.close(theirs)
    printed = b""
    try:
        while part := _read(ours):
            printed += part
    finally:
        os.close(ours)
        code = process.wait(timeout=PATIENCE_S)
    assert code == 0, printed
    return printed.decode().splitlines()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux reports the end of a terminal as an error
        return b""


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_of_the_bundled_store_is_longer_than_the_terminal(columns: int) -> None:
    store = ("--store", str(BUNDLED_STORE))
    listed = in_a_terminal(columns, *store, "list")
    assert max(map(len, listed)) <= columns
    time = r"-[0-9]{2}T[0-9:]{8}\+00:00 " if columns > 90 else r"-[0-9]{2} [0-9]{2}:[0-9]{2} "
    assert all(re.search(time, line) for line in listed[1:])
    shown = in_a_terminal(columns, *store, "show", "mnist@4")
    digests = [line for line in shown if re.search(r" [0-9a-f]{64}\Z", line)]
    assert len(digests) == 5
    assert max(len(line) for line in shown if line not in digests) <= columns


def test_pipe_has_a_line_for_each_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model_store.cli", "--store", str(BUNDLED_STORE), "show", "mnist@4"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
        env={**os.environ, "COLUMNS": "80"},
    )
    (figure,) = [line for line in done.stdout.splitlines() if line.startswith("negative_elbo")]
    assert figure.endswith("beta = 1")

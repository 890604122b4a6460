"""The harness that runs the pages: what it runs, what it compares, and that it can fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from documents import session
from documents.markdown import Fence, fences


def run(text: str, folder: Path, *, appended: dict[str, str] | None = None) -> session.Session:
    """The blocks of a page, with no server: none of them asks one."""
    return session.run(
        fences(text),
        folder=folder,
        environment={**os.environ, "VAE_MODEL_STORE": str(folder)},
        port=1,
        own_port=1,
        appended=appended or {},
        left_out=["make serve"],
    )


def test_blocks_share_one_shell_and_print_apart(tmp_path: Path) -> None:
    printed = run(
        "```sh\nx=seven   # a comment\n```\n\n```sh\nmake serve\necho $x > file\ncat file\n```\n", tmp_path
    ).printed
    assert {line: text.strip() for line, text in printed.items()} == {2: "", 6: "seven"}
    assert (tmp_path / "file").is_file()


def test_failed_command_ends_the_page_and_names_its_block(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"the block at line 6 ended with 3\n(.*\n)*told\n"):
        run("```sh\ntrue\n```\n\n```sh\necho told >&2\n(exit 3)\ntouch after\n```\n", tmp_path)
    assert not (tmp_path / "after").exists()


def test_failed_command_in_a_pipe_or_of_an_unset_name_is_no_success(tmp_path: Path) -> None:
    for command in ("false | true", 'echo "$unset_name"'):
        with pytest.raises(AssertionError, match="the block at line 2"):
            run(f"```sh\n{command}\n```\n", tmp_path)


def test_request_that_nothing_answers_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"curl: \(7\)"):
        run("```sh\ncurl localhost:8000/sample\n```\n", tmp_path)


def test_block_that_is_marked_or_of_another_language_is_not_run(tmp_path: Path) -> None:
    assert run("```sh not-run: needs a cluster\nfalse\n```\n\n```text\nfalse\n```\n", tmp_path).printed == {}


def test_command_is_made_longer_where_it_ends(tmp_path: Path) -> None:
    printed = run(
        "```sh\necho a\necho ab\necho a   # comment\n```\n", tmp_path, appended={"echo a": " --b"}
    ).printed
    assert printed[2].split("\n")[:3] == ["a --b", "ab", "a --b"]


def test_commands_of_a_block_are_read_without_comments_and_indent() -> None:
    (fence,) = fences("  ```sh\n  one  # why\n  # nothing\n\n  two \\\n    --b\n  ```\n")
    assert (fence.language, fence.line) == ("sh", 2)
    assert [command.split() for command in fence.commands] == [["one"], ["two", "--b"]]


ANSWER = Fence("json", "answer", '{"a": [1.0, "…"], "b": {"c": "x"}}', 1)


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ('{"a": [1.01, 7], "b": {"c": "x"}}', None),
        ('first\n{"z": 0}\n{"a": [1, [2]], "b": {"c": "x"}}\n', None),
        ('{"a": [2.0, 7], "b": {"c": "x"}}', "answer.a[0]"),
        ('{"a": [1.0, 7, 8], "b": {"c": "x"}}', "answer.a"),
        ('{"a": [true, 7], "b": {"c": "x"}}', "answer.a[0]"),
        ('{"a": [1.0, 7], "b": {"c": "y"}}', "answer.b.c"),
        ('{"a": [1.0, 7], "b": {"c": "x", "d": 1}}', "answer.b"),
        ('{"a": [1.0, 7]}', "answer"),
        ("nothing", "expected a JSON object"),
    ],
)
def test_json_answer_is_compared(printed: str, why: str | None) -> None:
    found = session.mismatch(ANSWER, printed)
    assert (found is None) == (why is None), found
    assert found is None or found.startswith(why)


def test_text_answer_may_differ_in_few_characters() -> None:
    shown = Fence("text", "answer", f"{'a' * 50}\n{'b' * 50}\n", 1)
    assert session.mismatch(shown, f"\n{'a' * 50}\n{'b' * 48}cc\n") is None
    assert session.mismatch(shown, f"{'a' * 50}\n{'b' * 47}ccc\n") is not None
    assert session.mismatch(shown, "a\n") is not None

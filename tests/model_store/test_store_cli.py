"""vae-store: text for people, one document for machines, and exit codes that can be relied on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from tiny_models import TinyModel, publish_tiny

import model_store
from model_store import STORE_VARIABLE, ModelStore, VersionId
from model_store.cli import main

pytestmark = pytest.mark.usefixtures("published")


class Cli:
    """Runs a command in this process and keeps what it said."""

    def __init__(self, store: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
        self._root = str(store.root)
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str, store: bool = True) -> int:
        try:
            code = main([*(("--store", self._root) if store else ()), *arguments])
        except SystemExit as stop:  # argparse
            code = int(str(stop.code))
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        return code

    def document(self, *arguments: str, code: int = 0) -> Any:
        assert self(*arguments, "--json") == code, self.err
        return json.loads(self.out)


@pytest.fixture
def cli(store: ModelStore, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(store, capsys)


def corrupt(store: ModelStore, number: int = 1) -> None:
    path = store.root / "tiny" / str(number) / "encoder.onnx"
    data = bytearray(path.read_bytes())
    data[99] ^= 1
    path.write_bytes(data)


def test_list_shows_every_version_with_its_aliases(cli: Cli, store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    publish_tiny(store, name="other", kind="ae", image_shape=(3, 2, 2), latent_size=5)
    assert cli("list") == 0
    assert [line.split()[:5] for line in cli.out.splitlines()] == [
        ["VERSION", "ALIASES", "KIND", "IMAGE", "LATENT"],
        ["other@1", "latest", "ae", "3x2x2", "5"],
        ["tiny@1", "stable", "vae", "1x4x4", "2"],
        ["tiny@2", "latest", "vae", "1x4x4", "2"],
    ]
    document = cli.document("list", "tiny")
    assert sorted(document) == ["problems", "store", "versions"]
    assert document["problems"] == []
    first = document["versions"][0]
    assert sorted(first) == ["aliases", "bytes", "created", "image", "kind", "latent", "splits", "version"]
    assert (first["version"], first["aliases"], first["image"]) == ("tiny@1", ["stable"], [1, 4, 4])


def test_list_survives_whatever_is_corrupt_and_says_so(cli: Cli, store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    (store.root / "tiny" / "1" / "manifest.json").write_bytes(b"\xff")
    (store.root / "tiny" / "aliases.json").write_bytes(b"{")
    (store.root / "tiny" / "7").symlink_to("/etc")
    assert cli("list") == 0
    assert "tiny@1   -        ?" in cli.out
    assert cli.out.count("CORRUPT") == 3
    problems = cli.document("list")["problems"]
    assert sorted(problem["error"] for problem in problems) == [
        "CorruptAliases",
        "InvalidManifest",
        "UnsafeFile",
    ]


def test_list_of_an_empty_store_says_that_it_is_empty(cli: Cli, tmp_path: Path) -> None:
    assert cli("--store", str(tmp_path), "list", store=False) == 0
    assert cli.out.startswith(f"No model is published in {tmp_path}. ")
    assert "vae-store add bundled" in cli.out
    told = cli.out
    assert cli("--store", str(tmp_path), "verify", store=False) == 0
    assert cli.out == told
    assert cli("--store", str(tmp_path), "show", "mnist", store=False) == 66
    assert cli.err == f"vae-store: `mnist`: no such model. {told}"


def test_show_prints_facts_figures_and_digests(cli: Cli, store: ModelStore) -> None:
    assert cli("show", "tiny") == 0
    for fact in (
        "tiny@1",
        "stable",
        "1x4x4 in [0, 1]",
        "fit not stated, so a server uses contain, ground black, no levels",
        "bernoulli",
        "negative_elbo",
        "100.5",
        "nats per image",
        "MIT",
    ):
        assert fact in cli.out
    model = store.open("tiny")
    assert model.manifest.files["golden.npz"].sha256 in cli.out
    document = cli.document("show", "tiny@1")
    assert sorted(document) == ["aliases", "manifest", "splits", "version"]
    assert document["manifest"] == model.manifest.model_dump(mode="json")


def test_verify_tells_every_failure_of_every_version(cli: Cli, store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    assert cli("verify") == 0
    assert cli.out == "ok       tiny@1\nok       tiny@2\n2 checked, 0 corrupt.\n"
    corrupt(store, 1)
    (store.root / "tiny" / "1" / "golden.npz").unlink()
    (store.root / "tiny" / "1" / "extra").write_text("x")
    assert cli("verify") == 65
    for error in ("MissingFile", "ExtraFile", "DigestMismatch", "CORRUPT  tiny@1", "ok       tiny@2"):
        assert error in cli.out
    assert cli("verify", "tiny@2") == 0
    document = cli.document("verify", "tiny@1", "tiny@2", code=65)
    assert (document["checked"], document["corrupt"]) == (2, 1)
    assert [entry["ok"] for entry in document["results"]] == [False, True]
    assert [entry["error"] for entry in document["results"][0]["problems"]] == [
        "MissingFile",
        "ExtraFile",
        "DigestMismatch",
    ]


def test_verify_of_the_whole_store_looks_at_aliases_too(cli: Cli, store: ModelStore) -> None:
    (store.root / "tiny" / "aliases.json").write_bytes(b"{")
    document = cli.document("verify", code=65)
    assert [(entry["of"], entry["ok"]) for entry in document["results"]] == [
        ("tiny@1", True),
        ("tiny", False),
    ]


def test_promote_and_rollback_move_an_alias_and_say_where(
    cli: Cli, store: ModelStore, tiny: TinyModel
) -> None:
    publish_tiny(store, model=tiny)
    assert cli("promote", "tiny@latest", "stable") == 0
    assert cli.out == "tiny@stable is now version 2.\n"
    assert cli.document("rollback", "tiny") == {"name": "tiny", "alias": "stable", "version": 1}
    assert cli("rollback", "tiny@stable") == 66
    assert "no earlier version" in cli.err
    assert cli("rollback", "tiny@1") == 2
    assert cli("promote", "tiny@1", "latest") == 2
    assert cli("promote", "tiny@9", "beta") == 66
    corrupt(store, 2)
    assert cli("promote", "tiny@2", "stable") == 65
    assert store.aliases("tiny") == {"latest": 2, "stable": 1}


def test_gc_tells_what_it_removes(cli: Cli, store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    publish_tiny(store, model=tiny)
    (store.root / "tiny" / ".tmp-1").mkdir()
    assert cli("gc") == 0
    assert cli.out == "skipped: tiny/.tmp-1: younger than 3600 s\n"
    assert cli("gc", "--keep", "0", "--all", "--dry-run") == 0
    assert cli.out == "would remove tiny/.tmp-1\nwould remove tiny@2\n"
    document = cli.document("gc", "--keep", "0", "--older-than", "0")
    assert document == {
        "dry_run": False,
        "temporaries": ["tiny/.tmp-1"],
        "versions": ["tiny@2"],
        "skipped": [],
    }
    assert cli("gc") == 0
    assert cli.out == "Nothing to remove.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "nope"], 66, "`nope`: no such model"),
        (["show", "tiny@9"], 66, "no version 9"),
        (["show", "tiny@nope"], 66, "no alias 'nope'"),
        (["list", "nope"], 66, "`nope`: no such model"),
        (["show", "tiny@@3"], 2, "Write 'name'"),
        (["verify", "../tiny"], 2, "Write 'name'"),
        ([], 2, "required: COMMAND"),
        (["frobnicate"], 2, "invalid choice"),
        (["show"], 2, "REFERENCE"),
        (["gc", "--keep", "-1"], 2, "whole number"),
        (["gc", "--keep", "x"], 2, "whole number"),
        (["gc", "--older-than", "nan"], 2, "expected seconds"),
        (["gc", "--older-than", "soon"], 2, "expected seconds"),
    ],
)
def test_mistakes_have_their_own_exit_code_and_say_what_to_do(
    cli: Cli, arguments: list[str], code: int, words: str
) -> None:
    assert cli(*arguments) == code
    assert cli.out == ""
    assert words in cli.err


def test_an_error_is_a_document_too_when_documents_are_asked_for(cli: Cli, store: ModelStore) -> None:
    assert cli("show", "nope", "--json") == 66
    assert cli.out == ""
    error = json.loads(cli.err)
    assert sorted(error) == ["error", "exit_code", "message"]
    assert (error["error"], error["exit_code"]) == ("ModelNotFound", 66)
    corrupt(store)
    assert cli("show", "tiny", "--json") == 65
    assert json.loads(cli.err)["error"] == "DigestMismatch"


def test_options_stand_before_or_after_the_command(cli: Cli, store: ModelStore) -> None:
    for arguments in (
        ["--json", "--store", str(store.root), "list"],
        ["list", "--json", "--store", str(store.root)],
        ["--store", str(store.root), "list", "--json"],
    ):
        assert cli(*arguments, store=False) == 0
        assert json.loads(cli.out)["versions"][0]["version"] == "tiny@1"


def test_the_environment_names_the_store_and_the_option_wins(
    cli: Cli, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(store.root))
    assert cli("list", store=False) == 0
    assert "tiny@1" in cli.out
    assert cli("--store", str(tmp_path), "list", store=False) == 0
    assert "tiny@1" not in cli.out


def test_a_store_that_does_not_exist_is_a_mistake_and_not_made(cli: Cli, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert cli("--store", str(absent), "list", store=False) == 66
    assert "Check --store and VAE_MODEL_STORE" in cli.err
    assert not absent.exists()


def test_help_and_the_specification_list_the_same_exit_codes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    spec = (Path(model_store.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
    assert cli("--help") == 0
    for command in (
        "list",
        "show",
        "verify",
        "sign",
        "promote",
        "rollback",
        "add",
        "remove",
        "history",
        "gc",
    ):
        assert f"    {command} " in cli.out
        assert f"`{command}`" in spec
    listed = {
        line.split()[0]: " ".join(line.split()[1:])
        for line in cli.out.splitlines()
        if line[:5].strip().isdigit()
    }
    rows = {
        cells[1].strip(): cells[2].strip().replace("`", "")
        for cells in (line.split("|") for line in spec.splitlines() if line.startswith("|"))
        if cells[1].strip().isdigit()
    }
    assert set(listed) == set(rows) == {"0", "2", "65", "66", "72", "73", "74", "130", "141", "143"}
    assert listed == rows


def run_in_shell(store: ModelStore, line: str) -> subprocess.CompletedProcess[str]:
    """`line` with the real command as "$@"."""
    command = [sys.executable, "-m", "model_store.cli", "--store", str(store.root), "show", "tiny", "--json"]
    return subprocess.run(
        ["sh", "-c", line, "sh", *command], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_a_pipe_that_closes_early_ends_it_quietly(store: ModelStore) -> None:
    done = run_in_shell(store, '{ sleep 0; "$@"; echo "exit $?" >&2; } | true')
    assert done.stderr in ("exit 141\n", "exit 0\n"), "0 where the pipe took it all before it closed"


def test_an_answer_that_cannot_be_written_is_told(store: ModelStore) -> None:
    done = run_in_shell(store, '"$@" >/dev/full')
    assert done.returncode == 74
    assert "standard output: expected a writable stream, got No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_on_disk_that_no_terminal_can_print_do_not_stop_a_listing(store: ModelStore) -> None:
    (store.root / "tiny" / "1" / "\udcff\n").write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "model_store.cli", "--store", str(store.root), "verify"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PATH": "/usr/bin"},
    )
    assert done.returncode == 65
    assert b"ExtraFile" in done.stdout
    assert b"Traceback" not in done.stderr


def test_listing_needs_no_write_access(cli: Cli, store: ModelStore, published: VersionId) -> None:
    """A read-only volume: no lock file is made or touched by a reader."""
    for name in (".lock", ".publishers", ".history.jsonl"):
        (store.root / name).unlink()
    for arguments in (
        ["list"],
        ["show", "tiny"],
        ["verify"],
        ["history", "tiny"],
        ["gc", "--dry-run", "--keep", "0"],
    ):
        assert cli(*arguments) == 0
    assert sorted(path.name for path in store.root.iterdir()) == ["tiny"]

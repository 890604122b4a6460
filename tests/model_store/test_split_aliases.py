"""An alias on two versions: how it is written, moved, ended, protected, and read by earlier releases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import TinyModel, publish_tiny

from model_store import (
    CorruptAliases,
    CorruptVersion,
    InvalidReference,
    ModelNotFound,
    ModelStore,
    VersionInUse,
)
from model_store.alias_commands import read_shares
from model_store.aliases import AliasEntry, AliasTable, Canary
from model_store.cli import main
from model_store.validation_messages import of_a_later_contract


@pytest.fixture
def three(store: ModelStore, tiny: TinyModel) -> ModelStore:
    """tiny@1 to tiny@3, `stable` on the first."""
    for _ in range(3):
        publish_tiny(store, model=tiny)
    store.promote("tiny", "stable", 1)
    return store


def file_of(store: ModelStore) -> Path:
    return store.root / "tiny" / "aliases.json"


def split_of(store: ModelStore) -> dict[int, float]:
    return store.alias_entries("tiny")["stable"].shares


def test_split_is_written_with_schema_version_2_and_read_back(three: ModelStore) -> None:
    entry = three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    assert entry == AliasEntry(version=1, canary=Canary(version=2, percent=5.0))
    document = json.loads(file_of(three).read_bytes())
    assert document["schema_version"] == 2
    assert document["aliases"]["stable"] == {
        "version": 1,
        "history": [],
        "canary": {"version": 2, "percent": 5.0},
    }
    assert split_of(three) == {1: 95.0, 2: 5.0}
    assert three.resolve("tiny").version == three.resolve("tiny@stable").version == 1
    assert three.aliases("tiny") == {"latest": 3, "stable": 1}


def test_file_without_a_split_is_as_ever(three: ModelStore) -> None:
    """Readers of every earlier release read it."""
    before = file_of(three).read_bytes()
    assert json.loads(before)["schema_version"] == 1
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    three.rollback("tiny", "stable")
    assert file_of(three).read_bytes() == before


def test_earlier_release_refuses_a_split_as_that_of_a_later_one(three: ModelStore) -> None:
    """It knows schema version 1 alone, and must not call the file damaged: an operator would remove it."""
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    stated = json.loads(file_of(three).read_bytes())
    message = of_a_later_contract(stated, where="aliases.json", known=1)
    assert message is not None
    assert "A newer release of vae-service wrote it" in message


@pytest.mark.parametrize(
    ("schema_version", "entry", "found"),
    [
        (1, {"version": 1, "canary": {"version": 2, "percent": 5}}, "needs schema_version 2"),
        (2, {"version": 1, "canary": {"version": 1, "percent": 5}}, "another version than its own"),
        (2, {"version": 1, "canary": {"version": 2, "percent": 0}}, "percent"),
        (2, {"version": 1, "canary": {"version": 2, "percent": 100}}, "percent"),
        (2, {"version": 1, "canary": {"version": 2, "percent": "5"}}, "percent"),
        (2, {"version": 1, "canary": {"version": 2}}, "percent"),
        (2, {"version": 1, "canary": {"version": 2, "percent": 5, "more": 1}}, "more"),
        (3, {"version": 1}, "A newer release of vae-service wrote it"),
    ],
)
def test_file_that_is_no_such_table_is_refused(
    three: ModelStore, schema_version: int, entry: object, found: str
) -> None:
    text = json.dumps({"schema_version": schema_version, "aliases": {"stable": entry}})
    file_of(three).write_text(text)
    with pytest.raises(CorruptAliases, match=found):
        three.aliases("tiny")


def test_table_of_version_2_without_a_split_is_read(three: ModelStore) -> None:
    file_of(three).write_text('{"schema_version": 2, "aliases": {"stable": {"version": 1}}}')
    assert three.aliases("tiny")["stable"] == 1
    three.promote("tiny", "beta", 2)
    assert json.loads(file_of(three).read_bytes())["schema_version"] == 1


def test_share_changes_and_the_alias_s_own_version_stays_its_own(three: ModelStore) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    three.split("tiny", "stable", {2: 40.0, 1: 60.0})
    assert three.aliases("tiny")["stable"] == 1
    assert split_of(three) == {1: 60.0, 2: 40.0}
    assert three.alias_entries("tiny")["stable"].history == ()


def test_split_between_two_other_versions_moves_the_alias_to_the_first(three: ModelStore) -> None:
    three.split("tiny", "stable", {2: 90.0, 3: 10.0})
    assert three.alias_entries("tiny")["stable"] == AliasEntry(
        version=2, history=(1,), canary=Canary(version=3, percent=10.0)
    )


@pytest.mark.parametrize(("promoted", "history"), [(1, ()), (2, (1,)), (3, (1,))])
def test_promotion_ends_a_split(three: ModelStore, promoted: int, history: tuple[int, ...]) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    three.promote("tiny", "stable", promoted)
    assert three.alias_entries("tiny")["stable"] == AliasEntry(version=promoted, history=history)


def test_rollback_takes_a_split_back_and_only_then_the_promotion_before(three: ModelStore) -> None:
    """Whoever sees the canary fail wants the version that most requests have, and not the one before."""
    three.promote("tiny", "stable", 2)
    three.split("tiny", "stable", {2: 95.0, 3: 5.0})
    assert three.rollback("tiny", "stable") == 2
    assert split_of(three) == {2: 100.0}
    assert three.rollback("tiny", "stable") == 1


def test_rollback_of_a_promoted_canary_goes_to_the_version_before(three: ModelStore) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    three.promote("tiny", "stable", 2)
    assert three.rollback("tiny", "stable") == 1


def test_version_that_is_absent_or_damaged_gets_no_share(three: ModelStore) -> None:
    before = file_of(three).read_bytes()
    with pytest.raises(ModelNotFound, match="no version 9"):
        three.split("tiny", "stable", {1: 95.0, 9: 5.0})
    graph = three.root / "tiny" / "2" / "decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptVersion):
        three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    with pytest.raises(InvalidReference, match="latest"):
        three.split("tiny", "latest", {1: 95.0, 3: 5.0})
    assert file_of(three).read_bytes() == before


def test_canary_is_neither_collected_nor_removed_unless_that_is_forced(three: ModelStore) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    assert three.gc(keep=0).versions == ()
    with pytest.raises(VersionInUse, match="got stable"):
        three.remove("tiny", 2)
    assert three.remove("tiny", 2, with_aliases=True) == ()
    assert split_of(three) == {1: 100.0}
    assert three.versions("tiny") == (1, 3)


def test_forced_removal_of_the_alias_s_own_version_removes_the_alias(three: ModelStore) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    assert three.remove("tiny", 1, with_aliases=True) == ("stable",)
    assert "stable" not in three.aliases("tiny")
    assert json.loads(file_of(three).read_bytes())["schema_version"] == 1


def test_publication_leaves_a_split_alone(three: ModelStore, tiny: TinyModel) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    publish_tiny(three, model=tiny)
    assert split_of(three) == {1: 95.0, 2: 5.0}
    assert three.aliases("tiny")["latest"] == 4


def test_canary_without_its_version_is_a_fault_of_the_model(three: ModelStore) -> None:
    document = {
        "schema_version": 2,
        "aliases": {"stable": {"version": 1, "canary": {"version": 9, "percent": 5}}},
    }
    file_of(three).write_text(json.dumps(document))
    (fault,) = three.model_problems("tiny")
    assert "to name a version that exists, got 9" in str(fault)
    assert three.resolve("tiny@stable").version == 1


def test_new_model_of_another_store_comes_with_its_split(three: ModelStore, tmp_path: Path) -> None:
    three.split("tiny", "stable", {1: 95.0, 2: 5.0})
    whole, part = ModelStore(tmp_path / "whole"), ModelStore(tmp_path / "part")
    assert main(["add", str(three.root), "--store", str(whole.root)]) == 0
    assert split_of(whole) == {1: 95.0, 2: 5.0}
    assert main(["add", f"{three.root}/tiny@1", "--store", str(part.root)]) == 0
    assert "stable" not in part.aliases("tiny") or split_of(part) == {1: 100.0}


def test_tables_keep_what_they_hold() -> None:
    table = AliasTable().moved("a", 1).split("a", {1: 90.0, 2: 10.0}).moved("b", 3)
    assert AliasTable.from_bytes(table.to_bytes(), where="a") == table
    assert table.highest() == 3
    assert table.protected() == {1, 2, 3}
    assert table.split("a", {1: 90.0, 2: 10.0}) is table
    for percent, rest in ((33.333, 66.667), (0.1, 99.9), (99.999, 0.001), (41.3, 58.7)):
        assert AliasEntry(version=1, canary=Canary(version=2, percent=percent)).shares[1] == rest


@pytest.mark.parametrize(
    ("texts", "shares"),
    [
        ([], {}),
        (["5"], {5: 100.0}),
        (["5=100"], {5: 100.0}),
        (["4=95", "5=5"], {4: 95.0, 5: 5.0}),
        (["4=95%", "5=5%"], {4: 95.0, 5: 5.0}),
        (["4", "5=0.5"], {4: 99.5, 5: 0.5}),
        (["4=99.9", "5=0.1"], {4: 99.9, 5: 0.1}),
        (["5=33.333", "4"], {5: 33.333, 4: 66.667}),
    ],
)
def test_shares_as_a_person_writes_them(texts: list[str], shares: dict[int, float]) -> None:
    assert read_shares(texts) == shares
    assert list(read_shares(texts)) == list(shares)


@pytest.mark.parametrize(
    "texts",
    [
        ["4=95", "5=6"],
        ["4=95"],
        ["4", "5"],
        ["4=0", "5=100"],
        ["4=100", "5"],
        ["4=-5", "5=105"],
        ["4=50", "4=50"],
        ["4=50", "5=25", "6=25"],
        ["stable=50", "5=50"],
        ["04=50", "5=50"],
        ["4=50.0001", "5=49.9999"],
        ["4=1e1", "5=90"],
        ["٤=50", "5=50"],
        [""],
    ],
)
def test_other_shares_are_refused_with_an_example(texts: list[str]) -> None:
    with pytest.raises(InvalidReference, match="such as 4=95 5=5"):
        read_shares(texts)


def test_commands_tell_the_split(three: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert main(["--store", str(three.root), *arguments]) == code
        return capsys.readouterr().out

    assert run("alias", "tiny@stable") == "tiny@stable is version 1.\n"
    assert run("alias", "tiny@stable", "1=95", "2=5") == "tiny@stable: version 1 at 95 %, version 2 at 5 %.\n"
    assert run("alias", "tiny") == "tiny@stable: version 1 at 95 %, version 2 at 5 %.\n"
    assert json.loads(run("alias", "tiny", "--json")) == {
        "name": "tiny",
        "alias": "stable",
        "versions": [{"version": 1, "percent": 95.0}, {"version": 2, "percent": 5.0}],
    }
    listed = run("list", "tiny").splitlines()
    assert "stable 95 %" in listed[1]
    assert "stable 5 %" in listed[2]
    rows = json.loads(run("list", "tiny", "--json"))["versions"]
    assert [(row["aliases"], row["splits"]) for row in rows] == [
        (["stable"], {"stable": 95.0}),
        ([], {"stable": 5.0}),
        (["latest"], {}),
    ]
    assert "stable 5 %" in run("show", "tiny@2")
    assert json.loads(run("show", "tiny@2", "--json"))["splits"] == {"stable": 5.0}
    run("alias", "tiny@stable", "2")
    run("rollback", "tiny@stable")
    told = run("history", "tiny")
    assert "1, and 2 at 5 %" in told
    events = json.loads(run("history", "tiny", "--json"))["events"]
    (split,) = (event for event in events if event["event"] == "split")
    assert (split["version"], split["before"], split["canary"], split["percent"]) == (1, 1, 2, 5.0)
    assert [event["event"] for event in events][-3:] == ["split", "promoted", "rolled-back"]


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        (["tiny@2", "1=95", "2=5"], 2, "A version never splits"),
        (["tiny@stable", "1=95", "2=6"], 2, "such as 4=95 5=5"),
        (["tiny@latest", "1=95", "2=5"], 2, "only publishing moves it"),
        (["tiny@stable", "1=95", "9=5"], 66, "no version 9"),
        (["tiny@beta"], 66, "no alias"),
        (["other", "1=95", "2=5"], 66, "no such model"),
    ],
)
def test_command_refuses_what_it_cannot_do(
    three: ModelStore, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, found: str
) -> None:
    before = file_of(three).read_bytes()
    assert main(["--store", str(three.root), "alias", *arguments]) == code
    assert found in capsys.readouterr().err
    assert file_of(three).read_bytes() == before

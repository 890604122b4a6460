"""Two thousand odd names open nothing: they are refused by the grammar or not found in a listing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from watched_paths import watched_paths

from model_store import CorruptVersion, InvalidReference, ModelNotFound, ModelReference, ModelStore, VersionId

_HANDMADE = (
    "..", ".", "../tiny", "../../etc/passwd", "/etc/passwd", "//", "\\", "..\\tiny", "..%2f",
    "%2e%2e%2f", "%00", "%ff", "tiny/1", "tiny/../tiny", "./tiny", "tiny/", "tiny\x00",
    "tiny\x00.onnx", "tiny\n", "\ttiny", " tiny", "tiny ", "TINY", "Tiny", "~", "~root", "$HOME",
    "`id`", "$(id)", ";id", "|id", "&", "*", "?", "[a-z]", "{a,b}", "CON", "NUL", "aux.txt", "con",
    "\u202eynit", "ti\u200bny", "ｔｉｎｙ", "тiny", "tıny", "é", "\ud800", "\udcff", "😀", "x" * 65,
    "x" * 255, "x" * 256, "x" * 65_536, ".lock", ".publishers", ".tmp-1", "aliases.json",
    "manifest.json", "encoder.onnx", "__pycache__", "-", "--", "-rf", "a-", "-a", "0x1", "1e3", "1",
    "01", "null", "None", "true", "nan", "mnist", "tiny2", "tin", "", "@", "@@", "tiny@", "tiny@/",
    "tiny@..", "tiny@../1", "tiny@1/", "tiny@01", "tiny@1.0", "tiny@-1", "tiny@0", "tiny@+1",
    "tiny@1e0", "tiny@٣", "tiny@1\n", "tiny@9999999999", "tiny@Stable", "tiny@.",
    "tiny@aliases.json", "tiny@.tmp-1", "tiny@999999999", "tiny@nope", "file:///etc/passwd",
    "http://x",
)  # fmt: skip


def odd_names(count: int) -> list[str]:
    """The handmade ones, then mixtures of hostile pieces; the same ones at every run."""
    rng = random.Random(20240101)
    pieces = [
        *_HANDMADE,
        *map(chr, range(128)),
        "tiny",
        "@",
        "1",
        "etc",
        "passwd",
        "../",
        "%2f",
        "\u2028",
        "\U0010ffff",
    ]
    names = dict.fromkeys(_HANDMADE)
    while len(names) < count:
        names.setdefault("".join(rng.choice(pieces) for _ in range(rng.randint(1, 5))))
        # What really names the model is not odd.
        names.pop("tiny", None)
        names.pop("tiny@1", None)
    return list(names)[:count]


def test_the_watch_sees_a_path_that_is_opened(tmp_path: Path) -> None:
    """The twin: a store that joined names into paths would be seen."""
    (tmp_path / "x").write_text("x")
    directory = os.open(tmp_path, os.O_RDONLY)
    with watched_paths() as seen:
        os.close(os.open("x", os.O_RDONLY, dir_fd=directory))
        with pytest.raises(FileNotFoundError):
            (tmp_path / "../odd name").open()
        list(tmp_path.iterdir())
    os.close(directory)
    assert "x" in seen
    assert str(tmp_path / "../odd name") in seen
    assert str(tmp_path) in seen


def test_two_thousand_odd_names_open_nothing_but_the_root_and_the_model_they_name(
    store: ModelStore, published: VersionId
) -> None:
    lookups: list[Callable[[str], object]] = [
        store.open,
        store.resolve,
        store.manifest,
        store.problems,
        store.versions,
        store.aliases,
        store.model_problems,
        lambda name: store.promote(name, "stable", 1),
        lambda name: store.rollback(name, "stable"),
        lambda name: store.promote("tiny", name, 2),
        lambda name: store.rollback("tiny", name),
        lambda name: store.open(VersionId(name, 1)),
        lambda name: store.open(ModelReference("tiny", alias=name)),
    ]
    names = odd_names(2_000)
    before = sorted(store.root.rglob("*"))
    outcomes: set[type[Exception] | None] = set()
    with watched_paths() as seen:
        for name in names:
            for lookup in lookups:
                try:
                    lookup(name)
                    outcomes.add(None)
                except (InvalidReference, ModelNotFound) as error:
                    assert len(str(error)) < 1000  # noqa: PT017 - of every one of the 26,000
                    outcomes.add(type(error))
    assert outcomes == {InvalidReference, ModelNotFound}
    # The root, the one model whose name some of them spell, its files, and the lock of a promotion.
    allowed = {str(store.root), "tiny", "aliases.json", ".lock"}
    assert set(seen) <= allowed
    assert sorted(store.root.rglob("*")) == before


def test_the_same_names_as_entries_of_the_store_are_never_models(
    store: ModelStore, published: VersionId
) -> None:
    """Somebody made them: they are listed neither as models nor as versions, and reading survives them."""
    made = 0
    for name in odd_names(400):
        if "/" in name or "\0" in name or name in ("", ".", "..", "tiny", "1"):
            continue
        for parent in (store.root, store.root / "tiny"):
            try:
                (parent / name).mkdir()
                made += 1
            except (OSError, UnicodeEncodeError):
                continue
    assert made > 200
    assert all(name == "tiny" for name in store.names())
    assert store.versions("tiny") == (1,)
    try:
        assert store.open("tiny").id == published
    except CorruptVersion as error:
        pytest.fail(f"an entry beside a version made it corrupt: {error}")

"""The texts of the project are plain English: the turns of phrase in `plain_english` stay rare.

`BARS` holds for all packages together, in findings per 10,000 words. The packages in `NOT_YET` are still to
be rewritten: each has its own bar, the number of its findings, so that none gets worse. Lower the number with
each rewrite, and remove the row at the end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from plain_english import PATTERNS, Reading, read_file, read_texts

REPOSITORY = Path(__file__).resolve().parent.parent
#: A tenth of the figures from before the rewrite, when these four were 42.8, 14.7, 8.5 and 8.2.
BARS = {"what-subject": 4.3, "tell": 1.9, "nobody": 1.2, "beside": 0.9}
#: The six other patterns together; they were 60.9.
OTHERS_BAR = 12.0
#: Package → findings that it may still have, of all patterns.
NOT_YET: dict[str, int] = {}
WORST_FILES = 10


def package_of(path: Path) -> str:
    """`service/api/native/score.py` → `service/api`; a file at the root is a package of its own."""
    *folders, name = path.relative_to(REPOSITORY).parts
    return "/".join(folders[:2]) or name


def documents() -> Iterator[Path]:
    """Every source file and document, without published models, which never change."""
    for top in ("service", "training", "model_store", "docs"):
        for path in sorted((REPOSITORY / top).rglob("*")):
            if path.suffix in (".py", ".md") and not path.is_relative_to(
                REPOSITORY / "model_store" / "models"
            ):
                yield path
    yield from (REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md"))


@pytest.fixture(scope="module")
def readings() -> dict[Path, Reading]:
    return {path: read_file(path) for path in documents()}


def worst(readings: dict[Path, Reading], patterns: Iterable[str]) -> str:
    """The files with the most findings, each with its first three."""
    wanted = set(patterns)
    found = {
        path: [finding for finding in reading.findings if finding.pattern in wanted]
        for path, reading in readings.items()
    }
    lines = []
    for path in sorted(found, key=lambda path: -len(found[path]))[:WORST_FILES]:
        lines.append(f"{path.relative_to(REPOSITORY)}: {len(found[path])}")
        lines += [f"    {f.line} [{f.pattern}] {f.sentence[:100]}" for f in found[path][:3]]
    return "\n".join(lines)


@pytest.mark.parametrize("patterns", [*((name,) for name in BARS), tuple(PATTERNS.keys() - BARS.keys())])
def test_turns_of_phrase_that_readers_stumble_over_are_rare(
    readings: dict[Path, Reading], patterns: tuple[str, ...]
) -> None:
    rewritten = {path: r for path, r in readings.items() if package_of(path) not in NOT_YET}
    counts = sum((reading.counts() for reading in rewritten.values()), Counter[str]())
    words = sum(reading.words for reading in rewritten.values())
    rate = 1e4 * sum(counts[pattern] for pattern in patterns) / words
    bar = BARS[patterns[0]] if len(patterns) == 1 else OTHERS_BAR
    assert rate <= bar, f"{', '.join(patterns)}: {rate:.1f} per 10,000 words\n{worst(rewritten, patterns)}"


def test_packages_that_are_not_rewritten_yet_do_not_get_worse(readings: dict[Path, Reading]) -> None:
    counts: dict[str, int] = defaultdict(int)
    for path, reading in readings.items():
        counts[package_of(path)] += len(reading.findings)
    assert NOT_YET.keys() <= counts.keys(), "a row without a package"
    for package, allowed in NOT_YET.items():
        files = {path: reading for path, reading in readings.items() if package_of(path) == package}
        assert counts[package] <= allowed, f"{package}\n{worst(files, PATTERNS)}"


@pytest.mark.parametrize(
    ("pattern", "stumbles", "plain"),
    [
        (
            "what-subject",
            "What is beyond a limit is told by its name.",
            "An error names the limit. What to send: less.",
        ),
        ("tell", "GET /limits tells the time limit.", "GET /limits lists the time limit."),
        ("nobody", "Nobody waits for it any more.", "No caller waits for it any more."),
        ("beside", "The draws beside the truth.", "The draws and the truth."),
        ("whoever", "Whoever runs the server has the key.", "The operator has the key."),
        (
            "inversion",
            "Cut. Of a longer address the rest is dropped.",
            "Cut. Longer addresses are truncated.",
        ),
        ("lies", "The fault lies in the file.", "The file contains the fault."),
        ("given", "The key was given once.", "The server sent the key once."),
        ("says", "The setting says how long.", "The setting is the time."),
        ("of-what", "Knows nothing of what a header means.", "Knows nothing of the meaning of a header."),
    ],
)
def test_measure_finds_what_it_is_for_and_nothing_else(pattern: str, stumbles: str, plain: str) -> None:
    found = read_texts([(1, stumbles)])
    assert found.counts()[pattern] == 1
    assert not read_texts([(1, plain)]).findings


def test_measure_reads_docstrings_comments_messages_and_prose_but_no_code(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        '"""Nobody knows.\n\nArgs:\n    tell: A callable.\n"""\n'
        "x = 1  # told\n"
        "# What came\n# is dropped.\n"
        'raise ValueError(f"the {x} tells of {x!r} here")\n'
        'beside = "beside"\n'
    )
    page = tmp_path / "page.md"
    page.write_text("Nobody.\n\n```sh\ntell beside\n```\n\n`told` [here](http://beside.example)\n")
    assert [(f.line, f.pattern) for f in sorted(read_file(source).findings, key=lambda f: f.line)] == [
        (1, "nobody"),
        (6, "tell"),
        (7, "what-subject"),
        (9, "tell"),
    ]
    assert [(f.line, f.pattern) for f in read_file(page).findings] == [(1, "nobody")]

"""What is promised of a seed: z, pixels and figures for ever, and of the bytes of a file within a release.

A release once compressed the same pixels to other PNG files, while the documents promised the same bytes for
ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from documents.markdown import REPOSITORY

from service.app import create_app
from service.settings import Settings

PAGES = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
#: A sentence, also one that follows a colon, that says a seed leads to bytes.
PROMISE = re.compile(
    r"[^.|]*\bseed\b[^.|]*\bsame bytes\b[^.|]*|[^.|]*\bsame bytes\b[^.|]*\bseed\b[^.|]*", re.I
)


def texts() -> dict[str, str]:
    document = json.dumps(create_app(Settings()).openapi(), ensure_ascii=False)
    unreleased = (REPOSITORY / "CHANGELOG.md").read_text().split("\n## ")[1]
    return {
        **{str(page.relative_to(REPOSITORY)): page.read_text() for page in PAGES},
        "the OpenAPI document": document,
        "CHANGELOG.md": " ".join(unreleased.split()),
    }


def test_pattern_finds_such_a_promise() -> None:
    for text in (
        "The same seed always gives the same bytes.",
        "# one digit; a seed always draws the same bytes",
        "Send the seed again to get the same bytes.",
    ):
        assert PROMISE.search(text)
    assert not PROMISE.search(
        "The same seed gives the same pixels. A file has the same bytes within a release."
    )


def test_no_text_promises_the_same_bytes_of_a_seed() -> None:
    found = {name: match[0].strip() for name, text in texts().items() if (match := PROMISE.search(text))}
    assert found == {}


def seeds_in(node: Any) -> Iterator[str]:
    """Descriptions of every parameter, property and header that is a seed."""
    if isinstance(node, dict):
        for key in ("seed", "X-Seed"):
            if isinstance(node.get(key), dict) and "description" in node[key]:
                yield node[key]["description"]
        if node.get("name") == "seed" and "description" in node:
            yield node["description"]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from seeds_in(child)


def test_no_description_of_a_seed_speaks_of_bytes() -> None:
    found = list(seeds_in(create_app(Settings()).openapi()))
    assert len(found) > 6
    for text in found:
        assert "bytes" not in text


def test_reference_and_upgrade_guide_say_how_far_the_promise_goes() -> None:
    for page in ("docs/reference/api.md", "docs/how-to/upgrade.md"):
        text = (REPOSITORY / page).read_text()
        assert "pixels" in text
        assert re.search(r"PNG, npz, JSON\).*release", text)
        assert "ompare pixels, not files" in text

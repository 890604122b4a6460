"""The reference pages are what the code has; `make docs` writes their tables anew."""

from __future__ import annotations

import re
import tomllib

import pytest
from documents.markdown import REPOSITORY, name_of, pages
from documents.reference import SECTIONS, written

from model_store.manifest import SCHEMA_VERSION
from training.config.reading import recipe_names

UPGRADE = (REPOSITORY / "docs/how-to/upgrade.md").read_text()
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("name", SECTIONS)
def test_generated_tables_are_those_of_the_code(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    assert written(name, text) == text, f"{name} is not what the code has. Run: make docs"


def test_no_other_page_has_a_generated_table() -> None:
    for page in pages():
        if name_of(page) not in SECTIONS:
            assert written(name_of(page), text := page.read_text()) == text


def test_table_that_differs_is_found_and_a_missing_one_refused() -> None:
    """A check that cannot fail proves nothing."""
    name = "docs/reference/limits.md"
    text = (REPOSITORY / name).read_text()
    changed = text.replace("256 images", "255 images", 1)
    assert changed != text
    assert written(name, changed) == text
    with pytest.raises(ValueError, match="expected the sections"):
        written(name, text.replace("<!-- make docs: end limits -->", ""))


def test_every_recipe_is_in_the_table() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| .* \| .* \|$", (REPOSITORY / "docs/reference/recipes.md").read_text(), re.M
    )
    assert set(recipe_names()) <= set(rows)


def test_upgrade_page_names_the_manifests_that_this_release_reads() -> None:
    assert f"reads schema versions 1 to {SCHEMA_VERSION}" in UPGRADE
    rows = re.findall(r"^\| (\d+) \| ", UPGRADE, re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, SCHEMA_VERSION + 1))


def test_topmost_section_of_the_changelog_is_the_next_release_or_this_one() -> None:
    """So a tag can be put on any commit that names its version."""
    sections = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert sections[0] == "Unreleased" or re.fullmatch(
        rf"{re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)", sections[0]
    )

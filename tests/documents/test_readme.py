"""The README is one page: what this is, how to begin, where everything lies, where to read on."""

from __future__ import annotations

import re

import pytest
from documents.markdown import REPOSITORY, anchors, fences, links

README = (REPOSITORY / "README.md").read_text()
#: Words of a question → where the README leads for it.
QUESTIONS = {
    "train on my own pictures": "docs/tutorial.md",
    "every limit": "docs/reference/limits.md",
    "add an endpoint": "CONTRIBUTING.md#add-an-endpoint",
}


def map_of_packages() -> dict[str, str]:
    """Path → its line in the map."""
    (tree,) = (fence.text for fence in fences(README) if fence.text.startswith("service/"))
    found, parent = {}, ""
    for line in tree.splitlines():
        match = re.fullmatch(r"(?P<branch>[├└]── )?(?P<name>[a-z_]+/) +(?P<what>\S.*)", line)
        assert match, f"no line of the map: {line}"
        parent = parent if match["branch"] else match["name"]
        found[parent + match["name"] if match["branch"] else match["name"]] = match["what"]
    return found


def test_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 150


def test_map_shows_what_there_is() -> None:
    """Every folder of the map is there, and every package in the map."""
    shown = set(map_of_packages())
    assert {path for path in shown if not (REPOSITORY / path).is_dir()} == set()
    packages = {
        f"{init.parent.relative_to(REPOSITORY).as_posix()}/"
        for root in ("service", "training")
        for init in (REPOSITORY / root).glob("*/__init__.py")
    }
    assert packages - shown == set()


@pytest.mark.parametrize("question", QUESTIONS)
def test_readme_leads_to_the_answer(question: str) -> None:
    target = QUESTIONS[question]
    lines = [line for line in README.splitlines() if question in line.lower()]
    assert any(f"]({target})" in line for line in lines)
    path, _, anchor = target.partition("#")
    assert not anchor or anchor in anchors((REPOSITORY / path).read_text())


def test_readme_leads_to_the_index_and_every_kind_of_page() -> None:
    linked = {link.target.partition("#")[0] for link in links(README)}
    assert {"docs/README.md", "CONTRIBUTING.md", "CHANGELOG.md", "model_store/SPEC.md"} <= linked
    for kind in ("docs/how-to/", "docs/reference/", "docs/explanation/"):
        assert any(target.startswith(kind) for target in linked)

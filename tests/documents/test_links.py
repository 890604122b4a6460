"""Every link of every page leads somewhere: to a file, to a heading in it, to the function that it names."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documents import code_links
from documents.markdown import REPOSITORY, anchors, links, name_of, pages

PAGES = {name_of(page): page for page in pages()}


@functools.cache
def anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text())


def wrong_links(page: Path, text: str) -> list[str]:
    """Every link that leads nowhere, with the reason."""
    found = []
    for link in links(text):
        where = f"line {link.line}: {link.target}"
        parts = urlsplit(link.target)
        if parts.scheme:
            if parts.scheme not in ("http", "https") or "." not in parts.netloc:
                found.append(f"{where}: expected https://HOST/…")
            continue
        path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not path.is_relative_to(REPOSITORY) or not path.exists():
            found.append(f"{where}: no such file")
        elif parts.fragment and (path.suffix != ".md" or parts.fragment not in anchors_of(path)):
            known = ", ".join(sorted(anchors_of(path))) if path.suffix == ".md" else "none"
            found.append(f"{where}: no such heading; there are: {known}")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    assert wrong_links(PAGES[name], PAGES[name].read_text()) == []


@pytest.mark.parametrize("name", PAGES)
def test_links_to_code_lead_to_the_file_that_defines_the_name(name: str) -> None:
    """`make docs` mends what has moved."""
    assert code_links.wrong(PAGES[name], PAGES[name].read_text()) == []


def test_index_leads_to_every_page() -> None:
    index = REPOSITORY / "docs/README.md"
    linked = {(index.parent / link.target.partition("#")[0]).resolve() for link in links(index.read_text())}
    others = {page for page in pages() if page.is_relative_to(REPOSITORY / "docs")}
    assert others - linked - {index} == set()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](docs/nowhere.md)", "no such file"),
        ("[a](docs/README.md#nothing)", "no such heading"),
        ("[a](CHANGELOG.md#added-1-2)", "no such heading"),
        ("[a](../../etc/hosts)", "no such file"),
        ("[a](LICENSE#mit)", "no such heading"),
        ("![a](tests/data/none.png)", "no such file"),
        ("[a](ftp://example.org/a)", "expected https"),
        ("[a](https://nohost/a)", "expected https"),
    ],
)
def test_wrong_link_is_found(text: str, why: str) -> None:
    """A check that cannot fail proves nothing."""
    (found,) = wrong_links(REPOSITORY / "README.md", text)
    assert why in found


def test_link_in_code_is_no_link_and_half_a_link_is_refused() -> None:
    assert wrong_links(REPOSITORY / "README.md", "`[a](none.md)`\n\n```text\n[a](none.md)\n```\n") == []
    with pytest.raises(ValueError, match="line 1: expected each"):
        wrong_links(REPOSITORY / "README.md", "[a](two words.md)")


def test_anchor_is_made_as_github_makes_it() -> None:
    text = "# `GET` or `POST /sample`\n## On the *wire*, 2\n## One\n## One\n```sh\n# no heading\n```\n"
    assert anchors(text) == {"get-or-post-sample", "on-the-wire-2", "one", "one-1"}


def test_moved_function_is_found_and_mended() -> None:
    page = REPOSITORY / "docs/explanation/vae.md"
    moved = "[`elbo_terms`](../../training/nowhere.py) and [`nothing_at_all`](../../training/nowhere.py)"
    assert [line.partition(":")[0] for line in code_links.wrong(page, moved)] == [
        "elbo_terms",
        "nothing_at_all",
    ]
    mended = code_links.mended(page, moved)
    assert [line.partition(":")[0] for line in code_links.wrong(page, mended)] == ["nothing_at_all"]
    assert re.search(r"\[`elbo_terms`\]\(\.\./\.\./training/\S+\.py\)", mended)

"""The page at /docs as a person sees it, in a browser and behind nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browsing, needs_chromium
from nginx import needs_nginx, nginx
from server_process import serving

pytestmark = [needs_chromium, needs_nginx]

OPEN = ".opblock.is-open"
LOCATIONS = """
location /told/ {{
    proxy_pass http://127.0.0.1:{trusting}/;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Prefix /told;
}}
location /silent/ {{ proxy_pass http://127.0.0.1:{trusting}/; }}
location /kept/ {{ proxy_pass http://127.0.0.1:{rooted}; proxy_set_header Host $http_host; }}
"""


@pytest.fixture(scope="module")
def public(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx before two servers: one trusts it, the other knows its path."""
    home = tmp_path_factory.mktemp("docs")
    with (
        serving(tiny_store, home / "trusting", "--trusted-proxies", "127.0.0.1") as trusting,
        serving(tiny_store, home / "rooted", "--root-path", "/kept") as rooted,
        nginx(home, LOCATIONS.format(trusting=trusting.port, rooted=rooted.port)) as address,
    ):
        yield address
        assert (trusting.stop(), rooted.stop()) == (0, 0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as started:
        yield started


def execute(browser: Browser, page: str) -> tuple[str, str, str]:
    """Address, status and body of what "Try it out" and "Execute" of an operation do."""
    browser.go(page)
    browser.click(f"{OPEN} .try-out__btn")
    browser.click(f"{OPEN} .execute")
    status = browser.wait_for(f"{OPEN} .live-responses-table .response .response-col_status").strip()
    body = browser.wait_for(f"{OPEN} .live-responses-table .response .response-col_description")
    return browser.wait_for(f"{OPEN} .request-url .microlight"), status[:3], body


@pytest.mark.parametrize("page", ["told/docs", "told/docs/", "silent/docs", "kept/docs"])
def test_execute_stays_behind_the_prefix(browser: Browser, public: str, page: str) -> None:
    address, status, body = execute(browser, f"{public}/{page}#/operation/livez")
    assert (address, status) == (f"{public}/{page.partition('/')[0]}/livez", "200")
    assert '"status": "alive"' in body


def test_operation_shows_its_answer_and_one_line_of_problems(browser: Browser, public: str) -> None:
    """Fourteen problems, each with headers and an example, made 9,000 pixels of one operation."""
    browser.go(f"{public}/told/docs#/model/sample")
    summary = browser.wait_for(f"{OPEN} details.problems summary")
    assert re.fullmatch(r"Problems: 400, 401, 404, .*, 504", summary)
    table = f"{OPEN} details.problems tr"
    statuses = browser.js(f"[...document.querySelectorAll('{table} td:first-child')].map(e => e.textContent)")
    assert summary == f"Problems: {', '.join(statuses)}"
    codes = browser.js(f"[...document.querySelectorAll('{table} code')].map(e => e.textContent)")
    assert {"malformed-request", "too-busy", "unknown-label"} <= set(codes)
    others = browser.js(f"[...document.querySelectorAll('{OPEN} [data-code]')].map(e => e.dataset.code)")
    assert others == ["200", "304"]
    example = browser.wait_for(f"{OPEN} [data-code='200'] .example")
    assert '"model": "mnist@1"' in example
    assert '"string"' not in example
    assert browser.js(f"document.querySelector('{OPEN}').getBoundingClientRect().height") < 3000


def test_problem_that_is_answered_opens_the_table(browser: Browser, public: str) -> None:
    browser.go(f"{public}/told/docs#/administration/reload")
    browser.wait_for(f"{OPEN} details.problems:not([open])")
    browser.click(f"{OPEN} .try-out__btn")
    browser.click(f"{OPEN} .execute")
    row = browser.wait_for(f"{OPEN} details.problems[open] .response_current")
    assert row.startswith("403")
    assert "administration-off" in row

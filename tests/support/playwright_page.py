"""Debian's Chromium driven by Playwright, and what a page did meanwhile: console, requests, errors.

Knows Playwright and axe-core, which `make test-page` installs into `.venv-page`. Knows nothing of the page.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from browser import CHROMIUM
from patience import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

TOOLS = Path(__file__).parents[2] / ".venv-page"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb")


@dataclass
class Record:
    """What happened in a page since it was opened, or since `clear`."""

    console: list[str] = field(default_factory=list)
    """Errors and warnings, and exceptions that the page did not catch."""
    addresses: list[str] = field(default_factory=list)
    """Of every request, `blob:` and `data:` excluded."""
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Status and address of every response."""
    pending: list[str] = field(default_factory=list)
    """Addresses of requests without an answer yet."""

    def clear(self) -> None:
        """Forget everything so far; what is on its way stays."""
        for each in (self.console, self.addresses, self.answers):
            each.clear()

    def hosts(self) -> set[str]:
        """Host and port of every request."""
        return {urlsplit(address).netloc for address in self.addresses}

    def _message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.console.append(f"{message.type}: {message.text} ({message.location})")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).scheme in ("http", "https"):
            self.addresses.append(request.url)
            self.pending.append(request.url)

    def _end(self, request: Request) -> None:
        if request.url in self.pending:
            self.pending.remove(request.url)

    def _response(self, response: Response) -> None:
        self.answers.append((response.status, response.url))
        # Not at its end: a page that drops a stale answer leaves its body unread.
        self._end(response.request)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; missing tools fail the test and name the command that installs them."""
    if CHROMIUM is None:
        pytest.fail("chromium is missing. On Debian: apt-get install chromium", pytrace=False)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("Playwright is not in .venv-page. Run `make test-page`.", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, **context: Any) -> Iterator[tuple[Page, Record]]:
    """An empty page in a profile of its own, and the record of what it does."""
    profile = browser.new_context(
        **{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **context}
    )
    profile.set_default_timeout(PATIENCE_S * 1000)
    try:
        page = profile.new_page()
        record = Record()
        page.on("console", record._message)
        page.on("pageerror", lambda error: record.console.append(f"exception: {error}"))
        page.on("request", record._request)
        page.on("requestfailed", record._end)
        page.on("response", record._response)
        yield page, record
    finally:
        profile.close()


#: A colour on its way to another has neither's contrast, and on a busy machine it is long on its way.
_FINISH_TRANSITIONS = """() => {
    for (const each of document.getAnimations()) {
        if (each.effect.getTiming().iterations < Infinity) each.finish();
    }
}"""


def violations(page: Page) -> list[str]:
    """What axe-core finds in the page as it is now, one line for each element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate((TOOLS / "node_modules/axe-core/axe.min.js").read_text())
    page.evaluate(_FINISH_TRANSITIONS)
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    found = page.evaluate("(options) => axe.run(document, options).then((all) => all.violations)", options)
    return [
        f"{each['id']}: {node['html'][:200]} {json.dumps(node['any'][:1])[:300]}"
        for each in found
        for node in each["nodes"]
    ]

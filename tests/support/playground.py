"""The playground page as a person has it before them: panels, fragment, trouble.

Knows the page's elements and its fragment. Knows nothing of what is tested.

    with playing(browser, f"http://127.0.0.1:{server.port}/") as play:
        play.open("noise", model="mnist-2d@1")
        play.page.get_by_role("button", name="Draw another ε").click()
        play.settle()
        assert play.record.console == []
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from patience import PATIENCE_S, eventually
from playwright_page import Record, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PANELS = ("map", "draw", "noise", "dimensions", "samples", "between", "kinds", "loss")
WIDTHS = (320, 768, 1280)
#: Two looks with nothing on its way, so far apart, are rest: the page asks again within a frame.
_REST_MS = 80
#: Where the page's scripts lie, so that a test can import one of them.
SCRIPTS = "new URL('.', document.querySelector('script[type=module]').src).href"


class Play:
    """One page, opened at an address of a server."""

    def __init__(self, page: Page, record: Record, address: str) -> None:
        self.page, self.record, self.address = page, record, address

    def open(self, panel: str = "map", **fragment: str) -> None:
        """Load the page anew at a fragment, and wait until the panel has what it asked for."""
        parts = {"panel": panel, **fragment}
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#{urlencode(parts, safe='@,-.')}")
        self.page.wait_for_selector(f"#tab-{panel}[aria-selected=true]")
        self.settle()

    def show(self, panel: str) -> None:
        """Bring another panel to the front, and wait until it has what it asked for."""
        self.page.locator(f"#tab-{panel}").click()
        self.page.wait_for_selector(f"#tab-{panel}[aria-selected=true]")
        self.settle()

    def settle(self) -> None:
        """Wait until no request is on its way."""
        quiet = 0
        waited_ms = 0
        while quiet < 2:
            assert waited_ms < PATIENCE_S * 1000, f"still on their way: {self.record.pending}"
            self.page.wait_for_timeout(_REST_MS)
            waited_ms += _REST_MS
            quiet = quiet + 1 if not self.record.pending else 0

    def fragment(self) -> dict[str, str]:
        """The values in the address."""
        return dict(parse_qsl(urlsplit(self.page.url).fragment))

    def z(self) -> list[float]:
        """The point in the address."""
        return [float(value) for value in self.fragment().get("z", "").split(",") if value]

    def trouble(self) -> str:
        """The sentence about what is wrong; empty if nothing is."""
        text: str = self.page.evaluate("document.getElementById('trouble').textContent")
        return text

    def said(self) -> str:
        """What a screen reader heard last."""
        text: str = self.page.evaluate("document.getElementById('status').textContent")
        return text

    def eventually(self, script: str, expected: object = True) -> None:
        """Wait until a script has a value; the page runs meanwhile, which it does not during a sleep."""

        def found() -> bool:
            self.page.wait_for_timeout(20)
            return bool(self.page.evaluate(script) == expected)

        eventually(found, lambda: (script, self.page.evaluate(script), self.trouble(), self.record.console))

    def script(self, module: str, code: str, argument: object = None) -> Any:
        """The value of `async (m, argument) => …` for a module of the page."""
        call = f"async ([name, argument]) => ({code})(await import({SCRIPTS} + name), argument)"
        return self.page.evaluate(call, [module, argument])


@contextlib.contextmanager
def playing(browser: Browser, address: str, **context: Any) -> Iterator[Play]:
    """The page in a profile of its own; `open` loads it."""
    with opened(browser, **context) as (page, record):
        yield Play(page, record, address)

"""A browser, and a server over the bundled models, for the tests of the playground page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright_page import Record, chromium, opened
from server_process import Running, serving

from model_store import default_store_root

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for each module of tests."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The bundled models: 2 and 8 dimensions, and an autoencoder."""
    with serving(default_store_root(), tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[tuple[Page, Record]]:
    """An empty page of its own profile, and the record of what it does."""
    with opened(browser) as both:
        yield both

"""The page behind a proxy's prefix, and at a server that asks for a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from nginx import nginx
from playground import PANELS, Play, playing
from playwright_page import violations
from server_process import Running, serving

from model_store import default_store_root
from service.security.api_keys import new_key

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

KEY, ENTRY = new_key("use", "a-person")
#: The proxy says its prefix, or says nothing and cuts it off.
LOCATIONS = """
location /vae/ {{
    proxy_pass http://127.0.0.1:{port}/;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Prefix /vae;
}}
location /silent/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_set_header Host $http_host; }}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("proxy")
    with (
        serving(default_store_root(), home / "log", "--trusted-proxies", "127.0.0.1") as running,
        nginx(home, LOCATIONS.format(port=running.port)) as address,
    ):
        yield address
        assert running.stop() == 0


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Running]:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"{ENTRY.line}\n")
    with serving(default_store_root(), tmp_path / "log", "--api-keys-file", str(keys)) as running:
        yield running
        assert running.stop() == 0


@pytest.mark.parametrize("prefix", ["vae", "silent"])
def test_every_panel_stays_behind_the_prefix(browser: Browser, proxy: str, prefix: str) -> None:
    with playing(browser, f"{proxy}/{prefix}/") as play:
        play.open()
        for panel in PANELS:
            play.show(panel)
        assert play.record.console == []
        assert {address.split("/")[3] for address in play.record.addresses} == {prefix}
        assert [answer for answer in play.record.answers if answer[0] >= 400] == []


def test_copied_lines_name_the_prefix(browser: Browser, proxy: str) -> None:
    with playing(browser, f"{proxy}/vae/") as play:
        play.open("samples")
        play.page.locator("#panel details.copy summary").click()
        play.page.get_by_role("button", name="Copy as curl").click()
        play.eventually(
            f"document.querySelector('details.copy code').textContent.includes('{proxy}/vae/sample')"
        )


def give(play: Play, key: str, *, keep: bool = False) -> None:
    """Fill the dialog that asks for a key."""
    dialog = play.page.get_by_role("dialog")
    dialog.wait_for()
    dialog.get_by_label("API key").fill(key)
    if keep:
        dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button").click()


def kept(play: Play) -> list[str]:
    """Everything that the browser stores for the page."""
    values: list[str] = play.page.evaluate(
        "[...Object.values(sessionStorage), ...Object.values(localStorage), document.cookie]"
    )
    return values


@pytest.mark.parametrize("keep", [False, True])
def test_key_is_asked_for_once_and_stays_out_of_addresses(
    browser: Browser, locked: Running, keep: bool
) -> None:
    with playing(browser, f"http://127.0.0.1:{locked.port}/") as play:
        play.page.goto(play.address)
        play.page.get_by_role("dialog").wait_for()
        assert violations(play.page) == []
        give(play, "vae_wrong")
        play.eventually("document.querySelector('dialog')?.innerText.includes('does not know')")
        give(play, KEY, keep=keep)
        play.page.wait_for_selector("[role=tab][aria-selected=true]")
        play.settle()
        for panel in PANELS:
            play.show(panel)
            assert play.page.get_by_role("dialog").count() == 0
        assert not [address for address in (*play.record.addresses, play.page.url) if KEY in address]
        assert any(KEY in value for value in kept(play)) is keep
        play.page.goto("about:blank")
        play.page.goto(play.address)
        if keep:
            play.page.wait_for_selector("[role=tab][aria-selected=true]")
        else:
            play.page.get_by_role("dialog").wait_for()


def test_copied_lines_read_the_key_from_the_environment(browser: Browser, locked: Running) -> None:
    with playing(browser, f"http://127.0.0.1:{locked.port}/") as play:
        play.page.goto(f"{play.address}#panel=samples")
        give(play, KEY)
        play.page.wait_for_selector("#tab-samples[aria-selected=true]")
        play.settle()
        play.page.locator("#panel details.copy summary").click()
        for language in ("curl", "Python"):
            play.page.get_by_role("button", name=f"Copy as {language}").click()
            play.eventually("document.querySelector('details.copy code').textContent.includes('VAE_API_KEY')")
            assert KEY not in play.page.content()


def test_key_is_used_behind_the_prefix(browser: Browser, locked: Running, tmp_path: Path) -> None:
    home = tmp_path / "proxy"
    home.mkdir()
    with (
        nginx(home, LOCATIONS.format(port=locked.port)) as address,
        playing(browser, f"{address}/vae/") as play,
    ):
        play.page.goto(play.address)
        give(play, KEY, keep=True)
        play.page.wait_for_selector("[role=tab][aria-selected=true]")
        for panel in PANELS:
            play.show(panel)
        assert {each.split("/")[3] for each in play.record.addresses} == {"vae"}
        refused = {urlsplit(each).path for status, each in play.record.answers if status >= 400}
        assert refused == {"/vae/models"}
        assert not [each for each in (*play.record.addresses, play.page.url) if KEY in each]

"""The API page shows a command for everything that the server has; what is added and not shown fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from http_calls import Caller

DOCS = Path(__file__).resolve().parents[2] / "docs"
API = (DOCS / "reference/api.md").read_text()
ADMINISTRATION = (DOCS / "how-to/api-keys.md").read_text()
SETTINGS = (DOCS / "reference/settings.md").read_text()


def paths_of(api: Caller) -> set[str]:
    return {route.path for route in api.app.router.routes}


def test_pages_show_every_endpoint(api: Caller) -> None:
    shown = {"/" + path for path in re.findall(r"localhost:8000/([a-z0-9.]*)", API + ADMINISTRATION)}
    for path in paths_of(api) - {
        "/docs/{asset}",
        "/playground/{digest}/{path:path}",
        "/favicon.ico",
        "/robots.txt",
    }:
        first = "/" + path.split("/")[1].partition(".")[0].partition("{")[0]
        assert any(address.partition(".")[0] == first for address in shown), (
            f"docs/reference/api.md shows no command for {path}"
        )


@pytest.mark.parametrize("suffix", ["png", "npy", "npz", "txt"])
def test_page_shows_every_form(suffix: str) -> None:
    assert re.search(rf"localhost:8000/[a-z]+\.{suffix}\b", API)


def test_page_names_the_ways_to_set_and_check() -> None:
    for word in (
        "vae-serve run --help",
        "vae-serve check",
        "VAE_MODEL_STORE",
        "--store",
    ):
        assert word in SETTINGS
    assert "vae-serve openapi" in API


def test_page_has_every_path_of_the_document(api: Caller) -> None:
    for path in api.get("/openapi.json").json()["paths"]:
        assert f"| `{path}` |" in API

"""What the server has, the README tells; what a later hand adds and forgets to tell fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from http_calls import Caller

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def paths_of(api: Caller) -> set[str]:
    return {route.path for route in api.app.router.routes}


def test_readme_shows_every_endpoint(api: Caller) -> None:
    shown = {"/" + path for path in re.findall(r"localhost:8000/([a-z.]*)", README)}
    for path in paths_of(api) - {"/docs/{asset}"}:
        first = "/" + path.split("/")[1].partition(".")[0].partition("{")[0]
        assert any(address.partition(".")[0] == first for address in shown), (
            f"README shows no command for {path}"
        )


@pytest.mark.parametrize("suffix", ["png", "npy", "npz", "txt"])
def test_readme_shows_every_form(suffix: str) -> None:
    assert re.search(rf"localhost:8000/[a-z]+\.{suffix}\b", README)


def test_readme_names_the_ways_to_set_and_check() -> None:
    for word in (
        "vae-serve run --help",
        "vae-serve check",
        "vae-serve openapi",
        "VAE_MODEL_STORE",
        "--store",
    ):
        assert word in README

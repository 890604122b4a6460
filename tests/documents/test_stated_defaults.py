"""Where the API page states how many images come by default, so many come, in JSON and as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from documents.markdown import REPOSITORY
from http_calls import Answer, Caller
from openapi_checks import parameters_of

from service.app import create_app
from service.settings import Settings

PAGE = (REPOSITORY / "docs/reference/api.md").read_text()
README = (REPOSITORY / "README.md").read_text()
STATED = re.compile(r"\b(\d+) by default, (\d+) as text")
#: Path → parameter with the number, and the rest of the query.
COUNTED = {
    "/sample": ("n", "seed=7"),
    "/interpolate": ("steps", "method=lerp"),
    "/traverse": ("steps", "dims=3"),
}


@pytest.fixture(scope="module")
def bundled() -> Iterator[Caller]:
    with Caller(create_app(Settings(threads=1))) as caller:
        yield caller


def section(path: str) -> str:
    (text,) = (part for part in PAGE.split("\n## ")[1:] if part.partition("\n")[0].endswith(f"{path}`"))
    return text


def ask(api: Caller, path: str, query: str) -> Answer:
    if path.startswith("/interpolate"):
        return api.post_json(f"{path}?{query}", {"z": [[0.0] * 32, [1.0] * 32]})
    return api.get(f"{path}?{query}")


@pytest.mark.parametrize("path", COUNTED)
def test_as_many_images_come_as_the_page_states(bundled: Caller, path: str) -> None:
    name, rest = COUNTED[path]
    (stated,) = STATED.findall(section(path))
    by_default, as_text = map(int, stated)
    assert len(ask(bundled, path, rest).json()["images"]) == by_default
    text = ask(bundled, f"{path}.txt", rest)
    assert text.status == 200
    assert text.body == ask(bundled, f"{path}.txt", f"{rest}&{name}={as_text}").body
    assert text.body != ask(bundled, f"{path}.txt", f"{rest}&{name}={as_text + 1}").body
    assert max(map(len, text.body.decode().splitlines())) <= 80


@pytest.mark.parametrize("path", COUNTED)
def test_parameter_s_own_description_states_the_same(bundled: Caller, path: str) -> None:
    name, _ = COUNTED[path]
    (stated,) = STATED.findall(section(path))
    document = bundled.get("/openapi.json").json()
    operation = document["paths"][path]["post"]
    text = parameters_of(document, operation)[name]["description"]
    assert re.search(rf"Left out: {stated[0]}, or {stated[1]} as text", text)


def test_readme_counts_the_digits_of_its_first_request() -> None:
    (line,) = (line for line in README.splitlines() if "/sample.txt " in line)
    assert "ten new digits" in line
    assert STATED.findall(section("/sample"))[0][1] == "10"

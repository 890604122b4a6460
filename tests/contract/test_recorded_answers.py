"""Every answer of the service and of the command lines is the one that was recorded, byte for byte.

A changed answer is no fault by itself: record it with `--record-answers`, review the difference, and name it
in CHANGELOG. `tests/support/recorded` says what is compared and what cannot be.
"""

from __future__ import annotations

import difflib
import json
import re
from itertools import islice
from pathlib import Path

import pytest
from openapi_checks import content_of, parameters_of
from recorded.models import publish_all
from recorded.notebook import Notebook
from recorded.topics import TOPICS

from service.http.negotiation import Format

RECORDED = Path(__file__).parent / "recorded"
#: Its errors have a form of their own, which is not application/problem+json.
_PROTOCOL = ("> POST /v2", "> GET /v2")
#: Lines of a difference that are shown.
MOST_SHOWN = 120
#: No request makes the server do this, unless it has a defect.
UNPROVOKED = {"internal-error"}


@pytest.fixture(scope="session")
def exact_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exact") / "models"
    publish_all(root)
    return root


@pytest.mark.parametrize("topic", TOPICS)
def test_answers_are_those_that_were_recorded(
    topic: str, exact_store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    notebook = Notebook(exact_store, tmp_path)
    TOPICS[topic](notebook)
    path = RECORDED / f"{topic}.txt"
    if request.config.getoption("--record-answers"):
        path.write_bytes(notebook.text.encode())
        return
    before = path.read_bytes().decode() if path.exists() else ""
    if notebook.text != before:
        changes = difflib.unified_diff(
            before.splitlines(), notebook.text.splitlines(), "recorded", "answered now", lineterm="", n=4
        )
        shown = "\n".join(islice(changes, MOST_SHOWN))
        pytest.fail(
            f"{path.name}: answers changed (CONTRIBUTING says how to record them)\n{shown}", pytrace=False
        )


def test_no_recording_is_of_a_topic_that_is_gone() -> None:
    assert {path.name for path in RECORDED.iterdir()} == {f"{topic}.txt" for topic in TOPICS}


class Exchange:
    """One exchange of a recording, as far as the tests below ask."""

    def __init__(self, block: str) -> None:
        lines = block.split("\n")
        asked = [line.removeprefix("> ") for line in lines if line.startswith(">")]
        answered = [line.removeprefix("< ") for line in lines if line.startswith("<")]
        self.method, _, target = asked[0].partition(" ")
        self.path, _, self.query = target.partition("?")
        self.asked = "\n".join(asked[1:])
        self.status = int(_first(r"^(\d+)", answered[0]) or 0)
        self.answered = "\n".join(answered)
        self.sent_type = _first(r"(?m)^content-type: (.*)$", self.asked)
        self.media_type = _first(r"(?m)^(?:\d+ as above, )?content-type: ([^;,\n]*)", self.answered)
        self.body = self.answered.partition("\n<\n")[2]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def exchanges(*topics: str) -> list[Exchange]:
    texts = [(RECORDED / f"{topic}.txt").read_bytes().decode() for topic in topics or TOPICS]
    return [Exchange(block) for text in texts for block in text.split("\n\n") if block.startswith("> ")]


def test_every_problem_that_a_request_can_provoke_is_recorded() -> None:
    """A new code is recorded together with a request that leads to it."""
    listed = {
        each.path.removeprefix("/problems/")
        for each in exchanges("pages")
        if each.path.startswith("/problems/") and each.status == 200
    }
    provoked = {
        code
        for topic in TOPICS
        for block in (RECORDED / f"{topic}.txt").read_bytes().decode().split("\n\n")
        if re.search(r"(?m)^<.* content-type: application/problem\+json", block)
        or block.startswith(_PROTOCOL)
        for code in re.findall(r'(?m)"code": "([a-z-]+)"', block)
    }
    assert provoked & listed == listed - UNPROVOKED


def test_every_operation_is_recorded_with_each_body_form_and_parameter(
    exact_store: Path, tmp_path: Path
) -> None:
    """What the OpenAPI document promises, something was asked for and answered with 200."""
    with Notebook(exact_store, tmp_path).application("the document") as ask:
        document = json.loads(ask.get("/openapi.json").body)
    answered = [each for each in exchanges() if each.status == 200]
    missing: list[str] = []
    for template, item in document["paths"].items():
        path = re.sub(r"\\\{\w+\\\}", r"[^/.]+", re.escape(_stem(template)))
        for method, operation in item.items():
            asked = [
                e for e in answered if e.method == method.upper() and re.fullmatch(path + r"(\.\w+)?", e.path)
            ]
            body = content_of(document, operation["requestBody"]) if "requestBody" in operation else {}
            missing += [
                f"{method} {template}: body {kind}"
                for kind in body
                if not any(each.sent_type.partition(";")[0] == kind for each in asked)
            ]
            missing += [
                f"{method} {template}: key {name}"
                for name in _keys(document, body.get("application/json", {}).get("schema", {}))
                if not any(f'"{name}": ' in each.asked for each in asked)
            ]
            missing += [
                f"{method} {template}: answer {form}"
                for form in content_of(document, operation["responses"]["200"])
                if not any(each.media_type == form for each in asked)
            ]
            missing += [
                f"{method} {template}: parameter {name}"
                for name, parameter in parameters_of(document, operation).items()
                if parameter["in"] == "query"
                and not any(re.search(rf"(^|&){name}=", each.query) for each in asked)
            ]
    assert not missing, "\n".join(missing)


def _stem(path: str) -> str:
    """The path of an operation, whatever the format: forms are recorded for one or another of them."""
    stem, _, suffix = path.rpartition(".")
    return stem if suffix in {form.suffix for form in Format} - {"json"} else path


def _keys(document: dict, schema: dict) -> set[str]:
    """Keys of a JSON body, in whichever alternative they stand."""
    if "$ref" in schema:
        found = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return _keys(document, found)
    keys = set(schema.get("properties", {}))
    for word in ("anyOf", "oneOf", "allOf"):
        for alternative in schema.get(word, ()):
            keys |= _keys(document, alternative)
    return keys

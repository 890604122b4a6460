"""The OpenAPI document tells the truth, its examples work, and its page needs nobody else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest
from http_calls import Caller
from openapi_checks import (
    Document,
    assert_documented,
    content_of,
    defects,
    operations,
    parameters_of,
    resolve,
)
from patience import PATIENCE_S

from service.api.native.table import OPERATIONS
from service.engine import LATENT_BOUND
from service.http.problems import PROBLEMS


@pytest.fixture(scope="module")
def document(api: Caller) -> Document:
    answer = api.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    loaded: Document = answer.json()
    return loaded


def test_the_validator_finds_defects(document: Document) -> None:
    """The twin: a validator that finds nothing proves nothing."""
    content = content_of(document, document["paths"]["/sample"]["get"]["responses"]["200"])
    schema = content["application/json"]["schema"]
    good = {
        "model": "m@1",
        "prior": "standard",
        "label": None,
        "seed": 1,
        "temperature": 1.0,
        "z": [[0.5]],
        "images": [[[[0.5]]]],
    }
    assert defects(document, schema, good) == []
    for change in (
        {"seed": "1"}, {"seed": True}, {"seed": -1}, {"extra": 1}, {"images": [[[["x"]]]]},
        {"images": [[[[2]]]]}, {"z": []}, {"model": None}, {"prior": "best"}, {"label": 7},
    ):  # fmt: skip
        assert defects(document, schema, {**good, **change}) != [], change
    assert defects(document, schema, {k: v for k, v in good.items() if k != "z"}) != []


def test_references_resolve_and_operations_are_named_once(document: Document) -> None:
    text = json.dumps(document)
    used = set(re.findall(r'"\$ref": "([^"]+)"', text))
    for reference in used:
        assert resolve(document, {"$ref": reference})
    for kind, parts in document["components"].items():
        unused = {name for name in parts if f"#/components/{kind}/{name}" not in used}
        assert unused <= {"key"}, kind
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert document["openapi"] == "3.1.0"


def test_every_route_is_in_the_document_and_every_path_is_a_route(api: Caller, document: Document) -> None:
    routes = {route.path for route in api.app.router.routes if route.include_in_schema}
    forms = {f"{o.path}.{form.suffix}": f"{o.path}.{{suffix}}" for o in OPERATIONS for form in o.formats[1:]}
    preview = "/models/{name}/preview"
    forms |= {f"{preview}.{suffix}": f"{preview}.{{suffix}}" for suffix in ("npz", "png")}
    # The files of the page itself and those that only browsers request are no interface.
    own = {"/docs/{asset}", "/playground/{digest}/{path:path}", "/favicon.ico", "/robots.txt"}
    assert routes - own == {forms.get(path, path) for path in document["paths"]}
    assert set(forms) <= set(document["paths"])
    for path in document["paths"]:
        template = forms.get(path, path)
        methods = {m for route in api.app.router.routes if route.path == template for m in route.methods}
        assert methods - {"HEAD"} == {method.upper() for method in document["paths"][path]}


def test_every_parameter_and_problem_is_described(document: Document) -> None:
    for method, path, operation in operations(document):
        assert operation["summary"]
        assert {"200", "400", "405", "500", "503"} <= set(operation["responses"]), (method, path)
        for name, parameter in parameters_of(document, operation).items():
            assert parameter["description"], (path, name)
            assert resolve(document, parameter["schema"])["type"]
        for status, response in operation["responses"].items():
            resolved = resolve(document, response)
            assert resolved["description"]
            if status == "304":
                assert "content" not in resolved
            elif status != "200":
                form = "application/json" if path.startswith("/v2") else "application/problem+json"
                assert next(iter(resolved["content"])) == form
    text = json.dumps(document)
    for code in PROBLEMS:
        assert f"`{code}`" in text, f"no operation documents {code}"
    for operation in OPERATIONS:
        listed = parameters_of(document, document["paths"][operation.path][operation.methods[0].lower()])
        assert set(operation.query.model_fields) <= set(listed)
    n = parameters_of(document, document["paths"]["/sample"]["get"])["n"]
    assert (n["schema"]["minimum"], n["schema"]["maximum"]) == (1, 65_536)


def test_examples_of_bodies_work_as_they_stand(api: Caller, document: Document) -> None:
    tried = 0
    for method, path, operation in operations(document):
        if method != "POST" or "requestBody" not in operation:
            continue
        kinds = content_of(document, operation["requestBody"])
        if path.startswith("/remote/"):
            assert list(kinds) == ["application/octet-stream"]  # tests/service/api/remote has bodies for them
            continue
        body = kinds["application/json"]
        assert defects(document, body["schema"], body["example"]) == []
        values = {p["name"]: p["example"] for p in operation["parameters"] if p.get("in") == "path"}
        answer = api.post_json(path.format(**values), body["example"])
        assert answer.status == 200, (path, answer.body[:300])
        assert_documented(document, method, path, answer)
        tried += 1
    of_protocol = 3  # two of inference, and the index
    forms = sum(len(operation.formats) for operation in OPERATIONS if "POST" in operation.methods)
    assert tried == forms + of_protocol


def test_answers_to_get_are_as_documented(api: Caller, document: Document) -> None:
    for method, path, operation in operations(document):
        if method != "GET":
            continue
        parameters = parameters_of(document, operation)
        values = {name: p["example"] for name, p in parameters.items() if p["in"] == "path"}
        answer = api.get(path.format(**values))
        # The tiny models have no preview; `native/test_preview.py` has one.
        assert answer.status == (404 if "/preview" in path else 200), path
        assert_documented(document, method, path, answer)
        with_query = api.get(path.format(**values) + "?nonsense=1")
        assert with_query.status == (422 if "422" in operation["responses"] else 200)
        assert_documented(document, method, path, with_query)


def test_every_form_and_refusal_is_as_documented(api: Caller, document: Document) -> None:
    images = {"images": np.zeros((2, 28, 28)).tolist()}
    latents = {"z": np.zeros((2, 8)).tolist()}
    for method, path, target, body, status in (
        ("GET", "/sample.png", "/sample.png", None, 200),
        ("GET", "/sample.npz", "/sample.npz?n=2", None, 200),
        ("GET", "/sample.txt", "/sample.txt", None, 200),
        ("GET", "/sample", "/sample.gif", None, 406),
        ("GET", "/sample.png", "/sample.png?scale=64&n=256", None, 422),
        ("GET", "/sample", "/sample?model=none", None, 404),
        ("GET", "/sample", "/sample?model=plain", None, 422),
        ("POST", "/reconstruct", "/reconstruct?sample=true", images, 200),
        ("POST", "/reconstruct.npy", "/reconstruct.npy", images, 200),
        ("POST", "/interpolate", "/interpolate", images, 200),
        ("POST", "/interpolate", "/interpolate", latents, 200),
        ("POST", "/interpolate", "/interpolate", {**images, **latents}, 422),
        ("POST", "/interpolate.png", "/interpolate.png", latents, 200),
        ("GET", "/traverse", "/traverse?dims=1", None, 200),
        ("GET", "/traverse", "/traverse?dims=8", None, 422),
        ("GET", "/traverse.txt", "/traverse.txt", None, 200),
        ("POST", "/traverse", "/traverse", {"dims": [1]}, 200),
        ("POST", "/score", "/score", images, 200),
        ("POST", "/score", "/score?importance_samples=2", images, 200),
        ("POST", "/score", "/score?model=plain", images, 422),
        ("POST", "/score.npz", "/score.npz", images, 200),
        ("POST", "/score.txt", "/score.txt", images, 200),
        ("POST", "/score", "/score.png", images, 406),
        ("POST", "/encode", "/encode", images, 200),
        ("POST", "/encode", "/encode", [], 400),
        ("POST", "/encode", "/encode", {"images": 3}, 422),
        ("GET", "/models/{name}", "/models/mnist@2", None, 200),
        ("GET", "/models/{name}", "/models/none", None, 404),
        ("GET", "/problems", "/problems", None, 200),
        ("GET", "/problems/{code}", "/problems/none", None, 404),
    ):
        answer = api.get(target) if body is None else api.post_json(target, body)
        assert answer.status == status, (target, answer.body[:300])
        assert_documented(document, method, path, answer)
    for target in ("/sample", "/encode", "/readyz"):
        answer = api.call("PUT", target)
        assert answer.status == 405
        method = "POST" if target == "/encode" else "GET"
        assert_documented(document, method, target, answer)
    unsupported = api.post("/encode", b"x", "text/plain")
    assert unsupported.status == 415
    assert_documented(document, "POST", "/encode", unsupported)


class Links(HTMLParser):
    """Every address that a page loads or leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [named[name] or "" for name in ("src", "href", "action", "data") if name in named]
        self._in_script = tag == "script" and "src" not in named

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


def test_document_tells_the_bounds_of_what_comes_in(api: Caller) -> None:
    """Whoever works from the document alone finds out the sizes there, not by being refused."""
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    number = schemas["LatentsIn"]["items"]["items"]
    assert (number["minimum"], number["maximum"]) == (-LATENT_BOUND, LATENT_BOUND)
    assert "A row of mnist has 8 numbers" in schemas["LatentsIn"]["description"]
    assert "of mnist is (1, 28, 28)" in schemas["ImagesIn"]["description"]
    edge = [[LATENT_BOUND] * 8]
    assert api.post_json("/decode", {"z": edge}).status == 200
    assert api.post_json("/decode", {"z": [[LATENT_BOUND * 1.001] * 8]}).status == 422


def test_document_tells_how_large_a_picture_may_be(api: Caller) -> None:
    """A photograph is refused, and nothing that could be read before said so."""
    document = api.get("/openapi.json").json()
    bodies = content_of(document, document["paths"]["/encode"]["post"]["requestBody"])
    told = bodies["image/png"]["schema"]["description"]
    assert "4,194,304 pixels" in told
    assert "max_picture_pixels" in told


def test_docs_page_needs_no_other_server(api: Caller) -> None:
    answer = api.get("/docs")
    assert answer.status == 200
    page = Links()
    page.feed(answer.body.decode())
    (script,) = page.scripts
    addresses = [*page.addresses, *re.findall(r"url:'([^']*)'", script)]
    assert len(addresses) >= 4
    for address in addresses:
        whole = urlsplit(urljoin("http://server/docs", address))
        if whole.scheme == "data":
            continue
        assert whole.netloc == "server", address
        assert api.get(whole.path).status == 200, address
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
        fetched = api.get(f"/docs/{asset}")
        assert len(fetched.body) > 100_000
        assert "text/" in fetched.headers["content-type"]
    assert "//" not in answer.body.decode().replace("</", "")


@pytest.mark.parametrize("ranges", ["bytes=abc", "bytes=99999999-", "bytes=0-9", "lines=1-2"])
def test_files_of_the_docs_come_whole_whatever_range_is_asked_for(api: Caller, ranges: str) -> None:
    """A range that does not fit was answered 400 or 416 in plain text, the only error that was no problem."""
    whole = api.get("/docs/swagger-ui.css")
    answer = api.get("/docs/swagger-ui.css", {"range": ranges})
    assert (answer.status, answer.body) == (200, whole.body)
    assert "content-range" not in answer.headers


def test_docs_page_forbids_other_servers(api: Caller) -> None:
    policy = dict(
        part.split(" ", 1) for part in api.get("/docs").headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in policy["script-src"]
    sources = " ".join(policy.values()).split()
    assert set(sources) <= {
        "'none'", "'self'", "data:", "blob:", "'unsafe-inline'",
        next(s for s in sources if s.startswith("'sha256-")),
    }  # fmt: skip


def test_policy_admits_the_script_that_the_page_holds(api: Caller) -> None:
    import base64
    import hashlib

    answer = api.get("/docs")
    page = Links()
    page.feed(answer.body.decode())
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["../settings.py", "..%2f..%2fsettings.py", "redoc.standalone.js", "%00"])
def test_docs_serve_their_own_two_files_only(api: Caller, name: str) -> None:
    assert api.get(f"/docs/{name}").status == 404


def test_redoc_is_off(api: Caller) -> None:
    assert api.get("/redoc").status == 404


def test_openapi_command_prints_the_same_document(api: Caller, document: Document) -> None:
    store = api.app.state.app_state.store_root
    done = subprocess.run(
        [sys.executable, "-m", "service", "openapi", "--store", store, "--max-images", "64"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    # In the same order as well: another process hashes strings in another way.
    assert done.stdout.decode() == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert done.stderr == b""


def test_fields_of_the_schemas_all_have_reasons() -> None:
    for operation in OPERATIONS:
        for model in (operation.query, operation.body):
            for name, field in model.model_fields.items():
                assert field.description, name

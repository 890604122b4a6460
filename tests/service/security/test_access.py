"""Who is let in, who may administrate, and what is kept of a key: nothing but its label."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Answer, Caller
from patience import PATIENCE_S, eventually, slowness
from server_process import raw_answer, serving
from tiny_models import publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.http.problems import ProblemError
from service.observability.logs import JsonFormatter
from service.security.access import Access, is_loopback, is_open
from service.security.api_keys import KeyFileError, new_key
from service.settings import Settings

USE, USE_ENTRY = new_key("use", "phone-app")
ADMIN, ADMIN_ENTRY = new_key("admin", "deploy")


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "api-keys"
    path.write_text(f"{USE_ENTRY.line}\n{ADMIN_ENTRY.line}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def keyed(tiny_store: Path, key_file: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1, api_keys_file=key_file)
    with Caller(create_app(settings)) as caller:
        yield caller


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def scope_of(*values: bytes, path: str = "/sample") -> dict[str, Any]:
    return {"type": "http", "path": path, "headers": [(b"authorization", value) for value in values]}


def test_without_a_key_file_nobody_needs_a_key(api: Caller) -> None:
    assert api.get("/sample").status == 200
    assert api.get("/sample", bearer("whatever")).status == 200


def test_request_without_a_key_is_told_what_to_send(keyed: Caller) -> None:
    for answer in (
        keyed.get("/sample"),
        keyed.get("/sample.png"),
        keyed.get("/models"),
        keyed.get("/metrics"),
        keyed.get("/nowhere"),
        keyed.post_json("/encode", {"images": []}),
        keyed.call("PUT", "/sample"),
        keyed.call("HEAD", "/sample"),
    ):
        assert (answer.status, answer.code) == (401, "missing-key")
        assert answer.headers["www-authenticate"] == 'Bearer realm="vae-service"'
        assert "Authorization: Bearer" in answer.json()["remedy"]
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers["x-request-id"]) == 16


def test_methods_of_a_path_are_told_without_a_key(keyed: Caller) -> None:
    """They are in the document, which takes none either, and nothing is run for them."""
    for path, allow in (("/sample", "GET, HEAD, OPTIONS, POST"), ("/metrics", "GET, HEAD, OPTIONS")):
        answer = keyed.call("OPTIONS", path)
        assert (answer.status, answer.headers["allow"], answer.body) == (204, allow, b"")


def test_probes_and_descriptions_take_no_key(keyed: Caller) -> None:
    for path in (
        "/livez",
        "/readyz",
        "/",
        "/docs",
        "/docs/swagger-ui.css",
        "/openapi.json",
        "/problems",
        "/limits",
    ):
        assert keyed.get(path).status == 200, path
        assert keyed.get(path, bearer("nonsense")).status == 200, path
    assert keyed.get("/problems/missing-key").json()["status"] == 401


def test_open_paths_open_nothing_else(keyed: Caller) -> None:
    for path in (
        "/docs/../sample", "/docs/%2e%2e/sample", "//sample", "/sample/", "/sample%00", "/livez/../sample",
        "/livez/", "/problems/..%2fsample", "/./sample", "/LIVEZ", "/livez.json",
    ):  # fmt: skip
        assert keyed.get(path).status in (401, 404), path
    routes = {route.path for route in keyed.app.router.routes}
    opened = {path for path in routes if is_open(path)}
    assert opened == {
        "/", "/livez", "/readyz", "/docs", "/docs/{asset}", "/openapi.json", "/problems",
        "/problems/{code}", "/limits", "/favicon.ico", "/robots.txt",
            "/playground/{digest}/{path:path}", "/v2/health/live", "/v2/health/ready",
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_both_scopes_may_use_the_server(keyed: Caller, scheme: str) -> None:
    for key in (USE, ADMIN):
        for path in ("/sample", "/sample.png", "/models", "/metrics"):
            assert keyed.get(path, {"authorization": f"{scheme} {key}"}).status == 200


HOSTILE = {
    "empty": [b""],
    "scheme alone": [b"Bearer"],
    "scheme and space": [b"Bearer "],
    "no scheme": [USE.encode()],
    "another scheme": [b"Basic " + USE.encode()],
    "wrong key": [b"Bearer vae_" + b"A" * 43],
    "one character less": [b"Bearer " + USE[:-1].encode()],
    "one character more": [b"Bearer " + USE.encode() + b"A"],
    "its digest": [b"Bearer " + USE_ENTRY.digest.hex().encode()],
    "another case": [b"Bearer " + USE.swapcase().encode()],
    "latin-1": [b"Bearer \xff\xfe\xe9"],
    "UTF-8": ["Bearer schlüssel".encode()],
    "NUL": [b"Bearer " + USE.encode() + b"\x00"],
    "quoted": [b'Bearer "' + USE.encode() + b'"'],
    "comma": [b"Bearer " + USE.encode() + b", Bearer x"],
    "tab": [b"Bearer\t" + USE.encode()],
    "64 kB": [b"Bearer " + b"A" * 65_536],
    "64 kB of spaces": [b"Bearer " + b" " * 65_536],
    "right twice": [b"Bearer " + USE.encode()] * 2,
    "wrong, then right": [b"Bearer wrong", b"Bearer " + USE.encode()],
    "right, then wrong": [b"Bearer " + USE.encode(), b"Bearer wrong"],
    "a thousand": [b"Bearer " + USE.encode()] * 1_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_header_that_holds_no_key_of_ours_is_401_and_not_repeated(name: str, key_file: Path) -> None:
    access = Access(key_file=key_file, admin=None)
    with pytest.raises(ProblemError) as caught:
        access.authorise(scope_of(*HOSTILE[name]))
    assert caught.value.kind.code == "unknown-key"
    assert 'error="invalid_token"' in caught.value.headers["WWW-Authenticate"]
    assert "vae_" not in caught.value.detail
    assert len(caught.value.detail) < 250


def test_hostile_headers_cost_next_to_nothing(key_file: Path) -> None:
    access = Access(key_file=key_file, admin=None)
    scopes = [scope_of(*values) for values in HOSTILE.values()]
    begun = time.process_time()
    for _ in range(20):
        for scope in scopes:
            with pytest.raises(ProblemError):
                access.authorise(scope)
    assert (time.process_time() - begun) / (20 * len(scopes)) < 1e-3 * slowness()


def test_key_that_is_known_costs_microseconds(
    key_file: Path, record_property: Callable[[str, object], None]
) -> None:
    access = Access(key_file=key_file, admin=None)
    scope = scope_of(b"Bearer " + USE.encode())
    scope["headers"][:0] = [
        (b"host", b"localhost"),
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
    ]
    begun = time.process_time()
    for _ in range(10_000):
        access.authorise(scope)
    cost_us = (time.process_time() - begun) * 1e6 / 10_000
    record_property("authorise_us", round(cost_us, 2))
    assert cost_us < 50 * slowness()  # about 2 when nobody else works here


def test_nothing_of_a_body_is_read_before_the_key_is_known(keyed: Caller) -> None:
    reads = 0
    statuses = []

    async def call() -> None:
        async def receive() -> dict[str, Any]:
            nonlocal reads
            reads += 1
            return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            statuses.append(message.get("status"))

        scope = {
            "type": "http", "method": "POST", "path": "/encode", "raw_path": b"/encode", "query_string": b"",
            "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "scheme": "http",
            "server": ("127.0.0.1", 80), "http_version": "1.1", "root_path": "", "state": {},
        }  # fmt: skip
        await keyed.app(scope, receive, send)

    keyed.run(call())
    assert (statuses[0], reads) == (401, 0)


class Captured(logging.Handler):
    """Every line as it would be written, the extra fields included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(JsonFormatter().format(record) + repr(record.__dict__))


@pytest.fixture
def captured() -> Iterator[Captured]:
    handler, root = Captured(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("service").setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
    logging.getLogger("service").setLevel(logging.NOTSET)


def test_no_key_reaches_the_log_the_metrics_or_an_answer(
    keyed: Caller, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("internal detail")

    answers: list[Answer] = []
    secrets = (USE, ADMIN, "vae_wrongwrongwrong", "c2VjcmV0OnNlY3JldA==")
    for key in secrets:
        for scheme in ("Bearer", "Basic"):
            for path in ("/sample", "/nowhere", "/metrics", "/models/none", "/sample?n=0", "/readyz"):
                answers.append(keyed.get(path, {"authorization": f"{scheme} {key}"}))
        answers.append(keyed.post("/models/mnist/reload", headers=bearer(key)))
    monkeypatch.setattr(keyed.app.state.app_state.registry, "peek", broken)
    failed = keyed.get("/sample", bearer(USE))
    assert failed.status == 500
    told = "\n".join(captured.lines)
    for answer in (*answers, failed):
        told += answer.body.decode("latin-1") + repr(answer.headers)
    assert "internal detail" in told
    for key in secrets:
        assert key not in told
        assert key[6:20] not in told
    assert USE_ENTRY.digest.hex() not in told
    assert '"key":"phone-app"' in told


def test_reload_loads_what_was_published_since(tmp_path: Path, key_file: Path) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist")
    settings = Settings(model_store=tmp_path / "models", threads=1, api_keys_file=key_file)
    with Caller(create_app(settings)) as api:
        publish_tiny(store, name="mnist", seed=2)
        answer = api.post("/models/mnist/reload", headers=bearer(ADMIN))
        assert answer.status == 200, answer.body
        report = answer.json()
        assert report["name"] == "mnist"
        assert "mnist@2" in report["loaded"]
        assert report["failures"] == []
        assert report["others_told"] is False
        assert api.get("/sample", bearer(USE)).headers["x-model"] == "mnist@2"


def test_reload_tells_what_failed_and_why_and_keeps_the_old(tmp_path: Path, key_file: Path) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist")
    settings = Settings(model_store=tmp_path / "models", threads=1, api_keys_file=key_file)
    with Caller(create_app(settings)) as api:
        publish_tiny(store, name="mnist", seed=2)
        (tmp_path / "models/mnist/2/decoder.onnx").unlink()
        report = api.post("/models/mnist/reload", headers=bearer(ADMIN)).json()
        assert report["loaded"] == []
        (failure,) = [f for f in report["failures"] if f["model"] == "mnist@2"]
        assert "decoder.onnx" in failure["reason"]
        assert api.get("/sample", bearer(USE)).headers["x-model"] == "mnist@1"


def test_reload_of_a_name_that_is_ignored_says_why(tmp_path: Path, key_file: Path) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist")
    (tmp_path / "models/backup").symlink_to("nowhere")
    settings = Settings(model_store=tmp_path / "models", threads=1, api_keys_file=key_file)
    with Caller(create_app(settings)) as api:
        assert api.get("/models", bearer(USE)).json()["failures"] == []
        report = api.post("/models/backup/reload", headers=bearer(ADMIN)).json()
        (failure,) = report["failures"]
        assert failure["model"] == "backup"
        assert "symbolic link" in failure["reason"]


def test_reload_of_an_unknown_name_is_404(keyed: Caller) -> None:
    for name in ("none", "..", "%00", "x" * 1_000, "%E2%80%AE"):
        answer = keyed.post(f"/models/{name}/reload", headers=bearer(ADMIN))
        assert answer.status in (404, 422), name


def test_reload_takes_no_query(keyed: Caller) -> None:
    assert keyed.post("/models/mnist/reload?force=1", headers=bearer(ADMIN)).code == "invalid-parameter"


def test_administration_takes_a_key_of_its_own_scope(keyed: Caller) -> None:
    assert keyed.post("/models/mnist/reload").code == "missing-key"
    refused = keyed.post("/models/mnist/reload", headers=bearer(USE))
    assert (refused.status, refused.code) == (403, "insufficient-scope")
    assert 'scope="admin"' in refused.headers["www-authenticate"]
    assert keyed.post("/models/mnist/reload", headers=bearer(ADMIN)).status == 200


def test_administration_is_off_without_an_admin_key(api: Caller, tiny_store: Path, tmp_path: Path) -> None:
    answer = api.post("/models/mnist/reload")
    assert (answer.status, answer.code) == (403, "administration-off")
    path = tmp_path / "keys"
    path.write_text(USE_ENTRY.line)
    path.chmod(0o600)
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, api_keys_file=path))) as one:
        assert one.post("/models/mnist/reload", headers=bearer(USE)).code == "administration-off"


def test_administration_may_be_turned_off_and_on(tiny_store: Path, key_file: Path) -> None:
    off = Settings(model_store=tiny_store, threads=1, api_keys_file=key_file, admin=False)
    with Caller(create_app(off)) as api:
        assert api.post("/models/mnist/reload", headers=bearer(ADMIN)).code == "administration-off"
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, admin=True))) as api:
        assert api.post("/models/mnist/reload").status == 200


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pages_of_other_sites_cannot_administrate_through_a_browser(
    tiny_store: Path, site: str, status: int
) -> None:
    """A form posts anywhere without asking, and on a developer's machine no key stops it."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, admin=True))) as api:
        assert api.post("/models/mnist/reload", headers={"sec-fetch-site": site}).status == status


def test_a_key_for_administration_is_enough_whatever_host_or_page_sends_it(keyed: Caller) -> None:
    """No page has the key, and scripts call a server by whatever name leads there."""
    strange = {"host": "machine", "origin": "https://other.example", "sec-fetch-site": "cross-site"}
    assert keyed.post("/models/mnist/reload", headers={**bearer(ADMIN), **strange}).status == 200


def test_administration_without_a_key_for_it_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(USE_ENTRY.line)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="vae-serve key --scope admin"):
        create_app(Settings(model_store=tmp_path, api_keys_file=path, admin=True))


def test_reloads_run_one_at_a_time(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, admin=True))) as api:
        running = most = 0
        registry = api.app.state.app_state.registry
        load_all = registry.load_all

        def counted() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            load_all()
            running -= 1

        monkeypatch.setattr(registry, "load_all", counted)

        async def several() -> list[Answer]:
            return await asyncio.gather(*(api.acall("POST", "/models/mnist/reload") for _ in range(5)))

        assert [answer.status for answer in api.run(several())] == [200] * 5
        assert most <= 1


def test_siblings_are_told_where_there_are_some(tiny_store: Path) -> None:
    app = create_app(Settings(model_store=tiny_store, threads=1, admin=True))
    told: list[bool] = []

    def siblings() -> bool:
        told.append(True)
        return True

    object.__setattr__(app.state.app_state, "reload_siblings", siblings)
    with Caller(app) as api:
        assert api.post("/models/mnist/reload").json()["others_told"] is True
    assert told == [True]


def test_keys_that_are_reread_count_at_once_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(USE_ENTRY.line)
    path.chmod(0o600)
    access = Access(key_file=path, admin=None)
    access.authorise(scope_of(b"Bearer " + USE.encode()))
    assert not access.administration
    path.write_text("broken")
    access.reread()
    access.authorise(scope_of(b"Bearer " + USE.encode()))
    path.write_text(ADMIN_ENTRY.line)
    access.reread()
    assert access.administration
    access.authorise(scope_of(b"Bearer " + ADMIN.encode()))
    with pytest.raises(ProblemError):
        access.authorise(scope_of(b"Bearer " + USE.encode()))


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
        ("::ffff:127.0.0.1", True), ("::1%lo", True), ("::ffff:0.0.0.0", False), ("::ffff:192.0.2.1", False),
        ("::", False), ("192.168.1.4", False), ("fe80::1%eth0", False), ("example.org", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_is_known_by_its_address(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


def test_openness_to_everybody_is_warned_of_unless_there_are_keys(key_file: Path, captured: Captured) -> None:
    Access(key_file=None, admin=None).warn_when_exposed("127.0.0.1")
    Access(key_file=key_file, admin=None).warn_when_exposed("0.0.0.0")
    assert captured.lines == []
    Access(key_file=None, admin=None).warn_when_exposed("0.0.0.0")
    (line,) = captured.lines
    assert '"level":"warning"' in line
    assert "VAE_API_KEYS_FILE" in line


def test_document_says_where_a_key_is_taken(api: Caller, keyed: Caller) -> None:
    for caller, needed in ((api, [{}, {"key": []}]), (keyed, [{"key": []}])):
        document = caller.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        assert document["security"] == needed
        for path, item in document["paths"].items():
            for operation in item.values():
                assert ("401" in operation["responses"]) is not is_open(path), path
                assert (operation.get("security") == []) is is_open(path), path
    assert document["paths"]["/models/{name}/reload"]["post"]["security"] == [{"key": ["admin"]}]


def test_real_server_with_a_key_file(tiny_store: Path, key_file: Path, tmp_path: Path) -> None:
    """Over real sockets: keys, hostile headers, the healthcheck's path, and a log that holds no secret."""
    with serving(tiny_store, tmp_path / "log", "--api-keys-file", str(key_file)) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
        for headers, status in ((bearer(USE), 200), (bearer(USE + "x"), 401), ({}, 401)):
            connection.request("GET", "/sample", headers=headers)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read()) > 0) == (status, True)
        connection.close()
        assert running.get("/readyz")[0] == 200
        for lines in (
            b"Authorization: Bearer \xff\xfe\r\n",
            b"Authorization: Bearer " + USE.encode() + b"\r\nAuthorization: Bearer " + USE.encode() + b"\r\n",
            b"Authorization: Bearer " + b"A" * 65_536 + b"\r\n",
        ):
            head, body = raw_answer(
                running, b"GET /sample HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n"
            )
            assert head.startswith(b"HTTP/1.1 401 ")
            assert json.loads(body)["code"] == "unknown-key"
        assert running.stop() == 0
        assert USE not in running.log
        assert '"key":"phone-app"' in running.log
        assert "every client that reaches" not in running.log


def test_hangup_makes_a_real_server_read_the_file_again(tiny_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(USE_ENTRY.line)
    path.chmod(0o600)
    with serving(tiny_store, tmp_path / "log", "--api-keys-file", str(path)) as running:

        def status(key: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
            connection.request("GET", "/models", headers=bearer(key))
            answer = connection.getresponse().status
            connection.close()
            return answer

        def after_hangup(text: str, event: str) -> None:
            path.write_text(text)
            running.process.send_signal(signal.SIGHUP)
            eventually(lambda: event in running.log, lambda: running.log)

        assert (status(USE), status(ADMIN)) == (200, 401)
        after_hangup(ADMIN_ENTRY.line, "key file read")
        assert (status(USE), status(ADMIN)) == (401, 200)
        after_hangup("broken", "key file refused")
        assert (status(USE), status(ADMIN)) == (401, 200)
        assert running.stop() == 0


def test_server_for_everybody_says_so_when_it_starts(tiny_store: Path, tmp_path: Path) -> None:
    with serving(
        tiny_store, tmp_path / "log", "--host", "0.0.0.0"
    ) as running:  # the test's own machine, briefly
        assert running.stop() == 0
        (line,) = [
            json.loads(text) for text in running.log.splitlines() if "every client that reaches" in text
        ]
        assert line["level"] == "warning"
        assert "VAE_API_KEYS_FILE" in line["remedy"]

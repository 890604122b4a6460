"""A server is administrated by its own pages and by no browser that was led there from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Answer, Caller

from model_store.echo import echo
from service.app import create_app
from service.http.problems import ProblemError
from service.security.hosts import KnownHosts
from service.settings import Settings, SettingsError, load_settings

RELOAD = "/models/mnist/reload"


@pytest.fixture(scope="module")
def administrated(tiny_store: Path) -> Iterator[Caller]:
    """Administration is on, and no key is required."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, admin=True))) as caller:
        yield caller


@pytest.fixture(scope="module")
def restricted(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1, admin=True, allowed_hosts="vae.example, *.lan")
    with Caller(create_app(settings)) as caller:
        yield caller


def reload(api: Caller, **headers: str) -> Answer:
    return api.post(RELOAD, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8000", "localhost", "LOCALHOST.", "vae.localhost:8000", "127.0.0.1:8000", "127.8.9.1",
        "[::1]:8000", "[::1]", "192.168.1.20:8000", "[fe80::1]:8000",
    ],
)  # fmt: skip
def test_localhost_and_addresses_are_known(administrated: Caller, host: str) -> None:
    assert reload(administrated, host=host).status == 200
    assert reload(administrated, host=host, sec_fetch_site="same-origin").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example:8000", "rebound.example", "machine", "localhost.example", "notlocalhost",
        "127.0.0.1.nip.io", "[rebound.example]", "user@127.0.0.1", "127.0.0.1%evil", "::1.example",
        "", ":8000", "\xff",
    ],
)  # fmt: skip
def test_names_that_may_have_been_rebound_are_refused_with_what_to_set(
    administrated: Caller, host: str
) -> None:
    """To its browser such a page has the same origin: only the host is strange."""
    for headers in ({}, {"origin": f"http://{host}", "sec_fetch_site": "same-origin"}):
        answer = reload(administrated, host=host, **headers)
        assert (answer.status, answer.code) == (403, "host-not-allowed")
        assert "VAE_ALLOWED_HOSTS" in answer.json()["detail"]
        assert "VAE_ALLOWED_HOSTS" in answer.json()["remedy"]
        assert f"contains {echo(host)}." in answer.json()["detail"]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://other.example", "192.168.1.20:8000", 403),
        ("http://192.168.1.20:9000", "192.168.1.20:8000", 403),
        ("http://192.168.1.21:8000", "192.168.1.20:8000", 403),
        ("http://192.168.1.20", "192.168.1.20:8000", 403),
        ("null", "192.168.1.20:8000", 403),
        ("", "192.168.1.20:8000", 403),
        ("ftp://192.168.1.20:8000", "192.168.1.20:8000", 403),
        ("http://192.168.1.20:8000", "192.168.1.20:8000", 200),
        ("http://192.168.1.20", "192.168.1.20", 200),
        ("http://192.168.1.20", "192.168.1.20:80", 200),
        ("https://192.168.1.20", "192.168.1.20", 200),
        ("https://192.168.1.20", "192.168.1.20:443", 200),
        ("http://[::1]:8000", "[::1]:8000", 200),
        ("http://LocalHost:8000", "localhost:8000", 200),
    ],
)
def test_page_over_plain_http_is_known_by_its_origin(
    administrated: Caller, origin: str, host: str, status: int
) -> None:
    """Browsers send no Sec-Fetch-Site over plain HTTP, and every POST with Origin."""
    answer = reload(administrated, origin=origin, host=host)
    assert answer.status == status
    assert answer.code == (None if status == 200 else "origin-not-allowed")


def test_a_second_host_or_origin_is_no_way_around(administrated: Caller) -> None:
    hosts = KnownHosts()

    def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
        return {"type": "http", "path": RELOAD, "headers": list(headers)}

    own, other = (b"host", b"localhost"), (b"host", b"rebound.example")
    for pair in ((own, other), (other, own)):
        with pytest.raises(ProblemError, match="host-not-allowed"):
            hosts.refuse_other_sites(scope(*pair))
    ours, theirs = (b"origin", b"http://localhost"), (b"origin", b"http://other.example")
    for pair in ((ours, theirs), (theirs, ours)):
        with pytest.raises(ProblemError, match="origin-not-allowed"):
            hosts.refuse_other_sites(scope(own, *pair))
    sites = ((b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site"))
    with pytest.raises(ProblemError, match="origin-not-allowed"):
        hosts.refuse_other_sites(scope(own, *sites))
    hosts.refuse_other_sites(scope())  # HTTP/1.0 by hand: every browser names a host


def test_own_page_behind_a_proxy_that_replaces_the_host_may_administrate(administrated: Caller) -> None:
    """A browser that compares by itself knows the host that it called."""
    own = {"origin": "https://vae.example", "host": "127.0.0.1:8000"}
    assert reload(administrated, **own, sec_fetch_site="same-origin").status == 200
    refused = reload(administrated, **own)
    assert "proxy" in refused.json()["detail"]


def test_without_the_setting_only_administration_asks_for_the_host(administrated: Caller) -> None:
    for path in ("/sample", "/readyz", "/", "/models"):
        assert administrated.get(path, {"host": "machine"}).status == 200


@pytest.mark.parametrize(
    "host", ["vae.example", "VAE.example:8000", "a.lan", "a.b.lan.", "localhost", "10.0.0.7"]
)
def test_allowed_hosts_reach_everything(restricted: Caller, host: str) -> None:
    assert restricted.get("/sample", {"host": host}).status == 200
    assert reload(restricted, host=host).status == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "x.vae.example", "vae.example.evil", "lan", "evillan", ""]
)
def test_other_hosts_reach_the_probes_alone(restricted: Caller, host: str) -> None:
    """An orchestrator may call a probe by any name, and a refused probe would end the server."""
    for path in ("/livez", "/readyz", "/metrics"):
        assert restricted.get(path, {"host": host}).status == 200
    for path in ("/", "/sample", "/docs", "/models", "/nowhere", RELOAD):
        answer = restricted.get(path, {"host": host})
        assert (answer.status, answer.code) == (403, "host-not-allowed"), path


def test_document_tells_the_refusal_where_it_can_happen(restricted: Caller, api: Caller) -> None:
    for caller, everywhere in ((restricted, True), (api, False)):
        paths = caller.get("/openapi.json").json()["paths"]
        assert ("403" in paths["/sample"]["get"]["responses"]) is everywhere
        assert "403" not in paths["/readyz"]["get"]["responses"]
        reference = paths["/models/{name}/reload"]["post"]["responses"]["403"]["$ref"]
        assert "host-not-allowed" in reference


def test_every_name_may_be_allowed_and_the_bound_name_always_is(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1, admin=True, allowed_hosts="*")
    with Caller(create_app(settings)) as api:
        assert reload(api, host="anything.example").status == 200
        assert reload(api, host="anything.example", origin="http://other.example").status == 403
    assert KnownHosts(bound="Vae.Internal").knows("vae.internal")
    assert not KnownHosts(bound="0.0.0.0").knows("machine")


@pytest.mark.parametrize("value", ["vae.example", "*", "*.vae.example,my_service", "10.0.0.7, a"])
def test_hosts_are_taken(value: str) -> None:
    assert load_settings({}, environ={"VAE_ALLOWED_HOSTS": value}).allowed_hosts == value


@pytest.mark.parametrize(
    "value",
    ["http://vae.example", "vae.example:8000", "Vae.example", "a/b", "a,,b", ",", "*.", "a b", "*.*.a", "-a"],
)
def test_what_is_no_host_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match="VAE_ALLOWED_HOSTS: Expected host names such as"):
        load_settings({}, environ={"VAE_ALLOWED_HOSTS": value})

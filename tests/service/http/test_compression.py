"""gzip for clients that accept it: which responses, by which header, and what stays as it was."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from packed_answers import LONG, SHORT, ask, asked
from patience import PATIENCE_S

from service.http import compression
from service.http.compression import MIN_BYTES, Coding, accepted_codings, is_text


@pytest.mark.parametrize(
    ("header", "best", "identity"),
    [
        (None, None, True),
        ("", None, True),
        (" , ;", None, True),
        ("gzip", "gzip", True),
        ("GZip", "gzip", True),
        ("x-gzip", "gzip", True),
        ("gzip, deflate, br, zstd", "gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip", True),
        ("deflate, br", None, True),
        ("gzip;q=0", None, True),
        ("gzip;q=0.0, *", None, True),
        ("gzip ; q = 0", None, True),
        ("gzip;q=0.000", None, True),
        ("*", "gzip", True),
        ("*;q=0", None, False),
        ("*;q=0, gzip", "gzip", False),
        ("gzip, identity;q=0", "gzip", False),
        ("identity", None, True),
        ("identity;q=1, *;q=0", None, True),
        ("identity; q=1.0, gzip;q=0.5", None, True),
        ("identity;q=0.5, gzip;q=0.5", "gzip", True),
        ("gzip, identity", "gzip", True),
        ("supergzip", None, True),
        ("gzip2;q=1", None, True),
        ("gzip;q=nonsense", "gzip", True),
        ("br," * 400 + "gzip", None, True),
    ],
)
def test_accept_encoding_is_read_by_its_weights(
    header: str | None, best: str | None, identity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others search for the letters, and pack for `gzip;q=0` and `supergzip`.

    So do go-chi/chi (#1069) and starlette (#3495). Browsers ask for media with `identity;q=1, *;q=0`
    (express-static-gzip #37).
    """
    with only(monkeypatch, compression.CODINGS[-1]):
        assert chosen(header) == (best, identity)


@contextlib.contextmanager
def only(monkeypatch: pytest.MonkeyPatch, *codings: Coding) -> Iterator[None]:
    """As a process that can write these codings and no other."""
    with monkeypatch.context() as patched:
        patched.setattr(compression, "CODINGS", codings)
        compression._read.cache_clear()
        yield
    compression._read.cache_clear()


def chosen(header: str | None) -> tuple[str | None, bool]:
    accepted = accepted_codings(header)
    return accepted.coding and accepted.coding.name.decode(), accepted.identity


@pytest.mark.parametrize(
    ("header", "best", "identity"),
    [
        ("gzip, deflate, br, zstd", "zstd", True),
        ("zstd", "zstd", True),
        ("ZSTD;q=1.0", "zstd", True),
        ("zstd;q=0.9, gzip", "gzip", True),
        ("zstd;q=0.9, gzip;q=0.8", "zstd", True),
        ("zstd;q=0, gzip", "gzip", True),
        ("zstd;q=0", None, True),
        ("gzip;q=0, zstd", "zstd", True),
        ("*", "gzip", True),
        ("*;q=0.5, gzip;q=0", None, True),
        ("zstd, *;q=0", "zstd", False),
        ("zstd;q=0.5, identity", None, True),
        ("zstd, identity;q=0", "zstd", False),
        ("zstandard, x-zstd", None, True),
    ],
)
def test_best_of_two_codings_is_the_most_welcome_one_and_zstd_among_equals(
    header: str, best: str | None, identity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only(monkeypatch, compression._ZSTD_CODING, compression._GZIP_CODING):
        assert chosen(header) == (best, identity)
        assert accepted_codings(header).gzip or best != "gzip"


@pytest.mark.parametrize(
    ("header", "gzip"), [("gzip, zstd", True), ("gzip;q=0.5, zstd", True), ("zstd", False), ("*", True)]
)
def test_file_that_is_packed_in_advance_needs_gzip_alone(
    header: str, gzip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only(monkeypatch, compression._ZSTD_CODING, compression._GZIP_CODING):
        assert accepted_codings(header).gzip == gzip


def test_long_text_is_packed_and_announced() -> None:
    answer = ask(LONG, headers=[(b"x-seed", b"7")])
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-seed"] == "7"
    assert answer.names.count(b"content-length") == 1
    assert len(answer.body) < len(LONG) // 4
    assert gzip.decompress(answer.body) == LONG


def test_without_the_header_nothing_changes() -> None:
    for accept in (None, "identity", "br", "gzip;q=0"):
        answer = ask(LONG, accept=accept)
        assert answer.body == LONG
        assert answer.names == [b"content-type", b"content-length"]


def test_same_body_is_packed_to_the_same_bytes() -> None:
    """The header of gzip has a place for the time; with it, no two responses would be equal (rack #577)."""
    one, other = ask(LONG), ask(LONG)
    assert one.body == other.body
    assert one.body[4:8] == bytes(4)


def test_short_text_is_sent_as_it_is_unless_that_is_refused() -> None:
    assert ask(SHORT).body == SHORT
    assert ask(SHORT).headers["content-length"] == str(len(SHORT))
    assert ask(b"x" * MIN_BYTES).headers["content-encoding"] == "gzip"
    refused = ask(SHORT, accept="gzip, identity;q=0")
    assert refused.headers["content-encoding"] == "gzip"
    assert refused.text == SHORT


@pytest.mark.parametrize(
    ("content_type", "is_packed"),
    [
        ("application/json", True),
        ("application/problem+json", True),
        ("text/plain; charset=utf-8", True),
        ("text/html; charset=utf-8", True),
        ("TEXT/CSS", True),
        ("text/javascript; charset=utf-8", True),
        ("image/svg+xml", True),
        ("image/png", False),
        ("application/x-npy", False),
        ("application/x-npz", False),
        ("application/octet-stream", False),
        ("text/event-stream", False),
        ("", False),
    ],
)
def test_only_text_is_packed(content_type: str, is_packed: bool) -> None:
    assert is_text(content_type.encode()) == is_packed
    answer = ask(LONG, content_type=content_type)
    assert ("content-encoding" in answer.headers) == is_packed
    assert answer.text == LONG


def test_packed_body_is_not_packed_again() -> None:
    """A client unpacks once for one Content-Encoding (starlette #1901, gin-contrib/gzip #124)."""
    packed = gzip.compress(LONG)
    answer = ask(packed, headers=[(b"content-encoding", b"gzip")])
    assert answer.body == packed
    assert answer.names.count(b"content-encoding") == 1


def test_no_transform_is_respected() -> None:
    assert ask(LONG, headers=[(b"cache-control", b"no-store, no-transform")]).body == LONG


@pytest.mark.parametrize("status", [204, 206, 304])
def test_response_without_a_whole_body_is_left_alone(status: int) -> None:
    """A 304 has no body: the length of an empty gzip file would break the connection (starlette #1579)."""
    answer = ask(b"", status=status, with_length=False, headers=[(b"etag", b'"a"')])
    assert answer.body == b""
    assert answer.headers == {"content-type": "application/json", "etag": '"a"'}


def test_strong_etag_becomes_a_weak_one() -> None:
    """Two bodies of different bytes may not share a strong one (RFC 9110, section 8.8.3.3)."""
    assert ask(LONG, headers=[(b"etag", b'"a"')]).headers["etag"] == 'W/"a"'
    assert ask(LONG, headers=[(b"etag", b'W/"a"')]).headers["etag"] == 'W/"a"'
    assert ask(SHORT, headers=[(b"etag", b'"a"')]).headers["etag"] == '"a"'


def test_head_has_the_length_of_get() -> None:
    head, whole = ask(LONG, method="HEAD"), ask(LONG)
    assert head.headers == whole.headers


def test_head_without_a_known_length_stays_without_one() -> None:
    assert ask(b"", method="HEAD", with_length=False).headers == {"content-type": "application/json"}


def test_each_part_of_a_stream_can_be_unpacked_when_it_arrives() -> None:
    """gzip holds back what it was given until much more comes: streams seemed to freeze (starlette #3230)."""
    parts = [b'{"n": 1}\n', b'{"n": 2}\n', b"", b'{"n": 3}\n']
    answer = ask(*parts)
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-length" not in answer.headers
    unpacker, seen = zlib.decompressobj(16 + zlib.MAX_WBITS), b""
    for place, part in enumerate(answer.parts, start=1):
        seen += unpacker.decompress(part)
        assert seen == b"".join(parts[:place])
    assert unpacker.eof


def test_stream_of_another_type_keeps_its_length() -> None:
    answer = ask(b"a" * 3000, b"b" * 3000, content_type="application/x-npy")
    assert answer.headers["content-length"] == "6000"
    assert answer.body == b"a" * 3000 + b"b" * 3000


def test_long_body_is_packed_in_a_thread_and_a_short_one_is_not() -> None:
    """Elsewhere 2 MB on the event loop stopped all other requests (aiohttp #7192, InvokeAI #9441)."""
    threads: list[Callable[[], bytes]] = []

    async def note(pack: Callable[[], bytes]) -> bytes:
        threads.append(pack)
        return pack()

    assert ask(LONG, run=note).text == LONG
    assert len(threads) == 1
    assert ask(LONG[:2000], run=note).text == LONG[:2000]
    assert len(threads) == 1
    assert ask(LONG, LONG, b"", run=note).text == LONG + LONG
    assert len(threads) == 3


def test_other_requests_are_answered_while_a_long_body_is_packed() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slowly(pack: Callable[[], bytes]) -> bytes:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        return pack()

    async def test() -> None:
        long = asyncio.create_task(asked(LONG, run=lambda pack: asyncio.to_thread(slowly, pack)))
        assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        probe = await asked(b'{"status":"alive"}\n', path="/livez")
        assert probe.body == b'{"status":"alive"}\n'
        assert not long.done()
        may_end.set()
        assert (await long).text == LONG

    asyncio.run(test())


@pytest.mark.parametrize(
    ("path", "status", "is_packed"),
    [
        ("/v2", 200, False),
        ("/v2/", 200, False),
        ("/v2/models/mnist", 200, False),
        ("/v2/models/mnist/infer", 400, False),
        ("/v2/models/mnist/infer", 200, False),
        ("/v2/models/mnist/versions/3/infer", 200, False),
        ("/v2x", 200, True),
    ],
)
def test_open_inference_answers_are_packed_by_their_own_rules(
    path: str, status: int, is_packed: bool
) -> None:
    """Triton's asynchronous client always accepts gzip, and unpacks neither metadata nor errors.

    `service.api.open_inference.compression` knows them; packed here too, an answer would be packed twice.
    """
    assert ("content-encoding" in ask(LONG, path=path, status=status).headers) == is_packed

"""zstd for clients that accept it: the same rules as for gzip, and a window that every client can keep."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from http_calls import Caller
from packed_answers import LONG, SHORT, ask, in_loop

from service.http import compression
from service.http.compression import MIN_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    zstd = pytest.importorskip("backports.zstd", reason="the extra fast is not installed")

BROWSER = "gzip, deflate, br, zstd"
#: RFC 9659: a client need not keep more than 8 MB of what came before.
WINDOW_LOG = 23


def unpacked(data: bytes) -> bytes:
    return bytes(zstd.decompress(data, options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG}))


def test_long_text_is_packed_and_announced() -> None:
    answer = ask(LONG, accept=BROWSER, headers=[(b"x-seed", b"7")])
    assert answer.headers["content-encoding"] == "zstd"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.names.count(b"content-length") == 1
    assert unpacked(answer.body) == LONG
    assert len(answer.body) < len(LONG) // 4


def test_same_body_is_packed_to_the_same_bytes() -> None:
    assert ask(LONG, accept="zstd").body == ask(LONG, accept="zstd").body


def test_short_text_is_sent_as_it_is_unless_that_is_refused() -> None:
    assert ask(SHORT, accept="zstd").body == SHORT
    assert "content-encoding" in ask(b"x" * MIN_BYTES, accept="zstd").headers
    assert unpacked(ask(SHORT, accept="zstd, identity;q=0").body) == SHORT


def test_strong_etag_becomes_a_weak_one() -> None:
    assert ask(LONG, accept="zstd", headers=[(b"etag", b'"a"')]).headers["etag"] == 'W/"a"'


def test_window_of_a_long_body_is_bounded() -> None:
    many = b"".join(b'{"n": %d}\n' % number for number in range(2_000_000))
    assert len(many) > 2**WINDOW_LOG
    whole = ask(many, accept="zstd")
    parts = ask(many[: len(many) // 2], many[len(many) // 2 :], accept="zstd")
    assert unpacked(whole.body) == unpacked(parts.body) == many


def test_each_part_of_a_stream_can_be_unpacked_when_it_arrives() -> None:
    parts = [b'{"n": 1}\n', b'{"n": 2}\n', b"", b'{"n": 3}\n']
    answer = ask(*parts, accept="zstd")
    assert answer.headers["content-encoding"] == "zstd"
    assert "content-length" not in answer.headers
    unpacker, seen = zstd.ZstdDecompressor(), b""
    for place, part in enumerate(answer.parts, start=1):
        seen += unpacker.decompress(part)
        assert seen == b"".join(parts[:place])
    assert unpacker.eof


def test_long_body_is_packed_in_a_thread() -> None:
    threads: list[Callable[[], bytes]] = []

    async def note(pack: Callable[[], bytes]) -> bytes:
        threads.append(pack)
        return await in_loop(pack)

    assert unpacked(ask(LONG, accept="zstd", run=note).body) == LONG
    assert len(threads) == 1


@pytest.mark.parametrize("target", ["/sample?n=64&seed=7", "/sample.txt?n=10&seed=7", "/openapi.json", "/"])
def test_answers_are_the_same_and_shorter_and_have_the_same_etag(api: Caller, target: str) -> None:
    plain = api.get(target)
    for accept, coding in ((BROWSER, "zstd"), ("zstd;q=0.5, gzip", "gzip"), ("gzip, br", "gzip")):
        packed = api.get(target, {"accept-encoding": accept})
        assert packed.headers["content-encoding"] == coding
        assert len(packed.body) < len(plain.body)
        assert "accept-encoding" in packed.headers["vary"].lower()
        assert packed.headers.get("etag", "").removeprefix("W/") == plain.headers.get("etag", "")
    assert unpacked(api.get(target, {"accept-encoding": BROWSER}).body) == plain.body


def test_client_that_has_a_packed_answer_receives_304(api: Caller) -> None:
    asked = {"accept-encoding": "zstd"}
    first = api.get("/sample?n=64&seed=7&model=mnist@1", asked)
    assert first.headers["content-encoding"] == "zstd"
    again = api.get("/sample?n=64&seed=7&model=mnist@1", {**asked, "if-none-match": first.headers["etag"]})
    assert (again.status, again.headers["etag"]) == (304, first.headers["etag"])


def test_picture_and_arrays_are_never_packed(api: Caller) -> None:
    for target in ("/sample.png?n=64&seed=7", "/sample.npy?n=64&seed=7", "/sample.npz?n=64&seed=7"):
        assert "content-encoding" not in api.get(target, {"accept-encoding": "zstd"}).headers


def test_codings_that_this_process_writes_include_it() -> None:
    assert [coding.name for coding in compression.CODINGS] == [b"zstd", b"gzip"]

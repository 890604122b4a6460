"""What clients may send by mistake or on purpose: refused, never coerced, never repeated, never a 500."""

from __future__ import annotations

import gc
import gzip
import io
import json
import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from http_calls import Answer, Caller
from patience import slowness
from tiny_models import publish_tiny
from watched_paths import watched_paths

from model_store import ModelStore
from service.app import create_app
from service.http.problem_documents import MAX_BODY_BYTES
from service.process.server import settle_collector
from service.settings import Settings

IMAGE = json.dumps(np.zeros((1, 28, 28)).tolist())
LATENT = json.dumps([0.5] * 8)

#: Not a number of any kind, as JSON text: none may pass for one.
NOT_NUMBERS = {
    "NaN": "NaN",
    "infinity": "Infinity",
    "minus infinity": "-Infinity",
    "number beyond float64": "1e400",
    "minus that": "-1e400",
    "text NaN": '"NaN"',
    "text number": '"1.5"',
    "text integer": '"3"',
    "true": "true",
    "false": "false",
    "null": "null",
    "array": "[1]",
    "object": "{}",
    "integer of 5,000 digits": "9" * 5000,
    "minus that integer": "-" + "9" * 5000,
    "lone surrogate": '"\\ud800"',
    "100,000 levels": "[" * 100_000 + "]" * 100_000,
    "hexadecimal": "0x10",
    "leading zero": "007",
    "leading plus": "+1",
    "bare point": ".5",
    "nothing": "",
}
#: Each numeric field of each body, with a place for the text.
FIELDS = {
    "n": ("/sample", '{"n": %s}'),
    "seed": ("/sample", '{"seed": %s}'),
    "temperature": ("/sample", '{"temperature": %s}'),
    "reconstruct seed": ("/reconstruct", '{"images": [' + IMAGE + '], "sample": true, "seed": %s}'),
    "pixel": ("/encode", '{"images": [' + IMAGE.replace("0.0", "%s", 1) + "]}"),
    "reconstruct pixel": ("/reconstruct", '{"images": [' + IMAGE.replace("0.0", "%s", 1) + "]}"),
    "latent": ("/decode", '{"z": [' + LATENT.replace("0.5", "%s", 1) + "]}"),
    "end": ("/interpolate", '{"z": [' + LATENT.replace("0.5", "%s", 1) + ", " + LATENT + "]}"),
    "end image": ("/interpolate", '{"images": [' + IMAGE.replace("0.0", "%s", 1) + ", " + IMAGE + "]}"),
    "steps": ("/interpolate", '{"z": [' + LATENT + ", " + LATENT + '], "steps": %s}'),
    "start": ("/traverse", '{"z": [' + LATENT.replace("0.5", "%s", 1) + '], "dims": [0]}'),
    "dim": ("/traverse", '{"dims": [%s], "steps": 3}'),
    "grid steps": ("/traverse", '{"dims": [0], "steps": %s}'),
    "span": ("/traverse", '{"span": %s}'),
    "scored pixel": ("/score", '{"images": [' + IMAGE.replace("0.0", "%s", 1) + "]}"),
    "score seed": ("/score", '{"images": [' + IMAGE + '], "seed": %s}'),
    "importance samples": ("/score", '{"images": [' + IMAGE + '], "importance_samples": %s}'),
}
#: A number that fits, where 1 does not.
FITTING = {"steps": "2", "grid steps": "2"}
#: Each field that takes one of a few words, with a place for the text.
WORDS = {
    "method": ("/interpolate", '{"z": [' + LATENT + ", " + LATENT + '], "method": %s}', '"lerp"'),
    "spacing": ("/traverse", '{"spacing": %s}', '"linear"'),
    "binarise": ("/score", '{"images": [' + IMAGE + '], "binarise": %s}', '"none"'),
}


def may_be_empty(body: bytes) -> bool:
    """/sample and /traverse do without any body; the traversals here name dims or a span."""
    return b'"dims"' in body or not (b'"images"' in body or b'"z"' in body)


#: Bodies that are broken wherever the number stands.
BROKEN = {
    "byte order mark": lambda good: b"\xef\xbb\xbf" + good,
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "bad UTF-8": lambda good: good[:-1] + b', "\xff\xfe": 1}',
    "duplicate key": lambda good: good[:-1] + b"," + good[1:],
    "cut short": lambda good: good[:-1],
    "twice": lambda good: good + good,
    "an array": lambda good: b"[" + good + b"]",
    "a comment": lambda good: good + b" // yes",
    "nothing but space": lambda good: b"  x" if may_be_empty(good) else b"   ",
    "unknown key": lambda good: good[:-1] + b', "sead": 1}',
}


def assert_refused(answer: Answer, *, statuses: tuple[int, ...] = (400, 422)) -> None:
    assert answer.status in statuses, (answer.status, answer.body[:300])
    assert answer.code is not None
    assert len(answer.body) <= MAX_BODY_BYTES
    assert len(answer.json()["errors"]) <= 10


@pytest.mark.hazard_row("not-numbers")
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_what_is_no_number_is_refused_in_every_numeric_field(api: Caller, field: str, name: str) -> None:
    path, template = FIELDS[field]
    assert_refused(api.post(path, (template % NOT_NUMBERS[name]).encode()))


@pytest.mark.parametrize("field", FIELDS)
def test_numbers_that_fit_are_accepted_in_the_same_places(api: Caller, field: str) -> None:
    """The twin of the corpus: the places are right, so that refusal is due to the value."""
    path, template = FIELDS[field]
    assert api.post(path, (template % FITTING.get(field, "1")).encode()).status == 200


@pytest.mark.parametrize("field", WORDS)
@pytest.mark.parametrize(
    "text", [*NOT_NUMBERS.values(), "1", '"Lerp"', '""', '"lerp "', '"' + "x" * 5000 + '"']
)
def test_only_its_words_are_taken_where_one_is_due(api: Caller, field: str, text: str) -> None:
    path, template, fitting = WORDS[field]
    assert_refused(api.post(path, (template % text).encode()))
    assert api.post(path, (template % fitting).encode()).status == 200


@pytest.mark.hazard_row("not-numbers")
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", BROKEN)
def test_broken_bodies_are_refused(api: Caller, field: str, name: str) -> None:
    path, template = FIELDS[field]
    assert_refused(api.post(path, BROKEN[name]((template % "1").encode())))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("n", "0"), ("n", "-1"), ("n", "65"), ("n", "1.0"), ("n", "1e1"),
        ("seed", "-1"), ("seed", "9007199254740992"), ("seed", "1.5"), ("seed", "18446744073709551616"),
        ("temperature", "-0.1"), ("temperature", "10.01"), ("temperature", "1e309"),
        ("pixel", "-0.001"), ("pixel", "1.001"), ("pixel", "255"),
        ("latent", "1e39"), ("latent", "10001"), ("end", "1e39"), ("end", "-10001"), ("end image", "1.001"),
        ("steps", "1"), ("steps", "65"), ("steps", "2.0"), ("steps", "-2"), ("steps", "1e30"),
        ("start", "10001"), ("dim", "8"), ("dim", "-1"), ("dim", "1.0"), ("dim", "65536"), ("dim", "0, 0"),
        ("dim", "0, 1, 2"), ("grid steps", "1"), ("grid steps", "65"), ("span", "0"), ("span", "-1"),
        ("span", "10.001"), ("scored pixel", "1.001"), ("score seed", "-1"),
        ("importance samples", "0"), ("importance samples", "-1"), ("importance samples", "16385"),
        ("importance samples", "1.0"), ("importance samples", "1e9"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(api: Caller, field: str, text: str) -> None:
    path, template = FIELDS[field]
    assert_refused(api.post(path, (template % text).encode()))


@pytest.mark.parametrize(
    "query",
    [
        "n=1.5", "n=true", "n=1e0", "n=+1", "n=%201", "n=1_0", "n=%EF%BC%91", "n=", "n", "n=0x1",
        "n=" + "9" * 5000, "n=65", "n=0", "n=-1", "n=1&n=2", "n=1;seed=2", "n=%ff", "n=%00",
        "seed=-1", "seed=9007199254740992", "seed=1e3", "seed=NaN",
        "temperature=NaN", "temperature=inf", "temperature=1e400", "temperature=.5", "temperature=0x1p3",
        "temperature=1_0", "temperature=-1", "temperature=11",
        "scale=0", "scale=65", "columns=0", "sead=1", "N=1", "n[]=1", "resize=true", "&".join(["x=1"] * 100),
        "x=" + "y" * 70_000, "dims=1", "steps=3",
    ],
)  # fmt: skip
def test_queries_are_read_as_strictly_as_bodies(api: Caller, query: str) -> None:
    answer = api.get("/sample?" + query)
    assert_refused(answer, statuses=(422,))
    assert answer.code == "invalid-parameter"


@pytest.mark.parametrize("value", ["1", "True", "yes", "on", "", "TRUE", "truetrue"])
def test_booleans_are_true_or_false(api: Caller, value: str) -> None:
    body = ('{"images": [' + IMAGE + "]}").encode()
    assert_refused(api.post(f"/reconstruct?sample={value}", body), statuses=(422,))
    assert api.post("/reconstruct?sample=true", body).status == 200


def test_unknown_names_are_told_the_nearest(api: Caller) -> None:
    for target, nearest in (
        ("/sample?sead=1", "seed"),
        ("/sample?temprature=1", "temperature"),
        ("/sample?Model=x", "model"),
        ("/sample?num=3", "n"),
    ):
        (item,) = api.get(target).json()["errors"]
        assert f"Did you mean `{nearest}`?" in item["remedy"] or target.startswith("/sample?num")
        assert "seed" in item["expected"]
    (item,) = api.post_json("/sample", {"sed": 3}).json()["errors"]
    assert "Did you mean `seed`?" in item["remedy"]
    assert api.get("/models?verbose=1").status == 422


def test_no_body_comes_back(api: Caller) -> None:
    marker = "MARKERmarker"
    for answer in (
        api.post("/sample", f'{{"{marker}": 1, "{marker}": 2}}'.encode()),
        api.post_json("/encode", {"images": [[marker]]}),
        api.post_json("/encode", {"images": {marker: marker}}),
        api.post_json("/sample", {"n": [marker]}),
        api.post_json("/sample", {"n": {marker: 1}}),
        api.post("/encode", marker.encode()),
        api.post("/encode", b'{"' + marker.encode() + b'": }'),
        api.get("/models?x", {"x-request-id": f"<{marker}>"}),
    ):
        assert answer.status >= 400
        assert marker.lower() not in (answer.body.decode() + str(answer.headers)).lower()


@pytest.mark.parametrize(
    "asked",
    [
        lambda api, word: api.get(f"/sample?model={word}"),
        lambda api, word: api.get(f"/sample?model=mnist@{word}"),
        lambda api, word: api.get(f"/models/{word}"),
        lambda api, word: api.get(f"/sample?{word}=1"),
        lambda api, word: api.get(f"/sample?n={word}"),
        lambda api, word: api.get(f"/sample?prior={word}"),
        lambda api, word: api.get(f"/sample.{word}"),
        lambda api, word: api.get("/sample", {"accept": f"image/{word}"}),
        lambda api, word: api.post_json("/sample", {word: 1}),
        lambda api, word: api.post_json("/sample", {"n": word}),
        lambda api, word: api.post("/encode", b"x", f"image/{word}"),
    ],
)
def test_short_name_or_scalar_comes_back_and_a_longer_one_is_cut(
    api: Caller, asked: Callable[[Caller, str], Answer]
) -> None:
    """Clients see their mistake in the answer, and nothing that they send can fill it."""
    short = asked(api, "quik")
    assert short.status >= 400
    assert "quik`" in short.json()["detail"]
    longer = asked(api, "m" * 60).body.decode()
    assert "m…`" in longer
    assert "m" * 41 not in longer


@pytest.mark.hazard_row("large-rubbish")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/encode", b'{"images": [' + b'"x",' * 262_144 + b'"x"]}'),
        ("/encode", b'{"images": [' + b"[[[2]]]," * 131_072 + b"[[[2]]]]}"),
        ("/decode", b'{"z": [' + b"[true]," * 149_796 + b"[true]]}"),
        ("/sample", b'{"' + b"k" * 1_048_560 + b'": 1}'),
        ("/sample", json.dumps({f"key{i}": i for i in range(57_000)}).encode()),
        ("/encode", b"\x00" * 1_048_576),
        ("/encode", b'{"images": "' + "é".encode() * 524_280 + b'"}'),
        ("/encode", b'{"images": ' + b"[" * 1_048_000),
    ],
    ids=["texts", "ranges", "booleans", "one key", "many keys", "zero bytes", "no array", "levels"],
)
def test_a_mebibyte_of_rubbish_gets_a_short_answer_soon(
    api: Caller, path: str, body: bytes, hazard: Hazard, request: pytest.FixtureRequest
) -> None:
    assert 0.9 * 2**20 < len(body) < 1.1 * 2**20
    threshold = gc.get_threshold()
    settle_collector()  # as the server does once it has started
    try:
        took_s = 9.0
        for _ in range(3):
            begun = time.process_time()  # other processes share the cores
            answer = api.post(path, body)
            took_s = min(took_s, time.process_time() - begun)
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
    assert_refused(answer)
    told = f"{request.node.callspec.id}: {len(answer.body):,} bytes in {1e3 * took_s:.0f} ms of CPU"
    small = len(answer.body) <= MAX_BODY_BYTES
    quick = took_s < 0.2 * slowness()
    hazard("large-rubbish", figure=told, bar="≤ 8,000 bytes in < 200 ms", met=small and quick)


def random_value(rng: random.Random, depth: int = 0) -> object:
    """Something shaped more or less like images: mostly right, wrong in one way or another."""
    kind = rng.random()
    if depth > 5 or kind < 0.2:
        return rng.choice([0, 1, 0.5, -1, 2, None, True, "1", [], {}, 1e300])
    return [random_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 1, 2, 3]))]


def shaped(rng: random.Random, sizes: list[int]) -> object:
    if not sizes:
        return round(rng.random(), 2)
    return [shaped(rng, sizes[1:]) for _ in range(sizes[0])]


@pytest.mark.hazard_row("odd-shapes")
def test_five_thousand_shapes_are_answered_or_refused(api: Caller, hazard: Hazard) -> None:
    rng = random.Random(20)
    counts = {200: 0, 422: 0}
    for i in range(5_000):
        path = rng.choice(["/encode", "/decode", "/reconstruct", "/interpolate", "/traverse", "/score"])
        is_latent = path == "/decode" or (path in ("/interpolate", "/traverse") and rng.random() < 0.5)
        right = [rng.choice([0, 1, 2, 3]), 8] if is_latent else [rng.choice([0, 1, 2]), 3, 8, 10]
        query = "?model=mnist" if is_latent else "?model=colour"
        way = rng.random()
        if way < 0.3:
            value = shaped(rng, right)
        elif way < 0.6:
            sizes = [max(0, size + rng.choice([0, 0, 0, 1, -1])) for size in right]
            value = shaped(rng, rng.choice([sizes, sizes[1:], [1, *sizes], sizes[:-1]]))
        elif way < 0.8:
            value = shaped(rng, right)
            target = value
            while isinstance(target, list) and target and rng.random() < 0.8:
                position = rng.randrange(len(target))
                if not isinstance(target[position], list) or rng.random() < 0.3:
                    target[position] = rng.choice([None, "x", True, [], [0.5], 7e9, {}])
                    break
                target = target[position]
        else:
            value = random_value(rng)
        answer = api.post_json(path + query, {"z" if is_latent else "images": value})
        assert answer.status in counts, (i, path, answer.status, answer.body[:200])
        counts[answer.status] += 1
        if answer.status == 422:
            assert_refused(answer, statuses=(422,))
            assert all(item["where"] and item["expected"] and item["got"] for item in answer.json()["errors"])
    assert counts[200] > 500
    assert counts[422] > 2_000
    told = f"{counts[200]:,} × 200, {counts[422]:,} × 422, 0 others"
    hazard("odd-shapes", figure=told, bar="5,000 shapes: only 200 and 422", met=sum(counts.values()) == 5_000)


@pytest.mark.parametrize("count", [0, 1, 64, 65])
def test_batches_from_one_to_the_limit_are_taken(api: Caller, count: int) -> None:
    images = np.zeros((count, 1, 28, 28), np.float32)
    buffer = io.BytesIO()
    np.save(buffer, images)
    z = np.zeros((count, 8)).tolist()
    expected = 200 if 1 <= count <= 64 else 422
    assert api.post_json("/encode", {"images": images.tolist()}).status == expected
    assert api.post("/encode", buffer.getvalue(), "application/x-npy").status == expected
    assert api.post_json("/decode", {"z": z}).status == expected
    assert api.get(f"/sample?n={count}").status == expected


def odd_names() -> Iterator[str]:
    """2,000 names as they come in a path or a query: traversal, bytes, length, other scripts, nonsense."""
    yield from (
        "..%2f", "..%2f..%2fetc%2fpasswd", "%2e%2e", "..", ".", "%00", "mnist%00", "%ff", "%fe%ff",
        "mnist%2f1", "mnist@", "@1", "mnist@@1", "mnist@1@2", "mnist@-1", "mnist@0", "mnist@01",
        "mnist@999999999999", "mnist@%E0%A4%A", "%E2%80%AEtsinm", "%D7%90%D7%91", "MNIST", "mnist%20",
        "%20mnist", "mnist%0a", "~", "C:", "%5c%5chost%5cshare", "file:%2f%2f%2fetc", "mnist.json",
        "aliases.json",
        "latest", "a" * 64, "a" * 63, "x" * 65_536, "%41" * 3_000, "mnist@" + "9" * 400, "%F0%9F%92%A9",
        "mnist%0d%0aX-Evil:1", "*", "-", "con",
    )  # fmt: skip
    rng = random.Random(7)
    alphabet = [*"abcmnist@.-_0123456789", "%2f", "%00", "%ff", "..", "%5c", "%E2%80%AE", "%0a", "@@", "%25"]
    for _ in range(2_000 - 42):
        yield "".join(rng.choices(alphabet, k=rng.randint(1, 40)))


@pytest.mark.hazard_row("odd-names")
def test_two_thousand_odd_model_names_open_nothing_outside_the_store(tmp_path: Path, hazard: Hazard) -> None:
    """Names are looked up, never joined into paths: only 404 or 422, and no file opened but the store's."""
    root = tmp_path / "inside" / "models"
    publish_tiny(ModelStore(root), name="mnist")
    (tmp_path / "inside" / "secret").mkdir()
    names = list(odd_names())
    assert len(names) >= 2_000
    with Caller(create_app(Settings(model_store=root, threads=1))) as api, watched_paths() as opened:
        for name in names:
            for target in (f"/models/{name}", f"/sample?model={name}"):
                answer = api.get(target)
                assert answer.status in (404, 422), (answer.status, name[:80], answer.body[:300])
                assert len(answer.body) <= MAX_BODY_BYTES
    # Relative names are opened below an open directory of the store; a name may not lead out of it.
    outside = [
        path
        for path in opened
        if not path.startswith(str(root)) and ("/" in path or path in ("..", ".", "secret"))
    ]
    assert outside == []
    told = f"{len(names):,} names twice: only 404 and 422; {len(outside)} files opened outside"
    hazard("odd-names", figure=told, bar="2,000 names: only 404 and 422, 0 outside", met=len(names) >= 2_000)


@pytest.mark.hazard_row("packed-bodies")
def test_gzip_bomb_is_refused_unread(api: Caller, hazard: Hazard) -> None:
    """100 kB that would become 100 MB: the memory of the process stays where it was."""
    bomb = gzip.compress(b"\0" * 100_000_000, 9)

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    api.post("/encode", bomb, headers={"content-encoding": "gzip"})
    before = resident_bytes()
    for _ in range(10):
        answer = api.post("/encode", bomb, headers={"content-encoding": "gzip"})
        assert (answer.status, answer.code) == (415, "media-type-not-supported")
    growth = resident_bytes() - before
    told = f"10 × 415, RSS {growth / 1e6:+.2f} MB"
    hazard("packed-bodies", figure=told, bar="bomb of 100 MB: 415, < +1 MB", met=growth < 1_000_000)


@pytest.mark.hazard_row("pictures")
def test_png_bomb_is_refused_by_its_header(api: Caller) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0" * 10_000_000, 9)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )
    begun = time.process_time()
    answer = api.post("/encode?resize=true", bomb, "image/png")
    assert_refused(answer)
    assert time.process_time() - begun < 0.1 * slowness()


@pytest.mark.parametrize("count", [300])
def test_mangled_pngs_and_npys_never_break_the_server(api: Caller, count: int) -> None:
    rng = random.Random(3)
    png = api.get("/sample.png?seed=1").body
    npy = api.get("/sample.npy?seed=1").body
    for _ in range(count):
        for good, content_type in ((png, "image/png"), (npy, "application/x-npy")):
            data = bytearray(good)
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
            if rng.random() < 0.3:
                del data[rng.randrange(len(data)) :]
            answer = api.post("/encode", bytes(data), content_type)
            assert answer.status in (200, 400, 422), answer.body[:300]


@pytest.mark.parametrize("declared", [True, False])
def test_body_over_the_limit_gets_the_same_answer_declared_or_chunked(
    tiny_store: Path, declared: bool
) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_body_bytes=2048))) as api:
        body: bytes | list[bytes] = b" " * 4096 if declared else [b" " * 512] * 8
        answer = api.post("/encode", body)
        assert (answer.status, answer.code) == (413, "body-too-large")
        (item,) = answer.json()["errors"]
        assert item["expected"] == "at most 2048 bytes"
        fits: bytes | list[bytes] = b'{"n": 1}' + b" " * 2040 if declared else [b'{"n": 1}', b" " * 2040]
        assert api.post("/sample", fits).status == 200

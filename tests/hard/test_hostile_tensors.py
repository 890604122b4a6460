"""Hostile bodies of the Open Inference Protocol: whatever arrives is answered or refused, and never fails.

Hypothesis generates documents near the protocol, bytes near a sound body, and broken compressed bodies.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hazard_plugin import Hazard
from http_calls import Caller
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from inference_calls import HEADER, Tensor, binary_request
from tiny_models import publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("hostile-tensors")]

#: Examples of each of the three kinds; more than 5,000 in all.
EXAMPLES = 1_700
MAX_BODY_BYTES = 65_536
PARTS = ("", "-encoder", "-decoder", "-sampler")
X = np.zeros((2, 1, 3, 2), np.float32)

#: Numbers, texts and sizes at which readers of tensors fail.
odd_numbers = st.sampled_from(
    [
        0,
        1,
        -1,
        2,
        3,
        6,
        0.5,
        1.5,
        -0.0,
        2**31,
        2**31 - 1,
        2**53,
        2**63,
        2**64,
        -(2**63),
        10**30,
        1e300,
        24,
        48,
    ]
)
odd_texts = st.sampled_from(
    ["", "x", "z", "seed", "image", "mu", "x_hat", "FP32", "FP16", "BF16", "BYTES", "INT64", "FP64",
     "TYPE_FP32",
     "data", "\x00", "\ud800", "é", "iVBORw0KGgo=", "a" * 2000, "NaN", "mnist", "1", "0x1"]
)  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), odd_numbers, odd_texts, st.integers(), st.floats(0, 1))
numbers = st.one_of(st.floats(0, 1, width=32), st.integers(0, 1), odd_numbers)
flat = st.one_of(st.lists(st.just(0.5), min_size=6, max_size=6), st.lists(numbers, max_size=14))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
shapes = st.one_of(
    st.sampled_from([[1, 1, 3, 2], [2, 1, 3, 2], [1, 2], [1], [2], [0], [6], [1, 6], [2**31 - 1] * 4]),
    st.lists(odd_numbers, max_size=10),
    values,
)
parameters = st.one_of(
    st.dictionaries(
        st.sampled_from(
            ["binary_data_size", "binary_data", "binary_data_output", "priority", "shared_memory_region", "x",
             "classification", "sequence_id", "temperature", "prior", "label", "resize", "invert", "triton_",
             "data"]
        ),
        scalars,
        max_size=3,
    ),
    values,
)  # fmt: skip
tensors = st.fixed_dictionaries(
    {
        "name": st.one_of(st.sampled_from(["x", "z", "seed", "image"]), values),
        "shape": shapes,
        "datatype": st.one_of(st.sampled_from(["FP32", "INT64", "BYTES", "FP16", "FP64"]), values),
    },
    optional={"data": st.one_of(flat, values), "parameters": parameters, "what": values},
)
documents = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(st.one_of(tensors, values), min_size=1, max_size=3), values)},
    optional={
        "outputs": st.one_of(
            st.lists(
                st.fixed_dictionaries({"name": odd_texts}, optional={"parameters": parameters}), max_size=3
            ),
            values,
        ),
        "parameters": parameters,
        "id": values,
        "model_name": values,
        "model_version": values,
    },
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    root = tmp_path_factory.mktemp("hostile") / "models"
    publish_tiny(ModelStore(root), name="mnist", image_shape=(1, 3, 2), latent_size=2)
    chosen = Settings(model_store=root, threads=1, max_images=16, max_body_bytes=MAX_BODY_BYTES)
    with Caller(create_app(chosen)) as caller:
        yield caller


class Answers:
    """What was answered, counted."""

    def __init__(self, api: Caller) -> None:
        self._api = api
        self.statuses: Counter[int] = Counter()

    def send(self, part: str, body: bytes, headers: Mapping[str, str], allowed: tuple[int, ...]) -> None:
        answer = self._api.post(f"/v2/models/mnist{part}/infer", body, None, headers)
        self.statuses[answer.status] += 1
        assert answer.status in allowed, (answer.status, answer.body[:500], body[:500])
        if answer.status != 200:
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["error"]
            assert len(answer.body) <= 8_000


def generated(count: int) -> Any:
    """As many examples, the same ones each time; no database, no shrinking for minutes."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def answers(api: Caller) -> Answers:
    return Answers(api)


def told(hazard: Hazard, kind: str, answers: Answers) -> None:
    total = sum(answers.statuses.values())
    counts = ", ".join(f"{count:,} × {status}" for status, count in sorted(answers.statuses.items()))
    hazard(
        "hostile-tensors",
        figure=f"{kind}: {total:,} bodies: {counts}",
        bar=f"{EXAMPLES:,}: 200 or 400 (413, 415)",
        met=total >= EXAMPLES,
    )


def test_documents_near_the_protocol(answers: Answers, hazard: Hazard) -> None:
    @generated(EXAMPLES)
    @given(documents, st.sampled_from(PARTS), st.binary(max_size=60), st.booleans())
    def check(document: Any, part: str, binary: bytes, has_length: bool) -> None:
        head = json.dumps(document, ensure_ascii=True).encode()
        headers = {HEADER: str(len(head))} if has_length else {}
        answers.send(part, head + (binary if has_length else b""), headers, (200, 400))

    check()
    assert answers.statuses[400] > EXAMPLES / 2
    told(hazard, "documents", answers)


def sound_body(kind: int) -> tuple[str, bytes, dict[str, str]]:
    """A request that is answered with 200, in one of the forms."""
    if kind == 0:
        return ("", *binary_request(Tensor("x", X)))
    if kind == 1:
        return ("-sampler", *binary_request(Tensor("seed", np.array([1, 2], np.int64))))
    if kind == 2:
        return ("-decoder", *binary_request(Tensor("z", np.zeros((2, 2), np.float32)), is_binary=False))
    data = {"name": "x", "shape": [2, 1, 3, 2], "datatype": "FP32", "data": X.ravel().tolist()}
    return "-encoder", json.dumps({"inputs": [data], "outputs": [{"name": "mu"}]}).encode(), {}


edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "swap"]),
        st.floats(0, 1),
        st.sampled_from(
            [b"", b"\0", b"\xff", b"[", b"]", b"{", b"}", b'"', b",", b"1e400", b"NaN", b"-1", b"9" * 40,
             b"\\",
             struct.pack("<I", 2**32 - 1), struct.pack("<f", float("nan")), b"null", b'"data":[1]', b" "]
        ),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def edited(body: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, piece in changes:
        at = int(where * len(body))
        if how == "cut":
            body = body[:at]
        elif how == "flip" and body:
            at = min(at, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ (1 << (len(piece) % 8))]) + body[at + 1 :]
        elif how == "insert":
            body = body[:at] + piece + body[at:]
        elif how == "repeat":
            body = body[:at] + body[at // 2 : at] + body[at:]
        elif how == "swap":
            body = body[at:] + body[:at]
    return body


def test_bytes_near_a_sound_body(answers: Answers, hazard: Hazard) -> None:
    lengths = st.sampled_from([None, None, None, "0", "1", "-1", "99999999999999999999", "x", ""])

    @generated(EXAMPLES)
    @given(st.integers(0, 3), edits, lengths)
    def check(kind: int, changes: list[tuple[str, float, bytes]], length: str | None) -> None:
        part, body, headers = sound_body(kind)
        if length is not None:
            headers = {HEADER: length}
        answers.send(part, edited(body, changes), headers, (200, 400))

    check()
    told(hazard, "bytes", answers)


def test_bodies_that_claim_to_be_compressed(answers: Answers, hazard: Hazard) -> None:
    sizes = st.sampled_from([None, MAX_BODY_BYTES + 1, 10_000_000])

    @generated(EXAMPLES)
    @given(st.integers(0, 3), edits, st.sampled_from(["gzip", "deflate", "br", "gzip, gzip"]), sizes)
    def check(kind: int, changes: list[tuple[str, float, bytes]], encoding: str, bomb: int | None) -> None:
        part, body, headers = sound_body(kind)
        if bomb is not None:
            body = b" " * bomb
        stream = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
        packed = stream.compress(body) + stream.flush()
        if bomb is None or len(changes) > 2:
            packed = edited(packed, changes)
        sent = {**headers, "content-encoding": encoding}
        allowed = (200, 400, 413) if encoding in ("gzip", "deflate") else (415,)
        answers.send(part, packed, sent, allowed)

    check()
    assert answers.statuses[413] > 50
    told(hazard, "compressed", answers)

"""Equal strong ETags mean equal bytes: over parameters, formats, versions, settings and processors.

Three servers over one store stand for a fleet behind a balancer or a shared cache: the second has other
limits, and the third another processor, which rounds a few numbers otherwise in their last bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from http_calls import Answer, Caller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.app import create_app
from service.engine import loading
from service.engine.runtime.session import GraphSession
from service.settings import Settings

MODELS = ("mnist", "mnist@1", "mnist@2", "mnist@stable", "mnist@latest", "colour@1", "plain@1")
#: One in so many numbers is another one on the third server.
SELDOM = 61


class OtherProcessor(GraphSession):
    """Rounds a few numbers of each output to their neighbour, whatever their place in the batch."""

    def run(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return tuple(self._rounded(output) for output in super().run(rows))

    @staticmethod
    def _rounded(output: NDArray[np.float32]) -> NDArray[np.float32]:
        seldom = output.view(np.uint32) % SELDOM == 0
        return np.where(seldom, np.nextafter(output, np.float32(0.5)), output)


def start(store: Path, stack: contextlib.ExitStack, *, max_images: int = 64) -> Caller:
    """A server with every version in memory."""
    caller = stack.enter_context(
        Caller(create_app(Settings(model_store=store, threads=1, max_images=max_images)))
    )
    for model in MODELS:
        assert caller.get(f"/traverse?steps=2&model={model}").status == 200
    return caller


@pytest.fixture(scope="module")
def fleet(tiny_store: Path) -> Iterator[tuple[Caller, ...]]:
    with contextlib.ExitStack() as stack:
        first, other_limits = start(tiny_store, stack), start(tiny_store, stack, max_images=4)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loading, "GraphSession", OtherProcessor)
            other_processor = start(tiny_store, stack)
        yield first, other_limits, other_processor


SUFFIXES = ("", ".json", ".png", ".jpg", ".webp", ".npy", ".npz", ".txt")
ACCEPTS = ("", "*/*", "image/png", "application/x-npy", "text/plain", "application/json;q=0.5, image/webp")
DRAWING = {
    "scale": st.sampled_from(["1", "2"]),
    "columns": st.sampled_from(["1", "2", "8"]),
    "quality": st.sampled_from(["60", "90", "100"]),
    "model": st.sampled_from(MODELS),
}
SAMPLE = {
    "seed": st.sampled_from(["7", "8"]),
    "n": st.sampled_from(["1", "2", "4", "10"]),
    "temperature": st.sampled_from(["1", "1.0", "0.5", "5e-1", "0", "-0"]),
    "prior": st.just("standard"),
    **DRAWING,
}
TRAVERSE = {
    "dims": st.sampled_from(["0", "1", "0,1", "1,0"]),
    "steps": st.sampled_from(["2", "5", "8"]),
    "spacing": st.sampled_from(["quantile", "linear"]),
    "span": st.sampled_from(["2", "2.0", "0.5"]),
    **DRAWING,
}


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, Mapping[str, str]]:
    """A request: some parameters in any order, plain or percent-encoded, and the choice of a format."""
    path, parameters = draw(st.sampled_from([("/sample", SAMPLE), ("/traverse", TRAVERSE)]))
    names = draw(st.permutations(sorted(parameters)))[: draw(st.integers(0, len(parameters)))]
    if path == "/sample" and "seed" not in names:
        names = ["seed", *names]
    encode = draw(st.booleans())
    pairs = []
    for name in names:
        value = draw(parameters[name])
        pairs.append(f"{name}={quote(value, safe='') if encode else value}")
    suffix = draw(st.sampled_from(SUFFIXES))
    accept = draw(st.sampled_from(ACCEPTS))
    return f"{path}{suffix}?{'&'.join(pairs)}", {"accept": accept} if accept else {}


def check(answer: Answer, known: dict[str, tuple[str, bytes]], of: object) -> None:
    etag = answer.headers["etag"]
    assert etag.startswith('"')
    content = (answer.headers["content-type"], answer.body)
    assert known.setdefault(etag, content) == content, of


def test_equal_etag_means_equal_bytes(fleet: tuple[Caller, ...]) -> None:
    known: dict[str, tuple[str, bytes]] = {}
    met = {"again": 0, "differs": 0}

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(asked=targets())
    def each(asked: tuple[str, Mapping[str, str]]) -> None:
        target, headers = asked
        tags = []
        for caller in fleet:
            answer = caller.get(target, headers)
            if answer.status == 200:
                met["again"] += answer.headers["etag"] in known
                check(answer, known, asked)
                tags.append((caller, answer.headers["etag"], answer.body))
            else:
                assert "etag" not in answer.headers
        met["differs"] += len({body for _, _, body in tags}) > 1
        for caller, etag, _ in tags:
            for _, other, body in tags:
                again = caller.get(target, {**headers, "if-none-match": other})
                assert again.status == (304 if other == etag else 200)
                assert again.headers["etag"] == etag
                assert again.body == (b"" if other == etag else caller.get(target, headers).body), body

    each()
    # Without these, nothing was compared.
    assert met["again"] > 100
    assert met["differs"] > 20


def test_version_on_another_processor_has_another_digest_and_is_served(fleet: tuple[Caller, ...]) -> None:
    """It reproduces its golden vectors, so the digest alone can tell."""
    first, _, other = fleet
    for name in ("mnist@1", "plain@1", "colour@1"):
        digests = {
            caller.app.state.app_state.registry.peek(name).computed_sha256 for caller in (first, other)
        }
        assert len(digests) == 2


def test_same_version_has_the_same_digest_after_each_load(fleet: tuple[Caller, ...]) -> None:
    """Otherwise a restart, or another worker, would make every cache ask for everything again."""
    digests = [caller.app.state.app_state.registry.peek("mnist@1").computed_sha256 for caller in fleet[:2]]
    assert digests[0] == digests[1]

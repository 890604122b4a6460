"""Images as JPEG and WebP."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from PIL import Image

from service.app import create_app
from service.settings import Settings

# Pictures out


@pytest.mark.parametrize(
    ("target", "accept", "kind"),
    [
        ("/sample.jpg?seed=7", None, "JPEG"),
        ("/sample.jpeg?seed=7", None, "JPEG"),
        ("/sample.webp?seed=7", None, "WEBP"),
        ("/sample?seed=7", "image/jpeg", "JPEG"),
        ("/sample?seed=7", "image/webp", "WEBP"),
        ("/sample?seed=7", "image/webp, image/png;q=0.8", "WEBP"),
        ("/sample?seed=7", "image/webp, image/png", "PNG"),
        ("/sample?seed=7", "image/*", "PNG"),
    ],
)
def test_picture_comes_in_the_requested_format(
    api: Caller, target: str, accept: str | None, kind: str
) -> None:
    answer = api.get(target, {"accept": accept} if accept else None)
    assert answer.headers["content-type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(answer.body)) as picture:
        assert picture.format == kind
        got = np.asarray(picture.convert("L")).astype(int)
    expected = np.asarray(Image.open(io.BytesIO(api.get("/sample.png?seed=7").body))).astype(int)
    assert np.abs(got - expected).max() <= (20 if kind == "JPEG" else 0)


def test_quality_trades_exactness_for_length(api: Caller) -> None:
    for suffix in ("jpg", "webp"):
        sizes = [len(api.get(f"/sample.{suffix}?seed=7&n=16&quality={q}").body) for q in (10, 95)]
        assert sizes[0] < sizes[1] / 2
    assert api.get("/sample.png?seed=7&quality=5").body == api.get("/sample.png?seed=7").body
    assert (
        api.get("/sample.jpg?quality=0").code
        == api.get("/sample.jpg?quality=101").code
        == "invalid-parameter"
    )


def test_colours_and_sheets_come_as_well(api: Caller) -> None:
    for suffix in ("jpg", "webp"):
        answer = api.get(f"/sample.{suffix}?model=colour&n=4&columns=2&scale=2")
        picture = Image.open(io.BytesIO(answer.body))
        assert (picture.size, picture.mode) == (((2 * 11 + 1) * 2, (2 * 9 + 1) * 2), "RGB")
        assert api.call("HEAD", f"/sample.{suffix}?model=colour&n=4").status == 200


def test_sides_that_a_format_does_not_have_are_refused(tiny_store: Path) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_png_pixels=1 << 27))) as api:
        target = "/sample.{}?n=64&columns=1&scale=10"
        assert api.get(target.format("png")).status == 200
        for suffix in ("webp", "jpg"):
            for method in ("GET", "HEAD"):
                refused = api.call(method, target.format(suffix))
                assert refused.status == 422
            assert "at most 16383 pixels" in api.get(target.format(suffix)).json()["detail"]

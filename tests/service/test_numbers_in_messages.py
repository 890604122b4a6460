"""A value just beyond a bound is shown as what it is, wherever it comes in."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from http_calls import Caller

from model_store.errors import GoldenMismatch
from model_store.golden import _compare
from service.engine.errors import InvalidInput
from service.engine.operations.validation import validate_images, validate_latents


def npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def got(answer: Any) -> str:
    assert answer.status == 422, answer.body
    (item,) = answer.json()["errors"]
    return str(item["got"])


@pytest.mark.parametrize("value", ["1.0000001", "1.00000001", "-1e-07", "1.5", "2"])
def test_pixel_in_json(api: Caller, value: str) -> None:
    row = ",".join(["0"] * 27)
    image = f"[[{value},{row}],{','.join([f'[0,{row}]'] * 27)}]"
    for other_key in ("", ', "sample": false'):  # the short way, and the long one
        body = f'{{"images": [{image}]{other_key}}}'.encode()
        assert got(api.post("/reconstruct", body)) == value


@pytest.mark.parametrize(
    ("dtype", "shown"), [("f2", "1.00098"), ("f4", "1.0000001"), ("f8", "1.0000000000000002")]
)
def test_pixel_in_npy_of_each_precision(api: Caller, dtype: str, shown: str) -> None:
    images = np.zeros((1, 28, 28), dtype)
    images[0, 3, 4] = np.nextafter(np.ones(1, dtype), np.full(1, 2, dtype))[0]
    assert got(api.post("/encode", npy(images), "application/x-npy")) == shown


def test_latent_beyond_what_a_model_takes(api: Caller) -> None:
    body = json.dumps({"z": [[0.0] * 7 + [10000.001]]}).encode()
    assert got(api.post("/decode", body)) == "10000.001"


def test_parameter_beyond_its_bound(api: Caller) -> None:
    assert got(api.get("/sample?temperature=10.0000001")) == "10.0000001"
    assert got(api.post("/sample", b'{"temperature": 10.0000001}')) == "10.0000001"


def test_float_where_an_integer_is_expected_looks_like_one(api: Caller) -> None:
    """`expected an integer from 1 to 64, got 1` leaves nothing to correct."""
    assert got(api.post("/sample", b'{"n": 1.0}')) == "1.0"


def test_grey_pixel_that_is_nearly_white(api: Caller) -> None:
    images = np.ones((1, 28, 28), np.float32)
    images[0, 0, 0] = np.nextafter(np.float32(1), np.float32(0))
    assert got(api.post("/score?binarise=none", npy(images), "application/x-npy")) == "0.9999999"


def test_engine_says_the_same() -> None:
    x = np.full((1, 1, 1, 1), np.nextafter(np.float32(1), np.float32(2)))
    with pytest.raises(InvalidInput, match=r"got 1\.0000001"):
        validate_images(x, shape=(1, 1, 1), max_batch=1, model="m")
    z = np.full((1, 1), 10000.001, np.float32)
    with pytest.raises(InvalidInput, match=r"got 10000\.001"):
        validate_latents(z, size=1, max_batch=1, model="m")


def test_golden_difference_just_beyond_its_bound() -> None:
    recorded = np.zeros((1, 1), np.float32)
    with pytest.raises(GoldenMismatch, match=r"at most 1 from .* difference of 1\.0000001\b"):
        _compare("mu", recorded, np.full((1, 1), np.nextafter(np.float32(1), np.float32(2))), 1.0)

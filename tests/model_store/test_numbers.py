"""A message that names a bound never shows a value beyond it as that bound."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import model_store.numbers
import service.codecs.describe

BOTH = pytest.mark.parametrize(
    "told_apart",
    [model_store.numbers.told_apart, service.codecs.describe.told_apart],
    ids=["store", "codecs"],
)


@BOTH
@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (1.5, (0.0, 1.0), "1.5"),
        (2.0, (0.0, 1.0), "2"),
        (1.0000001, (0.0, 1.0), "1.0000001"),
        (float(np.float32(1.0000001)), (0.0, 1.0), "1.0000001"),
        (math.nextafter(1.0, 2.0), (0.0, 1.0), "1.0000000000000002"),
        (0.99999999, (0.0, 1.0), "0.99999999"),
        (-1e-12, (0.0, 1.0), "-1e-12"),
        (-5e-324, (0.0, 1.0), "-4.94066e-324"),
        (1.0, (0.0, 1.0), "1"),
        (10000.001, (-10000.0, 10000.0), "10000.001"),
        (-10000.001, (-10000.0, 10000.0), "-10000.001"),
        (1.00000001e-5, (1e-5,), "1.00000001e-05"),
        (123456.789, (), "123457"),
        (math.nan, (0.0, 1.0), "nan"),
        (math.inf, (0.0, 1.0), "inf"),
    ],
)
def test_as_many_digits_as_are_needed(
    told_apart: Callable[..., str], value: float, bounds: tuple[float, ...], text: str
) -> None:
    assert told_apart(value, *bounds) == text


@BOTH
def test_fewer_digits_where_they_say_enough(told_apart: Callable[..., str]) -> None:
    assert told_apart(0.123456, 1.0, digits=3) == "0.123"
    assert told_apart(0.99996, 1.0, digits=3) == "0.99996"


@BOTH
def test_neighbours_of_any_bound_are_told_apart(told_apart: Callable[..., str]) -> None:
    for bound in np.random.default_rng(0).lognormal(0.0, 20.0, 500).tolist():
        for value in (math.nextafter(bound, math.inf), math.nextafter(bound, -math.inf)):
            assert float(told_apart(value, bound)) != bound

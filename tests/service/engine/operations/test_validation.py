"""The checks that several operations share: the name of the argument is in every message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.engine import InvalidInput, InvalidParameter
from service.engine.operations.validation import validate_integer, validate_latents


def test_latents_under_another_name_are_refused_under_that_name():
    latents = np.zeros((3, 4), np.float32)
    assert validate_latents(latents, size=4, max_batch=3, model="tiny@1", where="latents") is latents
    latents[2, 1] = np.nan
    with pytest.raises(InvalidInput, match=r"^latents\[2\]\[1\]: expected a finite number within ±10000"):
        validate_latents(latents, size=4, max_batch=3, model="tiny@1", where="latents")
    with pytest.raises(InvalidInput, match=r"^latents: expected 1 to 2 rows, got 3 rows"):
        validate_latents(latents, size=4, max_batch=2, model="tiny@1", where="latents")


@pytest.mark.parametrize("value", [0, 6, True, 3.0, "3", None, 2**70])
def test_an_integer_out_of_its_range_or_of_another_type_is_refused(value: Any):
    def check(number: Any, **options: Any) -> int:
        return validate_integer(number, where="k", least=1, most=5, remedy="Send fewer.", **options)

    assert [check(1), check(5)] == [1, 5]
    with pytest.raises(InvalidParameter, match=r"^k: expected an integer from 1 to 5, got .*Send fewer\.$"):
        check(value)
    with pytest.raises(InvalidInput, match=r"^k: expected an integer from 1 to 5 for each, got ") as error:
        check(value, note=" for each", error=InvalidInput)
    assert not isinstance(error.value, InvalidParameter)

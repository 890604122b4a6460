"""Both event loops for the tests of the wire."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from wire_server import LOOPS, run_on

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on one event loop and then on the other."""
    return functools.partial(run_on, request.param)

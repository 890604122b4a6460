"""`--record-answers`: write the answers of this run in place of those that were recorded before."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-answers",
        action="store_true",
        help="write tests/contract/recorded anew, from what the service answers now",
    )

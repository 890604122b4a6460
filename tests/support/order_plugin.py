"""The tests in another order, to show that none needs one that ran before it.

Knows pytest. `--order-seed 1` shuffles the files, and the tests within each file: fixtures of a file are then
made as often as in the usual order. The same seed gives the same order in every process of xdist.
"""

from __future__ import annotations

import random
from itertools import groupby

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--order-seed", type=int, help="shuffle the files, and the tests of each file")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--order-seed")
    if seed is None:
        return
    rng = random.Random(seed)
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    rng.shuffle(files)
    for file in files:
        rng.shuffle(file)
    items[:] = [item for file in files for item in file]


def pytest_report_header(config: pytest.Config) -> str | None:
    seed = config.getoption("--order-seed")
    return None if seed is None else f"order: --order-seed {seed}"

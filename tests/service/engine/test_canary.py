"""Which version of a split alias a key finds: always the same, and the canary as often as its share."""

from __future__ import annotations

import subprocess
import sys
from statistics import NormalDist

import pytest

from model_store import VersionId
from service.engine.canary import Canary

KEYS = [f"user-{number}" for number in range(20_000)]
#: Two-sided 99 %.
Z = NormalDist().inv_cdf(0.995)


def canary(percent: float, *, version: int = 5, alias: str = "mnist@stable") -> Canary:
    return Canary(alias, VersionId("mnist", version), percent)


@pytest.mark.parametrize("percent", [0.5, 5.0, 37.5, 50.0, 95.0, 99.9])
def test_share_lies_within_the_binomial_interval_of_99_percent(percent: float) -> None:
    p = percent / 100
    taken = sum(map(canary(percent).takes, KEYS))
    assert abs(taken - p * len(KEYS)) <= Z * (p * (1 - p) * len(KEYS)) ** 0.5 + 0.5


def test_larger_share_takes_no_key_away() -> None:
    """A client that has seen the new version would otherwise fall back to the old one at each step."""
    before: set[str] = set()
    for percent in (0.1, 1, 5, 20, 50, 99):
        now = set(filter(canary(percent).takes, KEYS))
        assert before < now
        before = now


def test_next_canary_and_other_aliases_meet_other_keys() -> None:
    """The same few clients would otherwise try every new version."""
    first, other_version, other_alias = (
        set(filter(each.takes, KEYS))
        for each in (canary(10), canary(10, version=6), canary(10, alias="mnist@beta"))
    )
    for other in (other_version, other_alias):
        assert len(first & other) < 0.02 * len(KEYS)


def test_every_process_and_release_decides_alike() -> None:
    """Python's own hash of a text differs from process to process. The digits must never change."""
    decided = "".join("01"[canary(50).takes(key)] for key in KEYS[:32])
    assert decided == "00111010110010110001011011111000"
    program = (
        "from service.engine.canary import Canary; from model_store import VersionId; "
        "c = Canary('mnist@stable', VersionId('mnist', 5), 50); "
        "print(''.join('01'[c.takes(f'user-{n}')] for n in range(32)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == decided


@pytest.mark.parametrize("key", ["", "é", "\0", "x" * 100_000, "\x80\xff"])
def test_any_text_is_a_key(key: str) -> None:
    assert canary(50).takes(key) == canary(50).takes(key)

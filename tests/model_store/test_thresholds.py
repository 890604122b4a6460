"""Thresholds: the rate that they keep on new images, quantiles, AUROC, and the rules of a manifest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_models import TinyModel

from model_store import ManifestDraft
from model_store.calibration import FIGURES, Calibration, images_needed
from model_store.thresholds import auroc, calibrated, flags, quantiles, threshold


def binomial_interval(count: int, share: float) -> tuple[int, int]:
    """The smallest and largest number of successes outside of which lie at most 2.5 % on each side."""
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(count + 1)
    ]  # fmt: skip
    below = np.cumsum(np.exp(logs))
    return int((below >= 0.025).argmax()), int((below >= 0.975).argmax())


def made(count: int = 2000, *, rate: float = 0.01, seed: int = 0, against: bool = False) -> Calibration:
    rng = np.random.default_rng(seed)
    normal = {name: rng.gamma(3.0, 10.0 + at, count) for at, name in enumerate(FIGURES)}
    return calibrated(
        normal,
        rate=rate,
        other={name: rng.gamma(3.0, 30.0, 50) for name in FIGURES} if against else None,
        binarise="dynamic",
        flagged_by="kl",
        data="gamma",
        against="wider gamma" if against else None,
        protocol="drawn",
    )


@given(count=st.integers(10, 400), rate=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_a_threshold_is_exceeded_by_the_rate_of_the_values_rounded_down(count, rate, seed):
    """k = ⌈(n + 1)(1 - rate)⌉ of n: at most rate · (n + 1) - 1 values are above, and not two fewer."""
    values = np.random.default_rng(seed).standard_normal(count)
    above = (values > threshold(values, rate=rate)).sum()
    assert rate * (count + 1) - 2 < above <= rate * (count + 1)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_new_values_exceed_it_at_the_rate(rate):
    """The mean over many calibrations, each on few values: within four standard errors."""
    rng = np.random.default_rng(1)
    count, rounds = 200, 4000
    found = [threshold(rng.exponential(size=count), rate=rate) for _ in range(rounds)]
    exceeds = np.exp(-np.array(found))  # P(X > t) of an exponential
    error = exceeds.std() / math.sqrt(rounds)
    assert rate - 1 / (count + 1) - 4 * error <= exceeds.mean() <= rate + 4 * error


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_false_alarms_on_held_out_images_lie_in_the_binomial_interval(rate):
    calibration = made(20_000, rate=rate)
    held_out = np.random.default_rng(2).gamma(3.0, 11.0, 2000)
    low, high = binomial_interval(2000, rate)
    assert low <= flags(calibration, held_out).sum() <= high
    assert (low, high) == {0.01: (12, 29), 0.05: (81, 120)}[rate]


def test_quantiles_are_the_shares_of_normal_images_below():
    calibration = made()
    values = np.random.default_rng(0).gamma(3.0, 10.0, 2000)  # the first figure, as it was drawn
    found = quantiles(calibration, "reconstruction_nll", values)
    ranks = values.argsort().argsort() / (len(values) - 1)
    np.testing.assert_allclose(found, ranks, atol=0.006)
    assert quantiles(calibration, "kl", np.array([-1e9, 1e9])).tolist() == [0.0, 1.0]


SOME = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@given(SOME, SOME)
def test_auroc_is_the_share_of_pairs_in_order(normal, other):
    pairs = [(n < o) + 0.5 * (n == o) for n in normal for o in other]
    found = auroc(np.array(normal, float), np.array(other, float))
    assert found == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 1000), (0.001, 10_000), (0.5, 20), (0.03, 334)])
def test_a_rate_needs_ten_expected_alarms(rate, needed):
    assert images_needed(rate) == needed
    made(needed, rate=rate)
    with pytest.raises(ValidationError, match=f"at least {needed}"):
        made(needed - 1, rate=rate)


def test_a_manifest_states_it_with_schema_version_5_and_reads_it_back():
    plain = TinyModel.make().draft()
    draft = plain.with_calibration(made(against=True))
    assert (plain.schema_version, draft.schema_version) == (1, 5)
    again = ManifestDraft.model_validate_json(draft.model_dump_json())
    assert again == draft
    assert again.calibration.figure("kl").auroc is not None
    assert "calibration" not in plain.model_dump()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (0.0, 0.5, 0.5, 1.0)}, "ascending shares"),
        ({"levels": (0.1, 1.0)}, "ascending shares"),
        ({"against": "others"}, "auroc"),
        ({"figures": made().figures[::-1]}, "in this order"),
        ({"images": 999}, "at least 1000"),
        ({"rate": 0.6}, "rate"),
    ],
)
def test_a_calibration_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Calibration(**{**{name: getattr(made(), name) for name in Calibration.model_fields}, **change})


def test_an_autoencoder_has_none():
    with pytest.raises(ValidationError, match="assigns no probability"):
        TinyModel.make(kind="ae").draft().with_calibration(made())

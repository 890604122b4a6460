"""prior.npz is read without trusting it: what is no set of mixtures is refused by the array.

The archive is read by the code that reads golden vectors, which `test_golden_vectors.py` attacks in full.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from tiny_models import TinyModel
from tiny_priors import Fitted

from model_store import InvalidPrior, ManifestDraft, PriorMixtures

NAMES = ("weights", "means", "cholesky")
LATENT = 2
#: 3 of all images, then 1, 2 and 3 of the labels 0, 1 and 7.
COMPONENTS = 9


@pytest.fixture
def draft(tiny: TinyModel, fitted: Fitted) -> ManifestDraft:
    return tiny.draft().with_fitted_prior(fitted[0])


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=True)
    return buffer.getvalue()


def archive(arrays: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in arrays.items():
            file.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def members(mixtures: PriorMixtures) -> dict[str, bytes]:
    return {name: npy(getattr(mixtures, name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((COMPONENTS, LATENT, LATENT, 1), np.float32), "shape|float64"),
        (np.zeros((COMPONENTS, LATENT), np.float16), "float"),
        (np.zeros((COMPONENTS, LATENT), ">f4"), "float"),
        (np.zeros((0, LATENT), np.float32), "shape|float64"),
        (np.asfortranarray(np.ones((COMPONENTS, LATENT + 1), np.float32)), "C order"),
        (np.zeros((COMPONENTS,), np.int64), "float"),
    ],
)
def test_an_array_of_another_dtype_shape_or_order_is_refused_by_name(
    mixtures: PriorMixtures, draft: ManifestDraft, name: str, array: Any, reason: str
) -> None:
    changed = members(mixtures) | {name: npy(array)}
    with pytest.raises(InvalidPrior, match=rf"prior\.npz: array '{name}'.*({reason})"):
        PriorMixtures.from_bytes(archive(changed), draft)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_are_refused(
    mixtures: PriorMixtures, draft: ManifestDraft, name: str, value: float
) -> None:
    array = getattr(mixtures, name).copy()
    array.flat[-1] = value
    changed = dataclasses.replace(mixtures, **{name: array})
    with pytest.raises(InvalidPrior, match=f"array '{name}': expected finite"):
        PriorMixtures.from_bytes(changed.to_bytes(), draft)


def changed_at(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("weights", ((0,), 0.0), "positive values, got 0"),
        ("weights", ((8,), -0.1), "positive values, got -0.1"),
        ("weights", ((1,), 0.999), "those of all images to sum to 1, got 1"),
        ("weights", ((7,), 0.999), "those of label '7' to sum to 1"),
        ("means", ((3, 1), 10_001.0), "within ±10000, got one of magnitude 10001"),
        ("cholesky", ((5, 1, 0), -20_000.0), "within ±10000"),
        ("cholesky", ((5, 0, 1), 0.1), "lower triangular factors, got a value above a diagonal"),
        ("cholesky", ((2, 1, 1), 0.0), "a positive diagonal, got 0"),
        ("cholesky", ((2, 0, 0), -0.5), "a positive diagonal, got -0.5"),
    ],
)
def test_what_is_no_mixture_is_refused_by_the_array(
    mixtures: PriorMixtures,
    draft: ManifestDraft,
    name: str,
    change: tuple[tuple[int, ...], float],
    reason: str,
) -> None:
    index, value = change
    array = changed_at(getattr(mixtures, name), index, value)
    changed = dataclasses.replace(mixtures, **{name: array})
    with pytest.raises(InvalidPrior, match=f"array '{name}': expected .*{reason}"):
        PriorMixtures.from_bytes(changed.to_bytes(), draft)
    with pytest.raises(InvalidPrior, match=f"array '{name}': expected .*{reason}"):
        changed.validate(draft)


def test_missing_extra_and_renamed_members_are_refused(mixtures: PriorMixtures, draft: ManifestDraft) -> None:
    full = members(mixtures)
    less = {name: data for name, data in full.items() if name != "means"}
    for changed in (less, full | {"x": b""}, less | {"../means": full["means"]}, less | {"Means": b""}):
        with pytest.raises(InvalidPrior, match="members"):
            PriorMixtures.from_bytes(archive(changed), draft)


def test_pickles_are_refused_and_never_executed(mixtures: PriorMixtures, draft: ManifestDraft) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was executed",))

    objects = np.empty((COMPONENTS,), object)
    objects[:] = [Evil() for _ in range(COMPONENTS)]
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|O", "fortran_order": False, "shape": (COMPONENTS,)}
    )
    for data in (buffer.getvalue() + b"\x80\x04", b"\x80\x04\x95", b""):
        with pytest.raises(InvalidPrior, match="array 'weights'"):
            PriorMixtures.from_bytes(archive(members(mixtures) | {"weights": data}), draft)
    with pytest.raises(InvalidPrior):
        PriorMixtures.from_bytes(pickle.dumps([1]) * 20, draft)


def test_a_header_that_promises_a_huge_array_allocates_nothing(
    mixtures: PriorMixtures, draft: ManifestDraft
) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9, 2, 2), }"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"1234"
    with pytest.raises(InvalidPrior, match="144 bytes of values, got 4"):
        PriorMixtures.from_bytes(archive(members(mixtures) | {"cholesky": data}), draft)
    huge = header.replace(b"(9, 2, 2)", b"(9999999, 9999, 9999)")
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(huge)) + huge
    with pytest.raises(InvalidPrior, match=r"expected shape \(9, 2, 2\) by the manifest"):
        PriorMixtures.from_bytes(archive(members(mixtures) | {"cholesky": data}), draft)


def test_damage_never_raises_anything_else(mixtures: PriorMixtures, draft: ManifestDraft) -> None:
    """Without any digest: every truncation and 400 flipped bits are refused, or read back equal."""
    data = mixtures.to_bytes()
    for length in range(0, len(data), 5):
        with pytest.raises(InvalidPrior):
            PriorMixtures.from_bytes(data[:length], draft)
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), size=400):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            back = PriorMixtures.from_bytes(bytes(damaged), draft)
        except InvalidPrior:
            continue
        for name in NAMES:
            np.testing.assert_array_equal(getattr(back, name), getattr(mixtures, name))

"""golden.npz is read without trusting it, and compared without being fooled by NaN."""

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

from model_store import GoldenMismatch, GoldenSpec, GoldenVectors, InvalidGolden, ManifestDraft

NAMES = ("x", "mu", "logvar", "z", "x_hat")


@pytest.fixture
def golden(tiny: TinyModel) -> GoldenVectors:
    return tiny.golden()


@pytest.fixture
def draft(tiny: TinyModel) -> ManifestDraft:
    return tiny.draft()


def npy(array: Any, *, version: tuple[int, int] = (1, 0), pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=pickled)
    return buffer.getvalue()


def archive(
    members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
        file.comment = comment
    return buffer.getvalue()


def members(golden: GoldenVectors) -> dict[str, bytes]:
    return {f"{name}.npy": npy(getattr(golden, name)) for name in NAMES}


def test_arrays_come_back_exactly_and_equal_arrays_give_equal_bytes(
    golden: GoldenVectors, draft: ManifestDraft
) -> None:
    data = golden.to_bytes()
    back = GoldenVectors.from_bytes(data, draft)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(back, name), getattr(golden, name))
        assert getattr(back, name).dtype == np.float32
    assert back.to_bytes() == data


def test_numpy_itself_reads_and_writes_the_same_file(golden: GoldenVectors, draft: ManifestDraft) -> None:
    """The format is plain .npz: a publisher in another code base needs no code of ours."""
    with np.load(io.BytesIO(golden.to_bytes()), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["x_hat"], golden.x_hat)
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{name: getattr(golden, name) for name in NAMES})
        np.testing.assert_array_equal(GoldenVectors.from_bytes(buffer.getvalue(), draft).mu, golden.mu)


class Evil:
    """Unpickling this would be noticed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 3, 3, 3), np.float32), "shape"),
        (np.zeros((2, 1, 4, 4), np.float64), "float32"),
        (np.zeros((2, 2), np.float16), "float32"),
        (np.zeros((2, 2), ">f4"), "float32"),
        (np.zeros((0, 2), np.float32), "shape"),
        (np.float32(1.0).reshape(()), "shape"),
        (np.zeros((1025, 2), np.float32), "shape"),
        (np.asfortranarray(np.zeros((3, 2), np.float32)), "C order"),
        (np.zeros((2, 2), [("a", "<f4")]), "float32"),
    ],
)
def test_an_array_of_another_dtype_shape_or_order_is_refused_by_name(
    golden: GoldenVectors, draft: ManifestDraft, name: str, array: Any, reason: str
) -> None:
    changed = members(golden) | {f"{name}.npy": npy(array)}
    with pytest.raises(InvalidGolden, match=f"array '{name}'.*{reason}"):
        GoldenVectors.from_bytes(archive(changed), draft)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_are_refused(
    golden: GoldenVectors, draft: ManifestDraft, name: str, value: float
) -> None:
    array = getattr(golden, name).copy()
    array.flat[-1] = value
    changed = dataclasses.replace(golden, **{name: array})
    with pytest.raises(InvalidGolden, match=f"array '{name}': expected finite"):
        GoldenVectors.from_bytes(changed.to_bytes(), draft)


@pytest.mark.parametrize("name", ["x", "x_hat"])
def test_pixels_outside_the_unit_interval_are_refused(
    golden: GoldenVectors, draft: ManifestDraft, name: str
) -> None:
    changed = dataclasses.replace(golden, **{name: getattr(golden, name) * 255})
    with pytest.raises(InvalidGolden, match=rf"array '{name}': expected pixels in \[0, 1\]"):
        GoldenVectors.from_bytes(changed.to_bytes(), draft)


def test_outputs_without_their_inputs_are_refused(golden: GoldenVectors, draft: ManifestDraft) -> None:
    with pytest.raises(InvalidGolden, match="'logvar': expected 3 examples as in x, got 2"):
        dataclasses.replace(golden, logvar=golden.logvar[:2]).validate(draft)


def test_pickles_are_refused_and_never_executed(golden: GoldenVectors, draft: ManifestDraft) -> None:
    objects = np.empty((2, 2), object)
    objects[:] = Evil()
    for data in (npy(objects, pickled=True), pickle.dumps(Evil())):
        with pytest.raises(InvalidGolden, match="array 'mu'"):
            GoldenVectors.from_bytes(archive(members(golden) | {"mu.npy": data}), draft)


def test_missing_extra_renamed_and_doubled_members_are_refused(
    golden: GoldenVectors, draft: ManifestDraft
) -> None:
    full = members(golden)
    less = {name: data for name, data in full.items() if name != "z.npy"}
    for changed in (less, full | {"y.npy": b""}, less | {"../z.npy": full["z.npy"]}, less | {"Z.npy": b""}):
        with pytest.raises(InvalidGolden, match="members"):
            GoldenVectors.from_bytes(archive(changed), draft)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in less.items():
            file.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.npy", full["x.npy"])
    with pytest.raises(InvalidGolden, match="members"):
        GoldenVectors.from_bytes(buffer.getvalue(), draft)


def test_a_bomb_is_refused_by_its_directory_before_it_is_unpacked(
    golden: GoldenVectors, draft: ManifestDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = archive(members(golden) | {"x.npy": b"\0" * 80_000_000})
    assert len(bomb) < 200_000
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("something was unpacked"))
    with pytest.raises(InvalidGolden, match="bytes unpacked"):
        GoldenVectors.from_bytes(bomb, draft)


def test_a_bomb_that_understates_its_size_yields_no_more_than_it_stated(
    golden: GoldenVectors, draft: ManifestDraft
) -> None:
    honest = archive(members(golden) | {"x.npy": b"\0" * 80_000_000})
    directory = honest.index(b"PK\x01\x02")
    lie = honest[:directory] + honest[directory:].replace(
        struct.pack("<L", 80_000_000), struct.pack("<L", 100)
    )
    assert lie != honest
    with pytest.raises(InvalidGolden):
        GoldenVectors.from_bytes(lie, draft)


def test_a_header_that_promises_a_huge_array_allocates_nothing(
    golden: GoldenVectors, draft: ManifestDraft
) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 2), }"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"1234"
    with pytest.raises(InvalidGolden, match="8000 bytes of values, got 4"):
        GoldenVectors.from_bytes(archive(members(golden) | {"mu.npy": data}), draft)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[" * 300,
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': 2, }",
        b"{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 2), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 2), }",
        b"{'shape': (3, 2)}",
        b"__import__('os').system('true')",
        b" " * 600,
        b"\xff" * 100,
    ],
)
def test_hostile_array_headers_are_refused(
    golden: GoldenVectors, draft: ManifestDraft, header: bytes
) -> None:
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 24
    with pytest.raises(InvalidGolden, match="array 'mu'"):
        GoldenVectors.from_bytes(archive(members(golden) | {"mu.npy": data}), draft)


def test_other_npy_versions_are_refused(golden: GoldenVectors, draft: ManifestDraft) -> None:
    with pytest.raises(InvalidGolden, match=r"version 1\.0"):
        GoldenVectors.from_bytes(archive(members(golden) | {"z.npy": npy(golden.z, version=(2, 0))}), draft)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(
    golden: GoldenVectors, draft: ManifestDraft, compression: int
) -> None:
    with pytest.raises(InvalidGolden, match="stored or deflated"):
        GoldenVectors.from_bytes(archive(members(golden), compression=compression), draft)


def test_archives_with_comments_or_crowded_directories_are_refused_before_they_are_parsed(
    golden: GoldenVectors, draft: ManifestDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowded = archive(members(golden) | {f"{index}.npy": b"" for index in range(2000)})
    commented = archive(members(golden), comment=b"hello")
    honest = archive(members(golden))
    lying = honest[:-12] + struct.pack("<HHLL", 5, 5, 2**31, 0)[2:] + b"\0\0"
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the directory was parsed"))
    for data in (crowded, commented, b"", b"PK", b"not a zip" * 100, lying):
        with pytest.raises(InvalidGolden, match="expected"):
            GoldenVectors.from_bytes(data, draft)


def test_every_truncation_and_every_flipped_byte_is_refused_or_read_back_equal(
    golden: GoldenVectors, draft: ManifestDraft
) -> None:
    """Without any digest: damage never raises anything but InvalidGolden."""
    data = golden.to_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(InvalidGolden):
            GoldenVectors.from_bytes(data[:length], draft)
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), size=400):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            back = GoldenVectors.from_bytes(bytes(damaged), draft)
        except InvalidGolden:
            continue
        for name in NAMES:  # a time stamp or an attribute was hit: the arrays are what they were
            np.testing.assert_array_equal(getattr(back, name), getattr(golden, name))


def test_answers_within_the_bound_pass_and_beyond_it_are_told_with_both_figures(
    golden: GoldenVectors,
) -> None:
    spec = GoldenSpec(latent_atol=1e-3, pixel_atol=1e-4)
    golden.check_encoder(golden.mu + np.float32(9e-4), golden.logvar - np.float32(9e-4), spec)
    golden.check_decoder(golden.x_hat + np.float32(9e-5), spec)
    with pytest.raises(
        GoldenMismatch, match=r"'logvar': expected at most 0\.001 .* largest difference of 0\.00(2|199)"
    ):
        golden.check_encoder(golden.mu, golden.logvar + np.float32(0.002), spec)
    with pytest.raises(GoldenMismatch, match="'mu'"):
        golden.check_encoder(golden.mu + np.float32(0.002), golden.logvar, spec)
    with pytest.raises(GoldenMismatch, match="'x_hat'"):
        golden.check_decoder(golden.x_hat + np.float32(2e-4), spec)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_nan_in_an_answer_is_a_mismatch(golden: GoldenVectors, value: float) -> None:
    mu, x_hat = golden.mu.copy(), golden.x_hat.copy()
    mu[1, 0] = x_hat[0, 0, 2, 1] = value
    with pytest.raises(GoldenMismatch, match=r"nan|inf"):
        golden.check_encoder(mu, golden.logvar, GoldenSpec())
    with pytest.raises(GoldenMismatch, match=r"nan|inf"):
        golden.check_decoder(x_hat, GoldenSpec())


def test_an_answer_of_another_shape_does_not_broadcast(golden: GoldenVectors) -> None:
    with pytest.raises(GoldenMismatch, match=r"expected shape \(3, 2\), got \(1, 2\)"):
        golden.check_encoder(golden.mu[:1], golden.logvar, GoldenSpec())

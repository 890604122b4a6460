"""npz files of clients: read as NumPy writes them, and never unpacked beyond their bounds."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.errors import CodecError, InvalidValue, MalformedBody
from service.codecs.npz_reader import read_npz

NAMES = ("images", "latents")
IMAGES, LATENTS = np.zeros((2, 3), np.float32), np.ones((4, 2))


def npz(*, compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_out_as_numpy_wrote_them(compressed: bool) -> None:
    files = read_npz(npz(images=IMAGES, latents=LATENTS, compressed=compressed), NAMES, max_bytes=10_000)
    assert list(files) == ["images", "latents"]
    for name, array in (("images", IMAGES), ("latents", LATENTS)):
        np.testing.assert_array_equal(np.load(io.BytesIO(files[name])), array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        npz(images=IMAGES)[:-1],
        npz(images=IMAGES) + b"\0",
        npz(images=IMAGES).replace(b"\x93NUMPY", b"\x93NUMPX"),
        zipped(("images.npy", b"x" * 100), method=zipfile.ZIP_LZMA),
        zipped(*((f"{i:0>60}.npy", b"") for i in range(100))),
    ],
    ids=["empty", "begun", "cut", "longer", "checksum", "lzma", "listing"],
)
def test_broken_file_is_named_as_one(data: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"Write it with numpy\.savez"):
        read_npz(data, NAMES, max_bytes=10_000)


def test_unknown_arrays_are_refused_without_repeating_their_names() -> None:
    with pytest.raises(InvalidValue, match="array 2 of the file: expected one of images, latents") as caught:
        read_npz(npz(images=IMAGES, secret=LATENTS), NAMES, max_bytes=10_000)
    assert "secret" not in str(caught.value)


def test_array_without_a_name_gets_the_call_that_names_it() -> None:
    """`numpy.savez(path, images)` calls it arr_0."""
    buffer = io.BytesIO()
    np.savez(buffer, IMAGES)
    with pytest.raises(InvalidValue, match=r"numpy\.savez\(path, images=array\)"):
        read_npz(buffer.getvalue(), NAMES, max_bytes=10_000)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_array_that_comes_twice_is_refused() -> None:
    with pytest.raises(InvalidValue, match="images: expected one array, got several"):
        read_npz(zipped(("images.npy", b"a"), ("images.npy", b"b")), NAMES, max_bytes=100)


def test_bomb_is_refused_before_it_is_unpacked() -> None:
    data = zipped(("images.npy", bytes(50_000_000)), method=zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000
    tracemalloc.start()
    with pytest.raises(InvalidValue, match="at most 1000 bytes of arrays, got 50000000"):
        read_npz(data, NAMES, max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_bomb_that_states_a_small_size_is_not_unpacked_either() -> None:
    data = zipped(("images.npy", bytes(50_000_000)), method=zipfile.ZIP_DEFLATED)
    lying = data.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 10))
    tracemalloc.start()
    with pytest.raises(MalformedBody):
        read_npz(lying, NAMES, max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_packed_size_that_is_forged_takes_no_memory() -> None:
    """`zipfile` asks its file for as many bytes as the listing says (python/cpython#151307)."""
    data = bytearray(zipped(("images.npy", bytes(1000)), method=zipfile.ZIP_DEFLATED))
    listing = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, listing + 20, 0x7FFF_FFFF)
    tracemalloc.start()
    files = read_npz(data, NAMES, max_bytes=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert files == {"images": bytes(1000)}
    assert peak < 1_000_000


@given(st.data())
def test_changed_bytes_are_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(npz(images=IMAGES, latents=LATENTS))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        files = read_npz(body, NAMES, max_bytes=10_000)
    except CodecError:
        return
    assert set(files) <= set(NAMES)

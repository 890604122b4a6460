"""IDX files are believed only as far as their bytes reach."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from training.data.idx import read_idx, write_idx
from training.errors import DataError


def idx_bytes(shape, payload=None, *, element_type=0x08, zero=0, axes=None):
    """An IDX file, honest unless told otherwise."""
    header = struct.pack(">HBB", zero, element_type, len(shape) if axes is None else axes)
    header += struct.pack(f">{len(shape)}I", *shape)
    return header + (bytes(int(np.prod(shape))) if payload is None else payload)


@pytest.fixture
def put(tmp_path):
    """Write bytes to a file and name it."""

    def write(data, name="images-idx3-ubyte"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_written_array_comes_back_from_plain_and_gzipped_files(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 256, (5, 3, 2), dtype=np.uint8)
    path = tmp_path / f"x-idx3-ubyte{suffix}"
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path).array, array)


def test_header_is_read_in_the_published_byte_order(put):
    """Worked by hand from the format's description, not by our own writer."""
    path = put(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60]))
    assert read_idx(path).array.tolist() == [[10, 20, 30], [40, 50, 60]]


def test_digest_is_of_the_content_and_not_of_its_packing(put):
    data = idx_bytes((2, 2), b"\1\2\3\4")
    digests = {
        read_idx(put(data, "plain")).sha256,
        read_idx(put(gzip.compress(data, 1), "fast.gz")).sha256,
        read_idx(put(gzip.compress(data, 9), "small.gz")).sha256,
    }
    assert len(digests) == 1


def test_gunzipped_file_that_kept_its_gz_name_is_read(put):
    """Browsers decompress on the way and leave the name."""
    assert read_idx(put(idx_bytes((2, 2), b"\1\2\3\4"), "x.gz")).array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "end of the file after 0 bytes"),
        (b"\0\0\x08", "end of the file after 3 bytes"),
        (idx_bytes((4,))[:6], "end of the file after 2 bytes"),
        (b"<html>not found</html>", "expected an IDX file, which starts 00 00 08, got 3c 68 74 6d"),
        (idx_bytes((2,), zero=7), "got 00 07 08 01"),
        (idx_bytes((2,), element_type=0x0D), "expected unsigned bytes .* 32-bit floats"),
        (idx_bytes((), axes=0), "expected 1 to 4 axes, got 0"),
        (idx_bytes((1,) * 5), "expected 1 to 4 axes, got 5"),
        (idx_bytes((3, 0, 2)), "expected at least one element"),
        (idx_bytes((2, 3), b"12345"), "6 bytes of elements, but only 5 follow"),
        (idx_bytes((2, 3), b"1234567"), "6 bytes of elements, but more bytes follow"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_malformed_file_is_refused_with_its_name_and_what_came(put, data, message, packed):
    path = put(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [3, 12, 20, -9, -1])
def test_truncated_gzip_is_told_as_such(put, keep):
    whole = gzip.compress(idx_bytes((50, 50), np.random.default_rng(0).bytes(2500)))
    with pytest.raises(DataError, match="truncated or damaged"):
        read_idx(put(whole[:keep]))


def test_flipped_bit_inside_gzip_is_told(put):
    whole = bytearray(gzip.compress(idx_bytes((50, 50), np.random.default_rng(0).bytes(2500))))
    whole[len(whole) // 2] ^= 0x10
    with pytest.raises(DataError, match=r"truncated or damaged|more bytes follow"):
        read_idx(put(bytes(whole)))


def test_header_that_claims_terabytes_allocates_nothing(put):
    path = put(idx_bytes((2**31, 1024, 1024), b""))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="the maximum is 1,073,741,824 bytes"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_gzip_bomb_behind_a_small_header_is_not_unpacked(put):
    """100 MB of zeros in 100 kB: one byte more than the header claims is enough to refuse."""
    path = put(gzip.compress(idx_bytes((10,), bytes(100_000_000)), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more bytes follow"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_payload_at_the_ceiling_is_read_and_one_byte_more_is_not(put):
    assert read_idx(put(idx_bytes((10,))), max_payload_bytes=10).array.shape == (10,)
    with pytest.raises(DataError, match="the maximum is 10 bytes"):
        read_idx(put(idx_bytes((11,))), max_payload_bytes=10)


def test_missing_file_and_directory_are_told_apart(tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="got a directory"):
        read_idx(tmp_path)

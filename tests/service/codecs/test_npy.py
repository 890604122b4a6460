"""NumPy files in and out, and nothing that a file states is believed before it is compared."""

from __future__ import annotations

import io
import pickle
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.codecs import CodecError, InvalidValue, MalformedBody, decode_npy, encode_npy, encode_npz

SHAPE = (1, 28, 28)


def npy(array: np.ndarray, *, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=True)
    return buffer.getvalue()


def with_header(text: str, values: bytes = b"", *, version: int = 1) -> bytes:
    header = text.encode("latin-1")
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + len(header).to_bytes(2 if version == 1 else 4, "little")
        + header
        + values
    )


def images(count: int = 2, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(3).random((count, *shape), dtype=np.float32)


def read(data: bytes, shape: tuple[int, ...] = SHAPE, most: int = 16) -> np.ndarray:
    return decode_npy(data, shape, max_images=most)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_floats_keep_every_bit(version):
    x = images()
    back = read(npy(x, version=version))
    np.testing.assert_array_equal(back, x)
    assert back.dtype == np.float32
    assert back.flags.c_contiguous


def test_numpy_save_is_read(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, images(5))
    assert read(path.read_bytes()).shape == (5, *SHAPE)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_floats_of_any_width_and_byte_order_are_taken(dtype):
    x = images().astype(dtype)
    np.testing.assert_array_equal(read(npy(x)), x.astype(np.float32))


def test_bytes_are_divided_by_255():
    levels = np.arange(784, dtype=np.uint8).reshape(1, *SHAPE)
    np.testing.assert_array_equal(read(npy(levels)), levels.astype(np.float32) / np.float32(255))
    assert read(npy(np.full((1, *SHAPE), 255, np.uint8))).max() == 1.0


def test_fortran_order_is_put_right():
    x = np.asfortranarray(images(4, (3, 4, 5)))
    assert b"'fortran_order': True" in npy(x)
    back = read(npy(x), (3, 4, 5))
    np.testing.assert_array_equal(back, x)
    assert back.flags.c_contiguous


def test_one_channel_may_be_left_out():
    x = images(3)
    np.testing.assert_array_equal(read(npy(x[:, 0])), x)


def test_latents_are_taken_as_rows():
    z = np.random.default_rng(1).standard_normal((4, 32), dtype=np.float32)
    np.testing.assert_array_equal(read(npy(z), (32,)), z)


@pytest.mark.parametrize("array", [images()[0, 0], images()[0]], ids=["28×28 of 1×28×28 model", "wrong"])
def test_a_single_image_is_told_to_get_its_first_axis(array):
    if array.ndim == 3:
        # (1, 28, 28) is one image without its channel axis: the same pixels either way.
        np.testing.assert_array_equal(read(npy(array)), array[None])
        return
    with pytest.raises(InvalidValue) as caught:
        read(npy(array))
    assert str(caught.value) == (
        "images: expected shape (N, 1, 28, 28) or (N, 28, 28), got shape (28, 28). "
        "Add the first axis: array[None]."
    )


@pytest.mark.parametrize("dtype", ["?", "<i4", "<i8", "<u2", "|i1", "<c8", "<U4", "|S4", "<M8[s]"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(CodecError) as caught:
        read(npy(np.zeros((1, *SHAPE), dtype)))
    assert "astype" in caught.value.remedy or "numbers" in caught.value.remedy


def test_bytes_are_no_latents():
    with pytest.raises(InvalidValue, match="z: dtype: expected float16, float32 or float64"):
        read(npy(np.zeros((1, 32), np.uint8)), (32,))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.001, 1.001])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8"])
def test_a_pixel_outside_zero_to_one_is_named(bad, dtype):
    x = images(3).astype(dtype)
    x[1, 0, 5, 6] = bad
    with pytest.raises(InvalidValue) as caught:
        read(npy(x))
    assert caught.value.where == "images[1][0][5][6]"


def test_a_double_too_large_for_float32_is_refused_without_a_warning():
    with pytest.raises(InvalidValue, match=r"z\[0\]\[0\]"):
        read(npy(np.array([[1e300, 0.0]])), (2,))


@pytest.mark.parametrize("count", [0, 17])
def test_the_number_of_rows_is_bounded(count):
    with pytest.raises(InvalidValue, match=f"expected 1 to 16 entries, got {count}"):
        read(npy(images(count)))


def test_a_pickle_is_never_opened():
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle from a client was executed",))

    objects = np.empty((1, *SHAPE), object)
    objects[:] = Bomb()
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
    for data in (npy(objects), pickle.dumps(Bomb()), with_header(header, pickle.dumps(Bomb()))):
        with pytest.raises(CodecError):
            read(data)


HEADERS = {
    "an expression": "__import__('os').system('true')",
    "a call for a shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (len('a'), 1, 28, 28), }",
    "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1, 28, 28), }",
    "a missing key": "{'descr': '<f4', 'shape': (1, 1, 28, 28), }",
    "a key twice": "{'descr': '<f4', 'descr': '<f4', 'shape': (1, 1, 28, 28), }",
    "another key": "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 28, 28), 'x': 1}",
    "a negative size": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1, 28, 28), }",
    "a huge size": "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1, 28, 28), }",
    "two numbers without a comma": "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1, 28, 28), }",
    "an empty entry": "{'descr': '<f4', 'fortran_order': False, 'shape': (1,, 28, 28), }",
    "other digits": "{'descr': '<f4', 'fortran_order': False, 'shape': (\u00b2, 1, 28, 28), }",
    "brackets": "{" * 4000,
    "parentheses": "(" * 4000,
    "nothing": "",
    "spaces": " " * 4000,
    "spaces in the shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + " " * 190 + "x), }",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_is_matched_and_never_evaluated(header):
    with pytest.raises(MalformedBody) as caught:
        read(with_header(header, bytes(3136)))
    assert len(str(caught.value)) < 400


def test_a_header_in_another_order_and_with_other_quotes_is_read():
    """Other languages write the dictionary in their own order."""
    x = images(1)
    for text in (
        '{"shape": (1, 1, 28, 28), "fortran_order": False, "descr": "<f4"}\n',
        "{'fortran_order':False,'shape':(1,1,28,28,),'descr':'<f4',}   \n",
    ):
        np.testing.assert_array_equal(read(with_header(text, x.tobytes())), x)


def test_stated_sizes_are_compared_before_anything_is_allocated():
    lie = "{'descr': '<f8', 'fortran_order': False, 'shape': (16, 1, 4000000000, 4000000000), }"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue):
            read(with_header(lie))
        with pytest.raises(MalformedBody, match="expected 128000000000 bytes of values"):
            read(
                with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (16, 1000000000), }"),
                (1_000_000_000,),
            )
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("extra", [-1, 1, -3136])
def test_a_file_of_another_length_than_stated_is_refused(extra):
    whole = npy(images(1))
    data = whole[:extra] if extra < 0 else whole + b"\0" * extra
    with pytest.raises(MalformedBody, match="expected 3136 bytes of values"):
        read(data)


def test_every_truncation_is_refused():
    whole = npy(images(1, (1, 2, 2)))
    for length in range(len(whole)):
        with pytest.raises(MalformedBody):
            read(whole[:length], (1, 2, 2))


def test_3_000_mutated_files_are_read_or_refused_and_nothing_else():
    rng = random.Random(4)
    x = images(2, (1, 3, 4))
    originals = [npy(x), npy((x * 255).astype(np.uint8)), npy(x, version=(2, 0))]
    read_count = longest = 0
    for _ in range(3000):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), 140))] = rng.choice(
                (*b"0123456789(),'f<>|{}: ", rng.randrange(256))
            )
        try:
            x = read(bytes(data), (1, 3, 4))
        except CodecError as error:
            longest = max(longest, len(str(error)))
            continue
        read_count += 1
        assert x.min() >= 0
        assert x.max() <= 1
    assert longest < 4000
    assert read_count > 50


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "f2", "u1", "i8", "?", ">f4"]),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
        | st.sampled_from([(2, 1, 3, 4), (2, 3, 4), (3, 4), (9, 1, 3, 4)]),
        fill=st.just(0),
    )
)
def test_any_array_is_images_or_refused(array):
    try:
        x = read(npy(array), (1, 3, 4), most=8)
    except CodecError:
        return
    assert array.dtype.kind in "fu"
    scaled = array.astype(np.float32) / (np.float32(255) if array.dtype == np.uint8 else np.float32(1))
    np.testing.assert_array_equal(x, scaled.reshape(x.shape))


def test_an_array_written_out_is_read_back_by_numpy():
    x = images(3)
    np.testing.assert_array_equal(np.load(io.BytesIO(encode_npy(x)), allow_pickle=False), x)
    np.testing.assert_array_equal(
        np.load(io.BytesIO(encode_npy(x.transpose(0, 1, 3, 2)))), x.transpose(0, 1, 3, 2)
    )


def test_an_archive_written_out_is_read_back_by_numpy():
    arrays = {"mu": images(2), "seed": np.asarray(7), "logvar": np.zeros((2, 0), np.float32)}
    with np.load(io.BytesIO(encode_npz(arrays)), allow_pickle=False) as archive:
        assert list(archive) == ["mu", "seed", "logvar"]
        assert archive["seed"] == 7
        np.testing.assert_array_equal(archive["mu"], arrays["mu"])


def test_equal_arrays_give_equal_archives(monkeypatch):
    """A time stamp inside would break `the same seed gives the same bytes`."""
    import time

    before = encode_npz({"x": images()})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.struct_time((2033, 5, 18, 3, 33, 20, 2, 138, 0)))
    assert encode_npz({"x": images()}) == before

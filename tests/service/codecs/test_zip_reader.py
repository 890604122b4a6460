"""Archives of files: in their order, without what file managers add, and within their bounds."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import pytest

from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.zip_reader import names_in_zip, read_zip


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def test_files_come_in_the_order_of_the_archive():
    files = [("b/2.png", b"two"), ("a/10.png", b"ten"), ("a/9.png", b"nine")]
    assert read_zip(zipped(*files), max_files=3, max_bytes=100) == files


def test_folders_and_what_file_managers_add_are_left_out():
    data = zipped(
        ("pictures/", b""),
        ("__MACOSX/pictures/._1.png", b"fork"),
        ("pictures/.DS_Store", b"view"),
        ("pictures/Thumbs.db", b"view"),
        ("pictures/1.png", b"one"),
    )
    assert read_zip(data, max_files=1, max_bytes=3) == [("pictures/1.png", b"one")]


def test_bounds_hold_before_anything_is_unpacked():
    data = zipped(("1.png", bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(InvalidValue, match="at most 1000 bytes together, got 50000000"):
        read_zip(data, max_files=9, max_bytes=1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    many = zipped(*[(f"{i}.png", b"") for i in range(20)])
    with pytest.raises(InvalidValue, match="at most 9 files, got 20"):
        read_zip(many, max_files=9, max_bytes=1_000)
    with pytest.raises(MalformedBody, match="a listing of at most"):
        read_zip(zipped(*[(f"{i:0>60}.png", b"") for i in range(200)]), max_files=1, max_bytes=1_000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        zipped(("1.png", b"x" * 50))[:-1],
        zipped(("1.png", b"x" * 50), method=zipfile.ZIP_STORED).replace(b"xxxxx", b"xyxxx", 1),
        zipped(("1.png", b"x" * 50), method=zipfile.ZIP_LZMA),
    ],
)
def test_broken_archive_is_named_as_one(data):
    with pytest.raises(MalformedBody, match="zip archive"):
        read_zip(data, max_files=9, max_bytes=1_000)
    assert names_in_zip(data[:3], max_files=9) is None

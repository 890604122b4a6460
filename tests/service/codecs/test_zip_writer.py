"""Uncompressed zips, written without the standard library and held to what it writes."""

from __future__ import annotations

import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from service.codecs.zip_writer import stored_zip

names = st.text("abcdefghijklmnopqrstuvwxyz_.0123456789", min_size=1, max_size=20)


@given(st.dictionaries(names, st.binary(max_size=200), max_size=5))
def test_the_bytes_are_those_that_the_standard_library_writes(files: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    assert stored_zip(files) == buffer.getvalue()


def test_what_was_put_in_comes_out() -> None:
    files = {"mu.npy": b"one", "logvar.npy": b"", "x" * 300: bytes(range(256)) * 100}
    with zipfile.ZipFile(io.BytesIO(stored_zip(files))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files

"""A zip archive of pictures is read as the folder in it, or refused with what it should not hold."""

from __future__ import annotations

import io
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image

from training.config.sections import DataConfig
from training.data import load_images, zip_archive
from training.errors import DataError


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (11, 9), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where archives are unpacked; it must be empty afterwards, whatever happened."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    assert list((tmp_path / "cache/vae-service").glob("*")) == []


@pytest.fixture
def pack(tmp_path):
    def pack(files, *, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / "pets.zip", "w", compression) as archive:
            for name, content in files:
                archive.writestr(name, content)
        return tmp_path / "pets.zip"

    return pack


def load(path, **keys):
    return load_images(path, DataConfig(dataset="given", **keys))


FILES = [(f"{['cat', 'dog'][number % 2]}/{number:02}.png", picture(number)) for number in range(40)]


@pytest.mark.parametrize("inside", ["", "pets/", "downloads/pets/"])
def test_an_archive_is_the_folder_that_it_holds(inside, pack, tmp_path):
    for name, content in FILES:
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    folder = load(tmp_path / "pets")
    added = [("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), (f"{inside}cat/.hidden.png", b"x")]
    archive = load(pack([*((inside + name, content) for name, content in FILES), *added]))
    assert archive.train.fingerprint == folder.train.fingerprint
    assert archive.label_names == ("cat", "dog")
    assert archive.notes == folder.notes
    assert archive.name == "folder pets"


def test_a_single_folder_that_is_a_part_is_not_entered(pack):
    with pytest.raises(DataError, match=r"pets\.zip"):
        load(pack([("test/1.png", picture(1)), ("test/2.png", picture(2))]))


def test_keys_for_picture_files_hold_in_an_archive(pack):
    assert load(pack(FILES), side=8, channels=3).image_shape == (3, 8, 8)


def test_bad_files_are_told_by_their_place_in_the_archive(pack, tmp_path):
    with pytest.raises(DataError) as caught:
        load(pack([*FILES, ("cat/broken.png", b"no picture")]))
    assert str(caught.value).startswith(f"{tmp_path / 'pets.zip'}: expected image files of one kind")
    assert "\n  cat/broken.png: not readable as" in str(caught.value)
    assert "unpacked-" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../outside.png", "a path that leads outside"),
        ("cat/../../outside.png", "a path that leads outside"),
        ("/etc/outside.png", "a path that leads outside"),
        ("C:/outside.png", "a path that leads outside"),
        ("cat\\..\\outside.png", "a path that leads outside"),
        ("x" * 300 + ".png", "a name that is too long"),
        ("cat/00.png/1.png", "a file and a folder of the same name"),
    ],
)
def test_a_member_that_is_no_file_inside_is_refused_and_nothing_is_written(name, told, pack, tmp_path):
    with pytest.raises(DataError, match=told):
        load(pack([*FILES, (name, picture(1))]))
    assert list(tmp_path.rglob("outside.png")) == []


def test_links_and_repeated_names_are_refused(pack):
    link = zipfile.ZipInfo("cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match=r"got a link: 'cat/link\.png'"):
        load(pack([*FILES, (link, "/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack([*FILES, FILES[0]])
    with pytest.raises(DataError, match=r"got a file twice: 'cat/00\.png'"):
        load(path)


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_BYTES_OF_SMALL"])
def test_a_bomb_is_refused_after_as_many_bytes_as_its_size_explains(limit, pack, monkeypatch):
    monkeypatch.setattr(zip_archive, limit, 100_000)
    bomb = ("cat/bomb.bmp", bytes(3_000_000))
    with pytest.raises(DataError, match=r"in all files together .* 'cat/bomb\.bmp' exceeds that"):
        load(pack([bomb, *FILES[:3]], compression=zipfile.ZIP_DEFLATED))


def test_too_many_files_are_refused_before_one_is_written(pack, monkeypatch):
    monkeypatch.setattr(zip_archive, "MAX_FILES", 39)
    with pytest.raises(DataError, match="expected at most 39 files, got 40"):
        load(pack(FILES))


@pytest.mark.parametrize("change", ["cut", "flipped", "text", "empty"])
def test_a_damaged_archive_is_told(change, pack):
    path = pack(FILES)
    content = bytearray(path.read_bytes())
    middle = content.index(b"\x89PNG") + 60
    content[middle] ^= 1
    path.write_bytes({"cut": content[:-40], "flipped": content, "text": b"hello", "empty": b""}[change])
    with pytest.raises(DataError, match=r"pets\.zip: expected a readable zip archive"):
        load(path)


def test_an_archive_without_files_is_told(pack):
    with pytest.raises(DataError, match="expected an archive of images, got one without files"):
        load(pack([(".DS_Store", b"x")]))

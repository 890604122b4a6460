"""A folder of pictures becomes image sets, or every file that cannot be used is named."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from training.config.sections import DataConfig
from training.data import ImagesOnDisk, MemoryBudget, load_images
from training.data.image_folder import MAX_TOLD
from training.errors import DataError


def grey(number: int, *, width: int = 9, height: int = 11) -> Image.Image:
    """A picture of its own for each number, 9 × 11 pixels."""
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))


def colour(number: int, *, width: int = 9, height: int = 11) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pets"


@pytest.fixture
def save(root):
    """Write a picture, or bytes, at a place below the folder."""

    def save(name, content):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)

    return save


def load(root, *, budget=None, **keys):
    return load_images(root, DataConfig(dataset="given", **keys), budget=budget)


def levels(image: Image.Image) -> np.ndarray:
    """(C, H, W) as training should see it."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def refusal(root, **keys) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **keys)
    return str(caught.value)


@pytest.mark.parametrize("make", [grey, colour])
@pytest.mark.parametrize("memory_bytes", [2**30, 0])
def test_files_are_read_as_they_are_in_the_order_of_their_names(make, memory_bytes, root, save, tmp_path):
    for number in range(40):
        save(f"train/{number:02}.png", make(number))
    for number in range(40, 44):
        save(f"test/{number}.png", make(number))
    data = load(root, budget=MemoryBudget(memory_bytes, tmp_path / "spool"))
    assert (data.name, data.train.name, len(data.test)) == ("folder pets", "folder pets train", 4)
    assert data.image_shape == (1 if make is grey else 3, 11, 9)
    assert np.array_equal(data.train.images[:], np.stack([levels(make(number)) for number in range(40)]))
    assert isinstance(data.train.images, ImagesOnDisk) is (memory_bytes == 0)
    assert (data.train.labels, data.label_names, data.notes) == (None, (), ())


def test_class_folders_become_labels_and_their_names_are_kept(root, save):
    for number in range(60):
        save(f"{['cat', 'dog', 'ape'][number % 3]}/deeper/{number}.png", grey(number))
    data = load(root)
    assert data.label_names == ("ape", "cat", "dog")
    for part in (data.train, data.test):
        for image, label in zip(part.images, part.labels, strict=True):
            (number,) = (n for n in range(60) if np.array_equal(image, levels(grey(n))))
            assert data.label_names[label] == ["cat", "dog", "ape"][number % 3]


def test_a_test_folder_beside_class_folders_is_the_test(root, save):
    for number in range(20):
        save(f"{'ab'[number % 2]}/{number}.png", grey(number))
    save("test/b/20.png", grey(20))
    data = load(root)
    assert (len(data.train), data.test.labels.tolist()) == (20, [1])


def test_without_a_test_folder_a_tenth_is_held_out_whatever_the_names(root, save):
    for number in range(50):
        save(f"{number:02}.png", grey(number))
    data = load(root)
    assert data.notes == (
        f"the data has no test images: {len(data.test)} of the 50 images, chosen by their content, are held "
        "out for the test",
    )
    before = data.test.images
    for number in range(50):
        (root / f"{number:02}.png").rename(root / f"renamed-{49 - number:02}.png")
    assert torch.equal(load(root).test.images.flip(0), before)


def test_jpeg_and_webp_are_read_beside_png(root, save):
    for number in range(30):
        flat = Image.new("RGB", (16, 16), (8 * number, 255 - 8 * number, 128))
        save(f"{number}.{['png', 'JPG', 'jpeg', 'webp'][number % 4]}", flat)
    data = load(root)
    seen = {tuple(image.float().mean(dim=(1, 2)).round().int().tolist()) for image in data.train.images}
    assert all(min(abs(red - 8 * n) for n in range(30)) <= 4 for red, _, _ in seen)
    assert data.image_shape == (3, 16, 16)


def test_photographs_are_cut_to_their_middle_square_and_scaled_upright(root, save):
    wide = Image.new("RGB", (600, 300), (255, 0, 0))
    wide.paste((0, 0, 255), (150, 0, 450, 150))  # the upper half of the middle
    wide.paste((0, 255, 0), (150, 150, 450, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: its left is up
    root.mkdir()
    (root / "test").mkdir()
    wide.save(root / "test/wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(root / "test/turned.jpg", exif=exif, quality=95)
    for number in range(20):
        save(f"{number}.png", colour(number, width=40 + number))
    data = load(root, side=16)
    assert data.image_shape == (3, 16, 16)
    for image in data.test.images.float():
        assert image[2, :7].min() > 200
        assert image[1, 9:].min() > 200
        assert image[0].max() < 60


def test_every_bad_file_is_told_with_its_reason(root, save):
    for number in range(20):
        save(f"{number}.png", grey(number))
    whole = (root / "0.png").read_bytes()
    save("cut.png", whole[: len(whole) // 2])
    save("empty.jpg", b"")
    save("text.webp", b"not a picture at all")
    save("wide.png", grey(1, width=10))
    save("red.png", colour(1))
    save("deep.tif", Image.fromarray(np.zeros((11, 9), np.float32)))
    save("press.jpg", Image.new("CMYK", (9, 11)))
    save("new.avif", b"ftypavif")
    grey(1).save(root / "moving.png", save_all=True, append_images=[grey(2)])
    told = refusal(root)
    assert told.startswith(f"{root}: expected image files of one kind and size, got 9 unusable ones:\n")
    for file, reason in {
        "cut.png": "not readable as PNG, JPEG, WebP, TIFF, BMP or GIF (OSError: ",
        "empty.jpg": "not readable as PNG, JPEG, WebP, TIFF, BMP or GIF (UnidentifiedImageError",
        "text.webp": "not readable as PNG, JPEG, WebP, TIFF, BMP or GIF (UnidentifiedImageError",
        "wide.png": "grey, 10 × 11; most are grey, 9 × 11",
        "red.png": "colour, 9 × 11; most are grey, 9 × 11",
        "deep.tif": "pixels of mode F; save it as grey or RGB of 8 or 16 bits",
        "press.jpg": "pixels of mode CMYK",
        "new.avif": "an image of another format; save it as PNG, JPEG, WebP, TIFF, BMP or GIF",
        "moving.png": "animated; save one frame of it",
    }.items():
        assert f"\n  {file}: {reason}" in told
    assert "--set data.side=32" in told
    assert "--set data.channels=1 or 3" in told


def test_hundreds_of_bad_files_are_counted_and_some_named(root, save):
    for number in range(MAX_TOLD + 300):
        save(f"{number:03}.png", b"broken")
    told = refusal(root)
    assert "got 320 unusable ones" in told
    assert told.count("not readable as") == MAX_TOLD
    assert "and 300 more" in told


def test_many_files_with_one_reason_hide_none_with_another(root, save):
    """Grey files among colour ones filled the list, and those in CMYK came up at the next try."""
    for number in range(MAX_TOLD + 5):
        save(f"{number:03}.png", grey(number))
    for number in range(60):
        save(f"c{number}.png", colour(number))
    save("press.jpg", Image.new("CMYK", (9, 11)))
    told = refusal(root)
    assert "press.jpg: pixels of mode CMYK" in told
    assert told.count("grey, 9 × 11; most are colour") == MAX_TOLD - 1


def test_damaged_files_alone_are_not_to_be_turned_into_grey_or_scaled(root, save):
    for number in range(20):
        save(f"{number}.png", grey(number))
    save("cut.png", b"broken")
    assert refusal(root).endswith("\nCorrect or remove them.")


def test_a_picture_that_would_take_gigabytes_is_not_unpacked(root, save):
    for number in range(20):
        save(f"{number}.png", grey(number))
    Image.new("1", (30_000, 30_000)).save(root / "bomb.png")
    Image.new("1", (8_000, 8_000)).save(root / "large.png")
    told = refusal(root, side=16)
    assert "bomb.png: not readable as PNG, JPEG, WebP, TIFF, BMP or GIF (DecompressionBombError" in told
    assert "large.png: 8000 × 8000 pixels; the maximum is 50,000,000" in told


@pytest.mark.parametrize(("width", "height"), [(7, 9), (257, 256), (300, 300)])
def test_pictures_too_small_or_large_to_train_on_are_told_once(width, height, root, save):
    for number in range(20):
        save(f"{number}.png", grey(number, width=width, height=height))
    told = refusal(root)
    assert f"sides of 8 to 256 pixels, got 1 and {height} × {width} in most files" in told
    assert "--set data.side=32" in told


def test_other_files_are_left_out_and_told_and_hidden_ones_left_alone(root, save):
    for number in range(30):
        save(f"{number}.png", grey(number))
    save("notes.txt", b"hello")
    save(".DS_Store", b"x")
    save(".hidden/1.png", b"x")
    save("__MACOSX/1.png", b"x")
    assert load(root).notes[1] == "1 files that are no images were skipped: notes.txt"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            ["a/1.png", "2.png"],
            "in class folders or none, got 1 of 2 outside of them: 2.png",
        ),
        (
            ["train/1.png", "test/2.png", "cat/3.png"],
            "expected only the folders train and test, got cat as well.",
        ),
        (
            ["train/1.png", "2.png"],
            "expected only the folders train, got 2.png as well. Move",
        ),
        (["train/1.png", "test/notes.txt"], "test: expected image files, got none."),
        (["notes.txt", "a/b.csv"], "the four IDX files of a set such as MNIST; got a/b.csv, notes.txt."),
        (["test/1.png"], ": expected training images next to test, got none."),
        (["train/a/1.png", "test/b/2.png"], "class in the test part that the training part lacks, got b"),
    ],
)
def test_folders_that_are_neither_classes_nor_parts_are_told(files, told, root, save):
    for number, file in enumerate(files):
        save(file, grey(number) if file.endswith(".png") else b"text")
    assert told in refusal(root)


def test_names_that_are_not_utf_8_are_read_as_latin_1_as_old_archives_have_them(root, save):
    latin = os.fsdecode("café".encode("latin-1"))
    for number in range(30):
        save(f"{latin}/{latin}-{number}.png", grey(number))
        save(f"thé/{number}.png", grey(100 + number))
    save(f"{latin}.txt", b"x")
    data = load(root)
    assert data.label_names == ("café", "thé")
    assert data.notes[0].endswith(r"cannot contain them: 'caf\udce9' became café")
    assert data.notes[2] == f"1 files that are no images were skipped: {latin}.txt"


def test_an_empty_folder_is_told(root):
    root.mkdir()
    assert "got an empty folder" in refusal(root)


def test_a_name_that_would_break_a_table_or_a_log_is_cleaned(tmp_path):
    root = tmp_path / "my | `pets`\n"
    root.mkdir()
    for number in range(30):
        grey(number).save(root / f"{number}.png")
    assert load(root).name == "folder my  pets"


def test_many_pictures_are_announced(root, save, monkeypatch):
    monkeypatch.setattr("training.data.image_folder._MANY", 60)
    for number in range(60):
        save(f"{number}.png", grey(number))
    told = []
    load_images(root, DataConfig(), tell=told.append)
    assert told == [f"reading 60 images of {root}"]


def ink(number: int, level: int) -> Image.Image:
    """Ink of one grey level on transparent paper."""
    pixels = np.full((11, 9, 4), level, np.uint8)
    pixels[..., 3] = np.asarray(grey(number))
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("level", "ground", "other"), [(0, "black", "white"), (255, "white", "black")])
def test_ink_that_the_ground_swallows_is_refused_with_the_ground_that_shows_it(
    level, ground, other, root, save
):
    for number in range(30):
        save(f"{number}.png", ink(number, level))
    assert f"visible content on a {ground} ground" in refusal(root, ground=ground)
    assert f"--set data.ground={other}." in refusal(root, ground=ground)
    shown = load(root, ground=other).train.images
    assert shown.min() < 30
    assert shown.max() > 225


def test_pages_and_frames_after_the_first_are_left_out_and_told(root, save):
    for number in range(30):
        save(f"{number:02}.bmp", grey(number))
    for name in ("30.tif", "31.gif"):
        grey(30).save(root / name, save_all=True, append_images=[grey(31), grey(32)])
    data = load(root)
    assert data.notes[1] == "2 files contain several images; only the first of each was read: 30.tif, 31.gif"
    read = [*data.train.images, *data.test.images]
    assert sum(np.array_equal(image, levels(grey(30))) for image in read) == 2
    assert len(read) == 32


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_a_tiff_of_sixteen_bits_keeps_them(order, bands, root):
    """Pillow keeps the high byte of a colour alone, half a level too dark on average."""
    from training.data.image_files import Conversion, read_header, read_pixels

    samples = np.random.default_rng(bands).integers(0, 65_536, (8, 8, bands), dtype=np.uint16)
    root.mkdir()
    (root / "a.tif").write_bytes(tiff(samples, order))
    assert read_header(root / "a.tif", Conversion()).shape == (1 if bands == 1 else 3, 8, 8)
    most = 65_535.0
    shown = samples.astype(float) if bands < 4 else samples[..., :3] * (samples[..., 3:] / most)
    expected = np.floor(shown * 255 / most + 0.5)
    read = read_pixels(root / "a.tif", (min(bands, 3), 8, 8))
    assert np.array_equal(read, np.moveaxis(expected, -1, 0))


def tiff(samples: np.ndarray, order: str, *, white_is_zero: bool = False) -> bytes:
    """An uncompressed TIFF of 16 bits (TIFF 6.0, sections 2 to 8), which Pillow does not write in colour."""
    height, width, bands = samples.shape
    data = samples.astype(f"{order}u2").tobytes()
    bits_at = 8 + len(data)
    directory_at = bits_at + 2 * bands
    photometric = (0 if white_is_zero else 1) if bands == 1 else 2
    bits = (3, bands, bits_at) if bands > 2 else (3, 1, 16)
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: bits,
        259: (3, 1, 1),
        262: (3, 1, photometric),
        273: (4, 1, 8),
        277: (3, 1, bands),
        278: (4, 1, height),
        279: (4, 1, len(data)),
        **({338: (3, 1, 2)} if bands == 4 else {}),
    }
    entries = b""
    for tag, (kind, count, value) in tags.items():
        short = kind == 3 and count == 1
        stored = struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + stored
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, directory_at)
    bits_of_each = struct.pack(f"{order}{bands}H", *[16] * bands)
    return head + data + bits_of_each + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def test_a_deep_tiff_whose_white_is_zero_is_no_negative(root):
    from training.data.image_files import read_pixels

    samples = np.full((8, 8, 1), 65_535, np.uint16)
    samples[0] = 0
    root.mkdir()
    (root / "a.tif").write_bytes(tiff(samples, "<", white_is_zero=True))
    read = read_pixels(root / "a.tif", (1, 8, 8))[0]
    assert (read[0].tolist(), read[1:].max()) == ([255] * 8, 0)

"""JPEG and WebP in: read as Pillow reads them, and never more than their pixels."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE_S, slowness
from pictures_in import decode_png as decode
from PIL import Image

from service.codecs import CodecError, InvalidValue, MalformedBody, PictureTooLarge
from service.codecs.jpeg_segments import MAX_SCANS, PIXELS_IN_ONE
from service.codecs.picture_reader import stated_pixels, still_picture

GREY, COLOUR = (1, 20, 30), (3, 20, 30)
RGB = np.stack(
    [
        np.tile(np.linspace(0, 255, 30), (20, 1)),
        np.tile(np.linspace(0, 255, 20), (30, 1)).T,
        np.full((20, 30), 90),
    ],
    axis=2,
).astype(np.uint8)


def saved(picture: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


FILES = {
    "JPEG": saved(RGB, "JPEG", quality=95),
    "progressive JPEG": saved(RGB, "JPEG", progressive=True),
    "JPEG with restarts": saved(RGB, "JPEG", restart_marker_rows=1),
    "grey JPEG": saved(RGB[:, :, 0], "JPEG"),
    "CMYK JPEG": saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95),
    "lossy WebP": saved(RGB, "WEBP"),
    "WebP without losses": saved(RGB, "WEBP", lossless=True),
    "WebP with alpha": saved(Image.fromarray(RGB).convert("RGBA"), "WEBP"),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name):
    x = decode(FILES[name], shape=COLOUR)
    np.testing.assert_array_equal(np.rint(x[0] * 255), np.moveaxis(by_pillow(FILES[name]), -1, 0))
    assert stated_pixels(FILES[name]) == 600


def test_transparent_pixels_of_a_webp_become_the_ground():
    rgba = np.full((20, 30, 4), 255, np.uint8)
    rgba[:, :15, 3] = 0
    for options in ({"lossless": True, "exact": True}, {"quality": 90}):
        x = decode(saved(Image.fromarray(rgba), "WEBP", **options), shape=GREY)
        assert x[0, 0, :, :12].max() == 0
        assert x[0, 0, :, 18:].min() > 0.97


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(RGB, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {"quality": 100}))
    with Image.open(io.BytesIO(file)) as opened:
        from PIL import ImageOps

        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    shape = (3, *upright.shape[:2])
    np.testing.assert_array_equal(np.rint(decode(file, shape=shape)[0] * 255), np.moveaxis(upright, -1, 0))


def test_what_follows_a_picture_and_what_stands_in_it_is_never_parsed():
    """Profiles, comments, thumbnails, a second picture and the film of a phone's photograph."""
    plain = FILES["JPEG"]
    extra = b"".join(
        b"\xff" + bytes((marker,)) + struct.pack(">H", 2 + len(body)) + body
        for marker, body in (
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>"),
            (0xE2, b"ICC_PROFILE\0\x01\x01" + b"\xff" * 300),
            (0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 40),
            (0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 40),
            (0xFE, b"\xff\xd8\xff\xda comment"),
        )
    )
    odd = plain[:2] + extra + plain[2:] + b"\xff\xd8\xff\xe0 another" + bytes(1000)
    assert len(still_picture(odd, max_pixels=600).read().samples) == 20
    np.testing.assert_array_equal(decode(odd, shape=COLOUR), decode(plain, shape=COLOUR))
    webp = FILES["WebP without losses"]
    chunk = b"XMP " + struct.pack("<I", 4) + b"<x/>"
    longer = b"RIFF" + struct.pack("<I", len(webp) - 8 + len(chunk)) + webp[8:] + chunk + b"film"
    np.testing.assert_array_equal(decode(longer, shape=COLOUR), decode(webp, shape=COLOUR))


def test_photograph_with_two_pictures_is_the_first_of_them():
    """Phones write MPO: a JPEG with a second one behind it."""
    other = Image.fromarray(255 - RGB)
    file = saved(Image.fromarray(RGB), "MPO", save_all=True, append_images=[other], quality=95)
    np.testing.assert_allclose(decode(file, shape=COLOUR)[0], np.moveaxis(RGB, -1, 0) / 255, atol=0.1)


def test_animated_webp_is_refused_by_name():
    file = saved(Image.fromarray(RGB), "WEBP", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    with pytest.raises(InvalidValue, match="got an animated WebP"):
        decode(file, shape=COLOUR)


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(FILES["JPEG"])
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_of_size(width: int, height: int) -> bytes:
    data = bytearray(FILES["lossy WebP"])
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize("make", [jpeg_of_size, webp_of_size])
def test_too_many_pixels_are_refused_by_the_header_alone(make, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a decoder saw it"))
    file = make(4000, 3000)
    assert stated_pixels(file) == 12_000_000
    # As many may be decoded of a JPEG, at half its size, unless the model's image is as large as that.
    most = 1 << (20 if make is jpeg_of_size else 22)
    with pytest.raises(PictureTooLarge, match="at most 4194304 pixels, got 4000 × 3000") as refused:
        decode(file, shape=COLOUR, resize=True, max_pixels=most)
    assert "2364 × 1773 or less" in refused.value.remedy
    assert "--max-picture-pixels (VAE_MAX_PICTURE_PIXELS)" in refused.value.remedy
    with pytest.raises(PictureTooLarge, match="at most 1048576 pixels, got 4000 × 3000"):
        decode(file, shape=(3, 1000, 1000), resize=True, max_pixels=1 << 20)


@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize(("size", "levels"), [((400, 300), 1.5), ((403, 301), 4)])
def test_large_jpeg_is_decoded_at_half_its_size_and_shows_the_same(kind, options, size, levels):
    """A phone's photograph has three times the pixels of a picture. Odd sides end half a pixel later."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    smooth = (120 + 60 * np.sin(x / 40) + 60 * np.cos(y / 30)).astype(np.uint8)
    file = saved(Image.fromarray(smooth).convert("RGB").convert(kind), "JPEG", quality=95, **options)
    pixels = width * height
    for most in (pixels - 1, -(-pixels // PIXELS_IN_ONE)):
        half = still_picture(file, max_pixels=most, may_be_halved=True)
        assert (half.width, half.height) == size
        assert half.read().samples.shape[:2] == (-(-height // 2), -(-width // 2))
        for fit in ("contain", "cover", "stretch"):
            whole = decode(file, shape=GREY, fit=fit, max_pixels=pixels)
            x_half = decode(file, shape=GREY, fit=fit, max_pixels=most)
            np.testing.assert_allclose(x_half, whole, atol=levels / 255)
    with pytest.raises(PictureTooLarge):
        still_picture(file, max_pixels=pixels // PIXELS_IN_ONE - 1, may_be_halved=True)
    with pytest.raises(PictureTooLarge):
        still_picture(file, max_pixels=pixels - 1)


def test_narrow_jpeg_that_has_no_half_is_decoded_whole():
    file = saved(np.full((65_000, 1), 200, np.uint8), "JPEG")
    assert still_picture(file, max_pixels=20_000, may_be_halved=True).read().samples.shape == (65_000, 1, 1)


MEMORY = """
import resource, sys
from pathlib import Path
from service.api.request_images import Reading, read_picture
def read(data):
    return read_picture(data, shape=(1, 28, 28), max_pixels=int(sys.argv[2]), reading=Reading(fit="contain"))
def peak():
    return [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")][0] * 1024
data = Path(sys.argv[1]).read_bytes()
small = Path(sys.argv[1]).with_suffix(".small").read_bytes()
read(small)
before = peak()
read(data)
print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["RGB", "CMYK"])
def test_memory_of_a_halved_picture_is_within_that_of_each_decoded_pixel(kind, tmp_path):
    """A progressive file keeps the coefficients of all its pixels until its last scan."""
    side, most = 2048, 1 << 20
    levels = (np.add.outer(np.arange(side), np.arange(side)) % 256).astype(np.uint8)
    picture = Image.fromarray(levels).convert("RGB").convert(kind)
    (tmp_path / "a.jpg").write_bytes(saved(picture, "JPEG", progressive=True, subsampling=0))
    (tmp_path / "a.small").write_bytes(saved(picture.resize((64, 64)), "JPEG", progressive=True))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "a.jpg"), str(most)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert float(done.stdout) < 60 * most


def with_scans(count: int) -> bytes:
    """A progressive file whose last scan comes again and again."""
    data = FILES["progressive JPEG"]
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def test_scans_without_end_are_refused():
    """Each costs a pass over all pixels: 20 kB of them cost minutes of a large picture."""
    with pytest.raises(MalformedBody, match=f"at most {MAX_SCANS} scans"):
        decode(with_scans(MAX_SCANS), shape=COLOUR)


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC9, 0xCB])
def test_kinds_of_jpeg_that_no_browser_shows_are_refused_by_name(frame):
    data = FILES["JPEG"].replace(b"\xff\xc0", bytes((0xFF, frame)), 1)
    with pytest.raises(MalformedBody, match=f"one of the rare kind SOF{frame - 0xC0}"):
        decode(data, shape=COLOUR)


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused(name):
    whole = FILES[name]
    for length in range(len(whole)):
        with pytest.raises(CodecError):
            decode(whole[:length], shape=COLOUR)


@pytest.mark.parametrize(
    ("start", "name", "remedy"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC", "Most Compatible"),
        (b"\0\0\0\x18ftypmif1", "HEIC", "Most Compatible"),
        (b"\0\0\0\x18ftypavif", "AVIF", "JPEG or PNG"),
        (b"GIF89a", "GIF", "one frame"),
        (b"%PDF-1.7", "PDF", "one page"),
    ],
)
def test_picture_that_is_not_read_is_named(start, name, remedy):
    with pytest.raises(MalformedBody, match=f"got an? {name} file") as refused:
        decode(start + bytes(100), shape=COLOUR)
    assert remedy in refused.value.remedy


def mutants(count: int, seed: int):
    generator = random.Random(seed)
    originals = list(FILES.values())
    for _ in range(count):
        data = bytearray(generator.choice(originals))
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(2, len(data))
            match generator.randrange(4):
                case 0:
                    data[at] ^= 1 << generator.randrange(8)
                case 1:
                    data[at] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
                case 2:
                    del data[at : at + generator.randint(1, 30)]
                case _:
                    data[at:at] = data[at : at + generator.randint(1, 40)]
        yield bytes(data)


def decode_mutants(count: int, seed: int) -> tuple[int, int]:
    read = refused = 0
    for mutant in mutants(count, seed):
        try:
            x = decode(mutant, shape=COLOUR, resize=True)
        except CodecError:
            refused += 1
            continue
        read += 1
        assert x.shape == (1, *COLOUR)
        assert 0 <= x.min() <= x.max() <= 1
    return read, refused


def test_800_mutated_files_are_read_or_refused_and_nothing_else():
    read, refused = decode_mutants(800, 1)
    assert read > 50
    assert refused > 200


@pytest.mark.hard
@pytest.mark.hazard_row("pictures")
def test_50_000_mutated_files_are_read_or_refused_and_nothing_else(hazard):
    read, refused = decode_mutants(50_000, 2)
    told = f"JPEG and WebP: {read:,} read, {refused:,} refused, 0 others"
    hazard("pictures", figure=told, bar="50,000 mutants: read or refused", met=read + refused == 50_000)


def test_structure_of_a_large_hostile_file_is_read_in_linear_time():
    """Eight megabytes of markers, and of markers that are none."""
    body = FILES["JPEG"]
    for filling in (
        b"\xff\x00" * 4_000_000,
        b"\xff\xd0" * 4_000_000,
        b"\xff" * 8_000_000,
        b"\xff\xfe\x00\x02" * 2_000_000,
    ):
        begun = time.process_time()
        with pytest.raises(CodecError):
            decode(body[:-2] + filling, shape=COLOUR)
        assert time.process_time() - begun < 0.5 * slowness()

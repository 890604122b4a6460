"""PNG files to images: every kind is understood, every broken one is refused in one way."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from patience import PATIENCE_S, slowness
from pictures_in import decode_png
from PIL import Image

from service.codecs import CodecError, InvalidValue, MalformedBody, PictureTooLarge

GREY = (1, 28, 28)
COLOUR = (3, 28, 28)


def test_an_eight_bit_grey_png_gives_its_pixels_exactly(png, ramp):
    x = decode_png(png(ramp), shape=GREY)
    assert x.shape == (1, 1, 28, 28)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x[0, 0], ramp.astype(np.float32) / np.float32(255))


def test_inverting_turns_black_on_white_into_white_on_black(png, ramp):
    plain = decode_png(png(ramp), shape=GREY)
    # Whole levels are inverted, so that 1/255 is the same number as in the picture of 254.
    np.testing.assert_array_equal(
        decode_png(png(ramp), shape=GREY, invert=True), decode_png(png(255 - ramp), shape=GREY)
    )
    np.testing.assert_allclose(plain + decode_png(png(ramp), shape=GREY, invert=True), 1, atol=1e-7)


def test_a_sixteen_bit_png_keeps_its_precision(png):
    levels = (np.arange(784, dtype=np.uint16) * 83).reshape(28, 28)
    x = decode_png(png(levels), shape=GREY)
    np.testing.assert_allclose(x[0, 0], levels / 65535.0, atol=1e-7)


def test_a_one_bit_png_gives_zeros_and_ones(png, ramp):
    x = decode_png(png(Image.fromarray(ramp > 127)), shape=GREY)
    np.testing.assert_array_equal(x[0, 0], (ramp > 127).astype(np.float32))


@pytest.mark.parametrize("depth", [2, 4])
def test_a_grey_png_of_few_bits_spans_zero_to_one(png_parts, depth):
    row = bytes([0]) + bytes([0b00011011] * (28 * depth // 8))
    data = png_parts["png_of"](
        png_parts["header"](28, 28, depth=depth), png_parts["chunk"](b"IDAT", zlib.compress(row * 28))
    )
    x = decode_png(data, shape=GREY)
    levels = 2**depth - 1
    expected = np.array([0, 1, 2, 3] if depth == 2 else [1, 11], np.float32) / levels
    np.testing.assert_allclose(np.unique(x), np.unique(expected), atol=1e-6)


def test_colour_becomes_grey_by_its_luma(png):
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[..., 1] = 255
    x = decode_png(png(pixels), shape=GREY)
    np.testing.assert_allclose(x, 0.587, atol=1e-6)


def test_grey_becomes_colour_by_repetition(png, ramp):
    x = decode_png(png(ramp), shape=COLOUR)
    assert x.shape == (1, 3, 28, 28)
    np.testing.assert_array_equal(x[0, 0], x[0, 2])


def test_colour_planes_keep_their_order(png, ramp):
    pixels = np.stack([ramp, ramp.T, 255 - ramp], axis=2)
    x = decode_png(png(pixels), shape=COLOUR)
    np.testing.assert_allclose(x[0, 1], ramp.T / 255, atol=1e-6)
    np.testing.assert_allclose(x[0, 2], (255 - ramp) / 255, atol=1e-6)


def test_a_palette_png_is_looked_up(png, ramp):
    picture = Image.fromarray(np.stack([ramp] * 3, axis=2)).quantize(256)
    x = decode_png(png(picture), shape=COLOUR)
    np.testing.assert_allclose(x[0, 0], np.asarray(picture.convert("RGB"))[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_transparent_pixels_become_background_whatever_colour_they_hide(png, mode, invert, shape):
    bands = 2 if mode == "LA" else 4
    pixels = np.full((28, 28, bands), 90, np.uint8)
    pixels[:14, :, -1] = 0
    pixels[14:, :, -1] = 255
    x = decode_png(png(Image.fromarray(pixels)), shape=shape, invert=invert)
    np.testing.assert_array_equal(x[0, :, :14], 0)
    np.testing.assert_allclose(x[0, :, 14:], (165 if invert else 90) / 255, atol=1e-6)


def test_black_ink_on_a_transparent_canvas_is_white_ink_when_inverted(png):
    """A drawing from a browser's canvas is exactly this."""
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[10:18, 10:18, 3] = 255
    x = decode_png(png(Image.fromarray(pixels)), shape=GREY, invert=True)
    assert x[0, 0, 14, 14] == 1
    assert x[0, 0, 0, 0] == 0
    assert x.sum() == 64


@pytest.mark.parametrize("colour", [0, 2, 3])
def test_a_colour_key_is_transparent(png, ramp, colour):
    if colour == 0:
        data = png(Image.fromarray(ramp), transparency=255)
        hidden = ramp == 255
    elif colour == 2:
        data = png(Image.fromarray(np.stack([ramp] * 3, axis=2)), transparency=(255, 255, 255))
        hidden = ramp == 255
    else:
        picture = Image.fromarray((ramp // 64).astype(np.uint8), mode=None).convert("P")
        picture.putpalette([255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 756)
        data = png(picture, transparency=0)
        hidden = np.asarray(picture) == 0
    x = decode_png(data, shape=COLOUR)
    assert hidden.any()
    np.testing.assert_array_equal(x[0][:, hidden], 0)
    assert x[0].max(axis=0)[~hidden].mean() > 0.3


def test_an_interlaced_png_is_read(png_parts):
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    raw = b""
    for left, top, right, down in passes:
        columns, rows = len(range(left, 28, right)), len(range(top, 28, down))
        raw += (b"\0" + b"\x80" * columns) * rows
    data = png_parts["png_of"](
        png_parts["header"](28, 28, interlace=1), png_parts["chunk"](b"IDAT", zlib.compress(raw))
    )
    np.testing.assert_allclose(decode_png(data, shape=GREY), 128 / 255, atol=1e-6)


def test_another_size_is_refused_with_the_way_out(png):
    with pytest.raises(InvalidValue, match=r"expected a PNG of 28 × 28 pixels, got 40 × 30\. .*resize=true"):
        decode_png(png(np.zeros((30, 40), np.uint8)), shape=GREY)


def test_resizing_averages_instead_of_skipping(png):
    """A one-pixel line in a picture ten times as large must survive as a faint line."""
    drawing = np.zeros((256, 256), np.uint8)
    drawing[:, 100] = 255
    x = decode_png(png(drawing), shape=GREY, resize=True)
    assert x.shape == (1, 1, 28, 28)
    assert 0 < x[0, 0, 14].max() < 0.5
    np.testing.assert_allclose(x.mean(), drawing.mean() / 255, rtol=0.05)


def test_resizing_stays_within_zero_and_one(png):
    rng = np.random.default_rng(5)
    for size in ((3, 5), (28, 200), (251, 255)):
        x = decode_png(png(rng.choice([0, 255], size).astype(np.uint8)), shape=COLOUR, resize=True)
        assert x.min() >= 0
        assert x.max() <= 1


def test_resizing_a_picture_of_the_right_size_changes_nothing(png, ramp):
    np.testing.assert_array_equal(
        decode_png(png(ramp), shape=GREY, resize=True), decode_png(png(ramp), shape=GREY)
    )


def test_a_model_of_two_channels_cannot_be_shown_a_png(png, ramp):
    with pytest.raises(InvalidValue, match="Send the image as application/x-npy or JSON"):
        decode_png(png(ramp), shape=(2, 28, 28))


def test_too_many_pixels_are_refused_by_the_header_alone(png_parts):
    only_header = b"\x89PNG\r\n\x1a\n" + png_parts["header"](257, 256)
    with pytest.raises(PictureTooLarge, match="at most 65536 pixels, got 257 × 256"):
        decode_png(only_header, shape=GREY, resize=True, max_pixels=65_536)


@pytest.mark.parametrize(
    ("width", "height", "advised"),
    [
        (600, 400, "313 × 209"),
        (4000, 3000, "295 × 221"),
        (1_000_000, 1, "65536 × 1"),
        (1, 1_000_000, "1 × 65536"),
    ],
)
def test_the_size_advised_for_a_large_picture_keeps_its_proportions(width, height, advised, png_parts):
    """A photograph squeezed into a square loses those of what is in it, and is cropped differently."""
    only_header = b"\x89PNG\r\n\x1a\n" + png_parts["header"](width, height)
    with pytest.raises(PictureTooLarge, match=f"in both directions alike, to {advised} or less") as refused:
        decode_png(only_header, shape=GREY, resize=True, max_pixels=65_536)
    assert "--max-picture-pixels (VAE_MAX_PICTURE_PIXELS)" in refused.value.remedy


def test_the_largest_allowed_picture_is_read(png):
    assert decode_png(png(np.zeros((2048, 2048), np.uint8)), shape=GREY, resize=True).shape == (1, 1, 28, 28)


def test_every_truncation_is_refused(png, ramp):
    whole = png(ramp)
    for length in range(len(whole)):
        with pytest.raises(MalformedBody):
            decode_png(whole[:length], shape=GREY)


def test_a_flipped_byte_is_never_served_as_pixels(png, ramp):
    """All checksums are compared: a changed byte of the file cannot change the image unnoticed."""
    whole = png(ramp)
    right = decode_png(whole, shape=GREY).tobytes()
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 0x10
        with pytest.raises(CodecError):
            decode_png(bytes(broken), shape=GREY)
    assert decode_png(whole, shape=GREY).tobytes() == right


def test_an_animated_png_is_refused_by_name(png, ramp):
    frames = [Image.fromarray(ramp), Image.fromarray(ramp.T)]
    data = png(frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidValue, match="got an animated PNG"):
        decode_png(data, shape=GREY)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_picture_formats_are_refused_by_name_before_a_decoder_sees_them(kind, ramp):
    import io

    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, format=kind)
    with pytest.raises(MalformedBody, match=f"expected a PNG, JPEG or WebP, got a {kind} file"):
        decode_png(buffer.getvalue(), shape=GREY)


def test_a_png_without_pixels_is_malformed(png_parts):
    with pytest.raises(MalformedBody, match="readable pixels"):
        decode_png(png_parts["png_of"](png_parts["header"](28, 28)), shape=GREY)


def test_a_palette_png_without_its_palette_is_malformed(png_parts):
    """Pillow makes one up, and the picture would be another."""
    rows = zlib.compress(b"\0" * 29 * 28)
    data = png_parts["png_of"](png_parts["header"](28, 28, colour=3), png_parts["chunk"](b"IDAT", rows))
    with pytest.raises(MalformedBody, match="a palette"):
        decode_png(data, shape=GREY)


def test_a_zero_by_n_png_is_malformed(png_parts):
    with pytest.raises(MalformedBody, match="at least one pixel"):
        decode_png(png_parts["png_of"](png_parts["header"](0, 28)), shape=GREY)


def _mutants(count: int, seed: int, originals: list[bytes]):
    """Bit flips, cuts, repeats and lengths; most of them with their checksums mended, to get further in."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 3)):
            kind = rng.randrange(5)
            at = rng.randrange(8, len(data))
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at] = rng.choice((0, 1, 127, 128, 255))
            elif kind == 2:
                del data[at : at + rng.randint(1, 20)]
            elif kind == 3:
                data[at:at] = data[at : at + rng.randint(1, 40)]
            else:
                data[at : at + 4] = struct.pack(
                    ">I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1, rng.randrange(1000)))
                )
            if len(data) < 40:
                break
        yield _mended(bytes(data)) if rng.random() < 0.7 else bytes(data)


def _mended(data: bytes) -> bytes:
    """The same chunks with right checksums."""
    out, position = [data[:8]], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        length = min(length, len(data) - position - 12)
        kind = data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        out.append(struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
        position += 12 + length
    return b"".join(out)


def _originals(png, ramp) -> list[bytes]:
    grey = Image.fromarray(ramp)
    colour = Image.fromarray(np.stack([ramp, ramp.T, ramp], axis=2))
    return [
        png(grey),
        png(grey, transparency=3),
        png(colour),
        png(colour.quantize(16), transparency=b"\0\x80"),
        png(colour.convert("RGBA")),
        png(Image.fromarray(ramp > 99)),
        png(Image.fromarray(ramp.astype(np.uint16) * 257)),
    ]


def _decode_mutants(png, ramp, *, count: int, seed: int) -> tuple[int, int, int]:
    read = refused = reached = longest = 0
    for mutant in _mutants(count, seed, _originals(png, ramp)):
        try:
            x = decode_png(mutant, shape=GREY, resize=True)
        except CodecError as error:
            refused += 1
            reached += "readable pixels" in str(error)
            longest = max(longest, len(str(error)))
            continue
        read += 1
        assert x.shape == (1, 1, 28, 28)
        assert x.min() >= 0
        assert x.max() <= 1
    assert longest < 500
    return read, refused, reached


def test_800_mutated_pngs_are_read_or_refused_and_nothing_else(png, ramp):
    read, refused, reached = _decode_mutants(png, ramp, count=800, seed=1)
    assert read > 10
    assert refused > 400
    assert reached > 100, "mended mutants should reach the decoder"


@pytest.mark.hard
@pytest.mark.hazard_row("pictures")
def test_50_000_mutated_pngs_are_read_or_refused_and_nothing_else(png, ramp, hazard):
    read, refused, reached = _decode_mutants(png, ramp, count=50_000, seed=2)
    assert read > 1_000
    assert refused > 20_000
    assert reached > 10_000
    told = f"{read:,} read, {refused:,} refused ({reached:,} by the decoder), 0 others"
    hazard("pictures", figure=told, bar="50,000 mutants: read or refused", met=read + refused == 50_000)


BOMBS = """
import resource, struct, sys, time, zlib
from service.codecs import CodecError
from service.api.request_images import Reading, read_picture
def decode_png(data):
    return read_picture(data, shape=(1, 28, 28), max_pixels=1 << 22, reading=Reading(resize=True))
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
def header(w, h, depth=8, colour=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
def png(*chunks): return b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(chunks) + chunk(b"IEND", b"")
zeros = zlib.compressobj(9)
huge = b"".join([zeros.compress(bytes(1 << 20)) for _ in range(100)]) + zeros.flush()
idat = chunk(b"IDAT", zlib.compress(bytes(29 * 28)))
wide = chunk(b"IDAT", zlib.compress(bytes((1 + 256 * 8) * 256)))
bombs = {
    "pixels": png(header(60000, 60000), chunk(b"IDAT", huge)),
    "pixels in one row": png(header(2**31 - 1, 1), chunk(b"IDAT", huge)),
    "more data than pixels": png(header(28, 28), chunk(b"IDAT", huge)),
    "text": png(header(28, 28), chunk(b"zTXt", b"key\\0\\0" + huge), idat),
    "international text": png(header(28, 28), chunk(b"iTXt", b"key\\0\\1\\0\\0\\0" + huge), idat),
    "profile": png(header(28, 28), chunk(b"iCCP", b"name\\0\\0" + huge), idat),
    "many texts": png(header(28, 28), *[chunk(b"tEXt", b"k\\0" + b"x" * 300)] * 1500, idat),
    "chunks": png(header(28, 28), *[chunk(b"IDAT", b"")] * 200_000, idat),
    "largest allowed": png(header(256, 256, 16, 6), wide),
}
del huge
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_png(png(header(28, 28), idat))
before = peak()
for name, data in bombs.items():
    times = []
    for _ in range(3):
        start = time.process_time()
        try: decode_png(data); outcome = "read"
        except CodecError as error: outcome = "refused"
        times.append(time.process_time() - start)
    print(f"{name}\\t{outcome}\\t{min(times) * 1e3:.3f}\\t{peak() - before}")
"""


@pytest.mark.hazard_row("pictures")
def test_bombs_cost_less_than_20_ms_and_4_mb(hazard):
    """The cheapest attack there is: some kilobytes in, seconds and hundreds of megabytes spent."""
    done = subprocess.run(
        [sys.executable, "-c", BOMBS], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 9
    for name, outcome, ms, growth_kb in lines:
        assert float(ms) < 20 * slowness(), (name, outcome, ms)
        assert int(growth_kb) < 4096, (name, outcome, growth_kb)
    slowest, most = max(float(line[2]) for line in lines), max(int(line[3]) for line in lines) / 1024
    told = f"{len(lines)} bombs: at most {slowest:.1f} ms of CPU and {most:+.1f} MB"
    hazard("pictures", figure=told, bar="< 20 ms, < +4 MB", met=slowest < 20 * slowness() and most < 4)
    outcomes = {name: outcome for name, outcome, _, _ in lines}
    assert outcomes["pixels"] == outcomes["pixels in one row"] == outcomes["chunks"] == "refused"
    assert outcomes["text"] == outcomes["profile"] == outcomes["largest allowed"] == "read"

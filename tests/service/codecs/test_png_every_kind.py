"""PNG of every colour type, depth and transparency against a reader written from the specification."""

from __future__ import annotations

import struct
import zlib
from random import Random

import numpy as np
import png_reference
import pytest
from pictures_in import decode_png
from png_reference import CHANNELS, KINDS, Picture

from service.codecs import MalformedBody

#: No multiple of 8, so that rows end within a byte and the passes of Adam7 differ in size.
HEIGHT, WIDTH = 11, 13
LUMA = (0.299, 0.587, 0.114)


def picture_of(colour: int, depth: int, transparency: str, random: Random) -> Picture:
    """Random samples, a fifth of them the transparent colour and a fifth a near miss of it."""
    most = (1 << depth) - 1
    palette = [tuple(random.randrange(256) for _ in range(3)) for _ in range(most + 1)] if colour == 3 else []
    key = tuple(random.randint(0, most) for _ in range(CHANNELS[colour]))
    miss = (*key[:-1], key[-1] ^ 1)

    def pixel() -> tuple[int, ...]:
        chosen = random.randrange(5)
        if chosen < 2:
            return miss if chosen else key
        return tuple(random.randint(0, most) for _ in range(CHANNELS[colour]))

    pixels = [[pixel() for _ in range(WIDTH)] for _ in range(HEIGHT)]
    stated: bytes | None = None
    if transparency != "none":
        if colour == 3:
            stated = bytes(random.randrange(256) for _ in range(random.randint(1, len(palette))))
        else:
            # Bits beyond the depth have no meaning, and some writers set them.
            noise = 0 if transparency == "plain" else 0xFFFF & ~most
            stated = struct.pack(f">{len(key)}H", *(sample | noise for sample in key))
    return Picture(WIDTH, HEIGHT, depth, colour, pixels, palette, stated)


def expected(picture: Picture, *, channels: int, invert: bool) -> np.ndarray:
    """The image that the picture means, (1, C, H, W), computed in float64."""
    rgba = np.array([[picture.rgba(row, column) for column in range(WIDTH)] for row in range(HEIGHT)])
    values, alpha = rgba[..., :3], rgba[..., 3:]
    if channels == 1 and picture.colour not in (0, 4):
        values = values @ np.array(LUMA)[:, np.newaxis]
    values = values[..., :channels]
    return ((1 - values if invert else values) * alpha).transpose(2, 0, 1)[np.newaxis]


CASES = [
    (colour, depth, transparency)
    for colour, depth in KINDS
    for transparency in (("none",) if colour in (4, 6) else ("none", "plain", "noisy"))
    if not (colour == 3 and transparency == "noisy")
]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth", "transparency"), CASES)
def test_every_kind_of_png_is_read_as_the_specification_says(colour, depth, transparency, interlaced):
    random = Random(f"{colour} {depth} {transparency} {interlaced}")
    for _ in range(4):
        picture = picture_of(colour, depth, transparency, random)
        file = png_reference.write(picture, interlaced=interlaced, random=random)
        # Read back by the reader of the specification, and not only believed to have been written.
        stated = png_reference.read(file)
        assert stated == picture
        for channels in (1, 3):
            for invert in (False, True):
                np.testing.assert_allclose(
                    decode_png(file, shape=(channels, HEIGHT, WIDTH), invert=invert),
                    expected(stated, channels=channels, invert=invert),
                    atol=3e-7,
                )


def test_a_white_ground_of_two_bits_is_background_where_it_is_transparent():
    """Such files come from optimisers of small drawings: 3 is white of 2 bits, and became 1 instead of 0."""
    drawing: list[list[tuple[int, ...]]] = [
        [(3,) if (row + column) % 3 else (column % 3,) for column in range(13)] for row in range(11)
    ]
    picture = Picture(WIDTH, HEIGHT, 2, 0, drawing, [], b"\0\3")
    file = png_reference.write(picture, interlaced=False, random=Random(1))
    x = decode_png(file, shape=(1, HEIGHT, WIDTH))
    samples = np.array(drawing)[..., 0]
    np.testing.assert_array_equal(x[0, 0][samples == 3], 0)
    np.testing.assert_allclose(x[0, 0][samples != 3], samples[samples != 3] / 3, atol=1e-6)


@pytest.mark.parametrize("colour", [0, 2])
def test_near_whites_of_sixteen_bits_are_not_cut_out_with_the_white(colour):
    """0xFFFF is transparent; 0xFFFE has the same high byte and is not."""
    pixels = [
        [(0xFFFF - (row + column) % 2,) * CHANNELS[colour] for column in range(WIDTH)]
        for row in range(HEIGHT)
    ]
    picture = Picture(WIDTH, HEIGHT, 16, colour, pixels, [], b"\xff" * 2 * CHANNELS[colour])
    x = decode_png(png_reference.write(picture, interlaced=False, random=Random(2)), shape=(3, HEIGHT, WIDTH))
    odd = np.indices((HEIGHT, WIDTH)).sum(axis=0) % 2 == 1
    np.testing.assert_array_equal(x[0][:, ~odd], 0)
    np.testing.assert_allclose(x[0][:, odd], 0xFFFE / 0xFFFF, atol=1e-6)


@pytest.mark.parametrize(("colour", "depth"), [(0, 2), (0, 16), (2, 8), (2, 16)])
@pytest.mark.parametrize("length", [0, 1, 3, 7])
def test_a_transparent_colour_of_the_wrong_length_is_malformed(colour, depth, length):
    pixels = [[(0,) * CHANNELS[colour]] * WIDTH] * HEIGHT
    picture = Picture(WIDTH, HEIGHT, depth, colour, pixels, [], bytes(length))
    file = png_reference.write(picture, interlaced=False, random=Random(3))
    with pytest.raises(MalformedBody, match=rf"a tRNS of {2 * CHANNELS[colour]} bytes, got {length}\."):
        decode_png(file, shape=(1, HEIGHT, WIDTH))


@pytest.mark.parametrize("colour", [4, 6])
def test_a_transparent_colour_beside_an_alpha_channel_changes_nothing(colour):
    random = Random(4)
    picture = picture_of(colour, 8, "none", random)
    plain = png_reference.write(picture, interlaced=False, random=Random(5))
    odd = plain.replace(plain[33:], png_reference.chunk(b"tRNS", b"\0\0") + plain[33:])
    shape = (3, HEIGHT, WIDTH)
    assert decode_png(odd, shape=shape).tobytes() == decode_png(plain, shape=shape).tobytes()


@pytest.mark.parametrize("colour", [0, 2])
def test_a_transparent_colour_that_comes_after_the_pixels_or_twice_has_no_meaning(colour):
    size = 2 * CHANNELS[colour]
    white, black = (png_reference.chunk(b"tRNS", byte * size) for byte in (b"\xff", b"\0"))
    pixels = [[(0xFFFF,) * CHANNELS[colour]] * WIDTH] * HEIGHT
    plain = png_reference.write(
        Picture(WIDTH, HEIGHT, 16, colour, pixels, [], None), interlaced=False, random=Random(6)
    )
    head, data, end = plain[:33], plain[33:-12], plain[-12:]
    shape = (1, HEIGHT, WIDTH)
    assert decode_png(head + data + white + end, shape=shape).min() == 1
    assert decode_png(head + black + white + data + end, shape=shape).min() == 1
    assert decode_png(head + white + black + data + end, shape=shape).max() == 0


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("interlaced", [False, True])
def test_sixteen_bits_of_too_few_rows_are_malformed_and_of_too_many_are_cut(colour, interlaced):
    picture = picture_of(colour, 16, "none", Random(7))
    whole = png_reference.write(picture, interlaced=interlaced, random=Random(8))
    rows = zlib.decompress(whole[41:-16])
    shape = (1, HEIGHT, WIDTH)

    def with_rows(data: bytes) -> bytes:
        return whole[:33] + png_reference.chunk(b"IDAT", zlib.compress(data)) + whole[-12:]

    assert (
        decode_png(with_rows(rows + rows), shape=shape).tobytes() == decode_png(whole, shape=shape).tobytes()
    )
    for broken in (with_rows(rows[:-1]), with_rows(b""), with_rows(b"\7" + rows[1:])):
        with pytest.raises(MalformedBody, match="readable pixels"):
            decode_png(broken, shape=shape)
    flipped = bytearray(whole[41:-16])
    flipped[2] ^= 0xFF
    with pytest.raises(MalformedBody, match="readable pixels"):
        decode_png(whole[:33] + png_reference.chunk(b"IDAT", bytes(flipped)) + whole[-12:], shape=shape)


@pytest.mark.parametrize(("colour", "depth"), [(0, 3), (2, 4), (3, 16), (4, 4), (6, 1), (1, 8), (7, 8)])
def test_a_colour_type_and_depth_that_png_does_not_have_are_malformed(colour, depth, png_parts):
    file = png_parts["png_of"](png_parts["header"](28, 28, depth=depth, colour=colour))
    with pytest.raises(MalformedBody, match=f"got colour type {colour} with {depth} bits"):
        decode_png(file, shape=(1, 28, 28))

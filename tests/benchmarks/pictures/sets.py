"""Sets of pictures as people have them, drawn or cut here: uint8 (N, C, H, W).

Knows Pillow, scikit-learn's pictures and digits, matplotlib's fonts, and MNIST if it was downloaded. Knows
nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pictures = npt.NDArray[np.uint8]

COUNT: Final = 3_000
#: Drawn this much larger, then scaled down: smooth edges.
_ENLARGED: Final = 4


def shapes(
    *, ground: int, polygons: bool, height: int = 32, width: int = 32, count: int = COUNT, seed: int = 0
) -> Pictures:
    """One coloured disc or polygon on a plain ground, as product photographs are."""
    rng = np.random.default_rng(seed)
    return _stack(_shape(rng, ground, height, width, polygons=polygons) for _ in range(count))


def rare_class(*, share: float = 0.01, seed: int = 1) -> Pictures:
    """Discs on white, and polygons among them, one in a hundred."""
    rng = np.random.default_rng(seed)
    return _stack(_shape(rng, 255, 32, 32, polygons=rng.random() < share) for _ in range(COUNT))


def _shape(rng: np.random.Generator, ground: int, height: int, width: int, *, polygons: bool) -> Image.Image:
    size = (width * _ENLARGED, height * _ENLARGED)
    picture = Image.new("RGB", size, (ground,) * 3)
    draw = ImageDraw.Draw(picture)
    red, green, blue = (int(level) for level in rng.integers(20, 236, 3))
    colour = (red, green, blue)
    radius = rng.uniform(4, 11) * _ENLARGED
    x, y = (rng.uniform(radius, side - radius) for side in size)
    if polygons:
        corners = int(rng.integers(3, 7))
        draw.regular_polygon((x, y, radius), corners, rotation=float(rng.uniform(0, 360)), fill=colour)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def lines(*, height: int = 37, width: int = 29, seed: int = 0) -> Pictures:
    """Drawings in black on white: a stroke of three to six corners and a circle. Odd sides, grey."""
    rng = np.random.default_rng(seed)
    size = (width * _ENLARGED, height * _ENLARGED)

    def drawing() -> Image.Image:
        picture = Image.new("L", size, 255)
        draw = ImageDraw.Draw(picture)
        corners = rng.uniform(0.1, 0.9, (int(rng.integers(3, 7)), 2)) * size
        draw.line([(float(x), float(y)) for x, y in corners], fill=0, width=5, joint="curve")
        radius = rng.uniform(3, 8) * _ENLARGED
        x, y = (rng.uniform(radius, side - radius) for side in size)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=5)
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    return _stack(drawing() for _ in range(COUNT))


def glyphs(*, side: int = 28, seed: int = 0) -> Pictures:
    """Letters and figures in the fonts that matplotlib brings along, black on white."""
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    fonts = [
        ImageFont.truetype(str(folder / f"{name}.ttf"), points)
        for name in ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold", "STIXGeneralItalic", "cmtt10")
        for points in (64, 80, 96)
    ]
    letters = "ABCDEFGHJKLMNPRSTUVWXYZabdefghkmnqrt23456789"
    rng = np.random.default_rng(seed)

    def glyph() -> Image.Image:
        picture = Image.new("L", (side * _ENLARGED,) * 2, 255)
        font = fonts[int(rng.integers(len(fonts)))]
        middle = side * _ENLARGED / 2 + rng.uniform(-8, 8, 2)
        letter = letters[int(rng.integers(len(letters)))]
        ImageDraw.Draw(picture).text((middle[0], middle[1]), letter, font=font, fill=0, anchor="mm")
        return picture.resize((side, side), Image.Resampling.LANCZOS)

    return _stack(glyph() for _ in range(COUNT))


def photographs(*, side: int, brightness: float = 1.0, seed: int = 0) -> Pictures:
    """Squares cut at random from scikit-learn's two photographs, two to four times as large, scaled down."""
    from sklearn.datasets import load_sample_images

    originals = load_sample_images().images
    rng = np.random.default_rng(seed)

    def crop() -> Image.Image:
        whole = originals[int(rng.integers(len(originals)))]
        cut = int(rng.integers(side * 2, side * 4))
        top, left = (int(rng.integers(0, length - cut)) for length in whole.shape[:2])
        picture = Image.fromarray(whole[top : top + cut, left : left + cut])
        return picture.resize((side, side), Image.Resampling.BOX).point(lambda level: level * brightness)

    return _stack(crop() for _ in range(COUNT))


def nearly_constant(*, side: int = 28, seed: int = 0) -> Pictures:
    """Paper with a soft stain of at most 12 levels, which no eye sees."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    top, left = (rng.uniform(4, side - 4, (COUNT, 1, 1)) for _ in range(2))
    width, depth = rng.uniform(3, 8, (COUNT, 1, 1)), rng.uniform(4, 12, (COUNT, 1, 1))
    stain = depth * np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * width**2))
    levels: Pictures = np.rint(240 - stain).astype(np.uint8)[:, None]
    return levels


def textures(*, side: int = 32, seed: int = 0) -> Pictures:
    """Noise made smooth along one direction: what scans of cloth and of wood look like."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side)
    fy, fx = frequency[:, None], frequency[None, :]
    turn = rng.uniform(0, np.pi, (COUNT, 1, 1))
    along, across = fx * np.cos(turn) + fy * np.sin(turn), fy * np.cos(turn) - fx * np.sin(turn)
    kept = np.exp(-((along / 0.03) ** 2) - (across / 0.12) ** 2)
    noise = np.fft.fft2(rng.standard_normal((COUNT, side, side)))
    smooth = np.fft.ifft2(noise * kept).real
    smooth /= smooth.std(axis=(1, 2), keepdims=True)
    return np.clip(np.rint(128 + 45 * smooth), 0, 255).astype(np.uint8)[:, None]


def digits() -> Pictures:
    """scikit-learn's 1,797 digits of 8 × 8 pixels and 17 levels."""
    from sklearn.datasets import load_digits

    levels: Pictures = np.rint(load_digits().images * 255 / 16).astype(np.uint8)[:, None]
    return levels


def from_idx(folder: Path) -> Pictures:
    """The first training images of MNIST or Fashion-MNIST, with their grey levels."""
    from training.config.sections import DataConfig
    from training.data import load_images

    return load_images(folder, DataConfig()).train.whole()[:COUNT].numpy()


def named_sets(mnist: Path | None, fashion: Path | None) -> dict[str, Callable[[], Pictures]]:
    """Every set by its name; MNIST and Fashion-MNIST where their files are."""
    sets: dict[str, Callable[[], Pictures]] = {
        "discs on white": partial(shapes, ground=255, polygons=False),
        "discs on black, 29 × 45": partial(shapes, ground=0, polygons=False, height=29, width=45),
        "polygons on white": partial(shapes, ground=255, polygons=True),
        "polygons on black": partial(shapes, ground=0, polygons=True),
        "line drawings, 37 × 29": lines,
        "glyphs": glyphs,
        "digits, 8 × 8": digits,
        "photographs, 32 px": partial(photographs, side=32),
        "photographs, 64 px": partial(photographs, side=64),
        "dark photographs": partial(photographs, side=32, brightness=0.12),
        "nearly constant": nearly_constant,
        "textures": textures,
        "1 % of one class": rare_class,
        "200 pictures": partial(shapes, ground=255, polygons=False, count=200),
    }
    for name, folder in (("MNIST, grey", mnist), ("Fashion-MNIST", fashion)):
        if folder is not None:
            sets[name] = partial(from_idx, folder)
    return sets


def _stack(pictures: object) -> Pictures:
    arrays = np.stack([np.asarray(picture) for picture in pictures])  # type: ignore[attr-defined]
    return arrays[:, None] if arrays.ndim == 3 else np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))

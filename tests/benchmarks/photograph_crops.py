"""Pictures for the recipe `pictures-spatial`: crops of the photographs in Debian's package mate-backgrounds.

    apt-get download mate-backgrounds && dpkg-deb -x mate-backgrounds_*.deb mate
    python tests/benchmarks/photograph_crops.py mate/usr/share/backgrounds/mate/nature crops --side 128

Knows Pillow and folders. A crop of a test photograph is never of a training photograph: of every six files in
the order of their names, the third is for the test and the last for the validation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

#: Photographs are scaled to this width: at their own size most crops are blurs.
_WIDTH = 1280


def main() -> None:
    """Write `train`, `validation` and `test` into the second folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=128)
    arguments = parser.parse_args()
    for number, file in enumerate(sorted(arguments.photographs.glob("*.jpg"))):
        part = {2: "test", 5: "validation"}.get(number % 6, "train")
        # Crops to train on overlap by half; the others do not, so that each counts once.
        step = arguments.side // 2 if part == "train" else arguments.side
        print(f"{file.name}: {cut(file, arguments.out / part, side=arguments.side, step=step)} for {part}")


def cut(file: Path, folder: Path, *, side: int, step: int) -> int:
    """Write the square crops of a photograph, and return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(file) as opened:
        photograph = opened.convert("RGB")
    photograph = photograph.resize((_WIDTH, round(photograph.height * _WIDTH / photograph.width)))
    corners = [
        (left, top)
        for top in range(0, photograph.height - side + 1, step)
        for left in range(0, photograph.width - side + 1, step)
    ]
    for left, top in corners:
        crop = photograph.crop((left, top, left + side, top + side))
        crop.save(folder / f"{file.stem}-{top}-{left}.png")
    return len(corners)


if __name__ == "__main__":
    main()

"""Draw the small MNIST that the tests run on from the full one.

    python tests/data/make_fixture.py FOLDER

FOLDER holds the four original files. The draw is balanced over the digits and seeded, so the same files come
out again, byte for byte up to the compressor. Knows MNIST; knows nothing of the tests.
"""

import argparse
from pathlib import Path

import numpy as np

from training.data.idx import read_idx, write_idx

SEED = 20240229
PER_DIGIT = {"train": 160, "t10k": 40}
HERE = Path(__file__).parent / "mnist"


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    HERE.mkdir(exist_ok=True)
    for part, per_digit in PER_DIGIT.items():
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz").array
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz").array
        generator = np.random.default_rng(SEED)
        drawn = np.concatenate(
            [generator.choice(np.flatnonzero(labels == d), per_digit, replace=False) for d in range(10)]
        )
        chosen = np.sort(drawn)
        write_idx(HERE / f"{part}-images-idx3-ubyte.gz", images[chosen])
        write_idx(HERE / f"{part}-labels-idx1-ubyte.gz", labels[chosen])


if __name__ == "__main__":
    main()

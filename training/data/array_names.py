"""The names of arrays in a `.npz` file, and the part of the data that each contains.

Knows the usual names for arrays of images. Knows nothing of files or arrays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """One convention for names; a part is (images, labels)."""

    training: tuple[str, str]
    validation: tuple[tuple[str, str], ...]
    """Alternatives; a file has at most one of them."""
    test: tuple[str, str]

    @property
    def parts(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """The alternatives of each part, by its role."""
        return {"training": (self.training,), "validation": self.validation, "test": (self.test,)}

    @property
    def usual(self) -> tuple[str, ...]:
        """The names for people: the first alternative of each part, training first."""
        return tuple(name for pairs in self.parts.values() for name in pairs[0])

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return tuple(name for pairs in self.parts.values() for pair in pairs for name in pair)


OWN = Names(
    ("images", "labels"),
    (("validation_images", "validation_labels"), ("val_images", "val_labels")),
    ("test_images", "test_labels"),
)
#: tf.keras.datasets: `mnist.npz` and similar files.
KERAS = Names(("x_train", "y_train"), (("x_val", "y_val"), ("x_valid", "y_valid")), ("x_test", "y_test"))
#: MedMNIST (arXiv:2110.14795).
MEDMNIST = Names(
    ("train_images", "train_labels"),
    (("val_images", "val_labels"), ("validation_images", "validation_labels")),
    ("test_images", "test_labels"),
)
KNOWN = (OWN, KERAS, MEDMNIST)


def parts_of(names: Collection[str]) -> dict[str, tuple[str, str]] | None:
    """The images and labels of each part in a file with these arrays.

    Returns:
        Part → (name of the images, name of the optional labels). None if an array is unknown, if two arrays
        have the same role, or if labels have no images.
    """
    for known in KNOWN:
        if known.training[0] not in names or not set(names) <= set(known.all):
            continue
        found = {part: [pair for pair in pairs if pair[0] in names] for part, pairs in known.parts.items()}
        stated = {pair[0] for pairs in found.values() for pair in pairs}
        labels = {pair[1] for pairs in found.values() for pair in pairs}
        if all(len(pairs) <= 1 for pairs in found.values()) and set(names) <= stated | labels:
            return {part: pairs[0] for part, pairs in found.items() if pairs}
    return None

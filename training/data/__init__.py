"""Images for training: read, checked, split and binarised. Knows nothing of models."""

from training.data.augmentation import distort
from training.data.binarisation import Binarisation, binarise, observe
from training.data.images import ImageData, ImageSet, to_unit_interval
from training.data.loading import is_of_pictures, load_images, load_mnist
from training.data.memory_map import ImagesOnDisk, MemoryBudget
from training.data.splits import (
    count_fitting_parts,
    count_held_back,
    describe_split,
    fitting_parts,
    split_train_validation,
)

__all__ = [
    "Binarisation",
    "ImageData",
    "ImageSet",
    "ImagesOnDisk",
    "MemoryBudget",
    "binarise",
    "count_fitting_parts",
    "count_held_back",
    "describe_split",
    "distort",
    "fitting_parts",
    "is_of_pictures",
    "load_images",
    "load_mnist",
    "observe",
    "split_train_validation",
    "to_unit_interval",
]

"""A `.npz` file becomes image sets, or is refused with what is wrong in it."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import pytest
import torch

from training.config.sections import DataConfig
from training.data import ImagesOnDisk, MemoryBudget, load_images
from training.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 9, 12), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (60, 3, 9, 12), dtype=np.uint8)
LABELS = np.arange(60) % 7


@pytest.fixture
def load(tmp_path):
    """Save arrays and read them back."""

    def load(budget=None, **arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return load_images(tmp_path / "mine.npz", DataConfig(dataset="given"), budget=budget)

    return load


def everything(data):
    """All images in the order of their labels, which here number them."""
    labels = torch.cat([data.train.labels, data.test.labels])
    return torch.cat([data.train.images[:], data.test.images[:]])[labels.argsort()].numpy()


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (np.moveaxis(COLOUR, 1, -1).copy(), COLOUR),
        (GREY.astype(np.float32) / 255, GREY[:, None]),
        (COLOUR.astype(np.float64) / 255, COLOUR),
        ((GREY / 255.0).astype(">f4"), GREY[:, None]),
        (GREY > 99, np.where(GREY > 99, 255, 0)[:, None]),
    ],
    ids=["n h w", "n 1 h w", "n h w 1", "n 3 h w", "n h w 3", "float32", "float64", "big-endian", "bool"],
)
@pytest.mark.parametrize("memory_bytes", [2**30, 0])
def test_every_layout_and_type_gives_the_same_pixels(images, expected, memory_bytes, load, tmp_path):
    data = load(budget=MemoryBudget(memory_bytes, tmp_path), images=images, labels=np.arange(60))
    assert np.array_equal(everything(data), expected)
    assert isinstance(data.train.images, ImagesOnDisk) is (memory_bytes == 0)


def test_without_test_images_a_tenth_is_held_out_and_told(load):
    data = load(images=GREY, labels=LABELS)
    assert data.name == "npz mine"
    assert len(data.train) + len(data.test) == 60
    assert data.notes == (
        f"the data has no test images: {len(data.test)} of the 60 images, chosen by their content, are held "
        "out for the test",
    )
    assert "held out by content hash" in data.test.name


def test_test_images_of_their_own_are_taken_as_they_are(load):
    data = load(images=GREY[:50], labels=LABELS[:50], test_images=GREY[50:], test_labels=LABELS[50:])
    assert np.array_equal(data.test.images[:, 0].numpy(), GREY[50:])
    assert data.test.labels.tolist() == LABELS[50:].tolist()
    assert (data.train.name, data.test.name, data.notes) == ("npz mine train", "npz mine test", ())


def test_labels_may_be_words_or_left_out(load):
    words = np.array(["cat", "dog", "ape"])[np.arange(60) % 3]
    data = load(images=GREY[:45], labels=words[:45], test_images=GREY[45:], test_labels=words[45:])
    assert data.label_names == ("ape", "cat", "dog")
    assert [data.label_names[label] for label in data.test.labels] == words[45:].tolist()
    data = load(images=GREY)
    assert (data.train.labels, data.test.labels, data.label_names) == (None, None, ())


def test_compressed_files_are_read_alike(load, tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", images=COLOUR)
    packed = load_images(tmp_path / "packed.npz", DataConfig())
    assert packed.train.fingerprint == load(images=COLOUR).train.fingerprint


def test_test_images_that_are_trained_on_are_told_or_refused(load):
    data = load(images=GREY[:50], test_images=GREY[48:])
    assert data.notes == (
        "2 of the 12 test images are training images too, so that the figures flatter the model",
    )
    with pytest.raises(DataError, match="all 12 test images are training images too"):
        load(images=GREY, test_images=GREY[48:])


def changed(array, index, value):
    copy = array.copy()
    copy[index] = value
    return copy


FLOATS = GREY.astype(np.float32) / 255


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"pictures": GREY}, "expected arrays named images, labels, validation_images, valid"),
        ({"x_train": GREY, "labels": LABELS}, "Got x_train, labels."),
        ({"images": GREY, "label": LABELS}, "Got images, label."),
        ({"images": GREY, "test_labels": LABELS}, "expected test_images with test_labels, got none"),
        ({"images": GREY.astype(np.int64)}, "expected bytes (uint8) 0 to 255, booleans, or floats in [0, 1]"),
        ({"images": GREY.astype(np.int64)}, "None is above 255, so images.astype(numpy.uint8) keeps"),
        ({"images": GREY.astype(np.uint16) * 257}, "0 to 65535. Divide by the largest possible value"),
        ({"images": GREY.astype(np.uint16) * 257}, "images / 65535."),
        ({"images": GREY.astype(np.uint16) * 14}, "got uint16 from 0 to 3570. Divide"),
        ({"images": GREY.astype(np.uint16) * 14}, "images / 4095."),
        ({"images": GREY.astype(np.int32) - 9}, "Shift and scale them: (images - -9) / 255."),
        ({"images": GREY, "labels": np.eye(60, dtype=np.int64)}, "Training uses one label per image"),
        ({"images": GREY.astype(object)}, "got object"),
        ({"images": GREY.astype(np.float32)}, "images[0]: expected floats in [0, 1], got"),
        ({"images": changed(FLOATS, (41, 2, 3), np.nan)}, "images[41]: expected floats in [0, 1], got nan"),
        ({"images": changed(FLOATS, (7, 8, 11), -0.25)}, "images[7]: expected floats in [0, 1], got -0.25"),
        ({"images": changed(FLOATS, (7, 8, 11), 1.0000001)}, "expected floats in [0, 1], got 1.0000001."),
        ({"images": GREY[0]}, "expected images (N, H, W), (N, C, H, W) or (N, H, W, C) of 1 or 3"),
        ({"images": COLOUR[:, :2]}, "got shape (60, 2, 9, 12)"),
        ({"images": GREY[:, :7]}, "sides of 8 to 256 pixels, got 1 and 7 × 12"),
        ({"images": np.tile(GREY, (1, 1, 22))}, "sides of 8 to 256 pixels, got 1 and 9 × 264"),
        ({"images": GREY[:0]}, "expected at least one element, got shape (0, 9, 12)"),
        ({"images": np.asfortranarray(GREY)}, "expected an array in C order"),
        ({"images": GREY // 255}, "expected grey levels 0 to 255, got none above 1"),
        ({"images": np.full_like(GREY, 9)}, "expected images that differ, got the value 9 in every pixel"),
        ({"images": GREY, "labels": LABELS[:59]}, "each of the 60 training images, got 59"),
        ({"images": GREY, "labels": LABELS - 1}, "whole numbers from 0 to 9999, got -1 to 5"),
        ({"images": GREY, "labels": LABELS / 2}, "whole number or word for each image, (N,) or (N, 1), got"),
        ({"images": GREY, "test_images": GREY[:, :8] // 2}, "(1, 9, 12) and (1, 8, 12)"),
        (
            {"images": GREY[:40], "labels": np.repeat("a", 40), "test_images": GREY[40:],
             "test_labels": np.repeat("b", 20)},
            "expected no class in the test part that the training part lacks, got b",
        ),
        (
            {"images": GREY[:40], "labels": np.repeat("a", 40), "test_images": GREY[40:],
             "test_labels": LABELS[40:]},
            "expected words or numbers as labels of all parts",
        ),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_told_with_the_remedy(arrays, told, load):
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        load(**arrays)
    assert "mine.npz" in str(caught.value)


def spoilt(tmp_path, change):
    """A file whose member `images.npy` went through `change`."""
    plain = io.BytesIO()
    np.save(plain, GREY)
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("images.npy", change(plain.getvalue()))
    return tmp_path / "mine.npz"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[:-5], "The file is truncated"),
        (lambda data: data + b"x", "got more. The header or the file is wrong"),
        (lambda data: data.replace(b"(60, 9, 12)", b"(99, 9, 12)"), "The file is truncated"),
        (lambda data: data.replace(b"(60, 9, 12)", b"(10**9,9,1)"), "expected a .npy array"),
        (lambda data: data.replace(b"|u1", b"|O"), "expected a .npy array"),
        (lambda data: data.replace(b"|u1", b"|O8"), "got object"),
        (lambda data: b"not an array", "expected a .npy array"),
        (lambda data: b"", "expected a .npy array"),
    ],
)
def test_a_member_that_lies_is_refused(change, told, tmp_path):
    with pytest.raises(DataError, match=re.escape(told)):
        load_images(spoilt(tmp_path, change), DataConfig())


@pytest.mark.parametrize("change", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_archive_is_told(change, tmp_path):
    np.savez(tmp_path / "mine.npz", images=GREY)
    path = tmp_path / "mine.npz"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:-100],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "text": b"hello",
        }[change]
    )
    with pytest.raises(DataError, match=r"mine\.npz: expected a readable \.npz archive"):
        load_images(path, DataConfig())


WAYS = {
    "own": ("images", "labels", "validation_images", "validation_labels", "test_images", "test_labels"),
    "Keras": ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
    "MedMNIST": ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("columns", [(), (1,)])
def test_the_parts_of_every_known_way_to_hand_arrays_round_are_what_they_are_called(way, columns, load):
    data = load(
        **{
            name: array
            for images, labels, part in zip(
                WAYS[way][::2], WAYS[way][1::2], (slice(40), slice(40, 48), slice(48, 60)), strict=True
            )
            for name, array in ((images, GREY[part]), (labels, LABELS[part].reshape(-1, *columns)))
        }
    )
    for part, indices in (
        (data.train, slice(40)),
        (data.validation, slice(40, 48)),
        (data.test, slice(48, 60)),
    ):
        assert np.array_equal(part.images[:, 0].numpy(), GREY[indices])
        assert part.labels.tolist() == LABELS[indices].tolist()


def test_the_files_of_keras_have_no_validation_part(load):
    data = load(x_train=GREY[:40], y_train=LABELS[:40], x_test=GREY[40:], y_test=LABELS[40:])
    assert (data.validation, len(data.train), len(data.test)) == (None, 40, 20)


@pytest.mark.parametrize(
    "names",
    [
        ("images", "x_train"),
        ("images", "train_images"),
        ("x_test", "y_test"),
        ("images", "val_images", "validation_images"),
        ("x_train", "test_images"),
    ],
)
def test_names_of_two_ways_in_one_file_or_without_training_images_are_refused(names, load):
    with pytest.raises(DataError, match="expected arrays named images, "):
        load(**dict.fromkeys(names, GREY))


def test_a_npy_file_holds_images_alone(tmp_path, load):
    np.save(tmp_path / "mine.npy", COLOUR)
    data = load_images(tmp_path / "mine.npy", DataConfig())
    assert (data.name, data.train.labels) == ("npy mine", None)
    assert data.train.fingerprint == load(images=COLOUR).train.fingerprint
    np.save(tmp_path / "deep.npy", GREY.astype(np.uint16) * 257)
    with pytest.raises(DataError, match=r"deep\.npy: expected bytes .*images / 65535\."):
        load_images(tmp_path / "deep.npy", DataConfig())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "mine.npy").read_bytes()[:-5])
    with pytest.raises(DataError, match=r"cut\.npy: expected .* bytes for shape .*truncated"):
        load_images(tmp_path / "cut.npy", DataConfig())

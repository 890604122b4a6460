"""A folder of IDX files becomes image sets, or is refused before any training."""

import gzip
import shutil

import numpy as np
import pytest
import torch

from training.config.sections import DataConfig
from training.data import ImageSet, idx_folder, load_images, load_mnist, to_unit_interval
from training.data.idx import read_idx, write_idx
from training.errors import DataError

from .conftest import STEMS


@pytest.fixture
def folder(mnist_folder, tmp_path):
    """A copy that may be spoilt."""
    return shutil.copytree(mnist_folder, tmp_path / "mnist")


def replace(folder, stem, change):
    """Write what `change` makes of a file's array in its place."""
    path = folder / f"{stem}.gz"
    write_idx(path, change(read_idx(path).array.copy()))


def test_fixture_is_the_one_its_readme_describes(mnist_folder, small_sha256):
    readme = (mnist_folder.parent / "README.md").read_text()
    assert {stem: digest in readme for stem, digest in small_sha256.items()} == dict.fromkeys(STEMS, True)
    assert sum(path.stat().st_size for path in mnist_folder.iterdir()) <= 700_000


def test_small_mnist_loads_with_shapes_labels_and_balance(mnist_folder):
    data = load_mnist(mnist_folder)
    assert (len(data.train), len(data.test), data.image_shape) == (1600, 400, (1, 28, 28))
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.bincount().tolist() == [160] * 10
    assert data.test.labels.bincount().tolist() == [40] * 10
    x = to_unit_interval(data.train.images[:])
    assert (x.dtype, x.min().item(), x.max().item()) == (torch.float32, 0.0, 1.0)


def test_a_digit_looks_like_its_label(mnist_folder):
    """Rows and columns are not swapped: a 1 is taller than wide, a mean 0 has a hole in the middle."""
    train = load_mnist(mnist_folder).train
    x = to_unit_interval(train.images[:])[:, 0]
    ones = x[train.labels == 1].mean(dim=0)
    assert (ones.sum(dim=1) > 1.0).sum() > (ones.sum(dim=0) > 1.0).sum()
    zeros = x[train.labels == 0].mean(dim=0)
    assert zeros[13:15, 13:15].mean() < 0.2
    assert zeros[13, 6:10].mean() > 0.4


def test_only_the_original_bytes_are_called_mnist(mnist_folder, small_sha256, monkeypatch):
    """Fashion-MNIST comes under the same file names; provenance must not call it MNIST."""
    assert load_mnist(mnist_folder).name == "idx"
    monkeypatch.setattr(idx_folder, "MNIST_SHA256", small_sha256)
    data = load_mnist(mnist_folder)
    assert (data.name, data.train.name, data.test.name) == ("mnist", "mnist train", "mnist test")


def test_plain_files_dotted_names_and_gzip_give_the_same_data(folder, mnist_folder):
    for stem in STEMS:
        packed = folder / f"{stem}.gz"
        (folder / stem.replace("-idx", ".idx")).write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert load_mnist(folder).train.fingerprint == load_mnist(mnist_folder).train.fingerprint


def test_fingerprint_changes_with_a_pixel_with_order_and_with_shape(mnist_folder):
    test = load_mnist(mnist_folder).test
    changed = test.images.clone()
    changed[7, 0, 3, 3] += 1
    variants = [changed, test.images.flip(0), test.images.reshape(400, 1, 14, 56)]
    prints = {test.fingerprint, *(ImageSet(name="x", images=v).fingerprint for v in variants)}
    assert len(prints) == 4


def test_missing_file_is_named_with_what_is_there_instead(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"expected t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz, got"
    ):
        load_mnist(folder)


def test_folder_that_is_absent_or_a_file_is_told(folder, tmp_path):
    with pytest.raises(DataError, match="got nothing there"):
        load_mnist(tmp_path / "absent")
    with pytest.raises(DataError, match="got a file"):
        load_mnist(folder / "t10k-labels-idx1-ubyte.gz")


def test_images_and_labels_under_each_other_s_name_are_told(folder):
    images, labels = folder / f"{STEMS[0]}.gz", folder / f"{STEMS[1]}.gz"
    swap = folder / "swap"
    images.rename(swap)
    labels.rename(images)
    swap.rename(labels)
    with pytest.raises(
        DataError, match=r"expected images .* got shape \(1600,\). That looks like a label file"
    ):
        load_mnist(folder)


def test_images_in_the_place_of_labels_are_told(folder):
    shutil.copy(folder / f"{STEMS[2]}.gz", folder / f"{STEMS[3]}.gz")
    with pytest.raises(DataError, match="looks like an image file"):
        load_mnist(folder)


def test_labels_of_the_other_part_are_refused_by_their_number(folder):
    shutil.copy(folder / f"{STEMS[3]}.gz", folder / f"{STEMS[1]}.gz")
    with pytest.raises(DataError, match=r"expected 1,600 labels.*got 400"):
        load_mnist(folder)


def test_labels_may_be_of_more_classes_than_ten(folder):
    """Letters are numbered 1 to 26."""
    for stem in (STEMS[1], STEMS[3]):
        replace(folder, stem, lambda labels: np.arange(len(labels), dtype=np.uint8) % 26 + 1)
    data = load_mnist(folder)
    assert (data.train.labels.unique().tolist(), len(data.test)) == (list(range(1, 27)), 400)


def test_names_with_a_prefix_and_test_for_t10k_are_read_as_they_are_handed_round(folder, mnist_folder):
    for stem in STEMS:
        new = f"emnist-letters-{stem.replace('t10k', 'test')}.gz"
        (folder / f"{stem}.gz").rename(folder / new)
    assert load_mnist(folder).train.fingerprint == load_mnist(mnist_folder).train.fingerprint
    shutil.copy(folder / new, folder / new.replace("letters", "digits"))
    with pytest.raises(DataError, match="of one data set, got those of emnist-digits-, emnist-letters-"):
        load_mnist(folder)


def test_test_images_that_are_the_training_images_are_refused(folder):
    for here, there in ((0, 2), (1, 3)):
        shutil.copy(folder / f"{STEMS[here]}.gz", folder / f"{STEMS[there]}.gz")
    with pytest.raises(DataError, match="all 1,600 test images are training images too"):
        load_mnist(folder)


def test_parts_of_different_shapes_are_refused(folder):
    replace(folder, STEMS[2], lambda images: images[:, ::2, ::2])
    with pytest.raises(DataError, match=r"\(1, 28, 28\) and \(1, 14, 14\)"):
        load_mnist(folder)


@pytest.mark.parametrize("change", [lambda images: images // 255, lambda images: images * 0])
def test_pixels_that_were_scaled_to_one_or_are_all_black_are_refused(folder, change):
    """They would train without complaint, on nothing."""
    replace(folder, STEMS[0], change)
    with pytest.raises(DataError, match="expected grey levels 0 to 255, got none above"):
        load_mnist(folder)


@pytest.mark.parametrize("side", [1, 2, 7, 257])
def test_sides_that_no_reader_takes_are_refused(side, folder, tmp_path):
    """All readers share one rule: a smaller or larger picture is refused as a .npz file, too."""
    images = np.random.default_rng(0).integers(0, 256, (1600, side, side), np.uint8)
    replace(folder, STEMS[0], lambda _: images)
    replace(folder, STEMS[2], lambda _: images[:400])
    np.savez(tmp_path / "same.npz", images=images)
    for path in (folder, tmp_path / "same.npz"):
        with pytest.raises(
            DataError, match=f"sides of 8 to 256 pixels, got 1 and {side} × {side}. Scale the"
        ):
            load_images(path, DataConfig(dataset="given"))


@pytest.mark.parametrize("side", [8, 9, 64])
def test_sides_that_the_others_take_are_read(side, folder):
    images = np.random.default_rng(0).integers(0, 256, (2000, side, side), np.uint8)
    replace(folder, STEMS[0], lambda _: images[:1600])
    replace(folder, STEMS[2], lambda _: images[1600:])
    assert load_mnist(folder).image_shape == (1, side, side)


@pytest.mark.parametrize("stem", [STEMS[0], STEMS[2]])
def test_one_part_that_was_scaled_to_one_is_refused_by_name(stem, folder):
    replace(folder, stem, lambda images: images // 255)
    with pytest.raises(DataError, match=f"got none above 1 in idx {'train' if 'train' in stem else 'test'}"):
        load_mnist(folder)

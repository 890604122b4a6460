"""What lies at `--data` decides how it is read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from training.config.sections import DataConfig
from training.data import load_images, load_mnist
from training.data.mnist_originals import FASHION_MNIST_SHA256, MNIST_SHA256
from training.errors import ConfigError, DataError

GIVEN = DataConfig(dataset="given")


def test_a_folder_of_idx_files_is_read_as_before(mnist_folder):
    data = load_images(mnist_folder, GIVEN)
    assert (data.name, data.notes) == ("idx", ())
    assert data.train.fingerprint == load_mnist(mnist_folder).train.fingerprint


def test_idx_files_without_labels_are_images_without_labels(mnist_folder, tmp_path):
    for stem in ("train", "t10k"):
        shutil.copy(mnist_folder / f"{stem}-images-idx3-ubyte.gz", tmp_path)
    data = load_images(tmp_path, GIVEN)
    assert (len(data.train), data.train.labels, data.test.labels) == (1600, None, None)
    shutil.copy(mnist_folder / "train-labels-idx1-ubyte.gz", tmp_path)
    with pytest.raises(DataError, match="expected t10k-labels-idx1-ubyte"):
        load_images(tmp_path, GIVEN)


def test_all_idx_files_that_are_damaged_are_told_together(mnist_folder, tmp_path):
    folder = shutil.copytree(mnist_folder, tmp_path / "mnist")
    for stem in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (folder / stem).write_bytes((folder / stem).read_bytes()[:-20])
    with pytest.raises(DataError) as caught:
        load_images(folder, GIVEN)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        str(folder / "train-images-idx3-ubyte.gz"),
        str(folder / "t10k-labels-idx1-ubyte.gz"),
    ]


def test_a_set_is_called_by_its_name_only_when_every_byte_is_its_own(mnist_folder, small_sha256, monkeypatch):
    monkeypatch.setattr("training.data.idx_folder.FASHION_MNIST_SHA256", small_sha256)
    data = load_images(mnist_folder, GIVEN)
    assert (data.name, data.test.name) == ("fashion-mnist", "fashion-mnist test")
    assert (data.label_names[0], data.label_names[9]) == ("T-shirt/top", "Ankle boot")
    assert set(FASHION_MNIST_SHA256) == set(MNIST_SHA256)
    assert not set(FASHION_MNIST_SHA256.values()) & set(MNIST_SHA256.values())


def test_what_is_neither_is_told_with_what_could_be_given(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"or a \.npz or \.npy file, got another file"):
        load_images(tmp_path / "notes.txt", GIVEN)
    with pytest.raises(DataError, match="got nothing there"):
        load_images(tmp_path / "absent.npz", GIVEN)


@pytest.mark.parametrize(("name", "got"), [("pictrues", "nothing there"), ("one.jpg", "another file")])
def test_a_path_that_cannot_be_read_is_told_before_the_keys_for_picture_files(name, got, tmp_path):
    """`--data pictrues --set data.side=32` was advised to leave data.side out."""
    (tmp_path / "one.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=f"{name}: expected a folder .*got {got}"):
        load_images(tmp_path / name, DataConfig(dataset="given", side=32))


def test_a_recipe_without_images_of_its_own_asks_for_some():
    with pytest.raises(ConfigError, match=r"--data: expected a folder or \.zip with images, .* got nothing"):
        load_images(None, GIVEN)


@pytest.mark.parametrize("keys", [{"side": 16}, {"channels": 3}, {"ground": "white"}])
def test_keys_for_picture_files_are_refused_where_there_are_none(keys, mnist_folder, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 9, 9), np.uint8))
    for path in (mnist_folder, tmp_path / "mine.npz", None):
        with pytest.raises(ConfigError, match=r"data\.side, data\.channels, data\.ground: expected 0"):
            load_images(path, DataConfig(**keys))


@pytest.mark.parametrize(("keys", "shape"), [({"side": 16}, (3, 16, 16)), ({"channels": 1}, (1, 20, 24))])
def test_keys_for_picture_files_change_what_is_read(keys, shape, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    assert load_images(tmp_path, GIVEN).image_shape == (3, 20, 24)
    assert load_images(tmp_path, DataConfig(dataset="given", **keys)).image_shape == shape

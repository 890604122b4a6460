"""No folder is left out without a word: links, rights, run directories and what systems put into folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.config.sections import DataConfig
from training.data import ImageData, load_images
from training.data.folder_tree import scan
from training.errors import DataError

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="vae-test-"))
    folder.chmod(0o755)
    yield folder
    for inner in folder.rglob("*"):
        if inner.is_dir():
            inner.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def as_a_user() -> Iterator[None]:
    """Without the right of root to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def save(folder: Path, first: int, count: int = 20) -> None:
    """Pictures that no other number has."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def load(root: Path) -> ImageData:
    return load_images(root, DataConfig(dataset="given"))


def test_class_folders_that_are_links_are_followed_and_told(tmp_path):
    save(tmp_path / "elsewhere/dog", 0)
    save(tmp_path / "pets/cat", 20)
    (tmp_path / "pets/dog").symlink_to(tmp_path / "elsewhere/dog")
    data = load(tmp_path / "pets")
    assert (len(data.train) + len(data.test), data.label_names) == (40, ("cat", "dog"))
    assert data.notes[-1] == "1 links to folders were followed: dog"
    (tmp_path / "all").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "all" / name).symlink_to(tmp_path / "pets" / name)
    assert load(tmp_path / "all").train.fingerprint == data.train.fingerprint


def test_a_link_to_what_is_read_anyway_is_left_out_and_told(tmp_path):
    """Two links to the parents would be walked for ever, and a second name of a class trained on twice."""
    save(tmp_path / "pets/cat", 0)
    save(tmp_path / "pets/zebra", 20)
    (tmp_path / "pets/cat/loop").symlink_to(tmp_path / "pets")
    (tmp_path / "pets/above").symlink_to(tmp_path)
    (tmp_path / "pets/ape").symlink_to("zebra")
    data = load(tmp_path / "pets")
    assert (len(data.train) + len(data.test), data.label_names) == (40, ("cat", "zebra"))
    assert data.notes[-1] == "3 links to folders that are read anyway were skipped: above, ape, cat/loop"


def test_a_link_that_leads_nowhere_is_refused_by_name(tmp_path):
    save(tmp_path / "cat", 0)
    (tmp_path / "dog").symlink_to("/nowhere/dogs")
    (tmp_path / "owl").symlink_to("owl")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert "\n  dog: a link to /nowhere/dogs, No such file or directory" in str(caught.value)
    assert "\n  owl: a link to owl, Too many levels of symbolic links" in str(caught.value)


def test_a_class_folder_that_may_not_be_read_is_refused_by_name(open_folder):
    for name in ("cat", "dog", "owl"):
        save(open_folder / "pets" / name, 0, 5)
    (open_folder / "pets/dog").chmod(0)
    (open_folder / "pets/owl").chmod(0o444)  # may be listed, but nothing in it may be opened
    with as_a_user(), pytest.raises(DataError) as caught:
        load(open_folder / "pets")
    assert "\n  dog: unreadable folder: Permission denied" in str(caught.value)
    assert "owl/0.png" in str(caught.value)


@pytest.mark.parametrize("where", ["pets", "pets/deeper"])
def test_data_that_may_not_be_read_is_told_as_that(where, open_folder):
    save(open_folder / "pets/deeper", 0)
    (open_folder / "pets").chmod(0)
    with as_a_user(), pytest.raises(DataError) as caught:
        load(open_folder / where)
    told = str(caught.value)
    assert told.startswith(f"{open_folder / where}: expected a readable file or folder, got: Permission")


def test_a_run_directory_below_the_pictures_is_left_out_and_told(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        save(tmp_path / name, 20 * number)
    before = load(tmp_path)
    for run in ("runs/a", "runs/b"):
        save(tmp_path / run, 100, 1)
        for file in ("config.json", "provenance.json"):
            (tmp_path / run / file).write_text("{}")
    data = load(tmp_path)
    assert (data.train.fingerprint, data.label_names) == (before.train.fingerprint, before.label_names)
    assert data.notes[-1] == "2 run directories were skipped: runs/a, runs/b"
    with pytest.raises(DataError, match="expected images, got a run directory of `vae-train fit`"):
        load(tmp_path / "runs/a")


def test_what_systems_put_into_folders_is_left_alone(tmp_path):
    save(tmp_path / "cat", 0)
    for name in ("__MACOSX/cat", "@eaDir/0.png", "$RECYCLE.BIN", "lost+found", ".git", ".ipynb_checkpoints"):
        save(tmp_path / name, 50, 1)
    assert scan(tmp_path).folders == ["cat"]
    assert len(scan(tmp_path).files) == 20


def test_a_pipe_is_not_opened(tmp_path):
    save(tmp_path, 0)
    os.mkfifo(tmp_path / "x.png")
    assert load(tmp_path).notes[-1] == "1 files that are no images were skipped: x.png"

"""Parts and classes are known by the names of folders, and what could be either is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path, PurePosixPath

import pytest

from training.data.folder_layout import arrange, role_of
from training.errors import DataError

ROOT = Path("pets")


def layout(*files: str, empty: tuple[str, ...] = ()):
    folders = {parent.as_posix() for file in files for parent in PurePosixPath(file).parents} - {"."}
    return arrange(ROOT, sorted(files), sorted({*folders, *empty}))


def of_classes(*tops: str) -> list[str]:
    """A cat and a dog in each folder."""
    return [f"{top}/{name}/1.png".removeprefix("/") for top, name in product(tops, ("cat", "dog"))]


def read(*files: str, **more) -> dict[str, tuple[int, list[str] | None]]:
    """Number and classes of the images of each part."""
    return {
        role: (len(part.files), None if part.classes is None else sorted(set(part.classes)))
        for role, part in layout(*files, **more).parts.items()
    }


def refusal(*files: str, **more) -> str:
    with pytest.raises(DataError) as caught:
        layout(*files, **more)
    return str(caught.value)


BOTH = (2, ["cat", "dog"])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("training", "testing"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("train_set", "test_set"),
        ("trainset", "testset"),
        ("TrainingSet", "TestSet"),
        ("training-data", "test-data"),
        ("train2017", "test2017"),
        ("images.train", "images.test"),
        ("01 train", "02 test"),
        ("training_images", "test_images"),
        ("train", "eval"),
    ],
)
def test_parts_are_known_by_their_usual_names(train, test):
    assert read(*of_classes(train, test)) == {"training": BOTH, "test": BOTH}


@pytest.mark.parametrize("name", ["val", "Val", "valid", "validation", "validation_set", "dev", "val2017"])
def test_a_validation_part_is_one(name):
    both = read(*of_classes("train", name, "test"))
    assert both == {"training": BOTH, "validation": BOTH, "test": BOTH}
    assert read(*of_classes("train", name)) == {"training": BOTH, "validation": BOTH}


def test_names_that_are_not_plain_are_told():
    assert layout(*of_classes("train", "test", "val")).notes == ()
    told = "parts: Train is the training part, dev is the validation part, Test is the test part"
    assert layout(*of_classes("Train", "Test", "dev")).notes == (told,)


def test_the_only_folder_is_entered_and_told():
    for top in ("pets", "data/pets"):
        expected = {"training": BOTH, "test": BOTH}
        assert read(*of_classes(f"{top}/train", f"{top}/test")) == expected
        assert read(*of_classes(top)) == {"training": BOTH}
        assert layout(*of_classes(top)).notes == (f"read as pets/{top}, the only folder with images",)
    assert read(*of_classes("train/pets", "test/pets")) == {"training": BOTH, "test": BOTH}
    # As some tools export: pictures in one tree of folders, text in another.
    assert read(*of_classes("images/train"), empty=("labels", "labels/train")) == {"training": BOTH}


def test_one_class_folder_and_no_folder_at_all_are_as_they_were():
    assert read("cat/1.png", "cat/2.png") == {"training": (2, ["cat"])}
    assert read("1.png", "2.png") == {"training": (2, None)}
    assert read("cat/deeper/1.png", "dog/1.png") == {"training": BOTH}


def test_training_images_may_do_without_a_folder_of_their_own():
    assert read(*of_classes("", "test")) == {"training": BOTH, "test": BOTH}
    assert read(*of_classes("", "val", "test")) == {"training": BOTH, "validation": BOTH, "test": BOTH}
    assert read("1.png", "2.png", "test/3.png") == {"training": (2, None), "test": (1, None)}


def test_adjectives_and_vehicles_are_classes_where_no_part_is_meant():
    assert read("valid/1.png", "invalid/2.png") == {"training": (2, ["invalid", "valid"])}
    assert read("train_station/1.png", "bus_stop/2.png")["training"][1] == ["bus_stop", "train_station"]
    assert "If train is a class and not a part, rename it" in refusal("train/1.png", "bus/2.png")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (of_classes("train", "Train"), "one folder for the training part, got Train, train"),
        (of_classes("train", "test", "testing"), "one folder for the test part, got test, testing"),
        (of_classes("train", "val", "validation"), "one folder for the validation part, got val, valid"),
        (
            of_classes("train", "test", "extra"),
            "pets: expected only the folders train and test, got extra as well.",
        ),
        (
            of_classes("train", "test1", "unlabeled"),
            "the folders train and test1, got unlabeled as well. Move",
        ),
        (
            of_classes("train", "train/val"),
            "pets/train: expected folders of classes, got val, which is a name",
        ),
        (["cat/train/1.png", "dog/2.png"], "pets/cat: expected folders of classes, got train, which is a"),
        (
            of_classes("train", "train/valid"),
            "got valid with folders of the same names as its neighbours (cat, dog)",
        ),
        (of_classes("", "valid"), "If valid is a part, name it test or validation"),
        (of_classes("cats_train", "cats_test"), "got cats_test, cats_train, whose names suggest parts."),
        (of_classes("cats_train", "cats_valid"), "name them train, validation and test"),
        (of_classes("my_train", "test"), "got my_train, test, whose names suggest parts"),
        (of_classes("test"), "expected training images next to test, got none."),
        (of_classes("val", "test"), "expected training images next to val and test, got none."),
    ],
)
def test_what_could_mean_two_things_is_refused_with_what_to_rename(files, told):
    assert told in refusal(*files)


def test_parts_inside_of_classes_are_refused_with_the_layout_that_works():
    """As sets for anomaly detection are handed round: one folder for each thing, and parts in it."""
    files = [f"{thing}/{part}/1.png" for thing in ("bottle", "cable") for part in ("train", "test")]
    assert "Put the parts above the classes, as in test/bottle, or rename pets/bottle itself" in refusal(
        *files
    )
    assert read(*(file.removeprefix("bottle/") for file in files if "bottle" in file)) == {
        "training": (1, None),
        "test": (1, None),
    }


def test_a_part_without_pictures_is_refused_and_a_class_without_them_is_told():
    assert "pets/test: expected image files, got none." in refusal("train/1.png", empty=("test",))
    notes = layout(*of_classes("", "test"), empty=("owl", "test/owl", "test/cat/deeper")).notes
    assert notes == ("folders without images are no classes: owl, test/owl",)


@pytest.mark.parametrize("name", ["contest", "valley", "trainer", "Training für Katzen", "", "7", "set"])
def test_other_names_are_no_parts(name):
    assert role_of(name, weak=True) is None

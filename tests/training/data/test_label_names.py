"""Whatever words images come with, their classes get names that a version can be published with."""

import pytest
from pydantic import TypeAdapter

from model_store.manifest import Label
from training.data.label_names import publishable_names


def test_names_that_can_be_published_are_kept_as_they_are():
    words = ("01 über", "d'Artagnan", "x" * 64, "猫", "7", "a  b")
    assert publishable_names(words) == (words, ())
    assert publishable_names(()) == ((), ())


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (" cat", "cat"),
        ("cat\u00a0", "cat"),
        ("a\nb\t\x00c", "a b c"),
        ("", "unnamed"),
        ("\x7f ", "unnamed"),
        ("caf\udce9", "café"),
        ("caf\udc80", "caf"),
        ("half \ud83d", "half \N{REPLACEMENT CHARACTER}"),
        ("x" * 60 + "01234", "x" * 43 + "…" + "x" * 15 + "01234"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
    ],
)
def test_others_are_made_fit_and_told(word, name):
    (given, dog), (note,) = publishable_names((word, "dog"))
    assert (given, dog) == (name, "dog")
    TypeAdapter(Label).validate_python(given)
    assert note.endswith(f" became {name}")
    note.encode()
    assert note.isprintable()


def test_no_two_classes_get_one_name():
    words = ("", " cat", "cat", "cat ", "cat (2)", "unnamed", "y" * 65, "y" * 66)
    names, _ = publishable_names(words)
    assert names[:6] == ("unnamed (2)", "cat (3)", "cat", "cat (4)", "cat (2)", "unnamed")
    assert len(set(names)) == len(words)
    for name in names:
        TypeAdapter(Label).validate_python(name)


def test_of_many_changed_names_some_are_told():
    _, (note,) = publishable_names([f" {number}" for number in range(40)])
    assert note.endswith("' 0' became 0, ' 1' became 1, ' 2' became 2 and 37 more")

"""The part and the class of each file, from the names of its folders.

Knows names alone. Knows nothing of disks or of the contents of files. It rejects an ambiguous layout: if a
part were taken for a class, the model would train on it, and no figure would show it.

    train/ test/ validation/      parts, by any usual name (`Training`, `test_set`, `val`, `valid`, `dev`, …)
    cat/ dog/ test/               `train/` may be left out; then `valid`, `dev` and `eval` are classes
    pets/train/ pets/test/        the only folder is entered
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import DataError

TRAINING, TEST, VALIDATION = "training", "test", "validation"
_WORDS = {
    TRAINING: ("train", "training", "trn"),
    VALIDATION: ("val", "validation", "validate"),
    TEST: ("test", "testing", "tst"),
}
#: Ambiguous words: they name parts only if a training part exists too.
_WEAK_WORDS = {TRAINING: (), VALIDATION: ("valid", "dev"), TEST: ("eval", "evaluation")}
#: Words without a meaning of their own, alone (`test_set`) or joined (`testset`).
_FILLERS = "(?:set|sets|data|dataset|images?|imgs?|pictures?|photos?|files?|split|part|copy)"
_PLAIN = {"train", "test", "val", "validation"}
_TOLD = 3


@dataclass(frozen=True)
class FoundPart:
    """The files of one part, sorted."""

    folder: str
    """Relative to the root; empty where it is the root itself."""
    files: list[str]
    """Relative to the root."""
    classes: list[str] | None
    """The class of each file; None if no file is in a class folder."""


@dataclass(frozen=True)
class Layout:
    """The parts by their names, and notes for the user about their recognition."""

    parts: dict[str, FoundPart]
    notes: tuple[str, ...]


def arrange(root: Path, files: Sequence[str], folders: Sequence[str]) -> Layout:
    """Find the parts and the classes.

    Args:
        root: The folder, for messages.
        files: Images, relative to the root, with `/` between folders.
        folders: All folders, with images or without.

    Raises:
        DataError: The names are ambiguous, or a part has no images.
    """
    top = _entered("", files)
    notes = [f"read as {root / top}, the only folder with images"] if top else []
    roles = _roles(_names(top, folders))
    for role, names in roles.items():
        if len(names) > 1:
            raise DataError(
                f"{root / top}: expected one folder for the {role} part, got {_some(names)}. Merge them, or "
                "rename those that are classes."
            )
    of_roles = {names[0]: role for role, names in roles.items() if names}
    inside: dict[str, list[str]] = {TRAINING: [], **{role: [] for role in of_roles.values()}}
    rest: list[str] = []
    for file in files:
        folder, slash, _ = _below(file, top).partition("/")
        (inside[of_roles[folder]] if slash and folder in of_roles else rest).append(file)
    for name, role in of_roles.items():
        if not inside[role]:
            raise DataError(
                f"{root / top / name}: expected image files, got none. Put some there, or remove the folder."
            )
    if roles[TRAINING]:
        _check_nothing_beside(root / top, list(of_roles), [_below(file, top) for file in rest])
    else:
        _check_no_half_names(root / top, _names(top, folders))
        inside[TRAINING] = rest
        if not rest:
            raise DataError(
                f"{root / top}: expected training images next to {' and '.join(of_roles)}, got none. Put "
                "them into a folder train."
            )
    if not set(of_roles) <= _PLAIN:
        notes.append("parts: " + ", ".join(f"{name} is the {role} part" for name, role in of_roles.items()))
    parts = {}
    for role, found in inside.items():
        part = top
        if roles[role]:
            part = _slash(top) + roles[role][0]
            part = _entered(part, found) or part
        parts[role] = _part(root, part, found)
    notes += _without_pictures(parts, folders)
    return Layout(parts, tuple(notes))


def role_of(name: str, *, weak: bool) -> str | None:
    """The part that a folder of this name denotes, or None.

    Args:
        name: Name of a folder.
        weak: Whether ambiguous words count.
    """
    words = [word for word in _split(name) if not re.fullmatch(_FILLERS, word)]
    if len(words) != 1:
        return None
    for role, known in _WORDS.items():
        stems = "|".join((*known, *_WEAK_WORDS[role]) if weak else known)
        if re.fullmatch(f"(?:{stems}){_FILLERS}?", words[0]):
            return role
    return None


def _roles(names: Iterable[str]) -> dict[str, list[str]]:
    names = sorted(names)
    weak = any(role_of(name, weak=False) == TRAINING for name in names)
    roles: dict[str, list[str]] = {role: [] for role in _WORDS}
    for name in names:
        if role := role_of(name, weak=weak):
            roles[role].append(name)
    return roles


def _split(name: str) -> list[str]:
    """`TestSet`, `test_set` and `test-set2` are `test`, `set`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", spaced.casefold())


def _names(top: str, folders: Iterable[str]) -> list[str]:
    """Folders directly in `top`."""
    below = (_below(folder, top) for folder in folders if folder != top and folder.startswith(_slash(top)))
    return sorted({name.partition("/")[0] for name in below})


def _entered(top: str, files: Sequence[str]) -> str:
    """The deepest folder that contains all files; empty if it is `top`."""
    entered = ""
    while files:
        below = [_below(file, entered or top).split("/") for file in files]
        name = below[0][0]
        if any(parts[0] != name or len(parts) < 3 for parts in below) or role_of(name, weak=False):
            break
        entered = _slash(entered or top) + name
    return entered


def _part(root: Path, part: str, files: Sequence[str]) -> FoundPart:
    """The files of a part with their classes, which are the folders directly in it."""
    files = sorted(files)
    paths = [_below(file, part).split("/") for file in files]
    without = [file for file, path in zip(files, paths, strict=True) if len(path) == 1]
    if 0 < len(without) < len(files):
        raise DataError(
            f"{root / part}: expected all images in class folders or none, got {len(without):,} of "
            f"{len(files):,} outside of them: {_some(without)}. Move them into a class folder, or remove "
            "the class folders."
        )
    classes = sorted({path[0] for path in paths if len(path) > 1})
    for path in paths:
        for depth, name in enumerate(path[:-1]):
            if role := role_of(name, weak=False):
                _refuse_inner_part(root / part, path[: depth + 1], role)
    for name in classes:
        inner = {path[1] for path in paths if path[0] == name and len(path) > 2}
        if len(inner) > 1 and inner <= set(classes) - {name}:
            raise DataError(
                f"{root / part}: expected folders of classes, got {name} with folders of the same names as "
                f"its neighbours ({_some(sorted(inner))}). If {name} is a part, name it test or validation; "
                "otherwise rename the folders inside of it."
            )
    return FoundPart(part, files, None if without else [path[0] for path in paths])


def _refuse_inner_part(part: Path, path: Sequence[str], role: str) -> None:
    *above, name = path
    where = part.joinpath(*above)
    plain = {TRAINING: "train", TEST: "test", VALIDATION: "validation"}[role]
    remedy = (
        f"If it is the {role} part, put its classes into a folder {plain} next to the others"
        if not above
        else f"Put the parts above the classes, as in {plain}/{above[0]}, or rename {where} itself"
    )
    raise DataError(
        f"{where}: expected folders of classes, got {name}, which is a name of the {role} part. {remedy}; "
        "if it is a class, rename it."
    )


def _check_nothing_beside(top: Path, parts: Sequence[str], rest: Iterable[str]) -> None:
    if beside := sorted({file.partition("/")[0] for file in rest}):
        raise DataError(
            f"{top}: expected only the folders {' and '.join(parts)}, got {_some(beside)} as well. Move "
            f"training images into {parts[0]}, and remove the rest. If {parts[0]} is a class and not a "
            "part, rename it."
        )


def _check_no_half_names(top: Path, names: Iterable[str]) -> None:
    """Reject `cats_train` next to `cats_test`: they are parts of something, and no classes."""
    half = {
        name: role
        for name in names
        for role, known in _WORDS.items()
        if {*known, *_WEAK_WORDS[role]} & set(_split(name))
    }
    if TRAINING in half.values() and set(half.values()) != {TRAINING}:
        raise DataError(
            f"{top}: expected folders of parts or of classes, got {_some(sorted(half))}, whose names "
            "suggest parts. If they are parts, name them train, validation and test; if they are classes, "
            "rename them."
        )


def _without_pictures(parts: dict[str, FoundPart], folders: Sequence[str]) -> list[str]:
    """Class folders without files."""
    empty = []
    for part in parts.values():
        if part.classes is not None:
            inner = {_below(other.folder, part.folder).partition("/")[0] for other in parts.values()}
            names = set(_names(part.folder, folders)) - inner - set(part.classes)
            empty += [_slash(part.folder) + name for name in sorted(names)]
    return [f"folders without images are no classes: {_some(empty)}"] if empty else []


def _slash(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _below(path: str, folder: str) -> str:
    return path.removeprefix(_slash(folder))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD:,} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more

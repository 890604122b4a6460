"""The folder of a model of another library: its settings as JSON, read before anything of the library runs.

Knows files and JSON. Knows nothing of torch or of the libraries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from training.errors import ForeignModelError

_MOST_BYTES: Final = 1024 * 1024


def find_folder(folder: Path, settings: str, *, inner: str, remedy: str) -> Path:
    """The folder with the model's settings: this one, or one inside it.

    Args:
        folder: Named by the user.
        settings: Name of the file with the settings.
        inner: Name of the folder inside, as a pipeline or a training run has it.
        remedy: What to do if there is no such folder.

    Raises:
        ForeignModelError: Neither has the file.
    """
    for place in (folder, folder / inner):
        if (place / settings).is_file():
            return place
    got = "a folder without it" if folder.is_dir() else "no such folder"
    raise ForeignModelError(
        f"{folder}: expected a folder with {settings} or {inner}/{settings}, got {got}. {remedy}"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ForeignModelError: It cannot be read, or is no object.
    """
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except OSError as error:
        raise ForeignModelError(
            f"{path}: expected a readable file, got: {error.strerror or error}."
        ) from error
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ForeignModelError(f"{path}: expected a JSON object, got another content. Save the model again.")
    return found


def one_line(error: BaseException) -> str:
    """The reason of a library's error, short enough for a message."""
    return " ".join(str(error).split())[:300].rstrip(".")

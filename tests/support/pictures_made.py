"""Pictures as people have them, and bodies with several of them.

Knows Pillow and the formats of bodies. Knows nothing of the service.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from http_calls import Answer, Caller
from PIL import Image, ImageDraw

BOUNDARY = "a-boundary"


def canvas(
    mode: str = "L", *, pen: Any = 255, ground: Any = 0, size: tuple[int, int] = (280, 280)
) -> Image.Image:
    """A drawing with a thick pen."""
    picture = Image.new(mode, size, ground)
    ImageDraw.Draw(picture).line([(90, 60), (190, 60), (120, 210)], fill=pen, width=18, joint="curve")
    return picture


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    return buffer.getvalue()


def zipped(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def form(*parts: tuple[str, bytes]) -> bytes:
    """`name` for a field, `name@file` for a file."""
    out = b""
    for name, data in parts:
        field, at, file = name.partition("@")
        more = f'; filename="{file}"' if at else ""
        out += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{more}\r\n\r\n'.encode()
            + data
            + b"\r\n"
        )
    return out + f"--{BOUNDARY}--\r\n".encode()


def post_form(api: Caller, target: str, *parts: tuple[str, bytes]) -> Answer:
    return api.post(target, form(*parts), f"multipart/form-data; boundary={BOUNDARY}")


def mu(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body[:500]
    return np.array(answer.json()["mu"])


def photograph(width: int, height: int, kind: str = "JPEG", **options: Any) -> bytes:
    levels = np.add.outer(np.arange(height), np.arange(width)) % 200
    return saved(Image.fromarray(levels.astype(np.uint8)).convert("RGB"), kind, **options)

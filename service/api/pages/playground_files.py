"""The files of the playground, read once: their content as sent, their digest, and their packed bodies.

Knows a directory, media types and gzip. Knows nothing of requests or models.

The address of every asset contains one digest of all assets, `playground/{digest}/panels/map.js`: the scripts
import each other by relative addresses, so none has to be rewritten, and a cache never mixes two releases.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.api.pages.bare_sources import bare_script, bare_style

#: Any other file of the directory is not sent.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_BARE: Final = {".css": bare_style, ".js": bare_script}
_PAGE: Final = "index.html"
#: What the page contains in place of the address of its assets, and of the root of the server.
_ASSETS_MARK: Final = "{{assets}}"
_BASE_MARK: Final = "{{base}}"
#: Every module, for a browser to fetch at once: it would find them by their imports, in five turns.
_MODULES_MARK: Final = "<!-- {{modules}} -->"
_MODULE: Final = '<link rel="modulepreload" href="{{assets}}/%s">'
#: The script that the page names itself.
_MAIN: Final = "main.js"
#: One of several languages, which the scripts choose.
_TEXTS: Final = "texts/"
#: zlib's number for the format of gzip, without a name and a time: equal bodies yield equal bytes.
_GZIP: Final = 16 + zlib.MAX_WBITS
#: Prefixes of proxies; a server has one, or a few.
_PAGES: Final = 8


@dataclass(frozen=True)
class Body:
    """The bytes of a response, and the strong ETag that names exactly them."""

    content: bytes
    etag: bytes


@dataclass(frozen=True)
class PackedFile:
    """A file as it is, and as gzip if that is shorter."""

    media_type: str
    plain: Body
    gzip: Body | None


@dataclass(frozen=True)
class PlaygroundFiles:
    """The page and its assets."""

    digest: str
    assets: Mapping[str, PackedFile]
    """By path below the directory, such as `panels/map.js`."""
    template: str

    def page(self, prefix: str) -> PackedFile:
        """The page, whose addresses begin with the prefix of a proxy, or are relative.

        Args:
            prefix: `/vae`, or nothing. A browser at `/vae` would resolve `playground/…` to `/playground/…`.
        """
        return _page(self.template, prefix=prefix, digest=self.digest)


@functools.lru_cache(maxsize=2)
def read_playground(directory: Path = Path(__file__).parent / "playground") -> PlaygroundFiles:
    """The files of a directory.

    Args:
        directory: It contains `index.html`.

    Raises:
        OSError: It is unreadable.
    """
    contents = {
        path.relative_to(directory).as_posix(): _as_sent(path.read_bytes(), path.suffix)
        for path in sorted(directory.rglob("*"))
        if path.suffix in _MEDIA_TYPES and path.is_file() and not path.name.startswith(".")
    }
    assets = {name: _packed(data, _MEDIA_TYPES[Path(name).suffix]) for name, data in contents.items()}
    modules = [name for name in assets if _is_preloaded(name)]
    template = (directory / _PAGE).read_text(encoding="utf-8")
    return PlaygroundFiles(
        digest=_digest(contents),
        assets=assets,
        template=template.replace(_MODULES_MARK, "".join(_MODULE % name for name in modules)),
    )


def _is_preloaded(name: str) -> bool:
    return name.endswith(".js") and name != _MAIN and not name.startswith(_TEXTS)


def _as_sent(data: bytes, suffix: str) -> bytes:
    bare = _BARE.get(suffix)
    return bare(data.decode("utf-8")).encode("utf-8") if bare else data


def _digest(contents: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, data in sorted(contents.items()):
        whole.update(f"{name}\0{len(data)}\0".encode())
        whole.update(data)
    return whole.hexdigest()[:16]


@functools.lru_cache(maxsize=_PAGES)
def _page(template: str, *, prefix: str, digest: str) -> PackedFile:
    base = f"{prefix}/" if prefix else ""
    text = template.replace(_ASSETS_MARK, f"{base}playground/{digest}")
    # A link to the root itself may not be empty: that would be the page with its query.
    return _packed(text.replace(_BASE_MARK, base or "./").encode(), "text/html; charset=utf-8")


def _packed(data: bytes, media_type: str) -> PackedFile:
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP, zlib.DEF_MEM_LEVEL + 1)
    gzip = packer.compress(data) + packer.flush()
    return PackedFile(media_type, _body(data), _body(gzip) if len(gzip) < len(data) else None)


def _body(content: bytes) -> Body:
    return Body(content, b'"' + hashlib.sha256(content).hexdigest()[:32].encode() + b'"')

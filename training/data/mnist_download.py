"""MNIST from its public mirrors into a cache, once.

Knows HTTP, the four file names and their digests. Knows nothing of the use of the images.

The *decompressed* content is checked: mirrors may have compressed it again. A file receives its own name in
the cache only after that check. Before, it is a `.part`, which the next attempt continues.

pooch has four disadvantages: it restarts a broken download, knows one address per file, hashes the compressed
file, and lets two processes download the same one at once.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from training.data.cache import default_cache_dir
from training.data.idx import read_idx
from training.data.mnist_originals import MNIST_SHA256, MNIST_SIZE_BYTES
from training.errors import DataError

#: Folders with the four files, tried in this order.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
#: Timeout of one connection attempt and of each wait for more bytes.
TIMEOUT_S = 30.0
#: Longest wait for another process that downloads into the same cache.
LOCK_TIMEOUT_S = 900.0
_TRIES_PER_MIRROR = 3
_CHUNK_BYTES = 256 * 1024
#: gzip never makes a file longer than this beyond its content; a longer body is another file.
_MAX_OVERHEAD_BYTES = 64 * 1024

Tell = Callable[[str], None]


class _MirrorError(Exception):
    """One attempt at one mirror; the message is a reason, for a list of all attempts."""


class _CutShortError(_MirrorError):
    """The connection ended early; the received bytes are kept."""


def cached_mnist(cache_dir: Path | None = None) -> Path | None:
    """The folder with the four files if all were downloaded earlier; it never downloads."""
    try:
        folder = (cache_dir or default_cache_dir()) / "mnist"
    except DataError:
        return None
    return folder if all((folder / f"{stem}.gz").is_file() for stem in MNIST_SHA256) else None


def ensure_mnist(
    cache_dir: Path | None = None,
    *,
    mirrors: Sequence[str] | None = None,
    timeout_s: float = TIMEOUT_S,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    tell: Tell = lambda _: None,
) -> Path:
    """The folder with the four original files; downloads missing or damaged ones.

    A second process waits for the first and then finds all files.

    Args:
        cache_dir: Parent of the folder; None is `default_cache_dir()`.
        mirrors: Base addresses ending in a slash; None is `MIRRORS`.
        timeout_s: Timeout of each wait for a mirror.
        lock_timeout_s: Timeout of the wait for another process.
        tell: Called with a line for people at each long step.

    Returns:
        Folder with four gzipped IDX files whose decompressed content is the original, byte for byte.

    Raises:
        DataError: No mirror had the right content (the message lists all reasons), the cache is not writable,
            or another process held it for too long.
    """
    folder = (cache_dir or default_cache_dir()) / "mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder / ".lock", lock_timeout_s, tell):
            for stem in MNIST_SHA256:
                _ensure(folder, stem, MIRRORS if mirrors is None else mirrors, timeout_s, tell)
    except OSError as error:
        raise DataError(
            f"{folder}: expected a writable cache, got: {error}. Choose another place with XDG_CACHE_HOME, "
            "or name a folder that contains the four files with --data."
        ) from error
    return folder


def _ensure(folder: Path, stem: str, mirrors: Sequence[str], timeout_s: float, tell: Tell) -> None:
    target, part = folder / f"{stem}.gz", folder / f"{stem}.gz.part"
    if target.is_file():
        if _objection(target, stem) is None:
            return
        tell(f"{target} is damaged; downloading it again")
        target.unlink()
    reasons = []
    for mirror in mirrors:
        url = f"{mirror}{stem}.gz"
        tell(f"downloading {url}")
        try:
            _fetch_checked(url, part, stem, timeout_s)
        except _MirrorError as failure:
            reasons.append(f"{url}: {failure}")
            tell(reasons[-1])
            continue
        part.replace(target)
        return
    raise DataError(
        f"{stem}: expected one of {len(mirrors)} mirrors to have the original file, but none did:\n  "
        + "\n  ".join(reasons)
        + (
            "\nTry again later (the received bytes are kept), or name a folder that contains the four files "
            "with --data."
        )
    )


def _fetch_checked(url: str, part: Path, stem: str, timeout_s: float) -> None:
    """Leave the right content in `part`, or fail; wrong content never stays."""
    resumed = part.exists()
    _fetch_persistently(url, part, stem, timeout_s)
    objection = _objection(part, stem)
    if objection is not None and resumed:
        # The two halves may come from mirrors with different compression: once more, from the start.
        part.unlink()
        _fetch_persistently(url, part, stem, timeout_s)
        objection = _objection(part, stem)
    if objection is not None:
        part.unlink()
        raise _MirrorError(objection)


def _fetch_persistently(url: str, part: Path, stem: str, timeout_s: float) -> None:
    """Continue after a lost connection, a few times."""
    for remaining in reversed(range(_TRIES_PER_MIRROR)):
        try:
            _fetch(url, part, stem, timeout_s)
        except _CutShortError:
            if remaining == 0:
                raise
        else:
            return


def _fetch(url: str, part: Path, stem: str, timeout_s: float) -> None:
    """One request: the rest of `part` if the mirror supports it, otherwise the whole file."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "vae-service"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # http and https mirrors only
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            start = _start_of_body(response, have)
            _receive(response, part, start, MNIST_SIZE_BYTES[stem] + _MAX_OVERHEAD_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                # No bytes beyond the present ones: the check of the content shows whether they are whole or
                # garbage.
                return
            raise _MirrorError(f"answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _MirrorError(f"could not be reached ({error.reason})") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _CutShortError(f"the connection was lost ({type(error).__name__}: {error})") from error


def _start_of_body(response: http.client.HTTPResponse, have: int) -> int:
    """The position of the body in the file: a mirror may ignore the Range and send everything."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    content_range = response.headers.get("Content-Range", "")
    if not content_range.startswith(f"bytes {have}-"):
        raise _MirrorError(
            f"was asked for bytes from {have:,} on and answered with Content-Range {content_range!r}"
        )
    return have


def _receive(response: http.client.HTTPResponse, part: Path, start: int, max_bytes: int) -> None:
    declared = response.headers.get("Content-Length")
    expected = start + int(declared) if declared is not None and declared.isdecimal() else None
    with part.open("r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        received = start
        while chunk := response.read(_CHUNK_BYTES):
            received += len(chunk)
            if received > max_bytes:
                file.truncate(0)
                raise _MirrorError(f"sent more than {max_bytes:,} bytes, longer than the file can be")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if expected is not None and received < expected:
        raise _CutShortError(f"the connection ended after {received:,} of {expected:,} bytes")


def _objection(path: Path, stem: str) -> str | None:
    """The reason why this is not the original file, or None."""
    try:
        digest = read_idx(path, max_payload_bytes=MNIST_SIZE_BYTES[stem]).sha256
    except DataError as error:
        return f"sent an unreadable file ({error})"
    if digest != MNIST_SHA256[stem]:
        return f"sent other content: expected sha256 {MNIST_SHA256[stem]} decompressed, got {digest}"
    return None


@contextmanager
def _only_one(lock: Path, timeout_s: float, tell: Tell) -> Iterator[None]:
    """Lock the cache for this process; the system releases it if the process dies."""
    with lock.open("ab") as file:
        deadline = time.monotonic() + timeout_s
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DataError(
                        f"{lock.parent}: another process has been downloading into this cache for more than "
                        f"{timeout_s:g} s. Wait for it or end it, or set XDG_CACHE_HOME to another place."
                    ) from None
                if not told:
                    tell(f"waiting for another process that downloads into {lock.parent}")
                    told = True
                time.sleep(0.05)
        yield

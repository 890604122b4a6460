"""What can go wrong in a model store, one class per thing a caller would handle differently.

    StoreError
    ├── InvalidReference        text that is no "name", "name@3" or "name@alias"; an alias that may not be set
    ├── InvalidDraft            a publisher handed something that may not be published
    ├── ModelNotFound           well-formed, but no such name, version, alias or earlier version
    ├── CorruptVersion          it is there and did not pass verification
    │   ├── MissingFile         a required file is absent
    │   ├── ExtraFile           something lies in the version that does not belong there
    │   ├── UnsafeFile          a link, a second hard link, or not a regular file
    │   ├── SizeMismatch        not the size the manifest states, or above the ceiling
    │   ├── DigestMismatch      not the SHA-256 the manifest states
    │   ├── InvalidManifest     manifest.json cannot be read or lies about its version
    │   │   └── NewerSchema     it follows a later contract than this package knows, and may be sound
    │   ├── HostileGraph        an ONNX file that does what no published graph may do
    │   ├── InvalidGolden       golden.npz cannot be read or does not fit the manifest
    │   ├── InvalidPrior        prior.npz cannot be read, does not fit the manifest, or is no set of mixtures
    │   ├── CorruptAliases      aliases.json cannot be read, or an alias points nowhere
    │   └── UnreadableFile      the operating system refused to read
    │       └── NotPermitted    by its permissions: it may belong to someone else
    ├── GoldenMismatch          a runtime's answers differ from the recorded ones
    └── StoreWriteFailed        disk full, read-only, input/output error
        └── StoreLocked         someone else is changing the store and did not finish in time

Every message says where, what was expected, what came and what to do. Knows nothing of HTTP status
codes; the exit codes of `vae-store` are in `cli.py`.
"""

from __future__ import annotations

from model_store.version_id import VersionId

#: Nothing quoted from a file or a caller is longer than this in a message.
MAX_QUOTED_CHARACTERS = 200


class StoreError(Exception):
    """Anything this package raises on purpose."""


class InvalidReference(StoreError):
    """The text does not name a model, version or alias."""


class InvalidDraft(StoreError):
    """What the publisher handed over may not be published; nothing was written."""


class ModelNotFound(StoreError):
    """No such name, version or alias; the message lists what there is."""


class CorruptVersion(StoreError):
    """What is published does not pass verification; nothing of it may be used."""


class MissingFile(CorruptVersion):
    """A file that every version holds is absent."""


class ExtraFile(CorruptVersion):
    """A file or directory that no manifest lists lies in the version."""


class UnsafeFile(CorruptVersion):
    """A symbolic link, a file with a second hard link, or something that is no regular file."""


class SizeMismatch(CorruptVersion):
    """The size differs from the manifest's, or is above the ceiling for that file."""


class DigestMismatch(CorruptVersion):
    """The SHA-256 differs from the manifest's."""


class InvalidManifest(CorruptVersion):
    """`manifest.json` is not valid, or speaks of another version than the one it lies in."""


class NewerSchema(InvalidManifest):
    """`manifest.json` follows a later contract: a matter for a newer release, not damage to be repaired."""


class HostileGraph(CorruptVersion):
    """An ONNX file reaches outside itself, is random, or is not the graph the manifest describes."""


class InvalidGolden(CorruptVersion):
    """`golden.npz` is not the five float32 arrays that the manifest calls for."""


class InvalidPrior(CorruptVersion):
    """`prior.npz` is not the Gaussian mixtures that the manifest calls for."""


class CorruptAliases(CorruptVersion):
    """`aliases.json` is not valid, or an alias points to a version that does not exist."""


class UnreadableFile(CorruptVersion):
    """The operating system refused to read: permissions, or an input/output error."""


class NotPermitted(UnreadableFile):
    """The permissions keep this user from reading; it may be no part of the store at all."""


class GoldenMismatch(StoreError):
    """A runtime's outputs are further from the golden ones than the manifest allows."""


class StoreWriteFailed(StoreError):
    """The store could not be changed; the message says whether anything became visible.

    Attributes:
        errno: The operating system's error number, or None where it gave none.
        path: The file or directory that was being written.
        published: The version that had become visible before the failure, or None: then nothing did.
    """

    def __init__(
        self,
        message: str,
        *,
        errno: int | None = None,
        path: str | None = None,
        published: VersionId | None = None,
    ) -> None:
        super().__init__(message)
        self.errno = errno
        self.path = path
        self.published = published


class StoreLocked(StoreWriteFailed):
    """The lock was held by someone else for longer than it was waited for."""


def quoted(value: object) -> str:
    """`repr` for a message, cut to a bounded length: files and callers may hold anything."""
    text = repr(value[: MAX_QUOTED_CHARACTERS * 4] if isinstance(value, str) else value)
    # Lone surrogates print on no terminal.
    text = text.encode("ascii", "backslashreplace").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= MAX_QUOTED_CHARACTERS else text[:MAX_QUOTED_CHARACTERS] + "…"


def defect(where: object, *, expected: str, got: str, remedy: str) -> str:
    """The one form of every message about something corrupt."""
    return f"{where}: expected {expected}, got {got}. {remedy}"

"""Errors of a model store, one class per thing a caller would handle differently.

    StoreError
    ├── InvalidReference        not "name", "name@3" or "name@alias"; an alias that may not be set
    ├── InvalidDraft            a draft that may not be published
    ├── ModelNotFound           well-formed, but no such name, version, alias or earlier version
    ├── VersionTaken            the number of a version to add belongs to another version here
    ├── VersionInUse            an alias points to the version to remove
    ├── CorruptVersion          the version exists and did not pass verification
    │   ├── MissingFile         a required file is absent
    │   ├── ExtraFile           the version contains a file that does not belong there
    │   ├── UnsafeFile          a link, a second hard link, or not a regular file
    │   ├── SizeMismatch        not the size in the manifest, or above the ceiling
    │   ├── DigestMismatch      not the SHA-256 in the manifest
    │   ├── InvalidManifest     manifest.json is unreadable, or wrong about its version
    │   │   └── NewerSchema     it follows a later contract, and may be sound
    │   ├── HostileGraph        an ONNX file with forbidden content
    │   ├── InvalidGolden       golden.npz is unreadable or does not match the manifest
    │   ├── InvalidPrior        prior.npz is unreadable, no set of mixtures, or does not match the manifest
    │   ├── InvalidPreview      preview.npz is unreadable or does not match the manifest
    │   ├── InvalidSignature    a signature is required, and absent, by another key, or of other content
    │   ├── CorruptAliases      aliases.json is unreadable, or an alias has no target
    │   └── UnreadableFile      the operating system refused to read
    │       └── NotPermitted    by its permissions: it may belong to another program
    ├── UnusableKey             a file of keys is unreadable, or its keys are of another kind
    ├── MissingExtra            a library for signatures is not installed
    ├── GoldenMismatch          a runtime's outputs differ from the recorded ones
    └── StoreWriteFailed        disk full, read-only, input/output error
        └── StoreLocked         another process changes the store and did not finish in time

Every message names the place, the expected value, the actual value and the remedy. Knows nothing of HTTP
status codes; the exit codes of `vae-store` are in `cli.py`.
"""

from __future__ import annotations

from model_store.version_id import VersionId

#: Maximum length of a quotation from a file or a caller in a message.
MAX_QUOTED_CHARACTERS = 200


class StoreError(Exception):
    """Any deliberate error of this package."""


class InvalidReference(StoreError):
    """The text does not name a model, version or alias."""


class InvalidDraft(StoreError):
    """The publisher's draft may not be published; nothing was written."""


class ModelNotFound(StoreError):
    """No such name, version or alias; the message lists the existing ones."""


class VersionTaken(StoreError):
    """The number of the version to add belongs, or belonged, to another version here; nothing was added."""


class VersionInUse(StoreError):
    """An alias points to the version to remove; nothing was removed."""


class CorruptVersion(StoreError):
    """A published version does not pass verification; no part of it may be used."""


class MissingFile(CorruptVersion):
    """A required file of the version is absent."""


class ExtraFile(CorruptVersion):
    """The version contains a file or directory that no manifest lists."""


class UnsafeFile(CorruptVersion):
    """A symbolic link, a file with a second hard link, or no regular file."""


class SizeMismatch(CorruptVersion):
    """The size differs from the manifest's, or is above the ceiling for that file."""


class DigestMismatch(CorruptVersion):
    """The SHA-256 differs from the manifest's."""


class InvalidManifest(CorruptVersion):
    """`manifest.json` is invalid, or describes another version than its directory."""


class NewerSchema(InvalidManifest):
    """`manifest.json` follows a later contract: it needs a newer release, and no repair."""


class HostileGraph(CorruptVersion):
    """An ONNX file reaches outside itself, is random, or is not the graph of the manifest."""


class InvalidGolden(CorruptVersion):
    """`golden.npz` is not the five float32 arrays that the manifest requires."""


class InvalidPrior(CorruptVersion):
    """`prior.npz` is not the Gaussian mixtures that the manifest requires."""


class InvalidPreview(CorruptVersion):
    """`preview.npz` is not the arrays that the manifest requires."""


class InvalidSignature(CorruptVersion):
    """A trusted signature is required: there is none, it is by another key, or of other content."""


class CorruptAliases(CorruptVersion):
    """`aliases.json` is not valid, or an alias points to a version that does not exist."""


class UnreadableFile(CorruptVersion):
    """The operating system refused to read: permissions, or an input/output error."""


class NotPermitted(UnreadableFile):
    """This user lacks the permission to read; the entry may belong to another program."""


class UnusableKey(StoreError):
    """A file of keys is unreadable, or contains no key that signatures can use."""


class MissingExtra(StoreError):
    """Signatures need a library that an extra installs; the message has the command."""


class GoldenMismatch(StoreError):
    """A runtime's outputs are further from the golden ones than the manifest allows."""


class StoreWriteFailed(StoreError):
    """The store could not be changed; the message says whether anything became visible.

    Attributes:
        errno: The operating system's error number, or None without one.
        path: The file or directory of the failed write.
        published: The version that had become visible before the failure, or None if none had.
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
    """Another process held the lock for longer than the wait."""


def quoted(value: object) -> str:
    """`repr` for a message, cut to a bounded length: files and callers may contain anything."""
    text = repr(value[: MAX_QUOTED_CHARACTERS * 4] if isinstance(value, str) else value)
    # Terminals cannot print lone surrogates.
    text = text.encode("ascii", "backslashreplace").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= MAX_QUOTED_CHARACTERS else text[:MAX_QUOTED_CHARACTERS] + "…"


def defect(where: object, *, expected: str, got: str, remedy: str) -> str:
    """The form of every message about a corrupt file."""
    return f"{where}: expected {expected}, got {got}. {remedy}"

"""API keys: generation, and the file of their digests.

Knows digests, scopes, lines of text and file permissions. Knows nothing of HTTP.

A line of the file is `DIGEST SCOPE [LABEL]`; empty lines and lines that begin with `#` are skipped:

    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 use phone-app
    60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752 admin deploy

DIGEST is the SHA-256 of the key in hexadecimal, so the file contains no key. Neither salt nor stretching is
needed, because `new_key` makes keys of 32 random bytes, which cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from model_store.echo import echo
from service.settings import SettingsError

Scope = Literal["use", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

#: Prefix of every generated key, so that scanners of source code find a committed one.
KEY_PREFIX: Final = "vae_"
#: Maximum length of a key; a generated one has 47 characters.
MAX_KEY_CHARACTERS: Final = 512
MAX_KEYS: Final = 1_000
_KEY_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1024 * 1024
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
LABEL_RULE: Final = "1 to 64 letters, digits and inner . _ @ -"
#: Where engines mount a container's secrets, readable by every user of a container that has only one.
_CONTAINER_SECRETS: Final = Path("/run/secrets")


class KeyFileError(SettingsError):
    """The key file is unusable; the message names the line, the expected and actual value, and the remedy."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The record of a key, without the key itself."""

    digest: bytes
    """SHA-256 of the key, 32 bytes."""
    scope: Scope
    """`use`: everything except administration. `admin`: everything."""
    label: str | None = None
    """Its owner, for the log."""

    @property
    def line(self) -> str:
        """The line of the file."""
        return " ".join(filter(None, (self.digest.hex(), self.scope, self.label)))


class KeyRing:
    """The keys of one file, at the time of reading."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)
        self._found: dict[bytes, ApiKey] = {}  # at most one entry for each key of the file

    @property
    def has_admin(self) -> bool:
        """Whether any key has the scope admin."""
        return any(key.scope == "admin" for key in self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: bytes) -> ApiKey | None:
        """The entry of a key, or None.

        It compares digests: every one of the file with `hmac.compare_digest`, without stopping at a match, so
        that the duration reveals nothing of a digest. A key that was found is cached by its digest, which its
        sender knows anyway.
        """
        digest = hashlib.sha256(key).digest()
        known = self._found.get(digest)
        if known is not None:
            return known
        found = None
        for entry in self._keys:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is not None:
            self._found[digest] = found
        return found


def new_key(scope: Scope = "use", label: str | None = None) -> tuple[str, ApiKey]:
    """A new random key, and its entry for the file.

    Raises:
        ValueError: `label` breaks the rule of labels.
    """
    if label is not None and _LABEL.fullmatch(label) is None:
        raise ValueError(f"--label: expected {LABEL_RULE}, got {echo(label)}. Such as --label phone-app.")
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    return key, ApiKey(hashlib.sha256(key.encode("ascii")).digest(), scope, label)


def read_key_file(path: Path) -> tuple[KeyRing, str | None]:
    """Read the keys of a file. The second value is a warning about its permissions, if any.

    Raises:
        KeyFileError: The file is unreadable, writable by other users or empty, or a line is invalid.
    """
    try:
        with path.open("rb") as file:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"{path}: expected a regular file, got another kind. {_HOW_TO_MAKE}")
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(
            f"{path}: expected a file of API keys that this process may read, got: "
            f"{error.strerror or error}. {_HOW_TO_MAKE}"
        ) from None
    if status.st_mode & stat.S_IWOTH:
        raise KeyFileError(
            f"{path}: expected a file that only its owner may write, got mode {_octal(status.st_mode)}: "
            f"other users of this machine could add a key. Run: chmod 600 {path}"
        )
    if len(data) > _MAX_FILE_BYTES:
        raise KeyFileError(
            f"{path}: expected at most {_MAX_FILE_BYTES} bytes, got more. {MAX_KEYS} keys need a quarter of "
            "that."
        )
    return KeyRing(_parse(path, data)), _readable_by_others(path, status.st_mode)


_HOW_TO_MAKE: Final = "`vae-serve key` makes a key and the line for the file."


def _readable_by_others(path: Path, mode: int) -> str | None:
    """A warning and no error: containers get their secrets with mode 0444.

    The digest of a generated key reveals nothing; the digest of a key that a person chose can be guessed.
    """
    if not mode & stat.S_IROTH or path.is_relative_to(_CONTAINER_SECRETS):
        return None
    return f"every user of this machine can read {path} (mode {_octal(mode)}). Run: chmod 600 {path}"


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _parse(path: Path, data: bytes) -> list[ApiKey]:
    keys: list[ApiKey] = []
    first_line: dict[bytes, int] = {}
    for number, raw in enumerate(data.splitlines(), start=1):
        where = f"{path}, line {number}"
        words = _words(where, raw)
        if not words:
            continue
        key = _entry(where, words)
        if key.digest in first_line:
            raise KeyFileError(
                f"{where}: expected each digest once, got the digest of line {first_line[key.digest]} "
                "again. Remove one of the two lines."
            )
        first_line[key.digest] = number
        keys.append(key)
    if not keys:
        raise KeyFileError(
            f"{path}: expected at least one line, got none: no client could use the server. {_HOW_TO_MAKE}"
        )
    if len(keys) > MAX_KEYS:
        raise KeyFileError(f"{path}: expected at most {MAX_KEYS} keys, got {len(keys)}. Remove unused ones.")
    return keys


def _words(where: str, raw: bytes) -> list[str]:
    """Never quote the line in an error: it may contain a key."""
    try:
        line = raw.decode("ascii").strip(" \t")
    except UnicodeDecodeError:
        if raw.lstrip(b" \t").startswith(b"#"):
            return []
        raise KeyFileError(
            f"{where}: expected ASCII text, got other bytes. Save the file as plain text."
        ) from None
    return [] if line.startswith("#") else line.split()


def _entry(where: str, words: list[str]) -> ApiKey:
    digest, *rest = words
    if _DIGEST.fullmatch(digest) is None:
        got = f"{len(digest)} other characters"
        if digest.startswith(KEY_PREFIX):
            got = "text that looks like a key"
        raise KeyFileError(
            f"{where}: expected the SHA-256 of a key first, 64 hexadecimal digits, got {got}. {_HOW_TO_MAKE}"
        )
    if not rest:
        raise KeyFileError(f"{where}: expected a scope after the digest, use or admin, got nothing. Add one.")
    scope = next((known for known in SCOPES if known == rest[0]), None)
    if scope is None:
        raise KeyFileError(
            f"{where}: expected the scope use or admin after the digest, got another word of {len(rest[0])} "
            "characters. Correct it."
        )
    if len(rest) > 2:
        raise KeyFileError(
            f"{where}: expected digest, scope and at most one label, got {len(words)} words. "
            "Join the words of the label with a hyphen."
        )
    label = rest[1] if len(rest) == 2 else None
    if label is not None and _LABEL.fullmatch(label) is None:
        raise KeyFileError(f"{where}: expected a label of {LABEL_RULE}, got other text. Such as phone-app.")
    if label is not None and label.startswith(KEY_PREFIX):
        raise KeyFileError(
            f"{where}: expected a label, got text that looks like a key. Labels are logged; choose another."
        )
    return ApiKey(bytes.fromhex(digest), scope, label)

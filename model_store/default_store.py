"""The store of a command or a server: the named one, or else the user's own, which begins as the bundled one.

Knows which directory is the store, and when the bundled one is copied. Knows nothing of arguments or output.
`location.py` knows the paths.

    --store, VAE_MODEL_STORE   that directory, as it is
    neither                    $XDG_DATA_HOME/vae-service/models, or ~/.local/share/vae-service/models; while
                               that does not exist, the bundled store, which the first change copies there

The bundled store belongs to the installed package: an upgrade replaces it, and git tracks it in a checkout.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from model_store import location
from model_store.errors import InvalidReference, StoreWriteFailed, UnreadableFile
from model_store.first_copy import copy_store
from model_store.garbage import DEFAULT_OLDER_THAN_S, CollectionReport
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.location import BUNDLED, STORE_VARIABLE
from model_store.store import ModelStore

#: Receives one line for the person at the terminal.
Tell = Callable[[str], None]


def open_store(chosen: Path | str | None = None, *, tell: Tell | None = None) -> ModelStore:
    """The store that all commands and the server use for the same arguments and environment.

    Args:
        chosen: The directory of `--store` or of a setting; None means `VAE_MODEL_STORE`, or else the default.
        tell: Receives a line when the bundled store is copied or changed.

    Returns:
        The store. If the name is an address, which only the server reads, every use of it raises
        `InvalidReference`.
    """
    stated = chosen if chosen is not None else os.environ.get(STORE_VARIABLE) or None
    if stated is None:
        return DefaultStore(tell=tell)
    protocol, separator, _ = str(stated).partition(":/")
    if separator and protocol.isalnum():
        return _AddressStore(protocol)
    root = Path(stated)
    if location.is_same_path(root, location.BUNDLED_STORE):
        return _BundledStore(root, tell=tell)
    return ModelStore(root)


class DefaultStore(ModelStore):
    """The user's own store, or the bundled one until the first change, which copies it.

    A long-lived reader follows: as soon as the own store exists, in whichever process it was made, `root` is
    that.
    """

    def __init__(self, *, tell: Tell | None = None, limits: SizeLimits | None = None) -> None:
        """Nothing is read or copied yet.

        Args:
            tell: Receives a line when the bundled store is copied.
            limits: Ceilings in bytes for each file.
        """
        super().__init__(location.BUNDLED_STORE, limits=limits)
        self._tell = tell

    @property
    def root(self) -> Path:
        """The directory of the store at this moment."""
        return location.own_or_bundled_root()

    @property
    def is_borrowed(self) -> bool:
        """Whether this is the bundled store, which the first change copies."""
        return self.root == location.BUNDLED_STORE

    def gc(
        self,
        *,
        keep: int | None = None,
        older_than_s: float = DEFAULT_OLDER_THAN_S,
        dry_run: bool = False,
    ) -> CollectionReport:
        """As `ModelStore.gc`; a collection that would remove nothing copies nothing."""
        if self.is_borrowed and not dry_run:
            found = super().gc(keep=keep, older_than_s=older_than_s, dry_run=True)
            if not found.temporaries and not found.versions:
                return CollectionReport(dry_run, (), (), found.skipped)
        return super().gc(keep=keep, older_than_s=older_than_s, dry_run=dry_run)

    def _make_writable(self) -> None:
        if not self.is_borrowed:
            return
        own = location.own_store_root()
        if own is None:
            raise StoreWriteFailed(
                f"{_READ_ONLY} expected a directory for your own store, but user {os.getuid()} has no home "
                f"and HOME is unset. {_NAME_ANOTHER}",
                path=str(location.BUNDLED_STORE),
            )
        try:
            with OpenDirectory.at(location.BUNDLED_STORE, hard_links=True) as bundled:
                copied = copy_store(bundled, own, label=BUNDLED, limits=self.limits)
        except (StoreWriteFailed, UnreadableFile) as error:
            cause = error.__cause__ if isinstance(error, UnreadableFile) else error
            raise StoreWriteFailed(
                f"{_READ_ONLY} the first change copies it to {own}, and that failed: {error} Nothing was "
                f"changed. {_NAME_ANOTHER}",
                errno=getattr(cause, "errno", None),
                path=getattr(error, "path", None) or str(own),
            ) from error
        if self.is_borrowed:
            raise StoreWriteFailed(
                f"{own}: expected a directory or nothing, got another entry. Move it away, or name another "
                f"place with {STORE_VARIABLE}.",
                path=str(own),
            )
        if copied and self._tell is not None:
            self._tell(f"copied the bundled models to {own}; all commands and the server use that store now")


class _BundledStore(ModelStore):
    """The bundled store where a person names it explicitly, as its maintainers do."""

    def __init__(self, root: Path, *, tell: Tell | None) -> None:
        super().__init__(root)
        self._tell = tell

    def _make_writable(self) -> None:
        if self._tell is not None:
            self._tell(
                f"warning: {self.root} is the store inside the package, and the next upgrade replaces it; "
                "without --store your own store is changed"
            )


class _AddressStore(ModelStore):
    """A store that only the server can read. `vae-train fit` may run without a use of it."""

    def __init__(self, protocol: str) -> None:
        super().__init__(Path())
        self._protocol = protocol

    @property
    def root(self) -> Path:
        # The address is not repeated: it may contain a password.
        raise InvalidReference(
            f"store: expected a directory, got a {self._protocol}:// address, which only 'vae-serve' reads. "
            f"Name a directory with --store or {STORE_VARIABLE}; 'vae-store add ADDRESS' copies versions "
            "into it."
        )


_READ_ONLY = "The bundled store is read-only:"
_NAME_ANOTHER = (
    f"Set {STORE_VARIABLE} to a directory that this user may write, and fill it with "
    f"'vae-store add {BUNDLED}'."
)

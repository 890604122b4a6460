"""Stores on object storage as a source for `vae-store add`.

Knows where a store with an address is read (`store_mirror`), which `model_store` must not know. Knows nothing
of the commands.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from model_store import InvalidReference, ModelReference, StoreWriteFailed, UnreadableFile


@contextlib.contextmanager
def fetched(address: str, reference: ModelReference | None) -> Iterator[Path]:
    """A verified copy of a store on object storage, or of one model of it, in a temporary directory.

    That is in `VAE_STORE_CACHE` if it is set, as for the server: the /tmp of a container may be small.

    Raises:
        InvalidReference: No installed library reads such an address.
        UnreadableFile: Something could not be copied.
    """
    from service.store_mirror import MirrorError, StoreMirror  # noqa: PLC0415  (only this needs NumPy and fsspec)

    cache = os.environ.get("VAE_STORE_CACHE") or None
    try:
        if cache is not None:
            Path(cache).mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix="vae-store-", dir=cache)
    except OSError as error:
        raise StoreWriteFailed(
            f"{error.filename}: expected a writable directory for the copy, got {error.strerror}. Name "
            "another with VAE_STORE_CACHE.",
            errno=error.errno,
        ) from error
    with temporary as folder:
        try:
            mirror = StoreMirror(address, Path(folder))
        except MirrorError as error:
            raise InvalidReference(str(error).replace("--store ", "source: ", 1)) from error
        failures = mirror.fetch(reference)
        if failures:
            reasons = " ".join(f"{failure.model}: {failure.reason}" for failure in failures[:10])
            raise UnreadableFile(
                f"source: expected versions to add, got failures: {reasons} Nothing was added; name one that "
                "is sound, such as ADDRESS/NAME@VERSION."
            )
        yield Path(folder)

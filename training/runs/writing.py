"""Failures to write, as one readable error: a full disk, a quota, a file-size limit, a read-only file system.

Knows error numbers and remedies. Knows nothing of the contents of files.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.standard_streams import OutputError
from training.errors import WriteFailed

_AGAIN = "run the command again; --resume continues a run from its last checkpoint"
_REMEDIES = {
    errno.ENOSPC: f"Free space on that disk and {_AGAIN}.",
    errno.EDQUOT: f"Free space within the quota and {_AGAIN}.",
    errno.EFBIG: f"Raise the limit on file sizes (ulimit -f) and {_AGAIN}.",
    errno.EROFS: "The file system is read-only: choose a directory on another one.",
    errno.EACCES: "Choose a directory that this user may write, or change its owner.",
    errno.EPERM: "Choose a directory that this user may write, or change its owner.",
    errno.EIO: "The disk reports an error: check it (dmesg, smartctl) before trying again.",
}
#: Errors from the file system, not mistakes of ours.
OF_THE_DISK = frozenset({*_REMEDIES, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the body, which writes `path`, into `WriteFailed` with a remedy."""
    try:
        yield
    except OSError as error:
        raise _failure(path, error) from error


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Turn an `OSError` of the disk into `WriteFailed`, also from plots and TensorBoard.

    TensorBoard writes in a thread, whose error is raised again at the next logged figure. Python would also
    print the traceback of the thread, which is suppressed here.
    """
    before = threading.excepthook

    def quiet(thread: threading.ExceptHookArgs) -> None:
        error = thread.exc_value
        if not (isinstance(error, OSError) and error.errno in OF_THE_DISK):
            before(thread)

    threading.excepthook = quiet
    try:
        yield
    except OutputError:
        raise  # an error of standard output; the command line reports it
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        raise _failure(Path(str(error.filename or folder)), error) from error
    finally:
        threading.excepthook = before


def _failure(path: Path, error: OSError) -> WriteFailed:
    remedy = _REMEDIES.get(error.errno or 0, "Check the path, its owner and permissions, and the disk.")
    return WriteFailed(
        f"{path}: expected a writable file, got: {error.strerror} (errno {error.errno}). {remedy}"
    )

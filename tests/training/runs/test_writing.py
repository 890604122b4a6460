"""Whatever keeps a file from being written ends `vae-train` in one line with exit code 74."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest
import torch
from patience import PATIENCE_S

from model_store.standard_streams import OutputError
from training.errors import WriteFailed
from training.runs.run_directory import RunDirectory, write_bytes
from training.runs.writing import writing, writing_into

RECIPE = """
name = "small"
[data]
validation_size = 1900
[model]
latent_size = 1
trunk = { type = "mlp", encoder_hidden = [1], decoder_hidden = [1] }
[trainer]
epochs = 2
batch_size = 64
ema_decay = 0.0
pictures_every_epochs = 1000
[evaluation]
importance_samples = 1
importance_images = 5
"""
#: Python ignores SIGXFSZ, so that writing beyond the limit is EFBIG, as writing to a full disk is ENOSPC.
LIMITED = (
    "import resource, sys; limit = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1)); "
    "from training.cli import main; sys.exit(main(sys.argv[2:]))"
)
NO_LIMIT = -1


@pytest.fixture
def fit_limited(tmp_path, mnist_folder):
    """`vae-train fit` in a process that may write files of so many bytes."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace("1900", "1500"))

    def run(limit, *more):
        arguments = ["fit", "--recipe", recipe, "--data", mnist_folder, "--out", tmp_path / "run", *more]
        return subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return run


def test_a_limit_on_file_sizes_is_one_line_and_leaves_the_last_checkpoint_whole(fit_limited, tmp_path):
    directory = RunDirectory(tmp_path / "run")
    done = fit_limited(NO_LIMIT)
    assert done.returncode == 0, done.stderr
    before = directory.checkpoint.read_bytes()
    weights = directory.model.stat().st_size
    assert weights < len(before)
    # Between the two sizes: the weights of the third epoch are written, and its checkpoint is not.
    done = fit_limited((weights + len(before)) // 2, "--resume", "--set", "trainer.epochs=4")
    assert done.returncode == 74, done.stderr
    assert done.stderr == (
        f"vae-train: {directory.checkpoint}: expected a writable file, got: File too large (errno 27). Raise "
        "the limit on file sizes (ulimit -f) and run the command again; --resume continues a run from its "
        "last checkpoint.\n"
    )
    assert directory.checkpoint.read_bytes() == before
    assert not list(directory.root.rglob(".*.part"))
    assert torch.load(directory.checkpoint, weights_only=True)["epoch"] == 1
    done = fit_limited(NO_LIMIT, "--resume", "--set", "trainer.epochs=4")
    assert done.returncode == 0, done.stderr
    assert torch.load(directory.checkpoint, weights_only=True)["epoch"] == 3


def test_a_thread_of_tensorboard_that_cannot_write_prints_no_traceback(fit_limited, tmp_path):
    """Its file of events grows past the limit while everything else stays below."""
    done = fit_limited(100_000, "--set", "trainer.epochs=300", "--on-collapse", "go-on")
    assert done.returncode == 74, done.stderr
    assert done.stderr.startswith(
        f"vae-train: {tmp_path / 'run'}: expected a writable file, got: File too large"
    )
    assert done.stderr.count("\n") == 1
    torch.load(RunDirectory(tmp_path / "run").checkpoint, weights_only=True)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "Free space on that disk"),
        (errno.EDQUOT, "Free space within the quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "this user may write"),
        (errno.EIO, "check it"),
        (errno.EMFILE, "Check the path"),
    ],
)
def test_every_refusal_names_the_file_and_what_to_do_and_leaves_the_old_one(
    number, told, tmp_path, monkeypatch
):
    file = tmp_path / "model.pt"
    file.write_bytes(b"old")

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("training.runs.run_directory.os.fsync", refuse)
    with pytest.raises(WriteFailed) as caught:
        write_bytes(file, b"new")
    assert str(caught.value).startswith(f"{file}: expected a writable file, got: {os.strerror(number)}")
    assert told in str(caught.value)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_turns_read_only_is_told_although_its_leftover_cannot_be_removed(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("training.runs.run_directory.os.fsync", refuse)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(WriteFailed, match=r"log\.csv: .*Read-only file system"):
        write_bytes(tmp_path / "log.csv", b"new")


def test_only_what_a_disk_says_is_taken_for_a_failed_write(tmp_path):
    with pytest.raises(ConnectionResetError), writing_into(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "of another process")
    with pytest.raises(OutputError), writing_into(tmp_path):
        raise OutputError(errno.ENOSPC, "of standard output")
    with pytest.raises(WriteFailed, match=r"/elsewhere: expected"), writing_into(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere")
    with pytest.raises(ValueError, match="ours"), writing(tmp_path):
        raise ValueError("ours")


def test_other_threads_may_still_say_what_ended_them(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda thread: seen.append(thread.exc_value))

    def fail(error):
        raise error

    mistake = ValueError("ours")
    with writing_into(tmp_path):
        for error in (mistake, OSError(errno.ENOSPC, "full")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert seen == [mistake]

"""An S3 server on this machine, and a store uploaded to it.

Knows moto and boto3, each in a process of its own: the clients of S3 leave threads behind. Knows nothing of
who reads the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from patience import PATIENCE_S


@contextlib.contextmanager
def serving_s3(log: Path) -> Iterator[dict[str, str]]:
    """Gives the environment with which an S3 client finds it."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": found[0],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        process.kill()
        process.wait(timeout=PATIENCE_S)


def make_bucket(bucket: str, environment: Mapping[str, str]) -> None:
    """An empty bucket, or the one that is there."""
    _run("import boto3, sys\nboto3.client('s3').create_bucket(Bucket=sys.argv[1])", environment, bucket)


def upload(root: Path, bucket: str, environment: Mapping[str, str]) -> None:
    """Every file of a store to `models/` in a bucket, as `aws s3 sync` does."""
    code = (
        "import boto3, pathlib, sys\n"
        "root, bucket = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "s3 = boto3.client('s3')\n"
        "s3.create_bucket(Bucket=bucket)\n"
        "for path in sorted(root.rglob('[!.]*')):\n"
        "    if path.is_file():\n"
        "        s3.upload_file(str(path), bucket, 'models/' + str(path.relative_to(root)))\n"
    )
    _run(code, environment, str(root), bucket)


def _run(code: str, environment: Mapping[str, str], *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        check=True,
        timeout=PATIENCE_S,
    )

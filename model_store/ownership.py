"""Other distributions with files in the packages of this project.

Knows the metadata of installed distributions. Knows nothing of the packages' content. `service`, `training`
and `model_store` are common names, and pip overwrites files of another distribution without a warning
(pypa/pip#4625); uninstalling one of the two then removes files of the other.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from importlib.metadata import Distribution
from typing import Final

DISTRIBUTION: Final = "vae-service"
PACKAGES: Final = ("model_store", "service", "training")
_IN_A_PACKAGE: Final = re.compile(rf'^"?({"|".join(PACKAGES)})[/\\]', re.MULTILINE)
_MAX_LISTED: Final = 5


def shared_packages(distributions: Iterable[Distribution] | None = None) -> dict[str, tuple[str, ...]]:
    """Packages of this project that other distributions install too, with the names of these.

    Args:
        distributions: Those to look at; None means all that this interpreter finds.
    """
    found: dict[str, set[str]] = {}
    for distribution in importlib.metadata.distributions() if distributions is None else distributions:
        packages = _packages_of(distribution)
        # The metadata is parsed only where it matters: for all distributions it would delay every start.
        name = (distribution.metadata["Name"] or "a distribution without a name") if packages else ""
        if re.sub(r"[-_.]+", "-", name).lower() == DISTRIBUTION:
            continue
        for package in packages:
            found.setdefault(package, set()).add(name)
    return {package: tuple(sorted(names)) for package, names in sorted(found.items())}


def warning_of_shared_packages() -> str | None:
    """One sentence for the operator; None in an environment without such a distribution."""
    shared = shared_packages()
    if not shared:
        return None
    others = sorted({name for names in shared.values() for name in names})
    return (
        f"{', '.join(others[:_MAX_LISTED])} installs a package with the name {' or '.join(shared)} into the "
        "same environment, and the later installation overwrote files of the earlier one. Install "
        f"{DISTRIBUTION} into an environment of its own, and install the other distribution again."
    )


def _packages_of(distribution: Distribution) -> set[str]:
    """Our names among the top-level packages of a distribution, from whichever list it has."""
    listed = (distribution.read_text(file) or "" for file in ("RECORD", "installed-files.txt"))
    names = {match[1] for text in listed for match in _IN_A_PACKAGE.finditer(text)}
    return names | ({*(distribution.read_text("top_level.txt") or "").split()} & {*PACKAGES})

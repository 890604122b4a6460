"""Values of single fields: names, labels, ports, quantities.

Knows the grammars of Kubernetes. Knows nothing of objects.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
DNS_LABEL: Final = re.compile(_LABEL)
DNS_SUBDOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
#: A service's name is also a name in the environment of pods.
SERVICE_NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
PORT_NAME: Final = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?")
_LABEL_KEY: Final = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_DECIMAL: Final[dict[str | None, int]] = {"m": -1, None: 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def quantity(value: Any) -> Decimal | None:
    """`500m` → 0.5, `1Gi` → 1073741824; None if it is no quantity."""
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else None
    number, unit = Decimal(found[1]), found[2]
    if unit is not None and unit.endswith("i"):
        return number * Decimal(1024) ** ("KMGTPE".index(unit[0]) + 1)
    return number * Decimal(1000) ** _DECIMAL[unit]


def is_port(value: Any) -> bool:
    """Whether it is the number of a port."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65_535


def label_faults(labels: Any) -> list[str]:
    """One sentence for each label that is none."""
    if not isinstance(labels, dict):
        return [f"labels: expected an object, got {labels!r}"]
    return [
        f"label {key!r}: {value!r}: not a label"
        for key, value in labels.items()
        if not _LABEL_KEY.fullmatch(str(key))
        or not isinstance(value, str)
        or not _LABEL_VALUE.fullmatch(value)
    ]

"""Environment variables that Kubernetes and `docker --link` add for a service named `vae` or `vae-…`.

Knows the forms of those variables. Knows nothing of settings, and reads no environment itself.

Both add the address of every neighbour to the environment. The names begin with the service's name:
`VAE_PORT=tcp://10.96.12.7:8000` for a service `vae`.

    NAME_PORT                        tcp://10.96.12.7:8000     both
    NAME_PORT_8000_TCP               tcp://10.96.12.7:8000     both
    NAME_PORT_8000_TCP_ADDR          10.96.12.7                both; also _PORT, _PROTO
    NAME_PORT_8000_TCP_START         tcp://172.17.0.5:8000     Docker, ranges; also _END and _PORT_…
    NAME_SERVICE_HOST                10.96.12.7                Kubernetes
    NAME_SERVICE_PORT                8000                      Kubernetes, only with NAME_SERVICE_HOST
    NAME_SERVICE_PORT_HTTP           8000                      Kubernetes, only with NAME_SERVICE_HOST
    NAME_NAME                        /web/vae                  Docker
    NAME_ENV_LANG                    anything                  Docker, only with NAME_NAME
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

_URL: Final = re.compile(r"(?:tcp|udp|sctp)://(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_PROTOCOL: Final = re.compile(r"tcp|udp|sctp")
_CONTAINER: Final = re.compile(r"/[\w.-]+/[\w.-]+")
_OF_A_PORT: Final = r"_PORT_[0-9]{1,5}_(?:TCP|UDP|SCTP)"
_HOST, _NAME = "_SERVICE_HOST", "_NAME"


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.fullmatch(value) is not None


#: The end of a name, and the form of its value. Each pair is enough evidence without another variable.
_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]] = (
    (re.compile(rf".*(?:_PORT|{_OF_A_PORT}(?:_START|_END)?)"), _is(_URL)),
    (re.compile(rf".*{_OF_A_PORT}_ADDR"), _is_address),
    (re.compile(rf".*{_OF_A_PORT}_PORT(?:_START|_END)?"), _is(_PORT)),
    (re.compile(rf".*{_OF_A_PORT}_PROTO"), _is(_PROTOCOL)),
    (re.compile(rf".*{_HOST}"), _is_address),
    (re.compile(rf".*{_NAME}"), _is(_CONTAINER)),
)


def service_links(environment: Mapping[str, str], *, prefix: str) -> frozenset[str]:
    """Names of the variables that describe a service, recognised by the forms of name and value.

    Args:
        environment: All variables.
        prefix: Only variables with this prefix are considered, such as `VAE_`.
    """
    ours = {name: value for name, value in environment.items() if name.startswith(prefix)}
    found = {
        name
        for name, value in ours.items()
        if any(ending.fullmatch(name) and fits(value) for ending, fits in _FORMS)
    }
    hosts = [name.removesuffix(_HOST) for name in found if name.endswith(_HOST)]
    containers = [name.removesuffix(_NAME) for name in found if name.endswith(_NAME)]
    found |= {
        name
        for name, value in ours.items()
        if _PORT.fullmatch(value)
        and any(re.fullmatch(rf"{re.escape(host)}_SERVICE_PORT(?:_[A-Z0-9_]+)?", name) for host in hosts)
    }
    found |= {name for name in ours if any(name.startswith(f"{each}_ENV_") for each in containers)}
    return frozenset(found)

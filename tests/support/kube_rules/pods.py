"""Rules of one pod template: containers, ports, probes, volumes, resources, privileges.

Knows dictionaries. Knows nothing of other objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kube_rules.fields import HANDLERS, PROBES
from kube_rules.values import DNS_LABEL, PORT_NAME, is_port, label_faults, quantity

Object = dict[str, Any]
#: Seconds that a container takes to end after its server has.
_MARGIN_S: Final = 5
_POSITIVE: Final = ("periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold")


def pod_findings(template: Object) -> Iterator[str]:
    """One sentence for each fault of a template."""
    pod = template.get("spec") or {}
    yield from label_faults((template.get("metadata") or {}).get("labels") or {})
    containers = pod.get("containers") or []
    if not containers:
        yield "pod: no container"
    yield from _repeated("container", (each.get("name") for each in containers))
    for container in containers:
        for fault in _container_findings(container):
            yield f"container {container.get('name')}: {fault}"
    yield from _volume_findings(pod, containers)
    yield from _privileges(pod, containers)
    yield from _grace(pod, containers)
    for spread in pod.get("topologySpreadConstraints") or ():
        if not is_selected(spread.get("labelSelector"), template):
            yield "topologySpreadConstraints: the selector matches no pod of its own"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks: expected false: a service `vae` adds variables VAE_…"


def is_selected(selector: Any, template: Object) -> bool:
    """Whether a selector with `matchLabels`, and not an empty one, matches the pods of a template."""
    return is_subset((selector or {}).get("matchLabels"), template)


def is_subset(wanted: Any, template: Object) -> bool:
    """Whether pods of a template have all these labels, which are some."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    return isinstance(wanted, dict) and bool(wanted) and wanted.items() <= labels.items()


def ports_of(template: Object) -> set[str | int]:
    """Names and numbers of the ports of all containers."""
    found: set[str | int] = set()
    for container in (template.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            found |= {port.get("name"), port.get("containerPort")}
    return found


def _container_findings(container: Object) -> Iterator[str]:
    name = container.get("name")
    if not isinstance(name, str) or not DNS_LABEL.fullmatch(name):
        yield "name: not a DNS label"
    if not isinstance(container.get("image"), str) or not container["image"]:
        yield "image: missing"
    ports = container.get("ports") or []
    yield from _repeated("port", (each.get("name") for each in ports))
    yield from _repeated("port", (each.get("containerPort") for each in ports))
    for port in ports:
        if not is_port(port.get("containerPort")):
            yield f"containerPort: expected 1 to 65535, got {port.get('containerPort')!r}"
        if not isinstance(port.get("name"), str) or not PORT_NAME.fullmatch(port["name"]):
            yield f"port {port.get('name')!r}: not the name of a port"
    yield from _repeated("variable", (each.get("name") for each in container.get("env") or ()))
    for variable in container.get("env") or ():
        if "valueFrom" not in variable and not isinstance(variable.get("value"), str):
            yield f"variable {variable.get('name')}: expected a text, got {variable.get('value')!r}"
    known = {each.get(key) for each in ports for key in ("name", "containerPort")}
    for kind in PROBES:
        if kind in container:
            for fault in _probe_findings(container[kind], known):
                yield f"{kind}: {fault}"
    yield from _resource_findings(container.get("resources") or {})


def _probe_findings(probe: Object, ports: set[Any]) -> Iterator[str]:
    handlers = [each for each in HANDLERS if each in probe]
    if len(handlers) != 1:
        yield f"expected one of {', '.join(HANDLERS)}, got {handlers}"
        return
    handler = probe[handlers[0]]
    if handlers[0] != "exec" and handler.get("port") not in ports:
        yield f"port {handler.get('port')!r} is none of the container's"
    if handlers[0] == "httpGet" and not str(handler.get("path", "")).startswith("/"):
        yield f"path {handler.get('path')!r} begins with no slash"
    for field in _POSITIVE:
        value = probe.get(field, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"{field}: expected 1 or more, got {value!r}"


def _resource_findings(resources: Object) -> Iterator[str]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for kind, values in (("requests", requests), ("limits", limits)):
        for name, value in values.items():
            if quantity(value) is None:
                yield f"{kind}: {name}: {value!r} is no quantity"
        if "memory" not in values:
            yield f"{kind}: memory is missing"
    for name in requests.keys() & limits.keys():
        request, limit = quantity(requests[name]), quantity(limits[name])
        if request is not None and limit is not None and request > limit:
            yield f"requests: {name}: {requests[name]} is more than the limit {limits[name]}"


def _volume_findings(pod: Object, containers: list[Object]) -> Iterator[str]:
    names = [each.get("name") for each in pod.get("volumes") or ()]
    yield from _repeated("volume", names)
    mounts = [mount for each in containers for mount in each.get("volumeMounts") or ()]
    for mount in mounts:
        if mount.get("name") not in names:
            yield f"volumeMounts: {mount.get('name')!r} is no volume of the pod"
        if not str(mount.get("mountPath", "")).startswith("/"):
            yield f"volumeMounts: mountPath {mount.get('mountPath')!r} begins with no slash"
    for container in containers:
        paths = (mount.get("mountPath") for mount in container.get("volumeMounts") or ())
        yield from _repeated("mountPath", paths)
    for name in names:
        if name not in {mount.get("name") for mount in mounts}:
            yield f"volume {name!r} is mounted nowhere"
    for volume in pod.get("volumes") or ():
        if len(volume.keys() - {"name"}) != 1:
            yield f"volume {volume.get('name')!r}: expected one source, got {sorted(volume)}"
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and quantity(limit) is None:
            yield f"volume {volume.get('name')!r}: sizeLimit: {limit!r} is no quantity"


def _privileges(pod: Object, containers: list[Object]) -> Iterator[str]:
    """What the profile `restricted` of Kubernetes demands, and a read-only root."""
    own = pod.get("securityContext") or {}
    if own.get("runAsNonRoot") is not True or not own.get("runAsUser"):
        yield "securityContext: expected runAsNonRoot and a runAsUser other than 0"
    if (own.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "securityContext: expected a seccompProfile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken: expected false"
    for container in containers:
        context = container.get("securityContext") or {}
        if (
            context.get("readOnlyRootFilesystem") is not True
            or context.get("allowPrivilegeEscalation") is not False
            or (context.get("capabilities") or {}).get("drop") != ["ALL"]
        ):
            yield f"container {container.get('name')}: it has a writable root, or privileges"


def _grace(pod: Object, containers: list[Object]) -> Iterator[str]:
    """The pod must outlive its server's own stop."""
    for container in containers:
        values = {each.get("name"): each.get("value") for each in container.get("env") or ()}
        if "VAE_SHUTDOWN_GRACE_S" in values:
            needed = float(values["VAE_SHUTDOWN_GRACE_S"]) + float(values.get("VAE_DRAIN_DELAY_S", "0"))
            granted = pod.get("terminationGracePeriodSeconds", 30)
            if granted < needed + _MARGIN_S:
                yield f"terminationGracePeriodSeconds: {granted}: the server needs {needed + _MARGIN_S:g}"


def _repeated(kind: str, names: Iterable[Any]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{kind} {name!r}: {count} times"

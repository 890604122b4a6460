"""Rules of whole objects, and of what one says of another.

Knows dictionaries. Knows nothing of what is inside a pod (`kube_rules.pods`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kube_rules.fields import ACCESS_MODES, KINDS, unknown_fields, wrong_choices
from kube_rules.pods import Object, is_selected, is_subset, pod_findings, ports_of
from kube_rules.values import DNS_SUBDOMAIN, SERVICE_NAME, is_port, label_faults, quantity

#: The field of a metric's target, by its type.
_TARGETS: Final = {
    "Utilization": "averageUtilization",
    "Value": "value",
    "AverageValue": "averageValue",
}


def findings(objects: Sequence[Object]) -> list[str]:
    """One sentence for each fault, with kind and name of the object; empty for a sound set."""
    found: list[str] = []
    seen = Counter((each.get("kind"), (each.get("metadata") or {}).get("name")) for each in objects)
    found += [f"{kind}/{name}: {count} times" for (kind, name), count in seen.items() if count > 1]
    for item in objects:
        place = f"{item.get('kind')}/{(item.get('metadata') or {}).get('name')}"
        found += [f"{place}: {fault}" for fault in _object_findings(item, objects)]
    return found


def _object_findings(item: Object, objects: Sequence[Object]) -> Iterator[str]:
    kind = item.get("kind")
    if kind not in KINDS:
        yield f"kind: {kind!r} has no rules here: add them"
        return
    version, _ = KINDS[kind]
    if item.get("apiVersion") != version:
        yield f"apiVersion: expected {version}, got {item.get('apiVersion')!r}"
    metadata = item.get("metadata") or {}
    pattern = SERVICE_NAME if kind == "Service" else DNS_SUBDOMAIN
    if not isinstance(metadata.get("name"), str) or not pattern.fullmatch(metadata["name"]):
        yield f"name: {metadata.get('name')!r} is no name of a {kind}"
    yield from label_faults(metadata.get("labels") or {})
    yield from unknown_fields(item)
    yield from wrong_choices(item, parent=str(kind))
    spec = item.get("spec") or {}
    if "template" in spec:
        yield from _workload(item, spec, objects)
    checks = {
        "Service": _service,
        "HorizontalPodAutoscaler": _autoscaler,
        "PodDisruptionBudget": _budget,
        "NetworkPolicy": _network_policy,
        "ServiceMonitor": _service_monitor,
        "PersistentVolumeClaim": _claim,
        "Ingress": _ingress,
    }
    if kind in checks:
        yield from checks[kind](spec, objects)


def _of(objects: Sequence[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each.get("kind") in kinds]


def _names(objects: Sequence[Object], kind: str) -> set[Any]:
    return {(each.get("metadata") or {}).get("name") for each in _of(objects, kind)}


def _templates(objects: Sequence[Object]) -> list[Object]:
    return [each["spec"]["template"] for each in _of(objects, "Deployment")]


def _workload(item: Object, spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    template = spec["template"]
    yield from pod_findings(template)
    pod = template.get("spec") or {}
    if item["kind"] == "Deployment":
        if not is_selected(spec.get("selector"), template):
            yield "selector: it does not match the labels of its own pods"
        name = item["metadata"].get("name")
        targets = {(each["spec"].get("scaleTargetRef") or {}).get("name") for each in _scalers(objects)}
        if "replicas" in spec and name in targets:
            yield "replicas: each apply would undo the autoscaler"
    account = pod.get("serviceAccountName")
    if account is not None and account not in _names(objects, "ServiceAccount"):
        yield f"serviceAccountName: no ServiceAccount {account!r}"
    for volume in pod.get("volumes") or ():
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is not None and claim not in _names(objects, "PersistentVolumeClaim"):
            yield f"volume {volume.get('name')!r}: no PersistentVolumeClaim {claim!r}"


def _scalers(objects: Sequence[Object]) -> list[Object]:
    return _of(objects, "HorizontalPodAutoscaler")


def _service(spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    chosen = [each for each in _templates(objects) if is_subset(spec.get("selector"), each)]
    if not chosen:
        yield "selector: it matches no pod"
    ports = spec.get("ports") or []
    if not ports:
        yield "ports: there is none"
    for port in ports:
        if not is_port(port.get("port")):
            yield f"port: expected 1 to 65535, got {port.get('port')!r}"
        target = port.get("targetPort", port.get("port"))
        if chosen and target not in set().union(*map(ports_of, chosen)):
            yield f"targetPort {target!r}: no container has that port"


def _autoscaler(spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    target = spec.get("scaleTargetRef") or {}
    if target.get("kind") != "Deployment" or target.get("name") not in _names(objects, "Deployment"):
        yield f"scaleTargetRef: no {target.get('kind')} {target.get('name')!r}"
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
    if not isinstance(most, int) or not isinstance(least, int) or not 1 <= least <= most:
        yield f"minReplicas and maxReplicas: {least!r} and {most!r}"
    if not spec.get("metrics"):
        yield "metrics: there is none"
    for metric in spec.get("metrics") or ():
        source = next((value for value in metric.values() if isinstance(value, dict)), {})
        goal = source.get("target") or {}
        if set(goal) != {"type", _TARGETS.get(str(goal.get("type")), "")}:
            yield f"metrics: target {goal!r} has no value of its type"
        if metric.get("type") == "Resource":
            resource = (metric.get("resource") or {}).get("name")
            for template in _templates(objects):
                for container in template["spec"]["containers"]:
                    if resource not in ((container.get("resources") or {}).get("requests") or {}):
                        yield f"metrics: container {container.get('name')} requests no {resource}"


def _budget(spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    if len(spec.keys() & {"minAvailable", "maxUnavailable"}) != 1:
        yield "expected either minAvailable or maxUnavailable"
    if not any(is_selected(spec.get("selector"), each) for each in _templates(objects)):
        yield "selector: it matches no pod"


def _network_policy(spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    chosen = [each for each in _templates(objects) if is_selected(spec.get("podSelector"), each)]
    if not chosen:
        yield "podSelector: it matches no pod"
    for direction, rules in (("Ingress", "ingress"), ("Egress", "egress")):
        if rules in spec and direction not in (spec.get("policyTypes") or ()):
            yield f"policyTypes: {direction} is missing, and {rules} has no effect"
    for rule in spec.get("ingress") or ():
        for port in rule.get("ports") or ():
            if chosen and port.get("port") not in set().union(*map(ports_of, chosen)):
                yield f"ingress: port {port.get('port')!r}: no container has it"


def _service_monitor(spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    chosen = [
        each
        for each in _of(objects, "Service")
        if wanted and wanted.items() <= (each["metadata"].get("labels") or {}).items()
    ]
    if not chosen:
        yield "selector: it matches no Service"
    names = {port.get("name") for each in chosen for port in each["spec"].get("ports") or ()}
    for endpoint in spec.get("endpoints") or ():
        if chosen and endpoint.get("port") not in names:
            yield f"endpoints: port {endpoint.get('port')!r}: no Service has it"


def _claim(spec: Object, _: Sequence[Object]) -> Iterator[str]:
    modes = set(spec.get("accessModes") or ())
    if not modes or not modes <= ACCESS_MODES:
        yield f"accessModes: {sorted(modes)}"
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if quantity(size) is None:
        yield f"storage: {size!r} is no quantity"


def _ingress(spec: Object, objects: Sequence[Object]) -> Iterator[str]:
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            wanted = ((path.get("backend") or {}).get("service")) or {}
            port = (wanted.get("port") or {}).get("name")
            for each in _of(objects, "Service"):
                if each["metadata"].get("name") == wanted.get("name"):
                    if port not in {entry.get("name") for entry in each["spec"].get("ports") or ()}:
                        yield f"rules: no port {port!r} of the Service {wanted.get('name')!r}"
                    break
            else:
                yield f"rules: no Service {wanted.get('name')!r}"

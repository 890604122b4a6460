"""The fields and choices that the objects of deploy/ use. A field that is not here is a misspelt one, or new.

Knows names alone. A cluster drops an unknown field without an error, unless it validates strictly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: API version and the fields of `spec`, by kind. A kind without `spec` has its own fields at the top.
KINDS: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "Deployment": (
        "apps/v1",
        frozenset({"replicas", "revisionHistoryLimit", "selector", "strategy", "template"}),
    ),
    "Job": ("batch/v1", frozenset({"backoffLimit", "ttlSecondsAfterFinished", "template"})),
    "Service": ("v1", frozenset({"type", "selector", "ports", "clusterIP"})),
    "ServiceAccount": ("v1", frozenset()),
    "Namespace": ("v1", frozenset()),
    "PersistentVolumeClaim": ("v1", frozenset({"accessModes", "resources", "storageClassName"})),
    "HorizontalPodAutoscaler": (
        "autoscaling/v2",
        frozenset({"scaleTargetRef", "minReplicas", "maxReplicas", "metrics", "behavior"}),
    ),
    "PodDisruptionBudget": ("policy/v1", frozenset({"minAvailable", "maxUnavailable", "selector"})),
    "NetworkPolicy": (
        "networking.k8s.io/v1",
        frozenset({"podSelector", "policyTypes", "ingress", "egress"}),
    ),
    "Ingress": ("networking.k8s.io/v1", frozenset({"ingressClassName", "tls", "rules"})),
    "ServiceMonitor": ("monitoring.coreos.com/v1", frozenset({"selector", "endpoints"})),
}
_TOP: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "automountServiceAccountToken"})
_METADATA: Final = frozenset({"name", "namespace", "labels", "annotations"})
_POD: Final = frozenset(
    {
        *("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "imagePullSecrets"),
        *("terminationGracePeriodSeconds", "topologySpreadConstraints", "securityContext", "restartPolicy"),
        *("containers", "volumes", "nodeSelector", "tolerations", "affinity"),
    }
)
_CONTAINER: Final = frozenset(
    {
        *("name", "image", "imagePullPolicy", "command", "args", "ports", "env", "envFrom", "resources"),
        *("startupProbe", "livenessProbe", "readinessProbe", "securityContext", "volumeMounts"),
    }
)
HANDLERS: Final = ("httpGet", "tcpSocket", "exec", "grpc")
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
_PROBE: Final = frozenset(
    {
        *("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"),
        *HANDLERS,
    }
)
#: Choices by the name of their field, wherever it is.
CHOICES: Final[dict[str, frozenset[str]]] = {
    "imagePullPolicy": frozenset({"Always", "IfNotPresent", "Never"}),
    "restartPolicy": frozenset({"Always", "OnFailure", "Never"}),
    "whenUnsatisfiable": frozenset({"DoNotSchedule", "ScheduleAnyway"}),
    "fsGroupChangePolicy": frozenset({"OnRootMismatch", "Always"}),
    "protocol": frozenset({"TCP", "UDP", "SCTP"}),
    "pathType": frozenset({"Exact", "Prefix", "ImplementationSpecific"}),
}
#: Choices of a field called `type`, by the field that contains it, or by the kind.
TYPES: Final[dict[str, frozenset[str]]] = {
    "strategy": frozenset({"RollingUpdate", "Recreate"}),
    "seccompProfile": frozenset({"RuntimeDefault", "Localhost", "Unconfined"}),
    "Service": frozenset({"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}),
    "target": frozenset({"Utilization", "Value", "AverageValue"}),
    "metrics": frozenset({"Resource", "Pods", "Object", "External", "ContainerResource"}),
}
ACCESS_MODES: Final = frozenset({"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"})


def unknown_fields(item: dict[str, Any]) -> Iterator[str]:
    """Each unknown field of an object, with its place."""
    _, spec = KINDS[item["kind"]]
    yield from _unknown(item, _TOP, "")
    yield from _unknown(item.get("metadata"), _METADATA, "metadata")
    yield from _unknown(item.get("spec"), spec, "spec")
    template = (item.get("spec") or {}).get("template")
    if isinstance(template, dict):
        yield from _unknown(template, frozenset({"metadata", "spec"}), "template")
        pod = template.get("spec")
        yield from _unknown(pod, _POD, "pod")
        for container in (pod or {}).get("containers") or ():
            name = container.get("name")
            yield from _unknown(container, _CONTAINER, f"container {name}")
            for probe in PROBES:
                yield from _unknown(container.get(probe), _PROBE, f"container {name}: {probe}")


def wrong_choices(value: Any, *, parent: str) -> Iterator[str]:
    """Each value of a choice, at any depth, that is none of the choice."""
    if isinstance(value, list):
        for each in value:
            yield from wrong_choices(each, parent=parent)
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        known = TYPES.get(parent) if key == "type" else CHOICES.get(key)
        if known is not None and each not in known:
            yield f"{parent}: {key}: expected one of {', '.join(sorted(known))}, got {each!r}"
        yield from wrong_choices(each, parent=key if key not in ("spec", "template") else parent)


def _unknown(value: Any, known: frozenset[str], place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for field in sorted(map(str, set(value) - known)):
            yield f"{place}: unknown field {field!r}".lstrip(": ")

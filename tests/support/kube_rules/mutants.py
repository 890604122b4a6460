"""Faults that people make in objects of Kubernetes, each as one change of a sound set.

Knows the base of deploy/kubernetes. Knows nothing of the rules. kubernetes-validate, which checks the schema
alone, finds about a third of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

Object = dict[str, Any]
Change = Callable[[Callable[[str], Object]], object]


def _spec(find: Callable[[str], Object], kind: str) -> Any:
    return find(kind)["spec"]


def _pod(find: Callable[[str], Object]) -> Any:
    return _spec(find, "Deployment")["template"]["spec"]


def _container(find: Callable[[str], Object]) -> Any:
    return _pod(find)["containers"][0]


def _renamed(container: Object, old: str, new: str) -> None:
    container[new] = container.pop(old)


MUTANTS: Final[dict[str, Change]] = {
    # What a schema does not see
    "a selector that differs from the labels": lambda find: _spec(find, "Deployment")["selector"].update(
        matchLabels={"app.kubernetes.io/name": "vae"}
    ),
    "a probe of a port that no container has": lambda find: _container(find)["readinessProbe"][
        "httpGet"
    ].update(port="web"),
    "a bad quantity": lambda find: _container(find)["resources"]["limits"].update(memory="512MB"),
    "a request above its limit": lambda find: _container(find)["resources"]["requests"].update(memory="1Gi"),
    "a bad name": lambda find: find("Service")["metadata"].update(name="vae_service"),
    "a volume that is missing": lambda find: _pod(find).update(volumes=[]),
    "a bad choice": lambda find: _container(find).update(imagePullPolicy="Sometimes"),
    "more replicas at least than at most": lambda find: _spec(find, "HorizontalPodAutoscaler").update(
        maxReplicas=1
    ),
    "a budget with both bounds": lambda find: _spec(find, "PodDisruptionBudget").update(minAvailable=1),
    "a port that is none": lambda find: _container(find)["ports"][0].update(containerPort=99_999),
    "a service of a port that no container has": lambda find: _spec(find, "Service")["ports"][0].update(
        targetPort=9000
    ),
    "a service that matches no pod": lambda find: _spec(find, "Service").update(selector={"app": "vae"}),
    "an autoscaler of nothing": lambda find: _spec(find, "HorizontalPodAutoscaler")["scaleTargetRef"].update(
        name="vae"
    ),
    "an autoscaler by a resource that is not requested": lambda find: _container(find)["resources"][
        "requests"
    ].pop("cpu"),
    "a budget that matches no pod": lambda find: _spec(find, "PodDisruptionBudget")["selector"].update(
        matchLabels={"app": "vae"}
    ),
    "a network policy that matches no pod": lambda find: _spec(find, "NetworkPolicy")["podSelector"].update(
        matchLabels={"app": "vae"}
    ),
    "a network policy of another port": lambda find: _spec(find, "NetworkPolicy")["ingress"][0]["ports"][
        0
    ].update(port="web"),
    "a variable twice": lambda find: _container(find)["env"].append({"name": "VAE_HOST", "value": "::"}),
    "a grace period shorter than the server's": lambda find: _pod(find).update(
        terminationGracePeriodSeconds=30
    ),
    "variables of every service": lambda find: _pod(find).pop("enableServiceLinks"),
    "replicas beside an autoscaler": lambda find: _spec(find, "Deployment").update(replicas=2),
    "a spread over other pods": lambda find: _pod(find)["topologySpreadConstraints"][0][
        "labelSelector"
    ].update(matchLabels={"app": "vae"}),
    "an account that is missing": lambda find: _pod(find).update(serviceAccountName="vae"),
    "a writable root": lambda find: _container(find)["securityContext"].pop("readOnlyRootFilesystem"),
    "a container as root": lambda find: _pod(find)["securityContext"].update(runAsUser=0),
    "no limit of memory": lambda find: _container(find)["resources"]["limits"].pop("memory"),
    # What a strict schema sees too
    "a misspelt field": lambda find: _renamed(_container(find), "readinessProbe", "readynessProbe"),
    "a number for a text": lambda find: _container(find)["env"][2].update(value=10),
    "a missing image": lambda find: _container(find).pop("image"),
    "a version of an API that is gone": lambda find: find("HorizontalPodAutoscaler").update(
        apiVersion="autoscaling/v2beta2"
    ),
    "two handlers of one probe": lambda find: _container(find)["livenessProbe"].update(
        tcpSocket={"port": "http"}
    ),
    "a text for a number": lambda find: _container(find)["livenessProbe"].update(periodSeconds="10"),
    "a kind that does not exist": lambda find: find("Service").update(kind="Servic"),
}


def mutant(objects: Sequence[Object], name: str) -> list[Object]:
    """A copy of a sound set with one fault."""
    changed = copy.deepcopy(list(objects))

    def find(kind: str) -> Object:
        (found,) = (each for each in changed if each["kind"] == kind)
        return found

    MUTANTS[name](find)
    return changed

"""The application that `serve deploy` builds.

Knows Ray Serve, which is imported when a function is called: the server itself does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.ray_serve.deployment import read_arguments

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.ray_serve.mirrored_metrics import Gauge

#: Name of the deployment, for the section `deployments` of a configuration.
DEPLOYMENT = "vae"


def build(args: dict[str, Any]) -> Any:
    """The application, from the `args` of a configuration with `import_path: service.ray_serve:build`.

    Args:
        args: See `service.ray_serve.deployment.Arguments`.

    Returns:
        The `ray.serve.Application`.

    Raises:
        SettingsError: A setting is unknown or invalid; nothing is deployed.
    """
    from ray import serve  # noqa: PLC0415

    from service.ray_serve.replica import Replica  # noqa: PLC0415  (onnxruntime)

    arguments = read_arguments(args)
    arguments.read()

    # A function, and not the application: a session of onnxruntime cannot be sent to another process.
    def make() -> FastAPI:
        from service.ray_serve import replica  # noqa: PLC0415

        return replica.make_app(arguments, threads=_assigned_cores(), make_gauge=_gauge)

    # More than replicas shall ever wait for: the queue of the application answers 429 with a time to retry.
    deployment = serve.deployment(name=DEPLOYMENT, max_ongoing_requests=1024)
    return deployment(serve.ingress(make)(Replica)).bind()


def _assigned_cores() -> int:
    """The cores that Ray assigned to this replica, at least one."""
    import ray  # noqa: PLC0415

    assigned = ray.get_runtime_context().get_assigned_resources()
    return max(1, int(assigned.get("CPU", 1)))


def _gauge(name: str, description: str, labels: tuple[str, ...]) -> Gauge:
    from ray.serve import metrics  # noqa: PLC0415

    gauge: Gauge = metrics.Gauge(name, description=description, tag_keys=labels)
    return gauge

"""Nodes of a Ray cluster are killed, frozen and drained: clients notice as little as the page says."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

import pytest
from hazard_plugin import Hazard
from patience import eventually
from ray_cluster import NOT_INSTALLED, Node, RayCluster, another_node, is_installed, ray_cluster
from ray_load import Load, configured, fixed

pytestmark = [
    pytest.mark.hard,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not is_installed(), reason=NOT_INSTALLED),
]

#: Clients at the same time, so the most requests that may be in flight.
CLIENTS = 8
#: Requests until something happens, and further ones after it.
BEFORE, AFTER = 200, 800


def disturbed(cluster: RayCluster, disturb: Callable[[], None], *, tries: int = 1) -> Load:
    """Load, in the middle of which something happens."""
    with Load(cluster.port, clients=CLIENTS, tries=tries) as load:
        eventually(lambda: load.count >= BEFORE, lambda: load.seen)
        disturb()
        seen = load.count
        eventually(lambda: load.count >= seen + AFTER, lambda: load.seen)
    return load


@pytest.mark.hazard_row("ray-serve")
def test_nodes_may_be_killed_frozen_and_drained(hazard: Hazard) -> None:
    """Two nodes with a replica each; HAProxy is on the first node, which has none."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(ray_cluster(cores=0))
        whole = {"proxy_location": "HeadOnly"}
        configuration = configured(cluster, **fixed(2), max_replicas_per_node=1, whole=whole)

        def two_nodes(kept: list[Node]) -> list[Node]:
            """The nodes, as many as are missing started, and a replica on each."""
            nodes = [*kept, *(stack.enter_context(another_node(cluster)) for _ in range(2 - len(kept)))]
            cluster.deploy(configuration, replicas=2)
            eventually(lambda: len(cluster.named("ray::ServeReplica")) == 2, cluster.told)
            return nodes

        first, second = two_nodes([])
        killed = disturbed(cluster, lambda: second.signal(signal.SIGKILL))
        hazard(
            "ray-serve",
            figure=f"node killed: {killed.failed} of {killed.count} failed, {CLIENTS} in flight",
            bar=f"≤ {CLIENTS}",
            met=killed.failed <= CLIENTS,
        )
        first, second = two_nodes([first])
        repeated = disturbed(cluster, lambda: second.signal(signal.SIGKILL), tries=2)
        hazard(
            "ray-serve",
            figure=f"node killed, clients repeat once: {repeated.failed} of {repeated.count} failed",
            bar="0",
            met=repeated.failed == 0,
        )
        first, second = two_nodes([first])
        frozen = disturbed(cluster, lambda: second.signal(signal.SIGSTOP))
        second.signal(signal.SIGKILL)
        hazard(
            "ray-serve",
            figure=f"node frozen: {frozen.failed} of {frozen.count} failed, longest {frozen.longest_s:.1f} s",
            bar="0, ≤ 4 s",
            met=frozen.failed == 0 and frozen.longest_s <= 4.0,
        )
        first, second = two_nodes([first])
        drain = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"]
        drained = disturbed(
            cluster,
            lambda: cluster.run(  # type: ignore[arg-type]
                "ray", "drain-node", "--node-id", second.id, *drain, "--deadline-remaining-seconds", "60"
            ),
        )
        hazard(
            "ray-serve",
            figure=f"node drained: {drained.failed} of {drained.count} failed",
            bar="0",
            met=drained.failed == 0,
        )

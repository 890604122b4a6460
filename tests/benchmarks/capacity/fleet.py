"""A fleet of servers behind one proxy, simulated from measured costs: what it carries, and its first limit.

Knows the simulation and the costs of requests. Knows nothing of how they were measured.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from capacity.simulation import Host, Outcome, Process, Run, Step

#: Names of the resources, as in the table.
CLIENT, PROXY, LINK, REPLICAS, SHARED = "client", "proxy", "network of the proxy", "replicas", "two cores"

_NOTHING = 1e-12
#: Fewer would end before the queues have filled.
_REQUESTS_OF_A_REPLICA = 20


@dataclass(frozen=True)
class Request:
    """What one request needs."""

    server_s: float
    proxy_s: float
    size_bytes: int
    client_s: float = 0.0


@dataclass(frozen=True)
class Fleet:
    """How many of everything there are."""

    replicas: int
    """Of one core each."""
    proxy_cores: int = 4
    link_bits_per_s: float = 10e9

    def hosts(self) -> tuple[list[Process], list[Process], Process, list[Host]]:
        """Servers, workers of the proxy, its network, and all hosts."""
        servers = [Process(f"replica {n}", Host(REPLICAS, 1)) for n in range(self.replicas)]
        proxy = Host(PROXY, self.proxy_cores)
        workers = [Process(f"proxy {n}", proxy) for n in range(self.proxy_cores)]
        link = Process(LINK, Host(LINK, 1))
        return servers, workers, link, [*(server.host for server in servers), proxy, link.host]

    def run(self, request: Request, per_s: float, *, requests: int, seed: int = 0) -> Outcome:
        """So many requests of independent users at a rate; the proxy picks the shorter of two queues."""
        servers, workers, link, hosts = self.hosts()
        on_link_s = 8 * request.size_bytes / self.link_bits_per_s

        def route(rng: random.Random) -> Sequence[Step]:
            worker = workers[rng.randrange(len(workers))]
            server = min((rng.choice(servers) for _ in range(2)), key=lambda each: each.load)
            return [
                Step(worker, request.proxy_s),
                Step(server, request.server_s),
                Step(link, on_link_s),
            ]

        return Run(route, seed=seed).open(per_s, requests / per_s, hosts)

    def ideal_per_s(self, request: Request) -> float:
        """The rate at which the busiest resource would have no pause."""
        return min(
            self.replicas / request.server_s,
            self.proxy_cores / max(request.proxy_s, _NOTHING),
            self.link_bits_per_s / max(8 * request.size_bytes, _NOTHING),
        )

    def sustainable(self, request: Request, *, requests: int = 10_000, slack: float = 10.0) -> Outcome:
        """The highest simulated rate whose p99 is at most `slack` times the time of a request alone."""
        requests = max(requests, _REQUESTS_OF_A_REPLICA * self.replicas)
        alone_s = request.server_s + request.proxy_s
        low, high, best = 0.0, 1.0, None
        for _ in range(6):
            share = (low + high) / 2
            found = self.run(request, share * self.ideal_per_s(request), requests=requests)
            if found.p99_s <= slack * alone_s:
                low, best = share, found
            else:
                high = share
        if best is None:
            raise ValueError("no rate is sustainable: a request alone takes longer than the bound")
        return best


def two_servers(request: Request, *, clients: int, duration_s: float, seed: int = 0) -> Outcome:
    """The set-up that is measured: client, proxy and two servers share the cores of one machine."""
    host = Host(SHARED, 2)
    client, proxy = Process(CLIENT, host), Process(PROXY, host)
    servers = [Process(f"server {n}", host) for n in range(2)]
    turn = itertools.count()

    def route(_: random.Random) -> Sequence[Step]:
        server = min(servers, key=lambda each: (each.load, next(turn) % 2))
        half_s = request.proxy_s / 2
        return [
            Step(client, request.client_s / 2),
            Step(proxy, half_s),
            Step(server, request.server_s),
            Step(proxy, half_s),
            Step(client, request.client_s / 2),
        ]

    return Run(route, seed=seed).closed(clients, duration_s, [host])


def table(
    fleets: Sequence[Fleet], request: Request, *, say: Callable[[str], None] = lambda _: None
) -> list[tuple[Fleet, Outcome]]:
    """Each fleet with what it sustains."""
    rows = []
    for fleet in fleets:
        found = fleet.sustainable(request)
        say(f"{fleet.replicas} replicas: {found.per_s:,.0f}/s, {found.bottleneck()}")
        rows.append((fleet, found))
    return rows

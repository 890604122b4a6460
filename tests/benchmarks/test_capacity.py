"""The simulation behind docs/explanation/capacity.md, against queues whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from capacity.fleet import LINK, PROXY, REPLICAS, Fleet, Request, two_servers
from capacity.report import Figures, markdown, write
from capacity.simulation import VARIATION, Host, Process, Run, Step

MS = 1e-3


def one_queue(mean_s: float) -> tuple[Process, list[Host]]:
    host = Host("host", 1)
    return Process("server", host), [host]


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_mean_wait_of_one_queue_is_that_of_pollaczek_and_khinchine(load: float) -> None:
    """W = ρ s (1 + c²) / (2 (1 - ρ)) for Poisson arrivals."""
    server, hosts = one_queue(MS)
    run = Run(lambda _: [Step(server, MS)])
    found = run.open(load / MS, 60.0, hosts)
    latencies = [latency for moment, latency in run._finished if moment > 12.0]
    wait_s = sum(latencies) / len(latencies) - MS
    expected_s = load * MS * (1 + VARIATION**2) / (2 * (1 - load))
    assert wait_s == pytest.approx(expected_s, rel=0.1)
    assert found.busy["host"] == pytest.approx(load, rel=0.03)


def test_closed_loop_is_as_fast_as_its_slowest_step_and_no_faster() -> None:
    slow, fast = Process("slow", Host("a", 1)), Process("fast", Host("b", 1))
    steps = [Step(fast, MS), Step(slow, 4 * MS)]
    found = Run(lambda _: steps).closed(16, 20.0, [slow.host, fast.host])
    assert found.per_s == pytest.approx(250, rel=0.03)
    assert found.bottleneck() == "a"
    assert found.busy["b"] == pytest.approx(0.25, rel=0.05)


def test_processes_that_share_cores_share_their_time() -> None:
    host = Host("two cores", 2)
    steps = [Step(Process(name, host), MS) for name in ("a", "b", "c", "d")]
    found = Run(lambda _: steps).closed(32, 10.0, [host])
    assert found.per_s == pytest.approx(2 / (4 * MS), rel=0.03)
    assert found.busy["two cores"] == pytest.approx(1.0, abs=0.02)


def test_one_request_at_a_time_takes_its_steps_and_nothing_else() -> None:
    found = two_servers(Request(4 * MS, MS, 0, client_s=MS), clients=1, duration_s=10.0)
    assert 1 / found.per_s == pytest.approx(6 * MS, rel=0.03)


def test_two_servers_use_both_cores_if_client_and_proxy_cost_nothing() -> None:
    found = two_servers(Request(MS, 1e-9, 0), clients=32, duration_s=5.0)
    assert found.per_s == pytest.approx(2 / MS, rel=0.03)


@pytest.mark.parametrize(
    ("fleet", "request_", "limit"),
    [
        (Fleet(10), Request(MS, 0.05 * MS, 1000), REPLICAS),
        (Fleet(200, proxy_cores=2), Request(MS, 0.05 * MS, 1000), PROXY),
        (Fleet(200, proxy_cores=64), Request(MS, 0.05 * MS, 200_000), LINK),
    ],
    ids=["few replicas", "one proxy for many", "large answers"],
)
def test_first_limit_of_a_fleet_is_the_resource_that_is_used_up(
    fleet: Fleet, request_: Request, limit: str
) -> None:
    found = fleet.sustainable(request_, requests=4000)
    assert found.bottleneck() == limit
    assert 0.5 * fleet.ideal_per_s(request_) < found.per_s <= 1.05 * fleet.ideal_per_s(request_)


def test_a_run_is_repeatable_by_its_seed() -> None:
    fleet, request_ = Fleet(3), Request(MS, 0.1 * MS, 1000)
    assert fleet.run(request_, 1000, requests=500) == fleet.run(request_, 1000, requests=500)
    assert fleet.run(request_, 1000, requests=500) != fleet.run(request_, 1000, requests=500, seed=1)


def test_tables_are_written_between_the_marks_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- make bench-capacity: begin -->\nold\n<!-- make bench-capacity: end -->\nb\n")
    write(page, "new")
    assert page.read_text() == (
        "a\n<!-- make bench-capacity: begin -->\nnew\n<!-- make bench-capacity: end -->\nb\n"
    )
    with pytest.raises(IndexError):
        markdown(Figures(measured_on="2026-01-01"))

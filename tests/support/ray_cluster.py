"""Ray Serve on a Ray of its own: started, deployed to, and ended with every process that it started.

Knows the commands of Ray in `.venv-ray`, which `make ray` installs, and the files in `deploy/ray`. Knows
nothing of what is tested. Each process of a cluster has a mark in its environment, so that none is missed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from leftovers import processes_with
from patience import PATIENCE_S, eventually
from server_process import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = REPOSITORY / ".venv-ray/bin"
CONFIGURATION = REPOSITORY / "deploy/ray/serve.yaml"
VARIABLES = REPOSITORY / "deploy/ray/environment.sh"
#: In the environment of every process of a cluster: its own number.
MARK = "RAY_CLUSTER_OF_A_TEST"
NOT_INSTALLED = "Ray is not installed: make ray"


def is_installed() -> bool:
    """Whether the environment with Ray is there."""
    return (BIN / "serve").exists()


def variables() -> dict[str, str]:
    """The variables that `deploy/ray/environment.sh` sets."""
    done = subprocess.run(
        ["bash", "-euc", f'. "{VARIABLES}"; env -0'],
        env={"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    pairs = (line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in pairs if "RAY" in name}


@dataclass
class RayCluster:
    """A running Ray, of one node or several on this machine."""

    home: Path
    environment: dict[str, str]
    port: int
    """Where HAProxy listens, for clients."""
    dashboard: int
    metrics: int
    mark: str
    pid: int = 0
    """Of the command that started its first node."""

    def configuration(self, **changes: Any) -> dict[str, Any]:
        """`deploy/ray/serve.yaml` with the ports of this cluster and other values of the deployment."""
        found: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
        found["http_options"] |= {"host": "127.0.0.1", "port": self.port}
        (application,) = found["applications"]
        application["args"]["settings"] |= changes.pop("settings", {})
        found |= changes.pop("whole", {})
        (deployment,) = application["deployments"]
        for name, value in changes.items():
            if value is None:
                deployment.pop(name, None)
            else:
                deployment[name] = value
        return found

    def run(self, *command: str, timeout_s: float = PATIENCE_S) -> str:
        """What a command of Ray prints; it must succeed."""
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def deploy(self, configuration: Mapping[str, Any], *, replicas: int | None = None) -> None:
        """`serve deploy`, and wait until it runs, with this number of replicas."""
        file = self.home / "serve.yaml"
        file.write_text(yaml.safe_dump(dict(configuration)))
        self.run("serve", "deploy", "--address", f"http://127.0.0.1:{self.dashboard}", str(file))
        eventually(lambda: self._runs(replicas), self.told)

    def status(self) -> dict[str, Any]:
        """The application, as `serve status` prints it; empty before Serve runs."""
        printed = self.run("serve", "status", "--address", f"http://127.0.0.1:{self.dashboard}")
        found: dict[str, Any] = yaml.safe_load(printed) or {}
        application: dict[str, Any] = (found.get("applications") or {}).get("vae") or {}
        return application

    def _runs(self, replicas: int | None) -> bool:
        found = self.status()
        # UNHEALTHY is no end: it is so for a moment after a node was killed.
        if found.get("status") == "DEPLOY_FAILED":
            raise AssertionError(self.told())
        states = ((found.get("deployments") or {}).get("vae") or {}).get("replica_states") or {}
        return found.get("status") == "RUNNING" and replicas in (None, states.get("RUNNING"))

    def told(self) -> str:
        """The state, and the ends of the logs, for the message of a failure."""
        logs = sorted(
            self.home.glob("session_latest/logs/serve/*.log"), key=lambda path: path.stat().st_mtime
        )
        ends = "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in logs[-4:])
        return f"{self.status()}\n{ends}"

    @property
    def pids(self) -> frozenset[int]:
        """Every process of the cluster; of further nodes those that kept their mark."""
        return processes_with(MARK, self.mark) | family(self.pid).keys()

    def named(self, name: str) -> list[int]:
        """Processes whose command line begins with a name, such as `ray::ServeReplica`."""
        found = []
        for pid in self.pids:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(name.encode()):
                    found.append(pid)
        return sorted(found)


@contextlib.contextmanager
def ray_cluster(*, cores: int = 2, environment: Mapping[str, str] | None = None) -> Iterator[RayCluster]:
    """A Ray of one node on this machine, on free ports of 127.0.0.1."""
    mark = uuid4().hex
    # Short, because the paths of its sockets have at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as name:
        home = Path(name)
        ports = {
            each: free_port()
            for each in ("gcs", "dashboard", "agent", "metrics", "http", "haproxy", "statistics")
        }
        cluster = RayCluster(
            home=home,
            environment={
                **{key: value for key, value in os.environ.items() if key not in ("CI", "PYTHONPATH")},
                **variables(),
                # Its files are those of one Ray for each machine.
                **{
                    f"RAY_SERVE_HAPROXY_{name}": f"{home}/{file}"
                    for name, file in {
                        "CONFIG_FILE_LOC": "haproxy.cfg",
                        "SOCKET_PATH": "admin.sock",
                        "SERVER_STATE_BASE": "",
                        "SERVER_STATE_FILE": "server-state",
                        "METRICS_SOCKET_PATH": "metrics.sock",
                    }.items()
                },
                # A slow machine is no fault.
                "RAY_raylet_start_wait_time_s": f"{PATIENCE_S:.0f}",
                "RAY_worker_register_timeout_seconds": f"{PATIENCE_S:.0f}",
                "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": f"{PATIENCE_S:.0f}",
                "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["haproxy"]),
                "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["statistics"]),
                **(environment or {}),
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                MARK: mark,
                "RAY_ADDRESS": f"127.0.0.1:{ports['gcs']}",
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard']}",
            },
            port=ports["http"],
            dashboard=ports["dashboard"],
            metrics=ports["metrics"],
            mark=mark,
        )
        command = [
            "ray", "start", "--head", "--block", "--disable-usage-stats", f"--num-cpus={cores}",
            "--node-ip-address=127.0.0.1", f"--temp-dir={home}", f"--port={ports['gcs']}",
            "--include-dashboard=true", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={ports['dashboard']}",
            f"--dashboard-agent-listen-port={ports['agent']}", f"--metrics-export-port={ports['metrics']}",
            "--object-store-memory=100000000",
        ]  # fmt: skip
        try:
            with started(command, home / "ray.log", cluster.environment) as process:
                cluster.pid = process.pid
                eventually(
                    lambda: _answers(cluster, process),
                    lambda: (home / "ray.log").read_text()[-4000:],
                )
                yield cluster
        finally:
            end(mark)


@dataclass
class Node:
    """One more node of a cluster, on the same machine."""

    pid: int
    """Of the command that started it."""
    id: str
    """What Ray calls it."""

    def signal(self, number: int) -> None:
        """Send a signal to every process of the node."""
        _signal(family(self.pid), number)


@contextlib.contextmanager
def another_node(cluster: RayCluster, *, cores: int = 1) -> Iterator[Node]:
    """One more node, until the block ends."""
    known = _node_ids(cluster)
    command = [
        "ray", "start", f"--address={cluster.environment['RAY_ADDRESS']}", "--block", f"--num-cpus={cores}",
        "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000",
        f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}",
    ]  # fmt: skip
    log = cluster.home / f"node-{len(list(cluster.home.glob('node-*.log')))}.log"
    with started(command, log, cluster.environment) as process:
        # A node that was killed just now may still be known, and go while this one comes.
        eventually(lambda: bool(_node_ids(cluster) - known), lambda: log.read_text()[-4000:])
        (new,) = _node_ids(cluster) - known
        node = Node(process.pid, new)
        try:
            yield node
        finally:
            node.signal(signal.SIGKILL)


def _node_ids(cluster: RayCluster) -> set[str]:
    """The living nodes."""
    printed = cluster.run("ray", "list", "nodes", "--format", "json", "--filter", "state=ALIVE")
    return {each["node_id"] for each in json.loads(printed[printed.index("[") :])}


@contextlib.contextmanager
def started(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Ray that runs until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # Some of Ray's processes write their titles over their environment, and lose their mark.
            members = family(process.pid)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            _signal(members, signal.SIGKILL)
            process.wait()


def family(pid: int) -> dict[int, str]:
    """A process and all that descend from it, with their times of start."""
    found = {pid}
    while True:
        more = {child for child, (parent, _) in _alive().items() if parent in found} - found
        if not more:
            return {each: start for each, (_, start) in _alive().items() if each in found}
        found |= more


def _alive() -> dict[int, tuple[int, str]]:
    """The parent and the time of start of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(") ")[2].split()
            found[int(path.parent.name)] = (int(fields[1]), fields[19])
    return found


def _signal(members: Mapping[int, str], number: int) -> None:
    """Send a signal to those that are still the same processes."""
    alive = _alive()
    for pid, start in members.items():
        if pid in alive and alive[pid][1] == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def end(mark: str) -> None:
    """Kill what is left of a cluster, by process id."""
    until = time.monotonic() + PATIENCE_S
    while found := processes_with(MARK, mark):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < until, f"processes of Ray that do not end: {sorted(found)}"
        time.sleep(0.1)


def _answers(cluster: RayCluster, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (cluster.home / "ray.log").read_text()[-4000:]
    done = subprocess.run(
        [str(BIN / "serve"), "status", "--address", f"http://127.0.0.1:{cluster.dashboard}"],
        env=cluster.environment,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode == 0

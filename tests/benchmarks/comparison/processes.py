"""A server as a process: started, ready, its memory and CPU time, and ended with everything that it started.

Knows processes and /proc. Knows nothing of what is served. Everything is ended by process id.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from process_facts import cpu_s, resident_bytes

_READY_WITHIN_S = 120.0
_ENDED_WITHIN_S = 15.0


@dataclass(frozen=True)
class Started:
    """A server that answers."""

    pid: int
    port: int
    ready_s: float
    """From its start until its first answer of 200."""
    grpc_port: int = 0
    """0 if it has none."""

    def family(self) -> list[int]:
        return family(self.pid)

    def largest_resident_mb(self) -> float:
        """Of the process that holds most, in units of 10⁶ bytes."""
        return max(resident_bytes(pid) for pid in self.family()) / 1e6

    def idle_cpu_percent(self, watched_s: float) -> float:
        """Of one core, of all its processes together."""
        before_s, begun_s = sum(map(cpu_s, self.family())), time.monotonic()
        time.sleep(watched_s)
        return 100 * (sum(map(cpu_s, self.family())) - before_s) / (time.monotonic() - begun_s)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def started(
    command: Sequence[str],
    *,
    port: int,
    ready_path: str,
    log: Path,
    environment: Mapping[str, str],
    folder: Path,
) -> Iterator[Started]:
    """Runs a server until the block ends.

    Raises:
        RuntimeError: It ended or did not answer in time; the message holds the end of its log.
    """
    # As on a machine of its own: where CI is set, onnxruntime keeps its telemetry to itself.
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONPATH")}
    begun_s = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env={**inherited, **environment},
            start_new_session=True,
        )
    try:
        while not _answers(port, ready_path):
            if process.poll() is not None or time.monotonic() - begun_s > _READY_WITHIN_S:
                raise RuntimeError(f"{' '.join(command)}\ndoes not answer:\n{log.read_text()[-3000:]}")
            time.sleep(0.005)
        yield Started(process.pid, port, time.monotonic() - begun_s)
    finally:
        _end(process)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(") ")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the first; what is still there after it has ended is killed."""
    members = family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDED_WITHIN_S)
    for pid in members:
        if pid != process.pid or process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(_ENDED_WITHIN_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

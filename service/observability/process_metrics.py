"""Metrics of this process from the operating system, and of its log.

Knows /proc of Linux. prometheus_client's own collector does the same, but not for several workers. Here,
memory and processor time are sums, and open files are those of the fullest worker, because their limit
belongs to one process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessMetrics:
    """Memory, processor time and open files. The docstring under each is the question it answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.memory = Gauge(
            "process_resident_memory_bytes",
            "Resident memory, of all workers together.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        """Does memory grow?"""

        self.cpu = Counter(
            "process_cpu_seconds_total", "Processor time, user and system, in seconds.", registry=registry
        )
        """How busy are the cores?"""

        self.files = Gauge(
            "process_open_fds",
            "Open file descriptors; of several workers, of the one with the most.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        """How near is a process to its limit, and are connections or files left open?"""

        self.max_files = Gauge(
            "process_max_fds",
            "Most file descriptors that one process may open.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        """How many more may it open?"""

        self.start = Gauge(
            "process_start_time_seconds",
            "When the youngest worker started, in seconds since 1970.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        """When did it last start?"""

        self.lost_log_lines = Counter(
            "vae_log_lines_lost_total",
            "Log lines that could not be written: nothing reads the log, or its disk is full.",
            registry=registry,
        )
        """Is the log complete?"""

        self.start.set(time.time() - time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID))
        self._cpu_s = 0.0
        self._lost = 0

    def observe_log(self, lost: int) -> None:
        """Set the number of log lines lost since the start of the process."""
        self.lost_log_lines.inc(max(0, lost - self._lost))
        self._lost = lost

    def observe(self) -> None:
        """Update all of them; an unreadable value stays unchanged."""
        cpu_s = time.process_time()
        self.cpu.inc(max(0.0, cpu_s - self._cpu_s))
        self._cpu_s = cpu_s
        with contextlib.suppress(OSError, ValueError, IndexError):
            self.memory.set(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES)
            self.files.set(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  (a third of the time)
        self.max_files.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

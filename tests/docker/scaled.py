"""deploy/compose with several servers under load: one is stopped, one is killed, others are added.

    PYTHONPATH=tests/support python3 tests/docker/scaled.py PORT PROJECT

Prints one line for each thing that holds, and ends with 1 at the first that does not. Knows docker and the
clients of `replicas`. Images and services are there already: tests/docker/test-docker starts them.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import urllib.request
from pathlib import Path

from patience import eventually
from replicas import clients, kinds_of

COMPOSE_FILE = Path(__file__).resolve().parents[2] / "deploy/compose/docker-compose.yml"
REQUESTS = 2_000


def docker(*arguments: str) -> str:
    """What docker prints; the log of a container is on both of its outputs."""
    done = subprocess.run(
        ["docker", *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


def compose(*arguments: str) -> None:
    """Run compose, of the second kind or of the first."""
    second = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    program = ["docker-compose"] if second.returncode else ["docker", "compose"]
    subprocess.run([*program, "-f", str(COMPOSE_FILE), *arguments], check=True, capture_output=True)


def servers(project: str) -> list[str]:
    """Ids of the running servers."""
    labels = (f"label=com.docker.compose.project={project}", "label=com.docker.compose.service=server")
    return docker("ps", "-q", "--filter", labels[0], "--filter", labels[1]).split()


def main() -> None:
    port, project = int(sys.argv[1]), sys.argv[2]

    def post(target: str, body: bytes, kind: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{target}", body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def has_answered(container: str) -> bool:
        return '"path":"/decode"' in docker("logs", "--tail", "200", container)

    begun = servers(project)
    kinds = kinds_of(post, latent_size=32, images=8)
    with clients(port, kinds, each=4) as seen:
        for container in begun:
            eventually(functools.partial(has_answered, container), lambda: "a server gets no request")
        say(f"{len(begun)} servers share the requests")
        docker("stop", begun[0])
        code = docker("inspect", "--format", "{{.State.ExitCode}}", begun[0]).strip()
        if code != "0":
            raise SystemExit(f"exit code after SIGTERM is {code}")
        seen.wait_for(300)
        docker("kill", "--signal", "KILL", begun[1])
        seen.wait_for(300)
        compose("up", "--no-build", "--no-recreate", "--detach", "--scale", "server=4")
        new = [each for each in servers(project) if each not in begun]
        if not new:
            raise SystemExit("no server was added")
        for container in new:
            eventually(functools.partial(has_answered, container), lambda: "a new server gets no request")
        while min(seen.answered["json"], seen.answered["npy"]) < REQUESTS and not seen.lost:
            seen.wait_for(100)
    if seen.lost:
        raise SystemExit(f"{len(seen.lost)} of {seen.count} lost: {seen.lost[:3]}")
    counts = f"{seen.answered['json']} JSON and {seen.answered['npy']} npy requests"
    say(f"0 of {counts} lost: one server was stopped, one killed; {len(new)} new ones were found")


def say(line: str) -> None:
    """A line for the script that calls this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

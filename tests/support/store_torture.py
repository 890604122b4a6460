"""Publishers that race and publishers that are killed, in processes of their own.

    python store_torture.py kill-every-step ROOT
    python store_torture.py kill-at-random ROOT COUNT SEED
    python store_torture.py race ROOT PROCESSES EACH

Prints one JSON document of what was seen; the tests judge it. The interpreter is started once and forks, so
that a kill costs milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import SystemCalls, counting
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore, VersionId

MODEL = TinyModel.make(image_shape=(1, 4, 4), latent_size=2)


def publish(root: Path, alias: str = "stable") -> VersionId:
    return publish_tiny(ModelStore(root), model=MODEL, aliases=(alias,))


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process and give its id; it never returns into the parent's code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return child


def inspect(root: Path) -> dict[str, Any]:
    """What a reader and the collector find after a crash."""
    store = ModelStore(root)
    corrupt = [
        f"{name}@{number}: {error}"
        for name in store.names()
        for number in store.versions(name)
        for error in store.problems(VersionId(name, number))
    ]
    corrupt += [str(error) for name in store.names() for error in store.model_problems(name)]
    served = str(store.open("tiny").id)
    orphans = len(store.gc(older_than_s=0.0).temporaries)
    left = [str(path) for path in root.rglob(".tmp-*")]
    return {"corrupt": corrupt, "served": served, "orphans": orphans, "left": left}


def kill_every_step(root: Path) -> dict[str, Any]:
    """A publisher dies before each of its system calls in turn."""
    publish(root)
    with counting() as calls:
        publish(root)
    steps = len(calls.names)

    def die_at(step: int) -> None:
        def act(index: int, name: str, arguments: tuple[Any, ...]) -> None:
            if index == step:
                os.kill(os.getpid(), signal.SIGKILL)

        with SystemCalls(act):
            publish(root)

    seen = []
    for step in range(1, steps + 1):
        child = in_child(lambda step=step: die_at(step))  # type: ignore[misc]
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        seen.append({"step": step, "call": calls.names[step - 1], "killed": killed, **inspect(root)})
    return {"steps": steps, "seen": seen, "versions": ModelStore(root).versions("tiny")}


def kill_at_random(root: Path, count: int, seed: int) -> dict[str, Any]:
    """A publisher that never stops is killed at a random time after up to two publications, again and again.

    It says when each is done, so a busy machine changes nothing but the time.
    """
    publish(root)
    started = time.monotonic()
    for _ in range(5):
        publish(root)
    mean_s = (time.monotonic() - started) / 5
    rng = random.Random(seed)
    done, publishes = os.pipe()

    def publish_for_ever() -> None:
        while True:
            publish(root)
            os.write(publishes, b".")

    seen = []
    for _ in range(count):
        child = in_child(publish_for_ever)
        for _ in range(rng.randrange(3)):
            os.read(done, 1)
        time.sleep(rng.uniform(0.0, mean_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.append(inspect(root))
        # Thousands of versions would only slow the next look.
        ModelStore(root).gc(keep=5, older_than_s=0.0)
    return {"seen": seen, "versions": ModelStore(root).versions("tiny")}


def race(root: Path, processes: int, each: int) -> dict[str, Any]:
    """Publishers at the same time, each with an alias of its own."""

    def work(index: int) -> None:
        published = [publish(root, f"p{index}").version for _ in range(each)]
        (root / f"published-{index}.json").write_text(json.dumps(published))

    root.mkdir(parents=True, exist_ok=True)
    children = [in_child(lambda index=index: work(index)) for index in range(processes)]  # type: ignore[misc]
    statuses = [os.waitpid(child, 0)[1] for child in children]
    published = {}
    for index in range(processes):
        file = root / f"published-{index}.json"
        published[f"p{index}"] = json.loads(file.read_text())
        file.unlink()
    store = ModelStore(root)
    return {
        "statuses": statuses,
        "published": published,
        "aliases": dict(store.aliases("tiny")),
        "versions": store.versions("tiny"),
        **inspect(root),
    }


if __name__ == "__main__":
    mode, where, *numbers = sys.argv[1:]
    ways: dict[str, Callable[..., object]] = {
        "kill-every-step": kill_every_step,
        "kill-at-random": kill_at_random,
        "race": race,
    }
    sys.stdout.write(json.dumps(ways[mode](Path(where), *map(int, numbers))))

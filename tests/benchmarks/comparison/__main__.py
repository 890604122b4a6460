"""`make bench`: flags to tables.

    make bench                          the comparison, about half an hour
    make bench ARGS=--quick             everything once, briefly; its figures mean little
    make bench ARGS=--write-readme      and into tests/benchmarks/README.md
    make bench ARGS=split               intra-op threads against parallel runs
    make bench ARGS=grpc                server CPU of calls of gRPC and of npy over HTTP
    make bench ARGS=caching             304 compared with /livez and with running the model
    make bench ARGS=ray                 server CPU through Ray Serve and of plain vae-serve
    make bench ARGS=protocols           /v2 compared with the native API, and gRPC with other servers'
    make bench ARGS="revisions --before PYTHON"
                                        this tree compared with the revision installed beside PYTHON

Exit codes: 0 all that was measured met its bar; 1 something did not; 2 wrong usage; 69 wrk or
h2load is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from comparison.caching import measure_caching
from comparison.grpc_cost import measure_grpc
from comparison.pair import Pair, bundled_pair, mlp_pair
from comparison.protocols import measure_protocols
from comparison.ray_cost import measure_ray
from comparison.revisions import measure_revisions
from comparison.rounds import Figures, Plan, capture_answers, find_best, measure_rounds
from comparison.split import measure_split
from comparison.systems import System, asgi, is_installed, others, ours, tutorial
from comparison.table import PAGE, markdown, misses, write_between_markers

_QUICK = Plan(rounds=1, window_s=1, pilot_s=1, warm_up_s=1, idle_s=2, concurrency=(1, 32))


def main() -> int:
    given = _arguments()
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(tool) is None and (tool == "wrk" or given.what == "protocols"):
            print(f"bench: {tool} is missing; on Debian: apt-get install {package}", file=sys.stderr)
            return 69
    # Everything on two cores, the client too, wherever it runs.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:  # short: Ray puts sockets below it
        home = Path(name)
        pairs = [
            make(home) for make in (mlp_pair, bundled_pair) if make.__name__.split("_")[0] in given.pairs
        ]
        if given.what == "split":
            print(measure_split(pairs, rounds=given.rounds or 3, window_s=given.window_s or 1.0, say=_say))
            return 0
        if given.what in _COMPARED:
            text, met = _COMPARED[given.what](given, pairs)
            print(text)
            return 0 if met else 1
        plan = _plan(given)
        figures = Figures()
        systems = _systems(given.systems, figures)
        for pair in pairs:
            capture_answers(ours(), pair)
            working = find_best(systems, pair, plan, figures, _say)
            measure_rounds(working, pair, plan, figures, _say)
    titles = [(pair.name, pair.title) for pair in pairs]
    text = markdown(figures, titles, heading=_heading(plan))
    print(text, flush=True)
    if given.json:
        samples = {" | ".join(key): values for key, values in figures.samples.items()}
        chosen = {" | ".join(key): value for key, value in figures.variants.items()}
        given.json.write_text(
            json.dumps({"samples": samples, "variants": chosen, "notes": figures.notes}, indent=1)
        )
    if given.write_readme:
        write_between_markers(PAGE, text)
    missed = misses(figures, titles)
    for one in missed:
        print(f"bench: missed: {one}", file=sys.stderr)
    return 1 if missed else 0


#: What compares two ways or two revisions of this project: a table, and whether it met its bars.
_COMPARED: Final[Mapping[str, Callable[[argparse.Namespace, list[Pair]], tuple[str, bool]]]] = {
    "grpc": lambda given, pairs: measure_grpc(pairs, rounds=given.rounds or 5, requests=400, say=_say),
    "caching": lambda given, pairs: measure_caching(
        pairs, rounds=given.rounds or 5, window_s=given.window_s or 1.5, say=_say
    ),
    "ray": lambda given, pairs: measure_ray(
        pairs, rounds=given.rounds or 5, window_s=given.window_s or 4.0, say=_say
    ),
    "protocols": lambda given, pairs: measure_protocols(
        pairs, rounds=given.rounds or 5, window_s=given.window_s or 2.0, say=_say
    ),
    "revisions": lambda given, pairs: measure_revisions(
        pairs, given.before, rounds=given.rounds or 10, window_s=given.window_s or 2.0, say=_say
    ),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("compare", "split", "grpc", "caching", "ray", "protocols", "revisions"),
        default="compare",
    )
    parser.add_argument(
        "--before",
        type=lambda text: Path(text).absolute(),  # servers start in other folders; a link stays one
        metavar="PYTHON",
        help="of revisions: the interpreter of its environment",
    )
    parser.add_argument("--quick", action="store_true", help="one short round; says only whether it works")
    parser.add_argument("--rounds", type=int, help=f"default {Plan.rounds}")
    parser.add_argument("--window-s", type=float, help=f"of one figure, default {Plan.window_s:g}")
    parser.add_argument(
        "--pairs", type=lambda text: text.split(","), default=["mlp", "bundled"], help="default mlp,bundled"
    )
    parser.add_argument(
        "--systems", type=lambda text: text.split(","), help="names or beginnings of names; default: all"
    )
    parser.add_argument(
        "--write-readme", action="store_true", help="put the tables into tests/benchmarks/README.md"
    )
    parser.add_argument("--json", type=Path, help="every sample into a file")
    given = parser.parse_args()
    if (given.what == "revisions") != (given.before is not None):
        parser.error("revisions and --before go together: give both, or neither")
    return given


def _plan(given: argparse.Namespace) -> Plan:
    plan = _QUICK if given.quick else Plan()
    changed = {name: getattr(given, name) for name in ("rounds", "window_s") if getattr(given, name)}
    return Plan(**{**vars(plan), **changed})


def _systems(wanted: list[str] | None, figures: Figures) -> list[System]:
    found = []
    for system in (ours(), asgi(), tutorial(), *others()):
        if wanted and not any(system.name.lower().startswith(name.lower()) for name in wanted):
            continue
        if is_installed(system):
            found.append(system)
        else:
            figures.notes.append(f"{system.name} is not installed (`make bench-others`)")
    return found


def _heading(plan: Plan) -> str:
    return (
        f"Two cores of {_processor()}, the client (wrk) on them too; onnxruntime {version('onnxruntime')}; "
        f"medians of {plan.rounds} interleaved rounds of {plan.window_s:g} s, each system at its best "
        "setting."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

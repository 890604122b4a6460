"""`make bench-pictures`: the recipe for one's own pictures, on every set and seed, as a user would start it.

Each run is a process with one thread, as many at once as there are cores. What is finished is kept in --out
and is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pictures.sets import named_sets

#: What is no collapse: nats of KL, and latents that move with the image.
MIN_KL, MIN_ACTIVE = 5.0, 4


@dataclass(frozen=True)
class Measured:
    """One run."""

    name: str
    seed: int
    kl: float
    active: int
    rmse: float
    pca: float
    mean_image: float
    restarted: bool
    minutes: float

    @property
    def is_alive(self) -> bool:
        """Whether its latents say something of the image."""
        return self.kl >= MIN_KL and self.active >= MIN_ACTIVE

    @property
    def beats_pca(self) -> bool:
        """Whether it is as good as straight lines."""
        return self.rmse <= self.pca


def main() -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(prog="make bench-pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-pictures"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="beginnings of names; all when left out")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="the IDX files, for one more set")
    parser.add_argument("--fashion", type=Path, metavar="DIR", help="those of Fashion-MNIST, for another")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    chosen = {
        name: make
        for name, make in named_sets(arguments.mnist, arguments.fashion).items()
        if not arguments.sets or name.startswith(tuple(arguments.sets))
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, make in chosen.items():
        if not (path := _data(arguments.out, name)).exists():
            np.savez(path, images=make())
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(_run, arguments.out, name, seed, arguments.overrides)
            for seed in arguments.seeds
            for name in chosen
        ]
        measured = [run.result() for run in runs]
    print(_table(measured))
    alive = sum(each.is_alive for each in measured)
    better = {name: all(e.beats_pca for e in measured if e.name == name) for name in chosen}
    print(
        f"\nno collapse in {alive} of {len(measured)} runs; no worse than PCA in {sum(better.values())} of ",
        end="",
    )
    print(f"{len(better)} sets, every seed")
    return 0


def _data(out: Path, name: str) -> Path:
    return out / f"{''.join(c if c.isalnum() else '-' for c in name)}.npz"


def _run(out: Path, name: str, seed: int, overrides: list[str]) -> Measured:
    data = _data(out, name)
    run = out / f"{data.stem}-{seed}"
    if not (run / "evaluation.json").exists():
        command = [
            sys.executable,
            "-m",
            "training.cli",
            "fit",
            "--recipe",
            "images-gaussian",
            "--data",
            str(data),
        ]
        command += ["--out", str(run), "--seed", str(seed), *(f"--set={each}" for each in overrides)]
        if (run / "config.json").exists():
            command.append("--resume")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        (out / f"{run.name}.log").write_text(done.stdout + done.stderr)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
        print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
    values = {m["name"]: m["value"] for m in json.loads((run / "evaluation.json").read_text())["metrics"]}
    log = (out / f"{run.name}.log").read_text()
    return Measured(
        name=name,
        seed=seed,
        kl=values["kl"],
        active=int(values["active_units"]),
        rmse=values["reconstruction_rmse"],
        pca=values["pca_rmse"],
        mean_image=values["mean_image_rmse"],
        restarted=(run / "restart.json").exists(),
        minutes=float(log.rpartition("done in ")[2].split()[0]),
    )


def _table(measured: list[Measured]) -> str:
    """Ranges over the seeds."""
    lines = [
        "| pictures | seeds | KL, nats | active | RMSE | PCA | mean image | RMSE / PCA | anew | minutes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(each.name for each in measured):
        runs = [each for each in measured if each.name == name]
        cells = [
            name,
            str(len(runs)),
            _span([each.kl for each in runs], ".1f"),
            _span([each.active for each in runs], "d"),
            _span([each.rmse for each in runs], ".4f"),
            _span([each.pca for each in runs], ".4f"),
            _span([each.mean_image for each in runs], ".4f"),
            _span([each.rmse / each.pca for each in runs], ".2f"),
            str(sum(each.restarted for each in runs)),
            _span([each.minutes for each in runs], ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _span(values: list[float] | list[int], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    sys.exit(main())

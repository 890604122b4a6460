"""The commands of `vae-train` with their flags and help.

Knows argparse and the summaries of the recipes. Knows nothing of what a command does, and imports no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from model_store.help_format import Help
from model_store.import_options import add_arguments

#: Libraries whose models `vae-train import` reads.
FOREIGN_LIBRARIES: Final = ("diffusers", "pythae")
_ALL_IMAGES: Final = 2**31
_VERSIONS: Final = "NAME, NAME@VERSION or NAME@ALIAS"
_SEE_EXIT_CODES: Final = "Exit codes: see `vae-train --help`."


class CommandParser(argparse.ArgumentParser):
    """A parser whose epilog is made when `--help` is asked for, so that other commands read no recipes."""

    late_epilog: Callable[[], str] | None = None

    def format_help(self) -> str:
        """The help, with the epilog made now."""
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()


def add_commands(commands: Any) -> None:
    """Add every command to the subparsers of `vae-train`."""
    _add_fit(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_judge(commands)
    _add_fit_prior(commands)
    _add_export(commands)
    _add_preview(commands)
    _add_import(commands)


def _add(commands: Any, name: str, summary: str, *examples: str, more: str = "") -> CommandParser:
    added: CommandParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
        epilog=_epilog(*examples),
        formatter_class=Help,
        allow_abbrev=False,
    )
    return added


def _epilog(*examples: str) -> str:
    lines = "\n".join(f"  $ vae-train {example}" for example in examples)
    return f"{_SEE_EXIT_CODES}\n\nexample{'s' if len(examples) > 1 else ''}:\n{lines}"


def _add_fit(commands: Any) -> None:
    examples = (
        "fit --recipe quick --out runs/quick",
        "fit --recipe images-gaussian --data pictures --out runs/pictures",
        "fit --resume --out runs/quick --set trainer.epochs=20",
        "fit --resume=auto --recipe quick --out runs/quick",
    )
    fit = _add(commands, "fit", "train a model from images into a run directory", *examples)
    fit.late_epilog = lambda: f"{_recipes()}\n\n{_epilog(*examples)}"
    run = fit.add_argument_group("the run")
    run.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help="a recipe that `fit --help` lists, or a path that ends in .toml; optional with --resume",
    )
    _add_data(run)
    run.add_argument("--out", metavar="DIR", required=True, type=Path, help="the run directory")
    run.add_argument(
        "--resume",
        nargs="?",
        choices=("auto",),
        const=True,  # no text: argparse would look for it among the choices
        metavar="auto",
        help=(
            "continue from the last checkpoint in --out; --set trainer.epochs=N extends a finished run. With "
            "=auto, start a new run if --out is empty: one command for the start and every restart"
        ),
    )
    run.add_argument(
        "--on-collapse",
        choices=("stop", "restart", "go-on"),
        default="restart",
        help=(
            "on posterior collapse, when the latents carry no information about the images: end the run; "
            "restart it once with smaller learning rates and a slower KL term (default); or only warn"
        ),
    )
    recipe = fit.add_argument_group("changes to the recipe")
    recipe.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="replace one value, such as trainer.epochs=40 or model.latent_size=8; may be repeated",
    )
    recipe.add_argument("--seed", type=int, metavar="N", help="replaces trainer.seed")
    recipe.add_argument(
        "--start-from",
        metavar="VERSION",
        help=f"{_VERSIONS} in the store: start with its weights; replaces trainer.start_from",
    )
    recipe.add_argument(
        "--from-nothing",
        action="store_true",
        help="first train by the recipe of trainer.start_recipe, in OUT/start; replaces trainer.start_from",
    )
    _add_store(recipe)
    hardware = fit.add_argument_group("hardware")
    hardware.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="auto (default) is a GPU if torch finds one",
    )
    hardware.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="processes on this machine, one per GPU (default 1, or the number that torchrun started)",
    )
    hardware.add_argument(
        "--nodes",
        type=int,
        metavar="N",
        help=(
            "number of machines (default 1, or that of torchrun); run the same command on each, with "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK in its environment"
        ),
    )


def _recipes() -> str:
    """A line for each recipe: name, time and purpose."""
    from training.config.recipe_list import recipe_summaries  # noqa: PLC0415  # for `fit --help` alone

    found = recipe_summaries()
    width = max(len(each.name) for each in found)
    lines = ["recipes, with the time of a run on their author's machine:"]
    for each in found:
        time = "" if each.minutes is None else f"{each.minutes:g} min"
        lines.append(f"  {each.name:<{width}}  {time:>7}  {each.purpose}")
    return "\n".join(lines)


def _add_evaluate(commands: Any) -> None:
    evaluate = _add(
        commands,
        "evaluate",
        "measure a run or a published version on the test images, and write a report with pictures",
        "evaluate runs/quick",
        "evaluate mnist@stable --data mnist --judge runs/judge",
    )
    evaluate.add_argument(
        "model", metavar="RUN|VERSION", help=f"a run directory, or {_VERSIONS} in the store"
    )
    _add_data(evaluate)
    _add_store(evaluate)
    _add_measuring(evaluate)
    evaluate.add_argument(
        "--second-data",
        metavar="PATH",
        type=Path,
        help=(
            "another data set of the same image shape, in any format of --data: can bound and "
            "reconstruction error distinguish it from the model's own data?"
        ),
    )
    evaluate.add_argument(
        "--second-model",
        metavar="RUN|VERSION",
        help="a model of that other data, for the same test in the other direction",
    )
    evaluate.add_argument(
        "--timed-with",
        metavar="VERSION",
        help="time a published version together with this one, in turns, on one thread",
    )
    evaluate.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="directory of the report (default: the run's directory, or reports/NAME-VERSION)",
    )
    evaluate.add_argument(
        "--figures-only",
        action="store_true",
        help="measure a run for its export, without a report",
    )


def _add_compare(commands: Any) -> None:
    compare = _add(
        commands,
        "compare",
        "compare runs and published versions on one page",
        "compare runs/quick mnist@1 --out reports/compare",
    )
    compare.add_argument(
        "models",
        metavar="RUN|VERSION",
        nargs="+",
        help=f"run directories, or {_VERSIONS} in the store; two or more",
    )
    _add_data(compare)
    _add_store(compare)
    _add_measuring(compare)
    compare.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="directory for compare.html and compare.json"
    )


def _add_judge(commands: Any) -> None:
    judge = _add(
        commands,
        "judge",
        "fit the classifier with which evaluate and compare judge samples",
        "judge --data mnist --out runs/judge",
        more="It needs labelled images.",
    )
    _add_data(judge)
    judge.add_argument("--out", metavar="DIR", required=True, type=Path, help="a new directory for it")
    judge.add_argument(
        "--seed", type=int, metavar="N", default=0, help="seed for weights, order and shifts (default 0)"
    )
    judge.add_argument("--epochs", type=int, metavar="N", help="passes over the training images (default 10)")


def _add_fit_prior(commands: Any) -> None:
    fit_prior = _add(
        commands,
        "fit-prior",
        "fit a prior to the posterior means of the training images, for a run or a published version",
        "fit-prior runs/quick",
        "fit-prior mnist@3 --data mnist --alias stable",
    )
    fit_prior.add_argument(
        "model",
        metavar="RUN|VERSION",
        help=(
            f"a run directory, whose prior `export` then publishes; or {_VERSIONS} in the store: its graphs "
            "and the prior become the next version"
        ),
    )
    _add_data(fit_prior)
    fit_prior.add_argument("--seed", type=int, metavar="N", help="replaces the recipe's evaluation.seed")
    fit_prior.add_argument(
        "--no-labels",
        dest="labels",
        action="store_false",
        help="fit one prior for all images, and none for single labels",
    )
    fit_prior.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        help=(
            "the output of `vae-train judge`: narrow each label's prior until the judge recognises that label"
        ),
    )
    fit_prior.add_argument(
        "--alias", metavar="ALIAS", help="alias to move to the new version, such as stable"
    )
    _add_store(fit_prior)


def _add_export(commands: Any) -> None:
    export = _add(
        commands,
        "export",
        "publish a run's model in the model store",
        "export runs/quick --name mine --alias stable",
    )
    export.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    export.add_argument("--name", metavar="NAME", required=True, help="name of the model in the store")
    export.add_argument("--alias", metavar="ALIAS", help="alias to move to the new version, such as stable")
    _add_store(export)
    export.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help=(
            "images for the comparison of torch and onnxruntime and for the preview; the version contains "
            "some of them "
            "(default: the downloaded digits for a run on MNIST, otherwise images that the model draws)"
        ),
    )
    export.add_argument(
        "--allow-collapsed",
        action="store_true",
        help="publish a model even if its latents carry no information about the image",
    )
    export.add_argument(
        "--no-preview",
        dest="preview",
        action="store_false",
        help=(
            "leave out the preview: the posterior means of up to 500 test images, with the images as "
            "thumbnails, which a server shows to its clients"
        ),
    )


def _add_preview(commands: Any) -> None:
    add_preview = _add(
        commands,
        "add-preview",
        "publish the next version of a published model, with some of its test images on the map",
        "add-preview mnist@4 --data mnist --alias stable",
    )
    add_preview.add_argument(
        "version",
        metavar="VERSION",
        help=f"{_VERSIONS} in the store: its graphs and the preview become the next version",
    )
    _add_data(add_preview)
    add_preview.add_argument(
        "--alias", metavar="ALIAS", help="alias to move to the new version, such as stable"
    )
    _add_store(add_preview)


def _add_import(commands: Any) -> None:
    imported = _add(
        commands,
        "import",
        "publish a model of diffusers or pythae: export it, compare with torch, and import the graphs",
        "import diffusers sd-vae --name sd-vae --alias stable --licence MIT",
        "import pythae runs/my_vae --name mine --check",
        more="The library must be installed. Checks of the graphs, and their exit codes, are those of "
        "`vae-store import`.",
    )
    imported.add_argument("library", choices=FOREIGN_LIBRARIES, help="the library that made the model")
    imported.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="for diffusers: config.json and weights of an AutoencoderKL or AutoencoderTiny, or a pipeline "
        "with vae/; for pythae: model_config.json and model.pt, or a run with final_model/",
    )
    add_arguments(imported)
    imported.add_argument(
        "--allow-pickle",
        action="store_true",
        help="for pythae: read networks that are kept as pickles, which runs code of their author",
    )
    imported.add_argument("--json", action="store_true", help="print the findings as one document")
    _add_store(imported)


def _add_data(parser: Any) -> None:
    parser.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help=(
            "a folder with the IDX files of MNIST or a similar set, gzipped or plain; a folder or .zip "
            "of PNG, JPEG, WebP, TIFF, BMP or GIF files, with or without class folders; a .npz file with "
            "images and optional labels; or a .npy file with images (default: MNIST, downloaded once, for "
            "models of MNIST)"
        ),
    )


def _add_store(parser: Any) -> None:
    parser.add_argument(
        "--store",
        metavar="DIR",
        type=Path,
        help="the model store (default: VAE_MODEL_STORE, or else your own)",
    )


def _add_measuring(command: argparse.ArgumentParser) -> None:
    """The options that `evaluate` and `compare` share."""
    command.add_argument(
        "--judge",
        metavar="DIR",
        type=Path,
        help="the output of `vae-train judge`: judges samples and reconstructions",
    )
    command.add_argument(
        "--importance-samples",
        type=int,
        metavar="K",
        help="replaces the recipe's evaluation.importance_samples",
    )
    command.add_argument(
        "--importance-images",
        type=_images,
        metavar="N|all",
        help="replaces the recipe's evaluation.importance_images",
    )
    command.add_argument("--seed", type=int, metavar="N", help="replaces the recipe's evaluation.seed")


def _images(text: str) -> int:
    """A number of images; a number above their count means all."""
    return _ALL_IMAGES if text == "all" else int(text)

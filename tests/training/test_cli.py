"""`vae-train` as typed: what it says, where it writes, and with which code it ends."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE_S
from PIL import Image
from small_recipes import TINY

from model_store.errors import InvalidReference, StoreWriteFailed
from training import cli
from training.commands.progress import progress_of_evaluation
from training.errors import (
    ConfigError,
    DataError,
    ExportError,
    NonFiniteTraining,
    RunDirectoryError,
    TrainingError,
    TrainingInterrupted,
    WriteFailed,
)
from training.evaluation.figures import evaluate
from training.fitting.lightning_module import FittingModule


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return str(file)


@pytest.fixture
def good_pictures(monkeypatch):
    """Reconstructions that principal components do not beat, which takes more steps than a test has."""

    def measured(*arguments, **options):
        figures = evaluate(*arguments, **options)
        metrics = [
            m.model_copy(update={"value": 0.1}) if m.name == "reconstruction_rmse" else m
            for m in figures.metrics
        ]
        return figures.model_copy(update={"metrics": tuple(metrics)})

    monkeypatch.setattr("training.commands.fit.evaluate", measured)


def fit_arguments(recipe, mnist_folder, out, *more: str) -> list[str]:
    return ["fit", "--recipe", recipe, "--data", str(mnist_folder), "--out", str(out), *more]


#: Enough for a KL above a nat.
LEARNS = [
    f"--set={each}" for each in ("objective.beta=0.01", "optimiser.learning_rate=0.01", "trainer.epochs=6")
]


def test_fit_says_what_it_will_do_and_ends_with_figures_and_that_18_steps_taught_nothing(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    out = tmp_path / "run"
    assert cli.main(fit_arguments(recipe, mnist_folder, out)) == 0
    said = capsys.readouterr().out
    start, end = said.split("epoch 1/2")
    assert "recipe tiny: Half a second of training." in start
    assert "about 0.1 minutes and -ELBO 300 nats on the test images (this test)" in start
    assert "2 epochs of 9 steps, seed 0" in start
    assert "  note      18 steps are few: raise trainer.epochs to 112, or lower trainer." in start
    assert f"{out}/reconstructions.png" in start
    assert "negative_elbo" in end
    assert "nll_iw" in end
    assert "publish it" not in end
    assert "carry no information about the images yet, after 18 steps. Train for" in end.splitlines()[-1]
    assert {"negative_elbo", "kl", "nll_iw", "active_units"} <= {
        metric["name"] for metric in json.loads((out / "evaluation.json").read_text())["metrics"]
    }


def test_fit_says_how_often_an_epoch_of_more_steps_passes_over_the_images(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    out = tmp_path / "run"
    more = ("--set", "trainer.min_steps_per_epoch=12")
    assert cli.main(fit_arguments(recipe, mnist_folder, out, *more)) == 0
    assert "2 epochs of 12 steps (1.33 passes over the images), seed 0" in capsys.readouterr().out


def test_fit_ends_with_the_next_command_where_the_latents_are_used(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, good_pictures
):
    out = tmp_path / "run"
    assert cli.main(fit_arguments(recipe, mnist_folder, out, *LEARNS)) == 0
    said = capsys.readouterr().out.rstrip()
    assert said.endswith(f"publish it: vae-train export {out} --name tiny --alias stable")


def test_a_printed_command_can_be_pasted_whatever_the_directory_is_called(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, good_pictures, monkeypatch
):
    out = tmp_path / "my run; it's $HOME"
    assert cli.main(fit_arguments(recipe, mnist_folder, out, *LEARNS)) == 0
    said = capsys.readouterr().out
    command = said.rstrip().rpartition("publish it: ")[2]
    assert shlex.split(command)[:3] == ["vae-train", "export", str(out)]
    watch = next(line for line in said.splitlines() if "--logdir" in line)
    assert shlex.split(watch[watch.index("--logdir") :]) == ["--logdir", f"{out}/tensorboard"]

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.commands.fit.evaluate", interrupted)
    assert cli.main(["fit", "--resume", "--data", str(mnist_folder), "--out", str(out)]) == 130
    measure = capsys.readouterr().err.rstrip().rpartition("with: ")[2]
    assert shlex.split(measure) == ["vae-train", "evaluate", str(out), "--data", str(mnist_folder)]


def test_a_run_whose_codes_ran_away_is_not_called_worth_publishing(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    def measured(*arguments, **options):
        figures = evaluate(*arguments, **options)
        metrics = [m.model_copy(update={"value": 8e6}) if m.name == "kl" else m for m in figures.metrics]
        return figures.model_copy(update={"metrics": tuple(metrics)})

    monkeypatch.setattr("training.commands.fit.evaluate", measured)
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "publish it" not in said
    assert said.splitlines()[-1].startswith("not worth publishing: the codes diverge: KL 8,000,000 nats")
    assert "Raise objective.beta" in said.splitlines()[-1]


def test_seed_and_set_replace_the_recipes_values(recipe, mnist_folder, tmp_path, capsys, no_pictures):
    more = ["--seed", "7", "--set", "trainer.epochs=1", "--set", "model.latent_size=3"]
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run", *more)) == 0
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["trainer"]["seed"], stored["trainer"]["epochs"], stored["model"]["latent_size"]) == (
        7,
        1,
        3,
    )
    assert (
        "  expect    unknown with another model.latent_size, trainer.epochs; the recipe without changes "
        "takes about 0.1 minutes and reaches -ELBO 300 nats on the test images (this test)"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            ("trainer.epochs=1",),
            "about 0.05 minutes for 1 epoch; with the 2 of the recipe about 0.1 minutes",
        ),
        (("evaluation.importance_samples=3",), "about 0.1 minutes and -ELBO 300 nats on the test images"),
        (("trainer.seed=4", "trainer.epochs=3"), "about 0.15 minutes for 3 epochs; with the 2 of the recipe"),
    ],
)
def test_a_change_of_epochs_or_of_little_keeps_an_expectation(
    more, expected, recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    changed = [f"--set={each}" for each in more]
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run", *changed)) == 0
    assert f"  expect    {expected}" in capsys.readouterr().out


def test_a_model_that_principal_components_beat_is_not_called_worth_publishing(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    def measured(*arguments, **options):
        figures = evaluate(*arguments, **options)
        worse = {"kl": 30.0, "reconstruction_rmse": 0.5}
        metrics = [m.model_copy(update={"value": worse.get(m.name, m.value)}) for m in figures.metrics]
        return figures.model_copy(update={"metrics": tuple(metrics)})

    monkeypatch.setattr("training.commands.fit.evaluate", measured)
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "publish it" not in said
    assert said.splitlines()[-1].startswith("not worth publishing: as many principal components")


def test_evaluate_ends_with_the_advice_against_a_model_that_explains_nothing(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run"))
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run"), "--data", str(mnist_folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("not worth publishing: the latents carry no")


def test_judge_says_at_once_what_it_does_and_is_not_recommended_where_it_guesses(
    mnist_folder, tmp_path, capsys, monkeypatch
):
    """A piped `judge` said nothing for its first epoch."""
    assert (
        cli.main(["judge", "--data", str(mnist_folder), "--out", str(tmp_path / "a"), "--epochs", "3"]) == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "fitting a judge on 1,600 images of idx train, 3 epochs"
    assert re.search(
        r"^epoch 1/3  cross-entropy [\d.]+  \d+ s this epoch, \d+ s so far, \d+ s left$", said[1]
    )
    assert said[3].endswith(" so far")
    assert said[-1] == f"use it: vae-train evaluate RUN --judge {tmp_path / 'a'}"
    monkeypatch.setattr("training.judge.fitting._LEARNING_RATE", 1e-9)
    assert (
        cli.main(["judge", "--data", str(mnist_folder), "--out", str(tmp_path / "b"), "--epochs", "1"]) == 0
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith("not worth using: the most common label alone")


def test_fit_uses_the_threads_it_is_given(recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch):
    chosen = []
    monkeypatch.setattr("training.compute.threads.allowed_threads", lambda: 3)
    monkeypatch.setattr("torch.set_num_threads", chosen.append)
    cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run"))
    assert chosen == [3]


def test_fit_tells_how_pictures_were_read_and_that_some_cannot_be(recipe, tmp_path, capsys, no_pictures):
    rng = np.random.default_rng(0)
    for number in range(200):
        levels = 255 * rng.integers(0, 2, (9, 9), dtype=np.uint8)
        path = tmp_path / "ink" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(path)
    arguments = fit_arguments(recipe, tmp_path / "ink", tmp_path / "run", "--set", "data.validation_size=0.2")
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "  data      folder ink, " in said
    assert "  note      the data has no test images: " in said
    assert cli.main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "ink")]) == 0
    report = (tmp_path / "run" / "report.md").read_text()
    assert "of folder ink test (a tenth of 200, held out by content hash), dynamic" in report
    capsys.readouterr()
    (tmp_path / "ink" / "a" / "0.png").write_bytes(b"")
    assert cli.main(arguments) == 65
    assert "\n  a/0.png: not readable as PNG" in capsys.readouterr().err


def test_an_autoencoder_is_told_of_without_a_bound_or_samples(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run", "--set", "model.kind=ae")) == 0
    said = capsys.readouterr().out
    assert "epoch 2/2  reconstruction train " in said
    assert "evaluating on 400 test images\n" in said
    _, _, said = said.partition("  watch ")
    for word in ("ELBO", "KL", "beta", "importance", "samples.png"):
        assert word not in said


def test_fit_and_evaluate_tell_of_a_download(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    """Fifty megabytes on a slow line take minutes, in which nothing else is said."""

    def downloaded(cache_dir, *, tell):
        tell("downloading something")
        return mnist_folder

    monkeypatch.setattr("training.data.mnist_download.ensure_mnist", downloaded)
    assert cli.main(["fit", "--recipe", recipe, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("downloading something\n")
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    said, told = capsys.readouterr()
    assert told.splitlines()[0] == "downloading something"
    assert told.splitlines()[1:] == [
        f"measuring {tmp_path / 'run'} on 400 images of idx test",
        f"wrote {tmp_path / 'run'}/report.html, report.json, and report.md with the protocol of each figure",
    ]
    assert said.startswith("Likelihood\nfigure "), "standard output is the tables alone"


def test_a_run_on_other_images_is_not_measured_on_downloaded_digits(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    """They have the right shape, so figures would come out."""
    images = np.random.default_rng(0).integers(0, 2, (1700, 28, 28), dtype=np.uint8) * 255
    np.savez(tmp_path / "ink.npz", images=images)
    assert cli.main(fit_arguments(recipe, tmp_path / "ink.npz", tmp_path / "run")) == 0
    monkeypatch.setattr("training.data.mnist_download.ensure_mnist", lambda cache_dir, *, tell: mnist_folder)
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 2
    assert "(npz ink: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["fit", "--resume", "--out"], ["evaluate"], ["evaluate", "--figures-only"]]
)
def test_a_long_evaluation_tells_how_far_it_has_come(
    arguments, recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run"))
    capsys.readouterr()
    every_look_is_a_minute_later = count(step=60.0)
    monkeypatch.setattr("training.commands.progress.monotonic", lambda: next(every_look_is_a_minute_later))
    assert cli.main([*arguments, str(tmp_path / "run"), "--data", str(mnist_folder)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert "  bound: 256 of 400 images" in told
    assert "  likelihood: 10 of 10 images" in told


def test_a_terminal_sees_a_bar_that_is_taken_away_at_the_end(capsys, monkeypatch):
    every_look_is_a_second_later = count(step=1.0)
    monkeypatch.setattr("training.commands.progress.monotonic", lambda: next(every_look_is_a_second_later))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress_of_evaluation() as progress:
        progress("bound", 100, 400)
        progress("bound", 400, 400)
    told = capsys.readouterr().err
    assert told == (
        "\r\x1b[K  ██████░░░░░░░░░░░░░░░░░░ bound: 100 of 400 images"
        "\r\x1b[K  ████████████████████████ bound: 400 of 400 images"
        "\r\x1b[K"
    )


def test_evaluate_measures_a_run_again_with_other_samples(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run"))
    capsys.readouterr()
    more = ["--data", str(mnist_folder), "--importance-samples", "5", "--importance-images", "7"]
    assert cli.main(["evaluate", str(tmp_path / "run"), "--figures-only", *more]) == 0
    table, told = capsys.readouterr()
    assert "| nll_iw | " in (tmp_path / "run" / "evaluation.md").read_text()
    assert "K = 5" in (tmp_path / "run" / "evaluation.md").read_text()
    assert table.startswith("Figures\nfigure ")
    assert "|" not in table
    assert told.splitlines()[-1].startswith(f"wrote {tmp_path / 'run'}/evaluation.json, and evaluation.md")


def test_resume_needs_no_recipe_and_reports_the_finished_run(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    out = tmp_path / "run"
    cli.main(fit_arguments(recipe, mnist_folder, out))
    (out / "evaluation.json").unlink()
    assert cli.main(["fit", "--resume", "--data", str(mnist_folder), "--out", str(out)]) == 0
    assert (out / "evaluation.json").exists()


def test_one_command_starts_a_run_and_continues_it(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    """A cluster repeats the command that it was given, and knows nothing of checkpoints."""
    out = tmp_path / "run"
    command = [*fit_arguments(recipe, mnist_folder, out), "--resume=auto"]
    assert cli.main(command) == 0
    assert "--resume continues from" in capsys.readouterr().out
    before = (out / "model.pt").read_bytes()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert cli.main(command) == 0
    said, told = capsys.readouterr()
    assert "note: the run has completed its" in said
    assert "contains no run" not in told
    assert (out / "model.pt").read_bytes() == before


def test_a_restart_that_finds_no_run_says_so(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    """On a machine that does not share --out, all the training so far would be lost without a sign."""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert cli.main([*fit_arguments(recipe, mnist_folder, tmp_path / "run"), "--resume=auto"]) == 0
    told = capsys.readouterr().err
    assert "contains no run: it begins anew. The machines must share the directory of --out" in told


def test_resume_auto_leaves_a_directory_with_other_files_alone(recipe, mnist_folder, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert cli.main([*fit_arguments(recipe, mnist_folder, out), "--resume=auto"]) == 73
    assert "got one with other files" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_second_run_into_the_same_directory_is_refused_in_one_line(
    recipe, mnist_folder, tmp_path, capsys, no_pictures
):
    arguments = fit_arguments(recipe, mnist_folder, tmp_path / "run")
    cli.main(arguments)
    capsys.readouterr()
    assert cli.main(arguments) == 73
    said, told = capsys.readouterr()
    assert said == "", "a plan of what will not be done"
    assert told.startswith(f"vae-train: {tmp_path / 'run'}: expected an empty or new directory")
    assert "--resume" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--recipe", "quik"], 2, "--recipe: `quik`: no such recipe. Expected one of"),
        (["--recipe", "quick", "--set", "model.latent_sise=3"], 2, "Did you mean 'latent_size'?"),
        (["--recipe", "quick", "--seed", "-1"], 2, "trainer.seed: expected greater than or equal to 0"),
        ([], 2, "--recipe: expected a recipe name or a .toml file, got nothing"),
        (["--resume"], 73, "found no config.json in it"),
        (["--resume=auto"], 2, "--recipe: expected a recipe name or a .toml file, got nothing"),
        (["--resume", "--seed", "3"], 2, "--start-from, --from-nothing: expected none of them with --resume"),
        (["--recipe", "quick", "--data", "/nowhere"], 65, "/nowhere"),
        (["--recipe", "quick"], 65, "--set data.validation_size=160 leaves nine tenths to train on"),
        (
            ["--recipe", "quick", "--set", "data.validation_size=1500"],
            65,
            "at least trainer.batch_size = 128",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_exit_code(
    arguments, code, told, tmp_path, capsys, mnist_folder
):
    arguments = arguments if "--data" in arguments else [*arguments, "--data", str(mnist_folder)]
    assert cli.main(["fit", "--out", str(tmp_path / "run"), *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == "", "a plan of what will not be done"
    assert told in captured.err
    assert captured.err.startswith("vae-train: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["fit"], ["train"], ["fit", "--out", "x", "--rec", "quick"], ["fit", "--out", "x", "--what"]],
)
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: vae-train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DataError("x"), 65),
        (RunDirectoryError("x"), 73),
        (NonFiniteTraining("x"), 70),
        (ExportError("x"), 70),
        (TrainingInterrupted("x"), 130),
        (KeyboardInterrupt(), 130),
        (StoreWriteFailed("x"), 74),
        (WriteFailed("x"), 74),
        (InvalidReference("x"), 1),
        (TrainingError("x"), 1),
        (OSError(28, "No space left on device", "runs/x"), 74),
        (OSError(27, "File too large"), 74),
    ],
)
def test_every_kind_of_end_has_its_exit_code_and_one_line(error, code, monkeypatch, capsys):
    class Command:
        @staticmethod
        def run(arguments):
            raise error

    monkeypatch.setattr("training.cli.importlib.import_module", lambda name: Command)
    assert cli.main(["evaluate", "runs/x"]) == code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ExportError("x"), ModuleNotFoundError("x", name="torch"), OSError(28, "full")]
)
def test_a_stop_that_a_library_turned_into_an_error_is_told_as_a_stop(error, monkeypatch, capsys):
    """torch's exporter raises an error of its own when Ctrl-C comes while it imports."""

    class Command:
        @staticmethod
        def run(arguments):
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as stop:
                raise error from stop

    monkeypatch.setattr("training.cli.importlib.import_module", lambda name: Command)
    assert cli.main(["evaluate", "runs/x"]) == 130
    assert capsys.readouterr().err == "vae-train: stopped\n"


def test_a_mistake_of_ours_is_not_dressed_up_as_the_users(monkeypatch):
    class Command:
        @staticmethod
        def run(arguments):
            raise ZeroDivisionError

    monkeypatch.setattr("training.cli.importlib.import_module", lambda name: Command)
    with pytest.raises(ZeroDivisionError):
        cli.main(["evaluate", "runs/x"])


def test_help_lists_every_exit_code(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for _, code, meaning in cli.EXIT_CODES:
        assert f" {code} " in said
        assert meaning in said


def test_stopping_during_the_evaluation_says_that_training_is_complete(
    recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch
):
    def stopped(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.commands.fit.evaluate", stopped)
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run")) == 130
    assert f"Measure them with: vae-train evaluate {tmp_path / 'run'}" in capsys.readouterr().err


def test_a_diverging_run_ends_with_70(recipe, mnist_folder, tmp_path, capsys, no_pictures, monkeypatch):
    original = FittingModule.training_step

    def poisoned(self, images, batch_index):
        outputs: Any = original(self, images, batch_index)
        outputs["loss"] = outputs["loss"] * float("inf")
        return outputs

    monkeypatch.setattr(FittingModule, "training_step", poisoned)
    assert cli.main(fit_arguments(recipe, mnist_folder, tmp_path / "run")) == 70
    assert "expected a finite loss" in capsys.readouterr().err


def test_ctrl_c_at_a_terminal_saves_and_ends_with_130(recipe, mnist_folder, tmp_path):
    """A real process and a real signal."""
    script = "import sys; from training.cli import main; sys.exit(main())"
    arguments = fit_arguments(recipe, mnist_folder, tmp_path / "run", "--set", "trainer.epochs=10000")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 1/"):
                process.send_signal(signal.SIGINT)
                break
        rest, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, told
    assert "stopping after this step" in rest
    assert told.startswith(f"vae-train: {tmp_path / 'run'}: stopped at step ")
    assert told.rstrip().endswith("Continue with the same command and --resume.")
    assert told.count("\n") == 1
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_help_and_a_misspelt_recipe_need_no_torch():
    script = (
        "import sys\n"
        "from training import cli\n"
        "cli.build_parser().format_help()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

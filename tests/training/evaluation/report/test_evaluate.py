"""`vae-train evaluate`, `judge` and `compare` as typed: what they write, print and refuse."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

import json
import re
import shutil

import numpy as np
import pytest
from finished_runs import make_finished_run
from PIL import Image
from tiny_models import TinyModel, publish_tiny
from tiny_priors import fitted_prior

from model_store import ModelStore
from training import cli
from training.evaluation.figures import read_evaluation, weights_sha256
from training.evaluation.report.comparison import Comparison
from training.evaluation.report.section_results import Report
from training.judge.classifier import load_judge, save_judge
from training.priors.files import write_prior
from training.runs.run_directory import RunDirectory, load_run


@pytest.fixture
def run(tmp_path, tiny, digits):
    """A finished run, whose recipe asks for K = 3 on 20 images."""
    return make_finished_run(tmp_path / "run", tiny(model={"latent_size": 2}), digits)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """With one version, as the store that the commands use."""
    monkeypatch.setenv("VAE_MODEL_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    store = ModelStore(tmp_path / "store")
    publish_tiny(store, model=TinyModel.make(latent_size=2), aliases=("stable",))
    return store


@pytest.fixture
def judge_dir(judge, tmp_path):
    save_judge_into = tmp_path / "judge"
    save_judge_into.mkdir()
    save_judge(save_judge_into, judge)
    return save_judge_into


def test_run_gets_its_figures_and_its_report_into_its_own_directory(run, mnist_folder, judge_dir, capsys):
    (run / "evaluation.json").unlink()
    assert cli.main(["evaluate", str(run), "--data", str(mnist_folder), "--judge", str(judge_dir)]) == 0
    printed, told = capsys.readouterr()
    report = Report.model_validate_json((run / "report.json").read_bytes())
    assert read_evaluation(run) == report.evaluation
    assert (run / "report.md").read_text() == report.to_markdown()
    for section in report.sections.values():
        for figure in section.figures:
            assert re.search(rf"^{figure.name} +{re.escape(str(figure))}(  |$)", printed, re.MULTILINE)
    assert "|" not in printed, "no Markdown"
    assert "\x1b" not in printed, "no colours in a pipe"
    assert "K = 3 " in report.figure("nll_iw").protocol
    assert "a random 20 of the 400 images" in report.figure("nll_iw").protocol
    assert report.judge == str(load_judge(judge_dir))
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert told.splitlines() == [
        f"measuring {run} on 400 images of idx test",
        f"wrote {run}/report.html, report.json, and report.md with the protocol of each figure",
    ]


SAMPLES_BY_PRIOR = ["samples_standard", "samples_fitted", "samples_fitted_by_label"]


def fit_something(run, sha256=None):
    """A prior of ten labels, made by hand."""
    entry, mixtures = fitted_prior(2, labels=dict.fromkeys("0123456789", 1))
    write_prior(
        RunDirectory(run), entry, mixtures, weights_sha256=sha256 or weights_sha256(load_run(run).model)
    )


def samples_sections(report):
    return [key for key in report.sections if key.startswith("samples")]


def test_run_with_a_fitted_prior_gets_the_sections_of_a_version_with_one(run, mnist_folder, judge_dir):
    fit_something(run)
    assert cli.main(["evaluate", str(run), "--data", str(mnist_folder), "--judge", str(judge_dir)]) == 0
    report = Report.model_validate_json((run / "report.json").read_bytes())
    assert samples_sections(report) == SAMPLES_BY_PRIOR
    measured = [[figure.name for figure in report.sections[key].figures] for key in SAMPLES_BY_PRIOR]
    assert measured[0] == measured[1] == [name for name in measured[2] if name != "asked_label_share"]
    assert {"prior_log_density", "frechet_distance", "density", "coverage"} < set(measured[0])
    assert "asked_label_share" in measured[2]


def test_prior_of_other_weights_is_told_and_not_used(run, mnist_folder, capsys):
    fit_something(run, sha256="0" * 64)
    assert cli.main(["evaluate", str(run), "--data", str(mnist_folder)]) == 0
    report = Report.model_validate_json((run / "report.json").read_bytes())
    assert samples_sections(report) == SAMPLES_BY_PRIOR[:1]
    told = f"a stale prior: {run}/prior.npz was fitted to other weights"
    assert sum(alarm.startswith(told) for alarm in report.alarms) == 1
    assert f"\nWarning: {told}" in capsys.readouterr().out
    assert told in (run / "report.html").read_text()


def test_version_is_measured_and_its_directory_left_alone(store, mnist_folder, tmp_path):
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    assert cli.main(["evaluate", "tiny@stable", "--data", str(mnist_folder), "--importance-images", "5"]) == 0
    report = Report.model_validate_json((tmp_path / "reports/tiny-1/report.json").read_bytes())
    assert report.subject == "tiny@1"
    assert (tmp_path / "reports/tiny-1/report.html").is_file()
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


def test_options_replace_what_the_recipe_says(run, mnist_folder, tmp_path):
    more = [
        "--importance-samples",
        "1",
        "--importance-images",
        "all",
        "--seed",
        "4",
        "--out",
        str(tmp_path / "o"),
    ]
    assert cli.main(["evaluate", str(run), "--data", str(mnist_folder), *more]) == 0
    report = Report.model_validate_json((tmp_path / "o/report.json").read_bytes())
    assert report.seed == 4
    assert report.figure("nll_iw").protocol.startswith(
        "all 400 images of idx test, dynamic binarisation, seed 4"
    )
    assert "K = 1 " in report.figure("nll_iw").protocol


def test_second_data_and_a_model_of_it_are_asked_in_both_directions(run, store, mnist_folder, tmp_path):
    second = shutil.copytree(mnist_folder, tmp_path / "second")
    more = ["--second-data", str(second), "--second-model", "tiny"]
    assert cli.main(["evaluate", str(run), "--data", str(mnist_folder), *more]) == 0
    report = Report.model_validate_json((run / "report.json").read_bytes())
    assert report.figure("auroc_second").value == pytest.approx(0.5)  # the same images under another name
    assert f"one of 400 of idx test in {second}; score" in report.figure("auroc_second").protocol
    assert report.figure("auroc_second_reconstruction").value == pytest.approx(0.5)
    assert report.figure("auroc_back").protocol.startswith("chance that tiny@1 scores")


def pictures(folder, *, side):
    """A folder of grey pictures, as a second data set."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def test_second_data_may_come_in_any_form(run, mnist_folder, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=noise, test_images=255 - noise)
    seconds = {
        "npz noise": tmp_path / "noise.npz",
        "folder pictures": pictures(tmp_path / "pictures", side=28),
    }
    for name, second in seconds.items():
        arguments = ["evaluate", str(run), "--data", str(mnist_folder), "--second-data", str(second)]
        assert cli.main(arguments) == 0
        report = Report.model_validate_json((run / "report.json").read_bytes())
        assert f" of {name} test" in report.figure("auroc_second").protocol


def test_second_data_of_another_shape_is_told_and_nothing_is_written(run, mnist_folder, tmp_path, capsys):
    second = pictures(tmp_path / "pictures", side=20)
    arguments = ["evaluate", str(run), "--data", str(mnist_folder), "--second-data", str(second)]
    assert cli.main(arguments) == 65
    told = capsys.readouterr().err
    assert told.startswith("vae-train: folder pictures test")
    assert f"expected images of shape (1, 28, 28), as {run} requires, got (1, 20, 20)" in told
    assert not (run / "report.json").exists()


def test_second_pictures_are_scaled_as_those_of_the_run_were(tmp_path, tiny, digits, mnist_folder):
    """A run on pictures of any size asks about others of any size, and about images that need no scaling."""
    config = tiny(data={"dataset": "given", "side": 28, "channels": 1})
    run = make_finished_run(tmp_path / "run", config, digits)
    own, second = pictures(tmp_path / "own", side=32), pictures(tmp_path / "second", side=40)
    for path in (second, mnist_folder):
        assert cli.main(["evaluate", str(run), "--data", str(own), "--second-data", str(path)]) == 0


def test_judge_is_fitted_and_written_by_its_command(mnist_folder, tmp_path, capsys):
    out = tmp_path / "new"
    assert (
        cli.main(["judge", "--data", str(mnist_folder), "--out", str(out), "--epochs", "1", "--seed", "3"])
        == 0
    )
    judge = load_judge(out)
    assert judge.facts.protocol.endswith("1 epochs, seed 3")
    said = capsys.readouterr().out
    assert said.startswith(
        "fitting a judge on 1,600 images of idx train, 1 epochs\nepoch 1/1  cross-entropy "
    )
    assert f"the judge classifies {100 * judge.facts.accuracy:.2f} % correctly" in said
    assert said.rstrip().endswith(f"use it: vae-train evaluate RUN --judge {out}")


def test_comparison_is_written_for_machines_and_for_people(run, store, mnist_folder, tmp_path, capsys):
    fit_something(run)
    arguments = ["compare", str(run), "tiny", "--data", str(mnist_folder), "--out", str(tmp_path / "c")]
    assert cli.main(arguments) == 0
    comparison = Comparison.model_validate_json((tmp_path / "c/compare.json").read_bytes())
    assert [report.subject for report in comparison.reports] == [str(run), "tiny@1"]
    assert "tiny@1" in (tmp_path / "c/compare.html").read_text()
    assert samples_sections(comparison.reports[0]) == SAMPLES_BY_PRIOR
    printed, told = capsys.readouterr()
    assert f"| figure | {run} | tiny@1 | |" in (tmp_path / "c/compare.md").read_text()
    assert re.search(rf"^figure +{re.escape(str(run))} +tiny@1 +unit$", printed, re.MULTILINE)
    assert told.splitlines() == [
        f"measuring {run} on 400 images of idx test",
        "measuring tiny@1 on 400 images of idx test",
        f"wrote {tmp_path / 'c'}/compare.html, compare.json and compare.md",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["evaluate", "runs/none"], 73, "runs/none: expected a run directory or a published version"),
        (["evaluate", "absent"], 1, "`absent`: no such model"),
        (["evaluate", "tiny", "--second-model", "tiny"], 2, "--second-model: expected --second-data with it"),
        (["evaluate", "tiny", "--judge", "nowhere"], 73, "nowhere: expected a judge"),
        (["evaluate", "tiny", "--seed", "-1"], 2, "seed: expected 0 to"),
        (["evaluate", "tiny", "--importance-samples", "0"], 2, "importance_samples: expected 1 to"),
        (["evaluate", "tiny", "--figures-only"], 73, "tiny: expected a run directory"),
        (["evaluate", "tiny", "--figures-only", "--judge", "j"], 2, "--figures-only: expected no --judge"),
        (["compare", "tiny", "tiny", "--out", "c"], 2, "expected two models or more to compare, got tiny"),
        (
            ["compare", "tiny", "wide", "--out", "c"],
            65,
            "wide@1: expected a model of images shaped (1, 28, 28)",
        ),
        (["compare", "tiny", "wide", "--out", "store/.lock"], 73, "store/.lock: expected a directory"),
        (["evaluate", "tiny", "--out", "store/.lock"], 73, "store/.lock: expected a directory or a new name"),
        (["judge", "--out", "store"], 73, "store: expected an empty or new directory"),
        (["judge", "--out", "j", "--epochs", "0"], 2, "--epochs: expected 1 to 1,000, got 0"),
        (["judge", "--out", "j", "--seed", "-1"], 2, "--seed: expected 0 to"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_written(
    store, mnist_folder, tmp_path, capsys, arguments, code, told
):
    publish_tiny(store, name="wide", image_shape=(1, 28, 30))
    assert cli.main([*arguments, "--data", str(mnist_folder)]) == code
    heard = capsys.readouterr().err
    assert told in heard
    assert heard.startswith("vae-train: ")
    assert heard.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_number_of_images_is_a_number_or_all(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", "tiny", "--importance-images", "some"])
    assert caught.value.code == 2
    assert "some" in capsys.readouterr().err


def test_failed_report_leaves_the_earlier_one_alone(run, mnist_folder, monkeypatch):
    arguments = ["evaluate", str(run), "--data", str(mnist_folder)]
    assert cli.main(arguments) == 0
    before = {name: (run / name).read_bytes() for name in ("report.json", "report.html", "evaluation.json")}
    assert cli.main([*arguments, "--importance-samples", "0"]) == 2
    assert {name: (run / name).read_bytes() for name in before} == before
    assert json.loads(before["report.json"])["subject"] == str(run)

"""What a run leaves behind, read back, and what is refused."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import json
import os

import pytest
import torch

from training.errors import RunDirectoryError, RunNotFinished
from training.fitting.ema import RunningMeanOfWeights
from training.fitting.fit import fit
from training.runs import run_directory
from training.runs.run_directory import RunDirectory, load_run


def test_kept_weights_are_the_running_mean(tiny, digits, tmp_path, console, no_pictures, monkeypatch):
    """Recomputed by hand from the weights after every step."""
    seen = []
    original = RunningMeanOfWeights.on_train_batch_end

    def spy(self, trainer, module, *rest):
        seen.append([p.detach().clone() for p in module.model.parameters()])
        original(self, trainer, module, *rest)

    monkeypatch.setattr(RunningMeanOfWeights, "on_train_batch_end", spy)
    fit(tiny(trainer={"ema_decay": 0.3, "epochs": 1}), digits, tmp_path / "run", console=console)
    mean = seen[0]
    for n, weights in enumerate(seen[1:], start=1):
        decay = min(0.3, (1 + n) / (10 + n))
        mean = [decay * m + (1 - decay) * w for m, w in zip(mean, weights, strict=True)]
    kept = load_run(tmp_path / "run").model
    for expected, parameter in zip(mean, kept.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-5, rtol=1e-4)


def test_a_loaded_run_is_what_was_fitted(tiny, digits, tmp_path, console, no_pictures):
    fitted = fit(tiny(), digits, tmp_path / "run", console=console)
    loaded = load_run(tmp_path / "run")
    assert loaded.config == tiny()
    assert loaded.provenance == fitted.provenance
    assert loaded.provenance.data_fingerprint == digits.train.fingerprint
    assert set(loaded.provenance.libraries) == {"torch", "lightning", "numpy"}
    assert not loaded.model.training
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(loaded.model.encode(x).mu, fitted.model.encode(x).mu)


def test_a_second_run_does_not_overwrite_the_first(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    with pytest.raises(RunDirectoryError, match=r"got one with a run in it. Continue that run with --resume"):
        fit(tiny(), digits, tmp_path / "run", console=console)


def test_a_directory_with_other_files_is_left_alone(tiny, digits, tmp_path, console):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirectoryError, match=r"got one with other files. Choose another --out"):
        fit(tiny(), digits, tmp_path, console=console)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_start_that_was_killed_can_be_made_again(
    writes, tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    """The directory then contains no run to resume, and nothing that another would have to delete."""
    original = run_directory._write_atomically
    count = 0

    class PowerCutError(Exception):
        pass

    def cut_off(path, content):
        nonlocal count
        if count == writes:
            path.with_name(f".{path.name}.part").write_bytes(content[:3])
            raise PowerCutError
        count += 1
        original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "_write_atomically", cut_off)
        with pytest.raises(PowerCutError):
            fit(tiny(), digits, tmp_path / "run", console=console)
    assert not RunDirectory(tmp_path / "run").has_begun
    fit(tiny(trainer={"epochs": 1}), digits, tmp_path / "run", console=console)
    assert RunDirectory(tmp_path / "run").has_begun
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("kept", ["checkpoints/last.ckpt", "model.pt", "log.csv"])
def test_a_directory_that_lost_its_configuration_is_left_alone(
    kept, tiny, digits, tmp_path, console, no_pictures
):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "provenance.json").write_text("{}")
    (tmp_path / kept).write_text("hours of work")
    with pytest.raises(RunDirectoryError, match=r"got one with other files. Choose another --out"):
        fit(tiny(), digits, tmp_path, console=console)
    assert (tmp_path / kept).read_text() == "hours of work"


def test_an_out_that_is_a_file_is_told(tiny, digits, tmp_path, console):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="expected a new directory, could not create it"):
        fit(tiny(), digits, tmp_path / "file", console=console)


def test_a_run_without_weights_cannot_be_loaded_yet(tiny, tmp_path):
    RunDirectory(tmp_path / "run").make()
    RunDirectory(tmp_path / "run").write_config(tiny())
    (tmp_path / "run" / "provenance.json").write_text("{}")
    with pytest.raises(RunNotFinished, match="they appear after the first epoch"):
        load_run(tmp_path / "run")


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"found no config.json in it"):
        load_run(tmp_path)


def test_weights_of_another_configuration_are_refused(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    (tmp_path / "run" / "config.json").write_text(tiny(model={"latent_size": 5}).to_json())
    with pytest.raises(RunDirectoryError, match=r"does not belong to config.json"):
        load_run(tmp_path / "run")


def test_code_hidden_in_a_weights_file_is_not_run(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)

    class Hidden:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"state_dict": Hidden()}, tmp_path / "run" / "model.pt")
    with pytest.raises(RunDirectoryError, match="is unreadable"):
        load_run(tmp_path / "run")
    assert not (tmp_path / "owned").exists()


def test_provenance_says_where_a_run_came_from(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    stored = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert stored["data"] == "idx: 576 images to train on, 100 held back for validation, 100 for the test"
    assert stored["libraries"]["torch"] == torch.__version__
    assert (stored["recipe"], stored["seed"], stored["precision"]) == ("tiny", 0, "float32")


def test_two_processes_cannot_train_in_the_same_directory(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    with (
        RunDirectory(tmp_path / "run").locked(),
        pytest.raises(RunDirectoryError, match="expected no other process to train here, but one does"),
    ):
        fit(tiny(), digits, tmp_path / "run", resume=True, console=console)
    assert fit(tiny(), digits, tmp_path / "run", resume=True, console=console).epochs == 2


def test_a_directory_that_is_not_named_in_utf_8_is_refused_before_it_is_made(tiny, tmp_path):
    """TensorBoard's writer takes no such name, and ended the run in a traceback."""
    root = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(RunDirectoryError, match="expected a name in UTF-8, got other bytes"):
        RunDirectory(root).make()
    assert not root.exists()

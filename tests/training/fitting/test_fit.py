"""A run from images to a run directory: what lies there and what it learns."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import count

import pytest
import torch
from PIL import Image

from training.config.reading import parse_config
from training.data import ImageData, ImageSet, MemoryBudget, split_train_validation, to_unit_interval
from training.data.folder_tree import scan
from training.errors import DataError
from training.evaluation.figures import evaluate
from training.fitting.console import Console
from training.fitting.fit import fit
from training.fitting.trainer import resolve_precision


def test_a_run_leaves_everything_a_stranger_needs(tiny, digits, tmp_path, console, heard):
    run = fit(tiny(), digits, tmp_path / "run", console=console)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {
        "config.json",
        "provenance.json",
        "log.csv",
        "tensorboard",
        "checkpoints",
        "model.pt",
        "curves.png",
        "reconstructions.png",
        "samples.png",
    }
    for name in ("curves", "reconstructions", "samples"):
        with Image.open(tmp_path / "run" / f"{name}.png") as image:
            assert image.width > 80
    assert run.epochs == 2
    told = [line for line in heard if line.startswith("epoch ")]
    assert len(told) == 2
    assert told[1].startswith("epoch 2/2  -ELBO train ")
    assert any((tmp_path / "run" / "tensorboard").glob("events.*"))
    # Among pictures that are trained on, it would be known and left out.
    assert scan(tmp_path).runs == ["run"]


def test_the_log_holds_the_parts_of_the_bound_and_they_add_up(
    tiny, digits, tmp_path, console, no_pictures, log_of
):
    fit(tiny(), digits, tmp_path / "run", console=console)
    rows = log_of(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["step"] for row in rows] == [9, 18]
    for row in rows:
        for part in ("train", "validation"):
            assert row[f"{part}_negative_elbo"] == pytest.approx(
                row[f"{part}_reconstruction_nll"] + row[f"{part}_kl"], rel=1e-4
            )
    assert rows[1]["validation_negative_elbo"] < rows[0]["validation_negative_elbo"]


def test_validation_in_the_log_agrees_with_the_evaluation_of_the_kept_weights(
    tiny, digits, tmp_path, console, no_pictures, log_of
):
    """Two ways to the same figure, with different noise: they must agree within its error."""
    config = tiny(trainer={"epochs": 4}, optimiser={"learning_rate": 5e-3})
    run = fit(config, digits, tmp_path / "run", console=console)
    _, held_back = split_train_validation(digits.train, validation_size=100, seed=0)
    assert held_back is not None
    measured = evaluate(run.model, held_back, importance_samples=1, importance_images=1)
    logged = log_of(tmp_path / "run")[-1]
    assert measured["negative_elbo"] == pytest.approx(logged["validation_negative_elbo"], abs=4.0)
    assert measured["kl"] == pytest.approx(logged["validation_kl"], abs=0.5)


def test_given_validation_images_are_those_of_the_log_and_all_others_are_trained_on(
    tiny, digits, tmp_path, console, no_pictures, log_of
):
    """Negatives of digits cost far more than digits do, so that the figure in the log can only be theirs."""
    negatives = ImageSet("negatives", 255 - digits.test.images[:])
    run = fit(tiny(), replace(digits, validation=negatives), tmp_path / "run", console=console)
    of_digits, of_negatives = (
        evaluate(run.model, images, importance_samples=1, importance_images=1)["negative_elbo"]
        for images in (digits.test, negatives)
    )
    row = log_of(tmp_path / "run")[-1]
    assert row["validation_negative_elbo"] == pytest.approx(of_negatives, rel=0.1)
    assert of_negatives > 1.5 * of_digits
    assert row["step"] == 2 * (676 // 64)
    assert "676 images to train on, 100 given for validation, 100 for the test" in run.provenance.data


@pytest.mark.parametrize("trunk", ["mlp", "residual"])
@pytest.mark.parametrize("kind", ["vae", "ae"])
def test_each_kind_over_each_trunk_learns_digits(
    kind, trunk, tiny, digits, tmp_path, console, no_pictures, log_of
):
    trunks = {
        "mlp": {"type": "mlp", "encoder_hidden": [64], "decoder_hidden": [64]},
        "residual": {
            "type": "residual",
            "encoder_channels": [8, 8],
            "encoder_blocks": 1,
            "decoder_channels": [8, 8],
            "decoder_blocks": 1,
        },
    }
    config = tiny(
        model={"kind": kind, "trunk": trunks[trunk], "latent_size": 8},
        optimiser={"learning_rate": 1e-2},
        trainer={"epochs": 10, "batch_size": 32, "ema_decay": 0.9},
    )
    fit(config, digits, tmp_path / "run", console=console)
    # The best a decoder can do that ignores z: the mean image as probabilities.
    mean = to_unit_interval(digits.train.images).mean(dim=0)
    blind = -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum().item()
    assert log_of(tmp_path / "run")[-1]["validation_reconstruction_nll"] < blind - 20.0


@pytest.mark.parametrize("learned", [False, True])
def test_a_gaussian_likelihood_trains_on_grey_pixels(
    learned, tiny, digits, tmp_path, console, no_pictures, log_of
):
    config = tiny(
        data={"binarisation": "grey"},
        model={"likelihood": {"name": "gaussian", "sigma": 0.5, "learned": learned}},
        optimiser={"learning_rate": 1e-2},
        trainer={"epochs": 8, "ema_decay": 0.9},
    )
    run = fit(config, digits, tmp_path / "run", console=console)
    rows = log_of(tmp_path / "run")
    assert rows[-1]["validation_negative_elbo"] < rows[0]["validation_negative_elbo"] - 10.0
    sigma = run.model.likelihood.spec().sigma
    assert sigma < 0.49 if learned else sigma == 0.5


def test_the_progress_counts_epochs_as_the_log_does_and_names_the_time_left(
    tiny, digits, tmp_path, no_pictures, monkeypatch
):
    every_look_is_a_second_later = count(step=1.0)
    monkeypatch.setattr("training.fitting.console.monotonic", lambda: next(every_look_is_a_second_later))
    shown = []
    console = Console(say=lambda line: None, progress=lambda *state: shown.append(state))
    fit(tiny(), digits, tmp_path / "run", console=console)
    epochs = [what.partition(",")[0] for what, _, _ in shown]
    assert list(dict.fromkeys(epochs)) == ["epoch 1/2", "epoch 2/2"]
    what, done, total = shown[0]
    assert re.fullmatch(r"epoch 1/2, loss \d+\.\d\d, \d+ s left", what)
    assert 0 < done <= total


def test_bfloat16_trains_as_well_as_float32(tiny, digits, tmp_path, console, no_pictures, log_of, weights_of):
    """Autocast costs precision in the steps, never in what is kept: weights stay float32."""
    ends = []
    for precision in ("float32", "bfloat16"):
        config = tiny(trainer={"precision": precision, "epochs": 2})
        fit(config, digits, tmp_path / precision, console=console)
        ends.append(log_of(tmp_path / precision)[-1]["validation_negative_elbo"])
        assert {tensor.dtype for tensor in weights_of(tmp_path / precision).values()} == {torch.float32}
    assert ends[0] != ends[1]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


def test_auto_precision_follows_the_processor(tiny, monkeypatch):
    for flags, expected in (({"avx512_bf16": True}, "bfloat16"), ({"avx512_bf16": False}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        assert resolve_precision(tiny(trainer={"precision": "auto"}).trainer) == expected
        assert resolve_precision(tiny(trainer={"precision": "bfloat16"}).trainer) == "bfloat16"


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    tiny, digits, tmp_path, console, no_pictures, same_weights
):
    torch.manual_seed(1)
    fit(tiny(), digits, tmp_path / "first", console=console)
    torch.manual_seed(2)  # the global generator has no say
    fit(tiny(), digits, tmp_path / "again", console=console)
    fit(tiny(trainer={"seed": 5}), digits, tmp_path / "other", console=console)
    assert same_weights(tmp_path / "first", tmp_path / "again")
    assert not same_weights(tmp_path / "first", tmp_path / "other")


def test_training_leaves_the_global_generator_alone(tiny, digits, tmp_path, console, no_pictures):
    before = torch.random.get_rng_state()
    fit(tiny(), digits, tmp_path / "run", console=console)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_test_images_have_no_part_in_training(tiny, digits, tmp_path, console, no_pictures, same_weights):
    fit(tiny(), digits, tmp_path / "with", console=console)
    other = ImageData(name=digits.name, train=digits.train, test=digits.test.take(torch.arange(7)))
    fit(tiny(), other, tmp_path / "without", console=console)
    assert same_weights(tmp_path / "with", tmp_path / "without")


def test_images_on_disk_train_to_the_same_bits(
    tiny, digits, tmp_path, console, no_pictures, same_weights, log_of
):
    room = MemoryBudget(memory_bytes=0, folder=tmp_path)
    train, test = (
        ImageSet(part.name, room.gather([part.images.numpy()], count=len(part), image_shape=(1, 28, 28)))
        for part in (digits.train, digits.test)
    )
    on_disk = ImageData(digits.name, train, test)
    fit(tiny(), digits, tmp_path / "memory", console=console)
    run = fit(tiny(), on_disk, tmp_path / "disk", console=console)
    assert same_weights(tmp_path / "memory", tmp_path / "disk")
    assert log_of(tmp_path / "memory") == log_of(tmp_path / "disk")
    figures = [evaluate(run.model, data.test, importance_samples=2).metrics for data in (digits, on_disk)]
    assert figures[0] == figures[1]


def test_more_images_in_a_batch_than_there_are_is_told_before_anything_is_written(
    tiny, digits, tmp_path, console
):
    with pytest.raises(DataError, match=r"at least trainer.batch_size = 700 training images, got 576"):
        fit(tiny(trainer={"batch_size": 700}), digits, tmp_path / "run", console=console)
    assert not (tmp_path / "run").exists()


def test_pictures_come_every_few_epochs_and_at_the_end(tiny, digits, tmp_path, console, monkeypatch):
    drawn = []
    monkeypatch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: drawn.append(model))
    fit(tiny(trainer={"epochs": 5, "pictures_every_epochs": 2}), digits, tmp_path / "run", console=console)
    assert len(drawn) == 3


def test_an_autoencoder_draws_no_samples(tiny, digits, tmp_path, console):
    """Decoding N(0, I) with a model that has no prior would pass for generation."""
    fit(tiny(model={"kind": "ae"}), digits, tmp_path / "run", console=console)
    assert (tmp_path / "run" / "reconstructions.png").exists()
    assert not (tmp_path / "run" / "samples.png").exists()


def test_images_of_another_shape_train_by_the_same_code(tiny, tmp_path, console, no_pictures, log_of):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 3, 10, 14), generator=generator, dtype=torch.uint8)
    data = ImageData(name="noise", train=ImageSet("train", images), test=ImageSet("test", images[:20]))
    config = parse_config(
        {
            "name": "colour",
            "data": {"validation_size": 100},
            "model": {
                "latent_size": 3,
                "trunk": {"type": "residual", "encoder_channels": [4], "decoder_channels": [4]},
            },
            "trainer": {"epochs": 1, "batch_size": 50},
        },
        where="colour",
    )
    run = fit(config, data, tmp_path / "run", console=console)
    assert run.model.image_shape == (3, 10, 14)
    assert math.isfinite(log_of(tmp_path / "run")[0]["validation_negative_elbo"])

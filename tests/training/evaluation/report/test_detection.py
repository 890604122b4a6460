"""The bound as a detector: in both directions, against images whose answer is known."""

import pytest
import torch

from training.config.model_section import MLPTrunk, ModelConfig
from training.data import ImageData, ImageSet
from training.errors import DataError
from training.evaluation.report.detection import check_second, find_detection
from training.models import build_model


def figures(findings):
    return {figure.name: figure for figure in findings.figures}


def bright_and_dark(digits):
    """Nearly white test images, and nearly black ones as the second set."""
    bright = ImageSet("bright test", torch.full((30, 1, 28, 28), 250, dtype=torch.uint8))
    dark = ImageSet("dark test", torch.full((20, 1, 28, 28), 5, dtype=torch.uint8))
    return ImageData("bright", digits.train, bright), dark


def expecting(model, ink):
    """The decoder says `ink` for every pixel, whatever z is."""
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        list(model.decoder.parameters())[-1].fill_(ink)
    return model


def test_each_direction_is_asked_of_the_model_that_knows_the_images(bench_of, make_model, subject_of, digits):
    data, dark = bright_and_dark(digits)
    bench = bench_of(expecting(make_model(), 3.0), data=data)
    other = subject_of(expecting(make_model(), -3.0), label="runs/dark")
    found = figures(find_detection(bench, second=dark, second_subject=other))
    for name in ("auroc_second", "auroc_second_reconstruction", "auroc_back", "auroc_back_reconstruction"):
        assert found[name].value == 1.0, name
    assert found["auroc_second"].protocol.startswith(
        "chance that runs/x scores one of 30 images of bright test above one of 20 of dark test"
    )
    assert found["auroc_back"].protocol.startswith(
        "chance that runs/dark scores one of 20 images of dark test above one of 30 of bright test"
    )


def test_model_that_likes_the_others_better_is_below_a_half(bench_of, make_model, digits):
    data, dark = bright_and_dark(digits)
    bench = bench_of(expecting(make_model(), -3.0), data=data)
    found = figures(find_detection(bench, second=dark, second_subject=None))
    assert found["auroc_second"].value == 0.0
    assert "auroc_back" not in found


def test_mirror_images_of_symmetric_ones_cannot_be_told_apart(bench_of, digits):
    data, _ = bright_and_dark(digits)
    found = figures(find_detection(bench_of(data=data), second=None, second_subject=None))
    assert found["auroc_mirrored"].value == pytest.approx(0.5)
    assert list(found) == ["auroc_mirrored", "auroc_mirrored_reconstruction"]


def test_bound_and_reconstruction_error_are_scores_of_their_own(bench_of, make_model, digits):
    """Images that are rebuilt alike may differ in what their codes cost, which only the bound counts."""
    data, dark = bright_and_dark(digits)
    model = expecting(make_model(), 0.0)
    bench = bench_of(model, data=data)
    found = figures(find_detection(bench, second=dark, second_subject=None))
    # Every pixel is a coin to this decoder: nothing but KL is left to tell bright from dark by.
    assert found["auroc_second_reconstruction"].value == pytest.approx(0.5)
    kl_bright, kl_dark = (
        model.encode(images.whole().float() / 255.0).kl_per_dimension().sum(dim=1).mean().item()
        for images in (data.test, dark)
    )
    assert (found["auroc_second"].value > 0.5) == (kl_bright < kl_dark)
    assert abs(found["auroc_second"].value - 0.5) > 0.2
    assert "score: ELBO, one z an image; " in found["auroc_second"].protocol
    assert "score: log p(x∣z) at one z an image, " in found["auroc_second_reconstruction"].protocol


def test_autoencoder_is_scored_by_what_it_has(bench_of):
    (figure,) = find_detection(bench_of(kind="ae"), second=None, second_subject=None).figures
    assert figure.name == "auroc_mirrored_reconstruction"
    assert "score: log p(x∣z) at z = mu" in figure.protocol


def test_section_says_that_neither_score_detects_anomalies(bench_of):
    about = find_detection(bench_of(), second=None, second_subject=None).about
    assert "Do not use either score to detect anomalies without a measurement on images of your own" in about


def test_second_images_or_model_of_another_shape_are_refused(bench_of, subject_of, digits):
    wide = ImageSet("wide test", torch.zeros(3, 1, 28, 30, dtype=torch.uint8))
    bench = bench_of()
    with pytest.raises(
        DataError, match=r"wide test: expected images of shape \(1, 28, 28\), as runs/x requires"
    ):
        check_second(bench, wide, None)
    trunk = MLPTrunk(encoder_hidden=(4,), decoder_hidden=(4,))
    other = subject_of(build_model(ModelConfig(latent_size=1, trunk=trunk), (1, 28, 30)), label="runs/wide")
    with pytest.raises(DataError, match="runs/wide: expected images of shape"):
        check_second(bench, digits.test, other)
    check_second(bench, digits.test, bench.subject)

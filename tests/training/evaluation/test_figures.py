"""Figures carry their protocol, do not depend on the machine's memory, and tell when a model is useless."""

import json
import math

import pytest
import torch

from training.config.model_section import GaussianConfig, MLPTrunk, ModelConfig
from training.data import ImageSet, load_mnist, to_unit_interval
from training.errors import ConfigError, DataError, NonFiniteTraining, RunDirectoryError, TrainingError
from training.evaluation.figures import (
    Evaluation,
    _active_units_metric,
    _nll_metric,
    evaluate,
    evaluate_run,
    read_evaluation,
    weights_sha256,
    write_evaluation,
)
from training.evaluation.measures.active_latents import active_latents
from training.models import build_model
from training.objectives.estimators import ElboParts, Observations
from training.runs.provenance import describe_provenance
from training.runs.run_directory import RunDirectory, save_model, save_provenance

VAE_METRICS = [
    "negative_elbo",
    "reconstruction_nll",
    "kl",
    "nll_iw",
    "active_units",
    "reconstruction_rmse",
    "mean_image_rmse",
]


def make_model(**changes):
    settings = {"latent_size": 4, "trunk": MLPTrunk(encoder_hidden=(32,), decoder_hidden=(32,)), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(**settings), (1, 28, 28))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3.0)  # far enough from zero that z matters
    return model


@pytest.fixture(scope="module")
def test_images(mnist_folder):
    """All 400."""
    return load_mnist(mnist_folder).test


@pytest.fixture(scope="module")
def vae():
    return make_model()


@pytest.fixture(scope="module")
def evaluation(vae, test_images):
    return evaluate(vae, test_images, importance_samples=8, importance_images=50)


def protocol(evaluation, name):
    return next(metric.protocol for metric in evaluation.metrics if metric.name == name)


def test_vae_is_measured_by_bound_parts_likelihood_units_and_error(evaluation):
    assert [metric.name for metric in evaluation.metrics] == VAE_METRICS
    assert evaluation["negative_elbo"] == pytest.approx(evaluation["reconstruction_nll"] + evaluation["kl"])
    assert evaluation["kl"] == pytest.approx(sum(evaluation.kl_per_dimension))
    assert all(kl >= 0.0 for kl in evaluation.kl_per_dimension)
    assert len(evaluation.kl_per_dimension) == 4
    assert "nll_iw" in evaluation
    assert "accuracy" not in evaluation
    with pytest.raises(KeyError, match="measured: negative_elbo, "):
        evaluation["accuracy"]


def test_protocol_says_which_images_binarisation_seed_and_k(evaluation, vae, test_images):
    everything = "all 400 images of idx test, dynamic binarisation, seed 0"
    assert protocol(evaluation, "negative_elbo").startswith(everything)
    assert "one posterior sample an image, KL in closed form" in protocol(evaluation, "negative_elbo")
    likelihood = protocol(evaluation, "nll_iw")
    assert likelihood.startswith("a random 50 of the 400 images of idx test, dynamic binarisation, seed 0")
    assert "K = 8" in likelihood
    assert "standard error over images" in likelihood
    assert "-ELBO of the same images" in likelihood
    other = evaluate(vae, test_images, importance_samples=2, importance_images=None, seed=9)
    assert protocol(other, "nll_iw").startswith("all 400 images of idx test, dynamic binarisation, seed 9")


def test_likelihood_bound_is_above_the_elbo_of_the_same_images(vae, test_images):
    evaluation = evaluate(vae, test_images, importance_samples=64, importance_images=None)
    assert evaluation["nll_iw"] < evaluation["negative_elbo"]


def test_figures_do_not_depend_on_batch_size_global_seed_or_mode(vae, test_images, evaluation):
    torch.manual_seed(12345)
    vae.train()
    again = evaluate(vae, test_images, importance_samples=8, importance_images=50, batch_size=33)
    assert vae.training
    vae.eval()
    for metric in evaluation.metrics:
        assert again[metric.name] == pytest.approx(metric.value, abs=1e-3), metric.name
    assert evaluate(vae, test_images, importance_samples=8, importance_images=50) == evaluation


def test_another_seed_gives_other_noise_and_other_images(vae, test_images, evaluation):
    other = evaluate(vae, test_images, importance_samples=8, importance_images=50, seed=1)
    for name in ("negative_elbo", "nll_iw"):
        assert other[name] != evaluation[name]
    assert other["reconstruction_rmse"] == evaluation["reconstruction_rmse"]  # nothing random in it


def test_reconstruction_error_is_that_of_grey_images_without_noise(vae, test_images, evaluation):
    x = to_unit_interval(test_images.images)
    with torch.inference_mode():
        x_hat = vae.decode(vae.encode(x).mu)
    expected = math.sqrt(torch.nn.functional.mse_loss(x_hat.double(), x.double()).item())
    assert evaluation["reconstruction_rmse"] == pytest.approx(expected, abs=1e-6)


def test_units_count_as_active_when_their_mean_moves_with_the_image(test_images):
    model = make_model()
    last = [module for module in model.encoder.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight[1] = 0.0  # mu of latents 1 and 3 no longer depends on x, whatever its bias
        last.weight[3] = 0.0
        last.bias[3] = 50.0
    evaluation = evaluate(model, test_images, importance_samples=1, importance_images=1)
    assert evaluation["active_units"] == 2.0
    assert "variance of the posterior mean above 0.01" in protocol(evaluation, "active_units")


def test_autoencoder_gets_no_bound_and_no_likelihood(test_images):
    evaluation = evaluate(make_model(kind="ae"), test_images)
    assert [metric.name for metric in evaluation.metrics] == [
        "reconstruction_nll",
        "reconstruction_rmse",
        "mean_image_rmse",
    ]
    assert "no prior and so no bound on the likelihood" in protocol(evaluation, "reconstruction_nll")
    assert evaluation.kl_per_dimension == ()


def test_gaussian_is_measured_on_grey_pixels_and_says_so(test_images):
    model = make_model(likelihood=GaussianConfig(sigma=0.2))
    evaluation = evaluate(model, test_images, importance_samples=2, importance_images=20)
    assert protocol(evaluation, "negative_elbo").startswith("all 400 images of idx test, grey pixels, seed 0")


def test_bernoulli_likelihood_of_grey_pixels_is_refused(vae, test_images):
    """It is the most common way to publish a number that is no likelihood."""
    with pytest.raises(ConfigError, match="A cross-entropy on grey pixels is not a likelihood"):
        evaluate(vae, test_images, binarisation="grey")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"importance_samples": 0}, "importance_samples: expected 1 to 1,000,000, got 0"),
        ({"importance_images": 0}, "importance_images: expected 1 to"),
        ({"batch_size": 0}, "batch_size: expected 1 to"),
        ({"seed": -1}, "seed: expected 0 to"),
    ],
)
def test_option_out_of_range_is_refused(vae, test_images, changes, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(vae, test_images, **changes)


def test_images_of_another_shape_are_refused(vae):
    images = ImageSet(name="wide", images=torch.zeros(3, 1, 28, 30, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"wide: expected at least one image of shape \(1, 28, 28\)"):
        evaluate(vae, images)


def test_collapsed_posterior_raises_the_alarm(test_images, evaluation):
    model = make_model()
    last = [module for module in model.encoder.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    collapsed = evaluate(model, test_images, importance_samples=1, importance_images=1)
    assert collapsed["kl"] < 1.0
    assert collapsed["active_units"] == 0.0
    assert [warning.split(":")[0] for warning in collapsed.warnings] == ["posterior collapse"]
    assert "**Warning:** posterior collapse" in collapsed.to_markdown()
    assert evaluation.warnings == ()


def test_weights_that_are_not_finite_give_an_error_and_no_figure(test_images):
    model = make_model()
    with torch.no_grad():
        next(model.decoder.parameters())[0, 0] = math.nan
    with pytest.raises(NonFiniteTraining, match="negative_elbo: expected a finite figure, got nan"):
        evaluate(model, test_images, importance_samples=1, importance_images=1)


def test_weights_digest_tells_models_apart_and_ignores_memory_layout():
    model = make_model()
    assert weights_sha256(model) == weights_sha256(make_model())
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-6
    assert weights_sha256(model) != weights_sha256(make_model())


def test_table_shows_each_figure_once_with_its_protocol(evaluation):
    table = evaluation.to_markdown()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]] == VAE_METRICS
    assert f"| kl | {evaluation['kl']:.2f} | nats per image | all 400 images" in table
    assert f"| active_units | {evaluation['active_units']:.0f} | units |" in table


@pytest.fixture
def run_dir(tmp_path, tiny, digits):
    """A run directory with untrained weights."""
    config = tiny()
    directory = RunDirectory(tmp_path / "run")
    directory.make()
    directory.write_config(config)
    save_provenance(directory, describe_provenance(config, digits, precision="float32", threads=1))
    save_model(directory, build_model(config.model, digits.image_shape), epochs=2)
    return directory.root


def test_evaluating_a_run_writes_figures_for_machines_and_for_people(run_dir, mnist_folder):
    assert read_evaluation(run_dir) is None
    evaluation = evaluate_run(run_dir, mnist_folder)
    assert "a random 20 of the 400 images" in protocol(evaluation, "nll_iw")  # the recipe's own numbers
    assert "K = 3 " in protocol(evaluation, "nll_iw")
    assert read_evaluation(run_dir) == evaluation
    assert json.loads((run_dir / "evaluation.json").read_text())["metrics"][0]["name"] == "negative_elbo"
    assert (run_dir / "evaluation.md").read_text() == evaluation.to_markdown()


def test_options_of_the_command_replace_those_of_the_recipe(run_dir, mnist_folder):
    evaluation = evaluate_run(run_dir, mnist_folder, importance_samples=5, importance_images=10**6, seed=4)
    assert protocol(evaluation, "nll_iw").startswith(
        "all 400 images of idx test, dynamic binarisation, seed 4"
    )
    assert "K = 5 " in protocol(evaluation, "nll_iw")


def test_failed_evaluation_leaves_earlier_figures_alone(run_dir, mnist_folder):
    earlier = evaluate_run(run_dir, mnist_folder)
    with pytest.raises(ConfigError):
        evaluate_run(run_dir, mnist_folder, importance_samples=0)
    assert read_evaluation(run_dir) == earlier


@pytest.mark.parametrize("content", ["", "{}", '{"metrics": "none"}', "[1"])
def test_figures_that_cannot_be_read_are_told(run_dir, content):
    (run_dir / "evaluation.json").write_text(content)
    with pytest.raises(RunDirectoryError, match="expected the figures of an evaluation") as caught:
        read_evaluation(run_dir)
    assert "\n" not in str(caught.value)
    assert "https://" not in str(caught.value)


def test_evaluating_what_is_no_run_is_told(tmp_path, mnist_folder):
    with pytest.raises(TrainingError, match="expected a run directory"):
        evaluate_run(tmp_path, mnist_folder)


def test_evaluation_survives_its_own_json(evaluation, tmp_path):
    write_evaluation(tmp_path, evaluation)
    assert Evaluation.model_validate_json((tmp_path / "evaluation.json").read_bytes()) == evaluation


def parts_of(
    images: int, *, nll: float = 0.0, mu: torch.Tensor | None = None, estimated_kl: torch.Tensor | None = None
) -> ElboParts:
    return ElboParts(
        reconstruction_nll=torch.full((images,), nll, dtype=torch.float64),
        kl_per_dimension=torch.zeros(images, 4, dtype=torch.float64),
        mu=torch.zeros(images, 4, dtype=torch.float64) if mu is None else mu,
        variance=torch.full((4,), 0.5, dtype=torch.float64),
        estimated_kl=estimated_kl,
    )


def test_a_latent_is_active_by_the_variance_of_its_mean_and_not_by_its_deviation(digits):
    """Variances 0.0025, 0.009, 0.011 and 4: two are above 0.01."""
    deviations = torch.tensor([0.05, 0.009**0.5, 0.011**0.5, 2.0], dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(50).unsqueeze(-1)
    observations = Observations(digits.test, "dynamic", seed=0)
    assert _active_units_metric(observations, parts_of(100, mu=7.0 + sign * deviations)).value == 2.0


def test_beside_a_learned_prior_the_variance_counts_as_a_share_of_the_latents_own(digits):
    """Shares of 0.005, 0.018, 0.022 and 0.89 beside a posterior variance of 0.5: a prior fixes no scale."""
    deviations = torch.tensor([0.05, 0.009**0.5, 0.011**0.5, 2.0], dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(50).unsqueeze(-1)
    observations = Observations(digits.test, "dynamic", seed=0)
    learned = parts_of(100, mu=sign * deviations, estimated_kl=torch.zeros(100, dtype=torch.float64))
    metric = _active_units_metric(observations, learned)
    assert metric.value == 3.0
    assert "above 0.01 of the latent's variance, Var(mu) + E[sigma²] (arXiv" in metric.protocol


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_share_does_not_change_with_the_scale_of_a_latent(scale):
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(500, 6, generator=generator, dtype=torch.float64) * torch.logspace(-2, 0, 6).double()
    variance = torch.full((6,), 0.3, dtype=torch.float64)
    active = active_latents(scale * mu, scale**2 * variance, unit_variance=False)
    assert active.tolist() == [False, False, True, True, True, True]


def test_the_error_of_a_subset_is_the_deviation_over_the_root_of_its_size(digits):
    log_px = torch.tensor([-80.0, -90.0], dtype=torch.float64).repeat(8)  # deviation 5.164 of 16
    observations = Observations(digits.test, "dynamic", seed=0)
    metric = _nll_metric(observations, parts_of(100, nll=90.0), torch.arange(16), log_px, 3)
    assert metric.value == 85.0
    assert "standard error over images 1.29; -ELBO of the same images 90.00" in metric.protocol

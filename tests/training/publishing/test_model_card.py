"""The card says what the manifest says, in words, and claims nothing else."""

from dataclasses import replace

import pytest
from finished_runs import export_once, make_finished_run

from model_store import ModelStore
from training.config.reading import load_recipe, recipe_names
from training.publishing import export as export_module
from training.publishing.export import export_run
from training.publishing.model_card import Evidence, model_card
from training.runs.kept_weights import KeptWeights


@pytest.fixture
def publish(tmp_path, tiny, digits, monkeypatch):
    """(manifest, evidence, card) of a run with these settings."""

    def make(**sections):
        seen = []
        monkeypatch.setattr(
            export_module,
            "model_card",
            lambda manifest, evidence: seen.append((manifest, evidence)) or model_card(manifest, evidence),
        )
        monkeypatch.setattr(export_module, "export_graphs", export_once)
        run_dir = make_finished_run(tmp_path / "run", tiny(**sections), digits)
        store = ModelStore(tmp_path / "store")
        export_run(
            run_dir, name="digits", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True
        )
        return *seen[-1], store.open("digits").card

    return make


def test_card_states_figures_training_and_agreement(publish):
    manifest, evidence, card = publish()
    assert card.startswith("# digits, version 1\n\nVariational autoencoder of 28 × 28 grey images, 4 latents")
    for metric in manifest.metrics:
        assert f"| {metric.name} | " in card
        assert metric.protocol in card
    for fact in (
        manifest.provenance.data_fingerprint,
        manifest.provenance.git_revision,
        manifest.provenance.data,
        evidence.evaluation.weights_sha256,
        str(evidence.parity),
        "torch 2.",
        "Weights: MIT.",
        "Bernoulli of each pixel",
        "## Use and limits",
        "float32, 1",
    ):
        assert fact in card, fact


def test_warnings_of_the_evaluation_stand_in_the_card(publish):
    """An untrained model hardly uses its latents; whoever downloads it must read so."""
    _, evidence, card = publish()
    assert evidence.evaluation.warnings
    assert all(f"**Warning:** {warning}" in card for warning in evidence.evaluation.warnings)


def test_card_of_a_run_with_early_stopping_states_which_epoch_was_kept_and_both_figures(publish):
    manifest, evidence, card = publish()
    assert "epoch kept" not in card
    kept = KeptWeights(34, 98.89, 64, 105.53)
    card = model_card(manifest, replace(evidence, run=replace(evidence.run, kept=kept)))
    row = "epoch 34 (validation -ELBO 98.89), the best; training ended after epoch 64 (105.53)"
    assert f"| epoch kept | {row} |" in card


def test_card_says_how_many_steps_an_epoch_has_at_least(publish):
    """Without it, the epochs of a run on few images say nothing of how long it was trained."""
    manifest, _, card = publish(trainer={"min_steps_per_epoch": 40})
    assert f"| epochs, batch size | {manifest.provenance.epochs} of at least 40 steps, 64 |" in card


def test_card_of_a_run_that_was_trained_longer_says_so(publish):
    manifest, evidence, card = publish()
    assert "changed on the way" not in card
    changed = replace(evidence.run.provenance, changes=("after step 18: trainer.epochs was 2 and is 5 now",))
    card = model_card(manifest, replace(evidence, run=replace(evidence.run, provenance=changed)))
    assert "| changed on the way | after step 18: trainer.epochs was 2 and is 5 now |" in card
    assert "a new run with its last configuration has other weights" in card


def test_autoencoder_s_card_promises_no_new_images(publish):
    _, _, card = publish(model={"kind": "ae"})
    assert "Deterministic autoencoder" in card
    assert "sampling is refused" in card
    assert "draw new images" not in card
    assert "KL by latent" not in card
    assert "reconstruction alone" in card


def test_gaussian_s_card_states_sigma_and_that_densities_do_not_compare(publish):
    _, _, card = publish(
        data={"binarisation": "grey"}, model={"likelihood": {"name": "gaussian", "sigma": 0.25}}
    )
    assert "σ = 0.25 (stated by the recipe)" in card
    assert "not comparable with a Bernoulli model's" in card


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("mnist: 55,000", "MNIST, by Yann LeCun, Corinna Cortes and Christopher Burges: CC BY-SA 3.0."),
        ("fashion-mnist: 58,000", "Fashion-MNIST, by Zalando SE: MIT."),
        ("folder mnist: 900", "a licence of their own"),
        ("idx: 900", "a licence of their own"),
    ],
)
def test_data_licence_is_named_where_it_is_known_and_left_open_for_other_data(data, told, publish):
    manifest, evidence, _ = publish()
    provenance = manifest.provenance.model_copy(update={"data": f"{data} images to train on"})
    card = model_card(manifest.model_copy(update={"provenance": provenance}), evidence)
    assert told in card.split("## Licence")[1]


def test_commands_name_a_bundled_recipe_only_where_it_is_the_one_used(publish):
    manifest, evidence, card = publish()
    assert "vae-train fit --recipe tiny.toml --data DIR --out runs/digits" in card
    bundled = recipe_names()[0]
    run = replace(evidence.run, config=load_recipe(bundled))
    card = model_card(manifest, Evidence(**{**vars(evidence), "run": run}))
    assert f"vae-train fit --recipe {bundled} --data DIR --out runs/digits" in card


def test_a_bundled_recipe_stays_the_one_used_when_only_its_words_change(publish):
    """What to expect of a recipe is written into it after the first run with it."""
    manifest, evidence, _ = publish()
    for name in recipe_names():
        config = load_recipe(name).model_copy(update={"expect": None, "description": "As it was then."})
        run = replace(evidence.run, config=config)
        card = model_card(manifest, Evidence(**{**vars(evidence), "run": run}))
        assert f"vae-train fit --recipe {name} --data DIR" in card


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "| binarised anew in every batch |"),
        (
            {"grey_fraction": 0.1},
            "| binarised anew in every batch; the encoder saw 10 % of the images in grey |",
        ),
        ({"binarisation": "grey"}, "| grey |"),
    ],
)
def test_card_states_what_the_pixels_were_in_training(publish, tiny, data, told):
    manifest, evidence, _ = publish()
    run = replace(evidence.run, config=tiny(data=data))
    card = model_card(manifest, Evidence(**{**vars(evidence), "run": run}))
    assert f"| pixels in training {told}" in card

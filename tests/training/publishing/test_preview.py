"""Previews as typed: `export` with data adds one, `add-preview` publishes a version again with one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_runs import export_once, make_finished_run
from tiny_learned import TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny

from model_store import ManifestDraft, ModelStore
from training import cli
from training.config.reading import load_recipe
from training.data import ImageData, ImageSet, load_mnist
from training.publishing import export as export_module
from training.publishing.export import export_run
from training.publishing.preview import make_preview

TINY = TinyModel.make(image_shape=(1, 6, 4), latent_size=3)


@pytest.fixture(autouse=True)
def export_each_model_once(monkeypatch):
    monkeypatch.setattr(export_module, "export_graphs", export_once)


@pytest.fixture(scope="module")
def all_digits(mnist_folder):
    return load_mnist(mnist_folder)


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.fixture
def run_dir(tmp_path, tiny, all_digits):
    return make_finished_run(tmp_path / "run", tiny(), all_digits)


def export(run_dir: Path, store: ModelStore, **options):
    return export_run(
        run_dir, name="digits", store=store, allow_collapsed=True, tell=lambda _: None, **options
    )


def data_of(images: torch.Tensor, labels: list[int] | None = None, names: tuple[str, ...] = ()) -> ImageData:
    of = ImageSet("squares test", images, None if labels is None else torch.tensor(labels))
    return ImageData("squares", train=of, test=of, label_names=names)


def squares(count: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


# Making one


def test_means_are_those_of_the_images_beside_them_and_kl_is_the_closed_form():
    data = data_of(squares(40, 1, 6, 4), [number % 3 for number in range(40)], names=("a", "b", "c"))
    made = make_preview(data, TINY.encode, kind="vae", latent_size=3)
    x = made.arrays.thumbnails.astype(np.float32) / np.float32(255)
    mu, logvar = TINY.encode(x)
    np.testing.assert_allclose(made.arrays.mu, mu, atol=6e-4)
    np.testing.assert_allclose(made.arrays.logvar, logvar, atol=6e-4)
    mu, logvar = TINY.encode(data.test.images.numpy().astype(np.float32) / np.float32(255))
    posterior = torch.distributions.Normal(torch.tensor(mu), torch.tensor(logvar).mul(0.5).exp())
    standard = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(posterior, standard).mean(dim=0)
    np.testing.assert_allclose(made.arrays.kl, kl, atol=2e-4)
    made.arrays.validate(TINY.draft().with_preview(made.spec))


def test_each_label_has_as_many_images_and_its_own_name():
    labels = [0] * 700 + [4] * 90 + [2] * 300
    data = data_of(squares(1090, 1, 6, 4), labels, names=("a", "b", "c", "d", "e"))
    made = make_preview(data, TINY.encode, kind="vae", latent_size=3)
    assert made.spec.labels == ("a", "c", "e")
    # All of the label that has few, and as many of the others as there is room for.
    assert np.bincount(made.arrays.labels).tolist() == [205, 205, 90]
    assert made.spec.images == len(made.arrays.mu) == 500


def test_labels_without_names_are_their_numbers_and_images_without_labels_have_none():
    images = squares(12, 1, 6, 4)
    numbered = make_preview(data_of(images, [7, 1] * 6), TINY.encode, kind="vae", latent_size=3)
    assert numbered.spec.labels == ("1", "7")
    assert numbered.arrays.labels.tolist() == [1, 0] * 6
    bare = make_preview(data_of(images), TINY.encode, kind="vae", latent_size=3)
    assert (bare.spec.labels, bare.arrays.labels, bare.spec.images) == ((), None, 12)


def test_more_labels_than_points_are_shown_as_far_as_they_go():
    data = data_of(squares(900, 1, 6, 4), list(range(900)))
    made = make_preview(data, TINY.encode, kind="vae", latent_size=3)
    assert made.spec.images == 500
    assert len(made.spec.labels) == 500


def test_autoencoder_has_means_alone():
    made = make_preview(data_of(squares(5, 1, 6, 4)), TINY.encode, kind="ae", latent_size=3)
    assert set(made.arrays.arrays) == {"mu", "thumbnails"}
    assert "KL" not in made.spec.protocol


@pytest.mark.parametrize(
    ("shape", "thumbnail"),
    [
        ((1, 28, 28), (1, 28, 28)),
        ((3, 128, 64), (3, 32, 16)),
        ((1, 1024, 3), (1, 32, 1)),
        ((2, 33, 33), (2, 32, 32)),
    ],
)
def test_large_image_becomes_a_thumbnail_in_its_proportions(shape, thumbnail):
    tiny = TinyModel.make(image_shape=shape, latent_size=2)
    flat = torch.full((3, *shape), 200, dtype=torch.uint8)
    made = make_preview(data_of(flat), tiny.encode, kind="vae", latent_size=2)
    assert made.spec.thumbnail == thumbnail
    assert set(made.arrays.thumbnails.flat) == {200}
    made.arrays.validate(tiny.draft().with_preview(made.spec))


def test_long_latents_leave_room_for_fewer_images():
    """The ceiling of the file is that of every reader."""
    latent = 20_000

    def encode(x):
        noise = np.random.default_rng(len(x)).normal(size=(2, len(x), latent)).astype(np.float32)
        return noise[0], noise[1]

    made = make_preview(data_of(squares(300, 1, 6, 4)), encode, kind="vae", latent_size=latent)
    assert made.spec.images == 25
    assert len(made.arrays.to_bytes()) < 4 * 1024 * 1024


def test_same_data_gives_the_same_bytes():
    data = data_of(squares(600, 1, 6, 4), [number % 7 for number in range(600)])
    first, second = (make_preview(data, TINY.encode, kind="vae", latent_size=3) for _ in range(2))
    assert first.arrays.to_bytes() == second.arrays.to_bytes()
    assert first.spec == second.spec


# Commands


def test_export_with_data_publishes_one_and_without_it_none(run_dir, store, mnist_folder, tmp_path):
    version = export(run_dir, store, data_dir=mnist_folder)
    model = store.open(version)
    assert model.manifest.preview.images == 400
    assert model.manifest.preview.labels == tuple("0123456789")
    assert model.preview.thumbnails.shape == (400, 1, 28, 28)
    assert "400 of 400 images of" in model.manifest.preview.protocol
    assert "## Preview" in model.card
    assert (store.root / "digits/1/preview.npz").stat().st_size < 200_000
    assert store.open(export(run_dir, store, data_dir=mnist_folder, with_preview=False)).preview is None
    assert store.open(export(run_dir, store, cache_dir=tmp_path / "cache")).preview is None


def test_add_preview_publishes_the_same_graphs_with_one(run_dir, store, mnist_folder, tmp_path, capsys):
    export(run_dir, store, cache_dir=tmp_path / "cache", aliases=("stable",))
    arguments = ["add-preview", "digits@1", "--data", str(mnist_folder), "--store", str(store.root)]
    assert cli.main([*arguments, "--alias", "stable"]) == 0
    assert "published digits@2" in capsys.readouterr().out
    before, after = store.open("digits@1"), store.open("digits@stable")
    assert str(after.id) == "digits@2"
    assert (after.encoder, after.decoder) == (before.encoder, before.decoder)
    assert after.manifest.metrics == before.manifest.metrics
    mu, _ = directly_encoded(after)
    np.testing.assert_allclose(after.preview.mu, mu, atol=6e-4)
    assert after.card.startswith(
        "# digits, version 2\n\nThe graphs of digits@1, byte for byte, with a preview.\n"
    )
    # Again: the section is replaced.
    assert cli.main(arguments) == 0
    card = store.open("digits@3").card
    assert (card.count("## Preview"), card.count("byte for byte, with a preview")) == (1, 1)


def directly_encoded(model):
    from training.graphs.export import Graphs
    from training.graphs.parity import OnnxPair

    pair = OnnxPair(Graphs(encoder=model.encoder, decoder=model.decoder))
    return pair.encode(model.preview.thumbnails.astype(np.float32) / np.float32(255))


def test_add_preview_refuses_images_of_another_model(store, mnist_folder, capsys):
    publish_tiny(store, model=TinyModel.make(latent_size=2))
    arguments = ["add-preview", "tiny", "--data", str(mnist_folder), "--store", str(store.root)]
    assert cli.main(arguments) != 0
    assert store.versions("tiny") == (1,)


def test_add_preview_keeps_a_learned_prior(store, mnist_folder, all_digits):
    made = store.open(publish_tiny(store, learned=TinyLearnedPrior(latent_size=8)))
    recipe = json.loads(load_recipe("quick").to_json())
    trained_on = {"recipe": recipe, "data_fingerprint": all_digits.train.fingerprint}
    provenance = made.manifest.provenance.model_copy(update=trained_on)
    draft = ManifestDraft(**{key: getattr(made.manifest, key) for key in ManifestDraft.model_fields})
    trained = draft.model_copy(update={"provenance": provenance})
    before = store.open(store.publish(trained, card=made.card, **made.parts))
    arguments = ["add-preview", "tiny", "--data", str(mnist_folder), "--store", str(store.root)]
    assert cli.main(arguments) == 0
    after = store.open("tiny@3")
    assert after.preview is not None
    assert after.manifest.priors == before.manifest.priors
    assert after.learned_prior.payload() == before.learned_prior.payload()


def test_preview_of_the_whole_file_is_small():
    data = data_of(squares(2_000, 1, 28, 28), [number % 10 for number in range(2_000)])
    tiny = TinyModel.make(latent_size=32)
    made = make_preview(data, tiny.encode, kind="vae", latent_size=32)
    assert made.spec.images == 500
    # Noise does not pack: digits take a fifth of it.
    assert len(made.arrays.to_bytes()) < 600_000
    assert math.isfinite(float(made.arrays.kl.sum()))

"""Imported models: latents with a height and a width, images of several sizes, and batches cut by values."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from imported_graphs import KL
from PIL import Image
from tiny_spatial import LATENT_SHAPE
from vae_client import Client, InvalidInput, InvalidRequest, Latents
from vae_client.picture_sizes import pixels_of

#: `--max-values` of the server: 21 images of 3 × 64 × 64, or 5 of 3 × 128 × 128.
MOST_VALUES = 262_144


@pytest.fixture
def sd(extended_url: str) -> Iterator[Client]:
    with Client(extended_url, model="sd-vae") as client:
        yield client


def pictures(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(4).random((count, 3, height, width), dtype=np.float32)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray((image.transpose(1, 2, 0) * 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_batch_of_more_values_than_the_limit_is_cut(sd: Client) -> None:
    images = pictures(25)
    posterior = sd.encode(images)
    mu, logvar = KL.encode(images)
    np.testing.assert_allclose(posterior.mu, mu, atol=1e-5)
    np.testing.assert_array_equal(posterior.logvar, logvar)
    assert posterior.timing.tries == 2
    assert "25 images, 4 × 8 × 8 latents" in repr(posterior)
    decoded = sd.decode(posterior.mu)
    np.testing.assert_allclose(decoded.images, np.clip(KL.decode(mu), 0, 1), atol=1e-5)
    again = sd.reconstruct(images)
    np.testing.assert_array_equal(again.images, decoded.images)
    np.testing.assert_array_equal(again.z, posterior.mu)
    assert (decoded.timing.tries, again.timing.tries) == (2, 2)


def test_larger_latents_are_decoded_fewer_at_a_time(sd: Client) -> None:
    mu, _ = sd.encode(pictures(6, 128, 128))
    assert mu.shape == (6, 4, 16, 16)
    decoded = sd.decode(mu)
    assert decoded.images.shape == (6, 3, 128, 128)
    assert decoded.timing.tries == 2
    assert sd.decode(sd.encode(pictures(1, 40, 88)).mu).images.shape == (1, 3, 40, 88)


def test_one_latent_needs_no_first_axis(sd: Client) -> None:
    mu, _ = sd.encode(pictures(2))
    np.testing.assert_array_equal(sd.decode(mu[1]).images, sd.decode(mu[1:]).images)
    path = sd.interpolate(mu[0], mu[1], steps=3)
    np.testing.assert_array_equal(path.z[[0, -1]], mu)
    assert sd.traverse(mu[0], dims=5, steps=2).z.shape == (2, 4, 8, 8)
    assert sd.nearest(mu[1], among=mu).indices.tolist() == [[1]]


def test_latents_in_the_shape_of_another_model_are_refused_before_a_request(sd: Client, vae: Client) -> None:
    with pytest.raises(InvalidInput, match=r"expected 4 axes, or 3 for one latent of sd-vae@1, got shape"):
        sd.decode(np.zeros((1, 1, 4, 8, 8), np.float32))
    with pytest.raises(InvalidInput, match=r"expected 2 axes, or 1 for one latent of mnist@6, got shape"):
        vae.decode(np.zeros((1, 4, 8, 8), np.float32))
    with pytest.raises(InvalidInput, match=r"start and end: expected latents of one shape"):
        sd.interpolate(Latents(np.zeros((4, 8, 8))), Latents(np.zeros((4, 8, 16))))


def test_pictures_count_with_the_size_that_they_are_encoded_in(sd: Client) -> None:
    large = png(pictures(1, 128, 128)[0])
    assert pixels_of(large) == 128 * 128
    own_size = sd.encode([large] * 6)
    assert (own_size.mu.shape, own_size.timing.tries) == ((6, 4, 16, 16), 2)
    scaled = sd.encode([large] * 6, fit="cover")
    assert (scaled.mu.shape, scaled.timing.tries) == ((6, 4, 8, 8), 1)
    assert sd.encode([large] * 22, resize=True).timing.tries == 2


def test_images_of_several_sizes_are_several_calls(sd: Client) -> None:
    with pytest.raises(InvalidInput, match=r"expected one size.*\(4, 8, 8\) and \(4, 8, 16\)"):
        sd.encode([pictures(1)[0], pictures(1, 64, 128)[0]])


def test_calls_that_an_imported_model_has_not_are_refused_with_the_reason(sd: Client) -> None:
    for call in (sd.sample, lambda: sd.score(pictures(1))):
        with pytest.raises(InvalidRequest, match=r"no-prior|no-density"):
            call()


def test_notebook_shows_fewer_large_images(sd: Client) -> None:
    result = sd.decode(sd.encode(pictures(2)).mu)
    many = type(result)(**{**vars(result), "images": np.zeros((12, 3, 1024, 512), np.float32)})
    assert "The first 7 are shown." in many._repr_html_()
    one = type(result)(**{**vars(result), "images": np.zeros((2, 2, 4096, 1024), np.float32)})
    assert "The first is shown." in one._repr_html_()
    assert Image.open(io.BytesIO(one._repr_png_())).mode == "L"


def test_trained_version_with_a_latent_shape_takes_its_own_latents(extended_url: str) -> None:
    with Client(extended_url, model="spatial") as client:
        drawn = client.sample(n=3, seed=7)
        assert drawn.z.shape == (3, *LATENT_SHAPE)
        np.testing.assert_allclose(client.decode(drawn.z).images, drawn.images, atol=1e-6)
        np.testing.assert_allclose(client.decode(drawn.z[0]).images, drawn.images[:1], atol=1e-6)

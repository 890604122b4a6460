"""interpolate and traverse of a loaded model: exact ends, the right grid, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from engine_models import LATENT, SHAPE, images, latents
from tiny_models import TinyModel

from service.engine import InvalidInput, InvalidParameter, LoadedModel
from service.engine.operations.geometry import METHODS, grid, interpolation_path


@pytest.fixture(scope="module")
def auto(published) -> LoadedModel:
    plain = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, kind="ae")
    return LoadedModel(published(plain), threads=1, max_batch=64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [2, 3, 8, 33])
def test_ends_are_the_decoded_ends_byte_for_byte(any_model: LoadedModel, method, steps):
    z = latents(2)
    path = any_model.interpolate(z=z, steps=steps, method=method)
    alone = [any_model.decode(z[:1])[0], any_model.decode(z[1:])[0]]
    assert path.x_hat[0].tobytes() == alone[0].tobytes()
    assert path.x_hat[-1].tobytes() == alone[1].tobytes()
    assert path.z.tobytes() == interpolation_path(z, steps=steps, method=method).tobytes()
    assert path.x_hat.tobytes() == any_model.decode(path.z).tobytes()


def test_images_are_interpolated_between_their_posterior_means(loaded: LoadedModel):
    x = images(2)
    path = loaded.interpolate(x=x, steps=5)
    assert path.z.tobytes() == loaded.interpolate(z=loaded.encode(x).mu, steps=5).z.tobytes()
    assert path.x_hat[[0, -1]].tobytes() == loaded.reconstruct(x).x_hat.tobytes()


def test_the_path_is_an_arc_unless_the_model_has_no_gaussian(loaded: LoadedModel, auto: LoadedModel):
    assert loaded.interpolate(z=latents(2)).method == "slerp"
    assert auto.interpolate(z=latents(2)).method == "lerp"
    assert auto.interpolate(z=latents(2), method="slerp").method == "slerp"
    assert len(loaded.interpolate(z=latents(2)).x_hat) == 8


def test_a_traversal_moves_its_dimensions_and_no_other(loaded: LoadedModel):
    base = latents(1)
    along = loaded.traverse(z=base, dims=[3], steps=7)
    np.testing.assert_array_equal(
        along.z[:, 3], grid(steps=7, spacing="quantile", span=2.0).astype(np.float32)
    )
    rest = [i for i in range(LATENT) if i != 3]
    np.testing.assert_array_equal(along.z[:, rest], np.repeat(base[:, rest], 7, axis=0))
    assert along.x_hat.tobytes() == loaded.decode(along.z).tobytes()


def test_a_grid_has_the_first_dimension_down_and_the_second_across(loaded: LoadedModel):
    plane = loaded.traverse(dims=(4, 1), steps=3, spacing="linear", span=1.0)
    z = plane.z.reshape(3, 3, LATENT)
    for row, value in enumerate((-1.0, 0.0, 1.0)):
        assert (z[row, :, 4] == value).all()
        assert (z[:, row, 1] == value).all()
    assert (z[:, :, [0, 2, 3]] == 0).all()
    assert (plane.dims, plane.steps, plane.spacing, plane.span) == ((4, 1), 3, "linear", 1.0)


def test_the_origin_its_first_two_dimensions_and_quantiles_are_what_goes_without_saying(loaded: LoadedModel):
    plane = loaded.traverse()
    assert (plane.dims, plane.steps, plane.spacing, plane.span) == ((0, 1), 8, "quantile", 2.0)
    assert plane.x_hat.shape == (64, *SHAPE)
    assert (plane.z[:, 2:] == 0).all()


def test_an_image_is_traversed_around_its_posterior_mean(loaded: LoadedModel):
    x = images(1)
    by_image = loaded.traverse(x=x, dims=[0], steps=3)
    assert by_image.z.tobytes() == loaded.traverse(z=loaded.encode(x).mu, dims=[0], steps=3).z.tobytes()


def test_an_autoencoder_is_traversed_in_its_own_units(auto: LoadedModel):
    assert auto.traverse(dims=[0]).spacing == "linear"
    with pytest.raises(InvalidParameter, match=r"spacing: expected linear for 'tiny@1', which is an autoenc"):
        auto.traverse(dims=[0], spacing="quantile")


def test_a_model_of_one_latent_has_one_dimension_to_traverse(published):
    one = TinyModel.make(image_shape=SHAPE, latent_size=1)
    model = LoadedModel(published(one), threads=1)
    assert model.traverse().dims == (0,)
    assert model.traverse(dims=[0], steps=4).x_hat.shape == (4, *SHAPE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"z": latents(3)}, r"z: expected exactly 2, the two ends, got 3\. Send 2\."),
        ({"z": latents(1)}, r"z: expected exactly 2"),
        ({"x": images(1)}, r"images: expected exactly 2, the two ends, got 1"),
        ({"z": latents(2)[:, :4]}, r"z: expected float32 of shape \(batch, 5\)"),
        ({"z": latents(2) * np.float32(np.nan)}, r"z\[0\]\[0\]: expected a finite number"),
        ({"x": images(2) + 1}, r"images\[0\]\[0\]\[0\]\[0\]: expected a pixel in \[0, 1\]"),
        ({"z": latents(2), "steps": 1}, r"steps: expected an integer from 2 to 64, got 1"),
        ({"z": latents(2), "steps": 65}, r"steps: expected an integer from 2 to 64, got 65"),
        ({"z": latents(2), "steps": True}, r"steps: expected an integer from 2 to 64, got bool"),
        ({"z": latents(2), "method": "cubic"}, r"method: expected lerp or slerp, got str that is neither"),
        ({"z": np.full((2, 5), 9e3, np.float32)}, r"z\[0\]: expected for slerp, a length of at most 10000"),
    ],
    ids=["three", "one", "one image", "short", "nan", "pixel", "step", "steps", "bool", "method", "long"],
)  # fmt: skip
def test_ends_that_do_not_fit_are_refused(loaded: LoadedModel, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        loaded.interpolate(**arguments)


def test_the_longest_ends_still_give_images(any_model: LoadedModel):
    corner = np.array([[1e4] * LATENT, [-1e4, *[1e4] * (LATENT - 1)]], np.float32)
    assert np.isfinite(any_model.interpolate(z=corner, method="lerp", steps=9).x_hat).all()
    axis = np.zeros((2, LATENT), np.float32)
    axis[0, 0], axis[1, 1] = 1e4, 1e4
    arc = any_model.interpolate(z=axis, method="slerp", steps=9)
    assert np.abs(arc.z).max() <= 1e4
    assert np.isfinite(arc.x_hat).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": [5]}, r"dims\[0\]: expected a latent index of 'tiny@1', an integer from 0 to 4, got 5"),
        ({"dims": [0, -1]}, r"dims\[1\]: expected a latent index"),
        ({"dims": [True]}, r"dims\[0\]: .* got bool"),
        ({"dims": [1, 1]}, r"dims: expected two different latent indices, got 1 twice"),
        ({"dims": []}, r"dims: expected one or two latent indices, got 0 of them"),
        ({"dims": [0, 1, 2]}, r"dims: expected one or two latent indices, got 3 of them"),
        ({"dims": "01"}, r"dims: expected one or two latent indices"),
        ({"dims": [0], "steps": 65}, r"steps: expected an integer from 2 to 64, got 65"),
        ({"steps": 9}, r"steps: expected an integer from 2 to 8 along each of two dims, got 9"),
        ({"span": 0}, r"span: expected a number from 0.001 to 10, got 0"),
        ({"span": 10.5}, r"span: expected a number from 0.001 to 10, got 10\.5"),
        ({"span": float("nan")}, r"span: expected a number from 0.001"),
        ({"spacing": "log"}, r"spacing: expected quantile or linear, got str that is neither"),
        ({"z": latents(2)}, r"z: expected exactly 1, where the grid lies, got 2"),
        ({"x": images(2)}, r"images: expected exactly 1"),
    ],
    ids=str,
)  # fmt: skip
def test_grids_that_do_not_fit_are_refused(loaded: LoadedModel, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        loaded.traverse(**arguments)

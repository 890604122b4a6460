"""traverse of a loaded model: the right grid, its defaults, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from direct import directly, load
from engine_models import LATENT, SHAPE, images, latents
from tiny_models import TinyModel

from service.engine import (
    InvalidInput,
    InvalidParameter,
    LoadedModel,
    decode,
    encode,
    traverse,
)
from service.engine.operations.geometry import grid


def test_a_traversal_moves_its_dimensions_and_no_other(loaded: LoadedModel):
    base = latents(1)
    along = directly(traverse, loaded, z=base, dims=[3], steps=7)
    np.testing.assert_array_equal(
        along.z[:, 3], grid(steps=7, spacing="quantile", span=2.0).astype(np.float32)
    )
    rest = [i for i in range(LATENT) if i != 3]
    np.testing.assert_array_equal(along.z[:, rest], np.repeat(base[:, rest], 7, axis=0))
    assert along.x_hat.tobytes() == directly(decode, loaded, along.z).tobytes()


def test_a_grid_has_the_first_dimension_down_and_the_second_across(loaded: LoadedModel):
    plane = directly(traverse, loaded, dims=(4, 1), steps=3, spacing="linear", span=1.0)
    z = plane.z.reshape(3, 3, LATENT)
    for row, value in enumerate((-1.0, 0.0, 1.0)):
        assert (z[row, :, 4] == value).all()
        assert (z[:, row, 1] == value).all()
    assert (z[:, :, [0, 2, 3]] == 0).all()
    assert (plane.dims, plane.steps, plane.spacing, plane.span) == ((4, 1), 3, "linear", 1.0)


def test_the_origin_its_first_two_dimensions_and_quantiles_are_what_goes_without_saying(loaded: LoadedModel):
    plane = directly(traverse, loaded)
    assert (plane.dims, plane.steps, plane.spacing, plane.span) == ((0, 1), 8, "quantile", 2.0)
    assert plane.x_hat.shape == (64, *SHAPE)
    assert (plane.z[:, 2:] == 0).all()


def test_an_image_is_traversed_around_its_posterior_mean(loaded: LoadedModel):
    x = images(1)
    by_image = directly(traverse, loaded, x=x, dims=[0], steps=3)
    assert (
        by_image.z.tobytes()
        == directly(traverse, loaded, z=directly(encode, loaded, x).mu, dims=[0], steps=3).z.tobytes()
    )


def test_an_autoencoder_is_traversed_in_its_own_units(auto: LoadedModel):
    assert directly(traverse, auto, dims=[0]).spacing == "linear"
    with pytest.raises(InvalidParameter, match=r"spacing: expected linear for 'tiny@1', which is an autoenc"):
        directly(traverse, auto, dims=[0], spacing="quantile")


def test_a_model_of_one_latent_has_one_dimension_to_traverse(published):
    one = TinyModel.make(image_shape=SHAPE, latent_size=1)
    model = load(published(one))
    assert directly(traverse, model).dims == (0,)
    assert directly(traverse, model, dims=[0], steps=4).x_hat.shape == (4, *SHAPE)


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
        directly(traverse, loaded, **arguments)

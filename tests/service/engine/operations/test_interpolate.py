"""interpolate of a loaded model: exact ends, the default method, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from direct import directly
from engine_models import LATENT, images, latents

from service.engine import (
    InvalidInput,
    LoadedModel,
    decode,
    encode,
    interpolate,
    reconstruct,
)
from service.engine.operations.geometry import METHODS, interpolation_path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [2, 3, 8, 33])
def test_ends_are_the_decoded_ends_byte_for_byte(any_model: LoadedModel, method, steps):
    z = latents(2)
    path = directly(interpolate, any_model, z=z, steps=steps, method=method)
    alone = [directly(decode, any_model, z[:1])[0], directly(decode, any_model, z[1:])[0]]
    assert path.x_hat[0].tobytes() == alone[0].tobytes()
    assert path.x_hat[-1].tobytes() == alone[1].tobytes()
    assert path.z.tobytes() == interpolation_path(z, steps=steps, method=method).tobytes()
    assert path.x_hat.tobytes() == directly(decode, any_model, path.z).tobytes()


def test_images_are_interpolated_between_their_posterior_means(loaded: LoadedModel):
    x = images(2)
    path = directly(interpolate, loaded, x=x, steps=5)
    assert (
        path.z.tobytes()
        == directly(interpolate, loaded, z=directly(encode, loaded, x).mu, steps=5).z.tobytes()
    )
    assert path.x_hat[[0, -1]].tobytes() == directly(reconstruct, loaded, x).x_hat.tobytes()


def test_the_path_is_an_arc_unless_the_model_has_no_gaussian(loaded: LoadedModel, auto: LoadedModel):
    assert directly(interpolate, loaded, z=latents(2)).method == "slerp"
    assert directly(interpolate, auto, z=latents(2)).method == "lerp"
    assert directly(interpolate, auto, z=latents(2), method="slerp").method == "slerp"
    assert len(directly(interpolate, loaded, z=latents(2)).x_hat) == 8


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
        directly(interpolate, loaded, **arguments)


def test_the_longest_ends_still_give_images(any_model: LoadedModel):
    corner = np.array([[1e4] * LATENT, [-1e4, *[1e4] * (LATENT - 1)]], np.float32)
    assert np.isfinite(directly(interpolate, any_model, z=corner, method="lerp", steps=9).x_hat).all()
    axis = np.zeros((2, LATENT), np.float32)
    axis[0, 0], axis[1, 1] = 1e4, 1e4
    arc = directly(interpolate, any_model, z=axis, method="slerp", steps=9)
    assert np.abs(arc.z).max() <= 1e4
    assert np.isfinite(arc.x_hat).all()

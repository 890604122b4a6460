"""What a loaded model refuses, to the last value it takes, and which graphs never become one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from direct import directly, load
from engine_models import LATENT, SHAPE, golden_of, images, latents
from onnx import helper
from tiny_models import TinyModel, make_model

from service.engine import (
    LARGEST_SEED,
    InferenceFailed,
    InvalidInput,
    LoadedModel,
    ModelRejected,
    NoPrior,
    decode,
    encode,
    reconstruct,
    sample,
)

# Inputs


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(2)[:, 0], r"images: .*got shape \(2, 6, 7\)\. Add the channel axis\."),
        (images(1)[0], r"got shape \(1, 6, 7\)\. Add the batch axis in front, even for one\."),
        (images(2).transpose(0, 2, 3, 1), r"got shape \(2, 6, 7, 1\)\. Move the channels to the front\."),
        (images(2).astype(np.float64), r"got dtype float64\. Convert it with \.astype\(numpy\.float32\)\."),
        ((images(2) * 255).astype(np.uint8), "got dtype uint8"),
        (images(0), "expected 1 to 64 rows, got 0 rows. Send at least one"),
        (images(65), "expected 1 to 64 rows, got 65 rows. Send them in several requests"),
        ([[1.0]], "got list"),
        (np.float32(0.5), "got float32"),
        (np.array(0.5, np.float32), r"got shape \(\)"),
    ],
    ids=["channel", "batch", "last", "float64", "uint8", "none", "too many", "list", "scalar", "0-d"],
)  # fmt: skip
def test_images_that_do_not_fit_are_refused_with_the_remedy(loaded: LoadedModel, x, message):
    with pytest.raises(InvalidInput, match=message):
        directly(encode, loaded, x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-6, 1.0001, 255])
def test_a_pixel_that_does_not_fit_is_named(loaded: LoadedModel, bad):
    x = images(4)
    x[2, 0, 3, 6] = bad
    for operation in (encode, reconstruct):
        with pytest.raises(InvalidInput, match=r"^images\[2\]\[0\]\[3\]\[6\]: expected a pixel in \[0, 1\]"):
            directly(operation, loaded, x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e4, -3e38])
def test_a_latent_that_does_not_fit_is_named(loaded: LoadedModel, bad):
    z = latents(4)
    z[3, 1] = bad
    with pytest.raises(InvalidInput, match=r"^z\[3\]\[1\]: expected a finite number within ±10000"):
        directly(decode, loaded, z)


def test_the_largest_latents_allowed_still_give_an_image(any_model: LoadedModel):
    extremes = np.array([[1e4] * LATENT, [-1e4] * LATENT], np.float32)
    assert np.isfinite(directly(decode, any_model, extremes)).all()


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"n": 0}, "n"), ({"n": 65}, "n"), ({"n": -1}, "n"), ({"n": True}, "n"), ({"n": 1.0}, "n"),
        ({"n": "1"}, "n"), ({"n": 10**400}, "n"),
        ({"seed": -1}, "seed"), ({"seed": 2**53}, "seed"), ({"seed": 1.5}, "seed"), ({"seed": True}, "seed"),
        ({"temperature": -0.1}, "temperature"), ({"temperature": 10.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"), ({"temperature": float("inf")}, "temperature"),
        ({"temperature": "1"}, "temperature"), ({"temperature": True}, "temperature"),
        ({"temperature": None}, "temperature"),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_out_of_range_are_refused_by_name(loaded: LoadedModel, arguments, where):
    with pytest.raises(InvalidInput) as caught:
        directly(sample, loaded, **arguments)
    assert caught.value.where == where
    assert caught.value.remedy
    assert len(str(caught.value)) < 300


def test_the_extremes_of_every_number_are_accepted(loaded: LoadedModel):
    assert len(directly(sample, loaded, n=64, seed=LARGEST_SEED, temperature=10).z) == 64
    assert len(directly(sample, loaded, n=1, seed=0, temperature=0.0).z) == 1


def generated_array(rng: np.random.Generator) -> np.ndarray:
    """Of 0 to 5 axes, often right but for one thing, sometimes right."""
    row = [SHAPE, (LATENT,), (7, 6), (42,), ()][rng.integers(5)]
    shape = [int(rng.integers(0, 67)), *row]
    if rng.random() < 0.3:
        shape = [int(size) for size in rng.integers(0, 4, rng.integers(0, 6))]
    dtype = [np.float32, np.float32, np.float32, np.float64, np.uint8, np.bool_, np.int64][rng.integers(7)]
    array = np.asarray(rng.random(shape) * rng.choice([1, 1, 1, 2, 1e5])).astype(dtype)
    if dtype == np.float32 and array.size and rng.random() < 0.3:
        array.flat[rng.integers(array.size)] = rng.choice([0, 1, -1, 2, np.nan, np.inf])
    return array


def test_5_000_generated_arrays_are_answered_or_invalid(loaded: LoadedModel):
    rng = np.random.default_rng(11)
    answered = 0
    for _ in range(2500):
        array = generated_array(rng)
        for operation, row, low, high in (
            (encode, SHAPE, 0, 1),
            (decode, (LATENT,), -1e4, 1e4),
        ):
            fits = array.dtype == np.float32 and array.shape[1:] == row and 1 <= len(array) <= 64
            fits = bool(fits and ((array >= low) & (array <= high)).all())
            try:
                directly(operation, loaded, array)
            except InvalidInput as error:
                message = str(error)
            else:
                message = ""
                answered += 1
            assert (message == "") == fits
            assert len(message) < 400
    assert 100 < answered < 2500


def test_an_autoencoder_has_nothing_to_sample_from(published):
    auto = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, kind="ae")
    model = load(published(auto))
    with pytest.raises(NoPrior, match=r"model 'tiny@1': .* Use a model of kind 'vae'"):
        directly(sample, model)
    with pytest.raises(NoPrior, match=r"model 'tiny@1': .* Use a model of kind 'vae'"):
        directly(reconstruct, model, images(1), sample=True)
    assert directly(reconstruct, model, images(1)).x_hat.shape == (1, *SHAPE)


# Loading


def test_a_decoder_of_nan_never_becomes_a_model(tiny: TinyModel, published):
    source = published(tiny, decoder=tiny.decoder_of_nan)
    with pytest.raises(ModelRejected, match=r"tiny@1: decoder\.onnx: .*largest difference of nan"):
        load(source)


def test_a_decoder_with_other_weights_never_becomes_a_model(tiny: TinyModel, published):
    other = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=4)
    message = r"decoder\.onnx: .*'x_hat': expected at most 1e-05 .* difference of 0\.\d+"
    with pytest.raises(ModelRejected, match=message):
        load(published(tiny, decoder=other.decoder))


def test_an_encoder_with_other_weights_never_becomes_a_model(tiny: TinyModel, published):
    other = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=4)
    with pytest.raises(ModelRejected, match=r"encoder\.onnx: .*'mu': expected at most 0\.0001"):
        load(published(tiny, encoder=other.encoder))


def test_a_weight_that_is_off_by_little_is_still_caught(tiny: TinyModel, published):
    shifted = replace(tiny, b_x=tiny.b_x + np.float32(1e-4))
    with pytest.raises(ModelRejected, match=r"decoder\.onnx"):
        load(published(tiny, decoder=shifted.decoder))


def test_a_graph_that_fails_on_its_first_run_is_rejected_by_name(tiny: TinyModel, published):
    """It loads, because shapes are only known at run time."""
    proto = tiny.decoder_proto()
    for tensor in proto.graph.initializer:
        if tensor.name == "image_shape":
            tensor.CopyFrom(_int64s("image_shape", [-1, 1, 6, 8]))
    proto.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 7
    source = published(tiny)
    broken = replace(source, decoder=proto.SerializeToString())
    with pytest.raises(ModelRejected, match=r"decoder\.onnx"):
        load(broken)


def _int64s(name: str, values: list[int]):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, np.int64), name)


def test_an_output_that_is_not_finite_fails_and_is_not_answered(tiny: TinyModel, published):
    """Golden vectors are finite, so such a model can load: 1/z is fine until z is 0."""
    weights: dict[str, Any] = {
        "w": np.eye(LATENT, 42, dtype=np.float32),
        "shape": np.array([-1, *SHAPE], np.int64),
    }
    nodes = [
        helper.make_node("Log", ["z"], ["l"]),
        helper.make_node("MatMul", ["l", "w"], ["f"]),
        helper.make_node("Sigmoid", ["f"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["x_hat"]),
    ]
    decoder = make_model(
        nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights
    ).SerializeToString()
    positive = replace(tiny.golden(), z=np.full((2, LATENT), 2.0, np.float32))
    model = load(published(tiny, decoder=decoder, golden=golden_of(positive, decoder)))
    with pytest.raises(InferenceFailed, match=r"tiny@1: decoder\.onnx: expected finite outputs"):
        directly(decode, model, np.full((1, LATENT), -1.0, np.float32))
    assert np.isfinite(directly(decode, model, np.full((1, LATENT), 1.0, np.float32))).all()

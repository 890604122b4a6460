"""A loaded model: what it answers, what it refuses, and that company never changes an answer."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from tiny_models import TinyModel, make_model, publish_tiny

from model_store import GoldenVectors, ModelStore
from service.engine import (
    LARGEST_SEED,
    InferenceFailed,
    InvalidInput,
    LoadedModel,
    ModelRejected,
    NoPrior,
)
from service.engine.model import Samples
from service.engine.rows import BATCH_SIZES

SHAPE, LATENT = (1, 6, 7), 5


def images(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(8).random((count, *shape), dtype=np.float32)


def latents(count: int, size: int = LATENT) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((count, size), dtype=np.float32)


# Answers


def test_encoding_gives_the_posterior_of_each_image(loaded: LoadedModel, tiny: TinyModel):
    x = images(11)
    posterior = loaded.encode(x)
    mu, logvar = tiny.encode(x)
    np.testing.assert_allclose(posterior.mu, mu, atol=1e-5)
    np.testing.assert_allclose(posterior.logvar, logvar, atol=1e-5)


def test_decoding_gives_an_image_of_each_latent(loaded: LoadedModel, tiny: TinyModel):
    z = latents(11)
    np.testing.assert_allclose(loaded.decode(z), tiny.decode(z), atol=1e-6)


def test_reconstructing_without_sampling_decodes_the_mean(loaded: LoadedModel):
    x = images(9)
    back = loaded.reconstruct(x)
    assert back.seed is None
    assert back.z.tobytes() == loaded.encode(x).mu.tobytes()
    assert back.x_hat.tobytes() == loaded.decode(back.mu).tobytes()


def test_reconstructing_with_sampling_follows_the_posterior(loaded: LoadedModel):
    """z = mu + exp(½ logvar) · eps: over many draws of one image, mean and standard deviation say so."""
    x = np.repeat(images(1), 64, axis=0)
    draws = np.concatenate([loaded.reconstruct(x, sample=True, seed=seed).z for seed in range(60)])
    posterior = loaded.encode(x[:1])
    std = np.exp(0.5 * posterior.logvar[0])
    n = len(draws)
    assert (np.abs(draws.mean(axis=0) - posterior.mu[0]) < 4.5 * std / n**0.5).all()
    assert (np.abs(draws.std(axis=0) / std - 1) < 4.5 / (2 * n) ** 0.5).all()


def test_sampling_decodes_noise_times_temperature(loaded: LoadedModel):
    one, half = loaded.sample(n=4, seed=7), loaded.sample(n=4, seed=7, temperature=0.5)
    np.testing.assert_array_equal(half.z, one.z * np.float32(0.5))
    assert half.x_hat.tobytes() == loaded.decode(half.z).tobytes()
    assert (half.seed, half.temperature) == (7, 0.5)


def test_temperature_zero_is_the_image_of_the_origin(loaded: LoadedModel):
    cold = loaded.sample(n=3, seed=1, temperature=0)
    assert cold.x_hat[2].tobytes() == loaded.decode(np.zeros((1, LATENT), np.float32))[0].tobytes()


def test_a_seed_left_out_is_drawn_and_told(loaded: LoadedModel):
    first, second = loaded.sample(n=2), loaded.sample(n=2)
    assert first.seed != second.seed
    assert loaded.sample(n=2, seed=first.seed).x_hat.tobytes() == first.x_hat.tobytes()
    drawn = loaded.reconstruct(images(2), sample=True)
    again = loaded.reconstruct(images(2), sample=True, seed=drawn.seed)
    assert again.x_hat.tobytes() == drawn.x_hat.tobytes()


def test_a_decoder_that_overshoots_is_clipped_to_the_unit_interval(tiny: TinyModel, published):
    weights = {"w": np.full((LATENT, 42), 3.0, np.float32), "shape": np.array([-1, *SHAPE], np.int64)}
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["f"]),
        helper.make_node("Reshape", ["f", "shape"], ["x_hat"]),
    ]
    linear = make_model(nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights)
    zeros = np.zeros((1, LATENT), np.float32)
    golden = replace(tiny.golden(), z=zeros, x_hat=np.zeros((1, *SHAPE), np.float32))
    model = LoadedModel(published(tiny, decoder=linear.SerializeToString(), golden=golden), threads=1)
    x_hat = model.sample(n=50, seed=1).x_hat
    assert x_hat.min() == 0
    assert x_hat.max() == 1


# The same seed gives the same bytes


def softplus_decoder() -> bytes:
    """42 values through Softplus, whose vector and remainder formulas differ in the last bit."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((LATENT, 33)).astype(np.float32),
        "v": rng.standard_normal((33, 42)).astype(np.float32) * np.float32(0.2),
        "shape": np.array([-1, *SHAPE], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["a"]),
        helper.make_node("Softplus", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["x_hat"]),
    ]
    return make_model(
        nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights
    ).SerializeToString()


def convolutional_decoder() -> bytes:
    """Dense, a residual 3 × 3 convolution with Silu, a transposed convolution, Sigmoid."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)

    weights = {
        "dense": weight(LATENT, 8 * 3 * 7), "grid": np.array([-1, 8, 3, 7], np.int64),
        "c1": weight(8, 8, 3, 3), "c2": weight(8, 8, 3, 3), "up": weight(8, 1, 2, 1),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["z", "dense"], ["h0"]),
        helper.make_node("Reshape", ["h0", "grid"], ["h1"]),
        helper.make_node("Conv", ["h1", "c1"], ["h2"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["h2"], ["gate"]),
        helper.make_node("Mul", ["h2", "gate"], ["h3"]),
        helper.make_node("Conv", ["h3", "c2"], ["h4"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["h1", "h4"], ["h5"]),
        helper.make_node("ConvTranspose", ["h5", "up"], ["h6"], strides=[2, 1]),
        helper.make_node("Sigmoid", ["h6"], ["x_hat"]),
    ]
    return make_model(
        nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights
    ).SerializeToString()


def golden_of(golden: GoldenVectors, decoder: bytes) -> GoldenVectors:
    """`golden` with what onnxruntime answers for its z by this decoder."""
    import onnxruntime

    session = onnxruntime.InferenceSession(decoder, providers=["CPUExecutionProvider"])
    return replace(golden, x_hat=session.run(None, {"z": golden.z})[0])


@pytest.fixture(scope="module", params=["linear", "softplus", "convolutional"])
def any_model(request: pytest.FixtureRequest, tiny: TinyModel, published) -> LoadedModel:
    if request.param == "linear":
        return LoadedModel(published(tiny), threads=2)
    decoder = softplus_decoder() if request.param == "softplus" else convolutional_decoder()
    return LoadedModel(published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder)), threads=2)


def test_sample_i_of_a_seed_is_the_same_in_1_000_pairs_of_requests(any_model: LoadedModel):
    rng = random.Random(10)
    seeds = [rng.randint(0, LARGEST_SEED) for _ in range(20)]
    reference = {seed: any_model.sample(n=150, seed=seed) for seed in seeds}
    for _ in range(1000):
        seed, n = rng.choice(seeds), rng.randint(1, 150)
        i = rng.randrange(n)
        drawn = any_model.sample(n=n, seed=seed)
        assert drawn.x_hat[i].tobytes() == reference[seed].x_hat[i].tobytes(), (seed, n, i)
        assert drawn.z[i].tobytes() == reference[seed].z[i].tobytes(), (seed, n, i)


def test_a_layer_that_depends_on_its_place_in_the_batch_is_found_and_run_row_by_row(tiny, published):
    """Where the runtime computes Softplus alike everywhere there is nothing to find, and it batches."""
    decoder = softplus_decoder()
    model = LoadedModel(published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder)), threads=1)
    session = model._decoder._session
    z = latents(BATCH_SIZES[0])
    alone = [session.run(z[i : i + 1])[0][0].tobytes() for i in range(len(z))]
    together = [row.tobytes() for row in session.run(z)[0]]
    assert model.batch_sizes["decoder.onnx"] == (BATCH_SIZES if alone == together else (1,))
    assert [row.tobytes() for row in model.decode(z)] == alone


def test_graphs_without_such_layers_run_in_batches(tiny: TinyModel, published):
    decoder = convolutional_decoder()
    model = LoadedModel(published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder)), threads=1)
    assert model.batch_sizes == {"encoder.onnx": BATCH_SIZES, "decoder.onnx": BATCH_SIZES}


def test_the_bits_do_not_depend_on_the_number_of_threads(tiny: TinyModel, published):
    decoder = convolutional_decoder()
    source = published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder))
    digests = {
        sha256(LoadedModel(source, threads=threads).sample(n=70, seed=4).x_hat.tobytes()).hexdigest()
        for threads in (1, 2, 4)
    }
    assert len(digests) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, LARGEST_SEED))
def test_no_answer_depends_on_what_else_is_in_the_batch(any_model: LoadedModel, sizes, seed):
    x, z = images(sum(sizes)), latents(sum(sizes))
    encoded, decoded = any_model.encode(x), any_model.decode(z)
    drawn = any_model.reconstruct(x, sample=True, seed=seed)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        assert any_model.encode(x[part]).mu.tobytes() == encoded.mu[part].tobytes()
        assert any_model.decode(z[part]).tobytes() == decoded[part].tobytes()
        start += size
    first = any_model.reconstruct(x[: sizes[0]], sample=True, seed=seed)
    assert first.x_hat.tobytes() == drawn.x_hat[: sizes[0]].tobytes()


def test_threads_sampling_at_once_get_what_each_would_get_alone(any_model: LoadedModel):
    jobs = [(seed, n) for seed in range(8) for n in (1, 5, 33)]
    alone = [any_model.sample(n=n, seed=seed).x_hat.tobytes() for seed, n in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: any_model.sample(n=job[1], seed=job[0]).x_hat.tobytes(), jobs))
    assert together == alone


OTHER_PROCESS = """
import sys, pathlib
from hashlib import sha256
from model_store import ModelStore
from service.engine import LoadedModel
model = LoadedModel(ModelStore(pathlib.Path(sys.argv[1])).open("tiny"), threads=2)
print(sha256(model.sample(n=37, seed=5).x_hat[:9].tobytes()).hexdigest())
"""


def test_another_process_draws_the_same_bytes(tmp_path, tiny: TinyModel):
    publish_tiny(ModelStore(tmp_path), model=tiny)
    here = LoadedModel(ModelStore(tmp_path).open("tiny"), threads=1).sample(n=9, seed=5)
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == sha256(here.x_hat.tobytes()).hexdigest()


def test_a_scale_function_of_numpy_gives_a_value_wherever_it_stands():
    """reconstruct relies on numpy.exp not caring about a value's place in its array."""
    values = np.random.default_rng(1).uniform(-20, 20, 3000).astype(np.float32)
    whole = np.exp(values)
    for length in (1, 2, 3, 5, 8, 17, 33):
        parts = [np.exp(values[i : i + length]) for i in range(0, 3000, length)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert np.exp(values.reshape(60, 50)[:, 3:8]).tobytes() == whole.reshape(60, 50)[:, 3:8].tobytes()


# Refusals


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
        loaded.encode(x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-6, 1.0001, 255])
def test_a_pixel_that_does_not_fit_is_named(loaded: LoadedModel, bad):
    x = images(4)
    x[2, 0, 3, 6] = bad
    for operation in (loaded.encode, loaded.reconstruct):
        with pytest.raises(InvalidInput, match=r"^images\[2\]\[0\]\[3\]\[6\]: expected a pixel in \[0, 1\]"):
            operation(x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e4, -3e38])
def test_a_latent_that_does_not_fit_is_named(loaded: LoadedModel, bad):
    z = latents(4)
    z[3, 1] = bad
    with pytest.raises(InvalidInput, match=r"^z\[3\]\[1\]: expected a finite number within ±10000"):
        loaded.decode(z)


def test_the_largest_latents_allowed_still_give_an_image(any_model: LoadedModel):
    extremes = np.array([[1e4] * LATENT, [-1e4] * LATENT], np.float32)
    assert np.isfinite(any_model.decode(extremes)).all()


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
        loaded.sample(**arguments)
    assert caught.value.where == where
    assert caught.value.remedy
    assert len(str(caught.value)) < 300


def test_the_extremes_of_every_number_are_accepted(loaded: LoadedModel):
    assert len(loaded.sample(n=64, seed=LARGEST_SEED, temperature=10).z) == 64
    assert len(loaded.sample(n=1, seed=0, temperature=0.0).z) == 1


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
            (loaded.encode, SHAPE, 0, 1),
            (loaded.decode, (LATENT,), -1e4, 1e4),
        ):
            fits = array.dtype == np.float32 and array.shape[1:] == row and 1 <= len(array) <= 64
            fits = bool(fits and ((array >= low) & (array <= high)).all())
            try:
                operation(array)
            except InvalidInput as error:
                message = str(error)
            else:
                message = ""
                answered += 1
            assert (message == "") == fits
            assert len(message) < 400
    assert 100 < answered < 2500


def test_arrays_of_any_memory_layout_give_the_same_answer(loaded: LoadedModel):
    x = images(6)
    expected = loaded.encode(x).mu.tobytes()
    assert loaded.encode(np.asfortranarray(x)).mu.tobytes() == expected
    assert loaded.encode(np.repeat(x, 2, axis=0)[::2]).mu.tobytes() == expected


def test_an_autoencoder_has_nothing_to_sample_from(published):
    auto = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, kind="ae")
    model = LoadedModel(published(auto), threads=1)
    for operation in (model.sample, lambda: model.reconstruct(images(1), sample=True)):
        with pytest.raises(NoPrior, match=r"model 'tiny@1': .* Use a model of kind 'vae'"):
            operation()
    assert model.reconstruct(images(1)).x_hat.shape == (1, *SHAPE)


# Loading


def test_a_decoder_of_nan_never_becomes_a_model(tiny: TinyModel, published):
    source = published(tiny, decoder=tiny.decoder_of_nan)
    with pytest.raises(ModelRejected, match=r"tiny@1: decoder\.onnx: .*largest difference of nan"):
        LoadedModel(source, threads=1)


def test_a_decoder_with_other_weights_never_becomes_a_model(tiny: TinyModel, published):
    other = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=4)
    message = r"decoder\.onnx: .*'x_hat': expected at most 1e-05 .* difference of 0\.\d+"
    with pytest.raises(ModelRejected, match=message):
        LoadedModel(published(tiny, decoder=other.decoder), threads=1)


def test_an_encoder_with_other_weights_never_becomes_a_model(tiny: TinyModel, published):
    other = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=4)
    with pytest.raises(ModelRejected, match=r"encoder\.onnx: .*'mu': expected at most 0\.0001"):
        LoadedModel(published(tiny, encoder=other.encoder), threads=1)


def test_a_weight_that_is_off_by_little_is_still_caught(tiny: TinyModel, published):
    shifted = replace(tiny, b_x=tiny.b_x + np.float32(1e-4))
    with pytest.raises(ModelRejected, match=r"decoder\.onnx"):
        LoadedModel(published(tiny, decoder=shifted.decoder), threads=1)


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
        LoadedModel(broken, threads=1)


def _int64s(name: str, values: list[int]):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, np.int64), name)


def test_an_output_that_is_not_finite_fails_and_is_not_answered(tiny: TinyModel, published):
    """Golden vectors are finite, so such a model can load: 1/z is fine until z is 0."""
    weights = {"w": np.eye(LATENT, 42, dtype=np.float32), "shape": np.array([-1, *SHAPE], np.int64)}
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
    model = LoadedModel(published(tiny, decoder=decoder, golden=golden_of(positive, decoder)), threads=1)
    with pytest.raises(InferenceFailed, match=r"tiny@1: decoder\.onnx: expected finite outputs"):
        model.decode(np.full((1, LATENT), -1.0, np.float32))
    assert np.isfinite(model.decode(np.full((1, LATENT), 1.0, np.float32))).all()


def test_a_model_says_what_it_is(tiny: TinyModel, published):
    model = LoadedModel(published(tiny), threads=1, max_batch=9, aliases=("stable",))
    assert (model.label, str(model.id), model.aliases) == ("tiny@1", "tiny@1", ("stable",))
    assert (model.image_shape, model.latent_size, model.max_batch) == (SHAPE, LATENT, 9)
    renamed = model.with_aliases(("old",))
    assert (renamed.aliases, model.aliases) == (("old",), ("stable",))
    assert isinstance(renamed.sample(n=1, seed=0), Samples)


MEMORY = """
import sys, pathlib, resource
from model_store import ModelStore
from service.engine import LoadedModel
model = LoadedModel(ModelStore(pathlib.Path(sys.argv[1])).open("tiny"), threads=1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.sample(n=64, seed=1)
before = peak()
x_hat = model.sample(n=4096, seed=1).x_hat
print(peak() - before, x_hat.nbytes // 1024)
"""


def test_a_large_request_takes_little_more_memory_than_its_answer(tmp_path):
    """Activations of 4,096 rows at once would be 25 MB here: 1,568 hidden values of 4 bytes each."""
    model = TinyModel.make(image_shape=(1, 28, 28), latent_size=8)
    publish_tiny(ModelStore(tmp_path), model=model)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    growth_kb, answer_kb = map(int, done.stdout.split())
    assert growth_kb < 2.2 * answer_kb

"""What a loaded model answers: the posterior, images, reconstructions and samples it promises."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from direct import directly, load
from engine_models import LATENT, SHAPE, images, latents
from onnx import helper
from tiny_models import TinyModel, make_model, publish_tiny

from model_store import ModelStore
from service.engine import LoadedModel, Samples, decode, encode, reconstruct, sample


def test_encoding_gives_the_posterior_of_each_image(loaded: LoadedModel, tiny: TinyModel):
    x = images(11)
    posterior = directly(encode, loaded, x)
    mu, logvar = tiny.encode(x)
    np.testing.assert_allclose(posterior.mu, mu, atol=1e-5)
    np.testing.assert_allclose(posterior.logvar, logvar, atol=1e-5)


def test_decoding_gives_an_image_of_each_latent(loaded: LoadedModel, tiny: TinyModel):
    z = latents(11)
    np.testing.assert_allclose(directly(decode, loaded, z), tiny.decode(z), atol=1e-6)


def test_reconstructing_without_sampling_decodes_the_mean(loaded: LoadedModel):
    x = images(9)
    back = directly(reconstruct, loaded, x)
    assert back.seed is None
    assert back.z.tobytes() == directly(encode, loaded, x).mu.tobytes()
    assert back.x_hat.tobytes() == directly(decode, loaded, back.mu).tobytes()


def test_reconstructing_with_sampling_follows_the_posterior(loaded: LoadedModel):
    """z = mu + exp(½ logvar) · eps: over many draws of one image, mean and standard deviation say so."""
    x = np.repeat(images(1), 64, axis=0)
    draws = np.concatenate([directly(reconstruct, loaded, x, sample=True, seed=seed).z for seed in range(60)])
    posterior = directly(encode, loaded, x[:1])
    std = np.exp(0.5 * posterior.logvar[0])
    n = len(draws)
    assert (np.abs(draws.mean(axis=0) - posterior.mu[0]) < 4.5 * std / n**0.5).all()
    assert (np.abs(draws.std(axis=0) / std - 1) < 4.5 / (2 * n) ** 0.5).all()


def test_sampling_decodes_noise_times_temperature(loaded: LoadedModel):
    one, half = directly(sample, loaded, n=4, seed=7), directly(sample, loaded, n=4, seed=7, temperature=0.5)
    np.testing.assert_array_equal(half.z, one.z * np.float32(0.5))
    assert half.x_hat.tobytes() == directly(decode, loaded, half.z).tobytes()
    assert (half.seed, half.temperature) == (7, 0.5)


def test_temperature_zero_is_the_image_of_the_origin(loaded: LoadedModel):
    cold = directly(sample, loaded, n=3, seed=1, temperature=0)
    assert cold.x_hat[2].tobytes() == directly(decode, loaded, np.zeros((1, LATENT), np.float32))[0].tobytes()


def test_a_seed_left_out_is_drawn_and_told(loaded: LoadedModel):
    first, second = directly(sample, loaded, n=2), directly(sample, loaded, n=2)
    assert first.seed != second.seed
    assert directly(sample, loaded, n=2, seed=first.seed).x_hat.tobytes() == first.x_hat.tobytes()
    drawn = directly(reconstruct, loaded, images(2), sample=True)
    again = directly(reconstruct, loaded, images(2), sample=True, seed=drawn.seed)
    assert again.x_hat.tobytes() == drawn.x_hat.tobytes()


def test_a_decoder_that_overshoots_is_clipped_to_the_unit_interval(tiny: TinyModel, published):
    weights: dict[str, Any] = {
        "w": np.full((LATENT, 42), 3.0, np.float32),
        "shape": np.array([-1, *SHAPE], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["f"]),
        helper.make_node("Reshape", ["f", "shape"], ["x_hat"]),
    ]
    linear = make_model(nodes, {"z": ("batch", LATENT)}, {"x_hat": ("batch", *SHAPE)}, weights)
    zeros = np.zeros((1, LATENT), np.float32)
    golden = replace(tiny.golden(), z=zeros, x_hat=np.zeros((1, *SHAPE), np.float32))
    model = load(published(tiny, decoder=linear.SerializeToString(), golden=golden))
    x_hat = directly(sample, model, n=50, seed=1).x_hat
    assert x_hat.min() == 0
    assert x_hat.max() == 1


def test_a_model_says_what_it_is(tiny: TinyModel, published):
    model = load(published(tiny), max_batch=9, aliases=("stable",))
    assert (model.label, str(model.id), model.aliases) == ("tiny@1", "tiny@1", ("stable",))
    assert (model.image_shape, model.latent_size, model.max_batch) == (SHAPE, LATENT, 9)
    renamed = model.with_aliases(("old",))
    assert (renamed.aliases, model.aliases) == (("old",), ("stable",))
    assert isinstance(directly(sample, renamed, n=1, seed=0), Samples)


MEMORY = """
import asyncio, sys, pathlib, resource
from model_store import ModelStore
from service.engine import WorkerPool, load_model, sample
pool = WorkerPool(1)
model = load_model(ModelStore(pathlib.Path(sys.argv[1])).open("tiny"), threads=1, worker_pool=pool)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(sample(model.queued, n=128, seed=1))
before = peak()
x_hat = asyncio.run(sample(model.queued, n=4096, seed=1)).x_hat
pool.close()
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

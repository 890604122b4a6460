"""The same seed or input gives the same bytes: in any company, thread, layout and process."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
from direct import directly, load
from engine_models import convolutional_decoder, golden_of, images, latents, softplus_decoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from service.engine import LARGEST_SEED, LoadedModel, decode, encode, reconstruct, sample
from service.engine.runtime.batch_invariance import BATCH_SIZES


def test_sample_i_of_a_seed_is_the_same_in_1_000_pairs_of_requests(any_model: LoadedModel):
    rng = random.Random(10)
    seeds = [rng.randint(0, LARGEST_SEED) for _ in range(20)]
    reference = {seed: directly(sample, any_model, n=150, seed=seed) for seed in seeds}
    for _ in range(1000):
        seed, n = rng.choice(seeds), rng.randint(1, 150)
        i = rng.randrange(n)
        drawn = directly(sample, any_model, n=n, seed=seed)
        assert drawn.x_hat[i].tobytes() == reference[seed].x_hat[i].tobytes(), (seed, n, i)
        assert drawn.z[i].tobytes() == reference[seed].z[i].tobytes(), (seed, n, i)


def test_a_layer_that_depends_on_its_place_in_the_batch_is_found_and_run_row_by_row(tiny, published):
    """Where the runtime computes Softplus alike everywhere there is nothing to find, and it batches."""
    decoder = softplus_decoder()
    model = load(published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder)))
    session = model.decoder._session
    z = latents(BATCH_SIZES[0])
    alone = [session.run(z[i : i + 1])[0][0].tobytes() for i in range(len(z))]
    together = [row.tobytes() for row in session.run(z)[0]]
    assert model.batch_sizes["decoder.onnx"] == (BATCH_SIZES if alone == together else (1,))
    assert [row.tobytes() for row in directly(decode, model, z)] == alone


def test_graphs_without_such_layers_run_in_batches(tiny: TinyModel, published):
    decoder = convolutional_decoder()
    model = load(published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder)))
    assert model.batch_sizes == {"encoder.onnx": BATCH_SIZES, "decoder.onnx": BATCH_SIZES}


def test_the_bits_do_not_depend_on_the_number_of_threads(tiny: TinyModel, published):
    decoder = convolutional_decoder()
    source = published(tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder))
    digests = {
        sha256(directly(sample, load(source, threads=threads), n=70, seed=4).x_hat.tobytes()).hexdigest()
        for threads in (1, 2, 4)
    }
    assert len(digests) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, LARGEST_SEED))
def test_no_answer_depends_on_what_else_is_in_the_batch(any_model: LoadedModel, sizes, seed):
    x, z = images(sum(sizes)), latents(sum(sizes))
    encoded, decoded = directly(encode, any_model, x), directly(decode, any_model, z)
    drawn = directly(reconstruct, any_model, x, sample=True, seed=seed)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        assert directly(encode, any_model, x[part]).mu.tobytes() == encoded.mu[part].tobytes()
        assert directly(decode, any_model, z[part]).tobytes() == decoded[part].tobytes()
        start += size
    first = directly(reconstruct, any_model, x[: sizes[0]], sample=True, seed=seed)
    assert first.x_hat.tobytes() == drawn.x_hat[: sizes[0]].tobytes()


def test_threads_sampling_at_once_get_what_each_would_get_alone(any_model: LoadedModel):
    jobs = [(seed, n) for seed in range(8) for n in (1, 5, 33)]
    alone = [directly(sample, any_model, n=n, seed=seed).x_hat.tobytes() for seed, n in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda job: directly(sample, any_model, n=job[1], seed=job[0]).x_hat.tobytes(), jobs)
        )
    assert together == alone


OTHER_PROCESS = """
import asyncio, sys, pathlib
from hashlib import sha256
from model_store import ModelStore
from service.engine import WorkerPool, load_model, sample
pool = WorkerPool(1)
model = load_model(ModelStore(pathlib.Path(sys.argv[1])).open("tiny"), threads=2, worker_pool=pool)
print(sha256(asyncio.run(sample(model.queued, n=37, seed=5)).x_hat[:9].tobytes()).hexdigest())
pool.close()
"""


def test_another_process_draws_the_same_bytes(tmp_path, tiny: TinyModel):
    publish_tiny(ModelStore(tmp_path), model=tiny)
    here = directly(sample, load(ModelStore(tmp_path).open("tiny")), n=9, seed=5)
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


def test_arrays_of_any_memory_layout_give_the_same_answer(loaded: LoadedModel):
    x = images(6)
    expected = directly(encode, loaded, x).mu.tobytes()
    assert directly(encode, loaded, np.asfortranarray(x)).mu.tobytes() == expected
    assert directly(encode, loaded, np.repeat(x, 2, axis=0)[::2]).mu.tobytes() == expected

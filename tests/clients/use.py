"""A program with the client of openapi-python-client: `python use.py http://localhost:8000`."""

from __future__ import annotations

import io
import sys
from typing import TypeVar

import numpy as np
from vae_api import Client
from vae_api.api.formats import sample_npy, sample_png, sample_txt
from vae_api.api.model import (
    encode,
    get_model,
    interpolate,
    list_models,
    nearest,
    sample,
    sample_post,
    score,
)
from vae_api.api.open_inference import v2_infer
from vae_api.models.bernoulli_likelihood import BernoulliLikelihood
from vae_api.models.datatype import Datatype
from vae_api.models.encode_form import EncodeForm
from vae_api.models.encode_request import EncodeRequest
from vae_api.models.inference_input import InferenceInput
from vae_api.models.inference_request import InferenceRequest
from vae_api.models.inference_response import InferenceResponse
from vae_api.models.interpolate_latents_request import InterpolateLatentsRequest
from vae_api.models.method import Method
from vae_api.models.nearest_latents_request import NearestLatentsRequest
from vae_api.models.prior import Prior
from vae_api.models.problem import Problem
from vae_api.models.problem_code import ProblemCode
from vae_api.models.sample_request import SampleRequest
from vae_api.models.score_request import ScoreRequest
from vae_api.types import File

T = TypeVar("T")


def answered(answer: T | Problem | None) -> T:
    """The answer itself; a problem ends the program with its text."""
    assert answer is not None, "a status that the document does not have"
    if isinstance(answer, Problem):
        sys.exit(f"{answer.code}: {answer.detail}")
    return answer


def main(address: str) -> None:
    """Use each kind of operation once."""
    vae = Client(base_url=address)

    drawn = answered(sample.sync(client=vae, n=2, seed=7))
    assert (drawn.seed, drawn.prior, drawn.label) == (7, Prior.LEARNED, None)
    again = answered(sample_post.sync(client=vae, body=SampleRequest(n=2, seed=7, prior=drawn.prior)))
    assert again.z == drawn.z

    posterior = answered(encode.sync(client=vae, body=EncodeRequest(images=drawn.images)))
    assert np.shape(posterior.mu) == np.shape(posterior.logvar) == np.shape(drawn.z)

    ends = InterpolateLatentsRequest(z=drawn.z, steps=3, method=Method.SLERP)
    assert len(answered(interpolate.sync(client=vae, body=ends)).images) == 3

    of_images = ScoreRequest(images=drawn.images, importance_samples=4, seed=1)
    scores = answered(score.sync(client=vae, body=of_images))
    assert isinstance(scores.log_px, list)
    assert np.all(np.less(scores.elbo, 0))
    without = answered(score.sync(client=vae, body=ScoreRequest(images=drawn.images)))
    assert not isinstance(without.log_px, list)

    search = NearestLatentsRequest(z=posterior.mu, latents=posterior.mu, k=1)
    assert answered(nearest.sync(client=vae, body=search)).indices == [[0], [1]]

    npy = answered(sample_npy.sync(client=vae, n=2, seed=7, prior=drawn.prior))
    np.testing.assert_allclose(np.load(npy.payload), np.array(drawn.images), rtol=1e-6)
    png = answered(sample_png.sync(client=vae, seed=7))
    data = png.payload.read()
    assert data.startswith(b"\x89PNG")
    of_picture = answered(encode.sync(client=vae, body=File(payload=io.BytesIO(data))))
    assert len(of_picture.mu) == 1
    pictures = [File(payload=io.BytesIO(data), file_name=f"{name}.png") for name in ("a", "b")]
    assert answered(encode.sync(client=vae, body=EncodeForm(images=pictures))).mu == of_picture.mu * 2
    assert "⣿" in answered(sample_txt.sync(client=vae, n=5, seed=7))

    seeds = InferenceInput(name="seed", shape=[2], datatype=Datatype.INT64, data=[7, 8])
    inferred = v2_infer.sync("mnist-sampler", client=vae, body=InferenceRequest(inputs=[seeds]))
    assert isinstance(inferred, InferenceResponse)
    assert {output.name: output.shape[0] for output in inferred.outputs} == {"z": 2, "x_hat": 2}

    missing = sample.sync(client=vae, model="nobody")
    assert isinstance(missing, Problem)
    assert missing.code is ProblemCode.UNKNOWN_MODEL
    assert "GET /models" in missing.errors[0].remedy

    models = answered(list_models.sync(client=vae))
    facts = answered(get_model.sync(models.models[0].model, client=vae))
    assert isinstance(facts.likelihood, BernoulliLikelihood)
    sys.stdout.write(f"ok {drawn.model}\n")


if __name__ == "__main__":
    main(sys.argv[1])

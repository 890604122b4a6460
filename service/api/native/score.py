"""/score: how likely the model finds each image.

One function: form and parameters, body, codec, engine, codec; what it shares with others is in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from service.api.endpoint import RequestSteps, one_source
from service.api.operation import SCORE, Operation
from service.api.score_parameters import ScoreParameters, ScoreQuery
from service.http.fast_routes import Handler
from service.http.request_body import read_body


class ScoreRoutes(RequestSteps):
    """The one operation over one registry."""

    @property
    def handlers(self) -> Sequence[tuple[Operation, Handler]]:
        """The operation and the function that answers it."""
        return ((SCORE, self.score),)

    async def score(self, request: Request) -> Response:
        """Evidence lower bound of each image and its terms, in nats."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, SCORE, ScoreQuery)
        body = await read_body(request, path=SCORE.path, kinds=SCORE.bodies)
        model = await self._model(query.model)
        arrays, stated = await self._arrays(body, SCORE, model, ScoreParameters, query)
        x = arrays["images"]
        trace.images = len(x)
        try:
            scores = await model.queued.score(
                x,
                importance_samples=one_source(
                    "importance_samples", query.importance_samples, stated.importance_samples
                ),
                seed=one_source("seed", query.seed, stated.seed),
                binarise=one_source("binarise", query.binarise, stated.binarise),
                max_draws=self._limits.max_score_draws,
                caller=caller,
            )
        finally:
            trace.ran(caller)
        trace.seed = scores.seed
        facts = {
            "model": model.label,
            "seed": scores.seed,
            "likelihood": model.manifest.likelihood.name,
            "binarise": scores.binarise,
            "importance_samples": scores.importance_samples,
        }
        figures = {
            "reconstruction_nll": scores.reconstruction_nll,
            "kl": scores.kl,
            "elbo": scores.elbo,
            "bits_per_dim": scores.bits_per_dim(scores.elbo),
        }
        if scores.log_px is not None:
            figures |= {"log_px": scores.log_px, "bits_per_dim_iw": scores.bits_per_dim(scores.log_px)}
        return await self._answer(form, facts, figures)

"""/score: how likely the model finds each image.

One function: form and parameters, body, codec, engine, codec; what it shares with others is in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from service.api.endpoint import RequestSteps, once
from service.api.operation import SCORE, Operation
from service.api.score_parameters import ScoreQuery, ScoreScalars
from service.engine import score
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
        trace, call = self._arrived(request)
        form, query = self._asked(request, SCORE, ScoreQuery)
        body = await read_body(request, path=SCORE.path, kinds=SCORE.bodies)
        model = await self._model(query.model)
        arrays, stated = await self._arrays(body, SCORE, model, ScoreScalars, query)
        x = arrays["images"]
        trace.images = len(x)
        try:
            scores = await score(
                model.queued,
                x,
                importance_samples=once(
                    "importance_samples", query.importance_samples, stated.importance_samples
                ),
                seed=once("seed", query.seed, stated.seed),
                binarise=once("binarise", query.binarise, stated.binarise),
                max_draws=self._limits.max_score_draws,
                call=call,
            )
        finally:
            trace.ran(call)
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

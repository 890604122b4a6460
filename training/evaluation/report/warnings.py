"""Warnings about the inputs of a report.

They name images that suit neither the model nor its likelihood, and a prior that was fitted to other weights.

Knows image sets, likelihoods and the metadata of a subject. The section that finds a fault of a model reports
it.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_store import BernoulliLikelihood
from training.data import ImageSet
from training.data.greyness import MAX_GREYNESS, greyness
from training.evaluation.evaluation_context import EvaluationContext

#: Bright images reach close to 255 somewhere; a set that never reaches half was scaled.
_DIM_BELOW = 128


def data_alarms(bench: EvaluationContext) -> Iterator[str]:
    """Warnings about the images, to be read before the figures."""
    test, train = bench.data.test, bench.data.train
    if bench.subject.stale_prior is not None:
        yield bench.subject.stale_prior
    if bench.subject.trained_on != train.fingerprint:
        yield (
            f"other data: {bench.subject.label} was not trained on the training images of this folder "
            f"({train.name}, {len(train):,} images). The figures describe its behaviour on these images."
        )
    if out_of_range := list(_range_alarms(test)):
        yield from out_of_range
        return  # such images look grey for that reason alone
    share = greyness(test)
    if isinstance(bench.model.likelihood.spec(), BernoulliLikelihood) and share > MAX_GREYNESS:
        yield (
            f"a likelihood that does not fit the data: {100 * share:.0f} % of the variance of the binarised "
            f"pixels of {test.name} is random, and a Bernoulli describes binarised images only. Train with "
            "model.likelihood.name = 'gaussian' and data.binarisation = 'grey'."
        )


def _range_alarms(test: ImageSet) -> Iterator[str]:
    lowest = min(int(chunk.min()) for chunk in test.chunks())
    highest = max(int(chunk.max()) for chunk in test.chunks())
    if highest < _DIM_BELOW:
        yield (
            f"data out of range: the brightest pixel of {test.name} is {highest} of 255. Scale the images to "
            "the whole range, as in training."
        )
    if lowest == highest:
        yield f"data out of range: every pixel of {test.name} is {lowest}: there is nothing to measure on."

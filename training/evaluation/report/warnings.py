"""Alarms about what a model is measured with.

They name images that neither it nor its likelihood was made for, and a prior fitted to other weights.

Knows image sets, likelihoods and what a subject says of itself. What is wrong with a model is told by the
section that finds it.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_store import BernoulliLikelihood
from training.data import ImageSet
from training.data.greyness import MAX_GREYNESS, greyness
from training.evaluation.evaluation_context import Workbench

#: Bright images reach close to 255 somewhere; a set that never gets half way was scaled.
_DIM_BELOW = 128


def data_alarms(bench: Workbench) -> Iterator[str]:
    """What a reader must know of the images before believing a figure."""
    test, train = bench.data.test, bench.data.train
    if bench.subject.stale_prior is not None:
        yield bench.subject.stale_prior
    if bench.subject.trained_on != train.fingerprint:
        yield (
            f"other data: {bench.subject.label} was not trained on the training images of this folder "
            f"({train.name}, {len(train):,} images). Figures are of how it takes to these images."
        )
    if out_of_range := list(_range_alarms(test)):
        yield from out_of_range
        return  # such images look grey for that reason alone
    share = greyness(test)
    if isinstance(bench.model.likelihood.spec(), BernoulliLikelihood) and share > MAX_GREYNESS:
        yield (
            "a likelihood that does not fit the data: of the variance of the binarised pixels of "
            f"{test.name}, {100 * share:.0f} % is chance, and a Bernoulli speaks of "
            "binarised pictures only. Train with model.likelihood.name = 'gaussian' and "
            "data.binarisation = 'grey'."
        )


def _range_alarms(test: ImageSet) -> Iterator[str]:
    lowest, highest = int(test.whole().min()), int(test.whole().max())
    if highest < _DIM_BELOW:
        yield (
            f"data out of range: the brightest pixel of {test.name} is {highest} of 255. Scale the images to "
            "the whole range, as in training."
        )
    if lowest == highest:
        yield f"data out of range: every pixel of {test.name} is {lowest}: there is nothing to measure on."

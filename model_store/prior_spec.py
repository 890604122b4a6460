"""The densities over z in a manifest: N(0, I), a fitted mixture, or a prior learned with the model.

Knows names, labels and numbers of components. Knows nothing of their parameters, which `prior` and
`learned_prior` read from files, or of which priors a kind of model may have.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.label_draws import LabelDraws
from model_store.name_types import Label
from model_store.provenance import Metric
from model_store.strict_model import StrictModel, Text, never_null
from model_store.tensor_spec import GraphSpec

#: Limits of one mixture, and of all mixtures of a version together.
MAX_COMPONENTS = 1000
MAX_COMPONENTS_IN_ALL = 10_000

ComponentCount = Annotated[int, Field(ge=1, le=MAX_COMPONENTS)]


class StandardNormalPrior(StrictModel):
    """p(z) = N(0, I): the prior of the training objective."""

    name: Literal["standard"] = "standard"
    family: Literal["standard_normal"] = "standard_normal"


class LabelledMixture(StrictModel):
    """The label of a mixture."""

    label: Label
    components: ComponentCount
    share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
    """Share of the fitted images with this label."""


class FittedPrior(StrictModel):
    """Gaussian mixtures over z, fitted after training: one to all images, and one to those of each label.

    `prior.npz` contains their parameters: the mixture of all images first, then those of the labels in order.
    """

    name: Literal["fitted"] = "fitted"
    family: Literal["gaussian_mixture"] = "gaussian_mixture"
    file: Literal["prior.npz"] = "prior.npz"
    components: ComponentCount
    """Components of the mixture of all images."""
    labels: Annotated[tuple[LabelledMixture, ...], Field(max_length=1000)]
    """Labels with a mixture of their own; empty if the images had none."""
    protocol: Text
    """Its data and protocol: data, draws, choice of the number of components, seed."""
    metrics: tuple[Metric, ...]
    """Quality on images that it was not fitted to."""

    @property
    def component_counts(self) -> tuple[int, ...]:
        """Components of each mixture, in the order of `prior.npz`."""
        return (self.components, *(each.components for each in self.labels))

    @model_validator(mode="after")
    def _labels_are_distinct_and_components_bounded(self) -> FittedPrior:
        _check_mixtures(self)
        return self


class PriorGoldenSpec(StrictModel):
    """Permitted differences of a runtime from the arrays in `prior_golden.npz`."""

    file: Literal["prior_golden.npz"] = "prior_golden.npz"
    latent_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-4
    """Largest absolute difference of any `z`, and of any `u` after the way to z and back."""
    log_density_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-3
    """Largest absolute difference of any `log_pz`, in nats."""


class LearnedPrior(StrictModel):
    """A density over z that was learned with the model: Gaussian mixtures over u, and a map between u and z.

    `prior.npz` contains the mixtures, as of a fitted prior: that of all images, then those of the labels.
    """

    name: Literal["learned"] = "learned"
    family: Literal["flow_of_gaussian_mixture"] = "flow_of_gaussian_mixture"
    file: Literal["prior.npz"] = "prior.npz"
    components: ComponentCount
    """Components of the mixture of all images."""
    labels: Annotated[tuple[LabelledMixture, ...], Field(max_length=1000)]
    """Labels with a mixture of their own; empty if the prior has none. `share` is p(y) of the prior."""
    sampler: GraphSpec
    """`u` to `z`."""
    density: GraphSpec
    """`z` to `u`, its inverse, and `log_pz`."""
    golden: PriorGoldenSpec = PriorGoldenSpec()
    protocol: Text
    """Its training: the part of the labels in it."""
    label_draws: Annotated[
        LabelDraws | None,
        Field(exclude_if=lambda rule: rule is None, json_schema_extra=never_null),
    ] = None
    """The rule for draws of a requested label. A version without takes the first draw of the label's mixture,
    and has no such key."""

    @property
    def component_counts(self) -> tuple[int, ...]:
        """Components of each mixture, in the order of `prior.npz`."""
        return (self.components, *(each.components for each in self.labels))

    @model_validator(mode="after")
    def _labels_are_distinct_and_components_bounded(self) -> LearnedPrior:
        _check_mixtures(self)
        if self.label_draws is not None and len(self.labels) < 2:
            raise ValueError("label_draws: expected no key without two labels or more to choose between")
        return self


def _check_mixtures(prior: FittedPrior | LearnedPrior) -> None:
    if len({each.label for each in prior.labels}) != len(prior.labels):
        raise ValueError("labels: expected each label once")
    if sum(prior.component_counts) > MAX_COMPONENTS_IN_ALL:
        raise ValueError(
            f"components: expected at most {MAX_COMPONENTS_IN_ALL} in all mixtures together, "
            f"got {sum(prior.component_counts)}"
        )


Prior = Annotated[StandardNormalPrior | FittedPrior | LearnedPrior, Field(discriminator="name")]

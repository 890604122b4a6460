"""One frozen configuration per run, with all options of training.

Knows which sections agree with each other. Knows nothing of torch, and needs no torch.
`training.config.messages` turns a mistake into a `ConfigError` that names the file, the key, the expected and
the actual value.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from model_store.numbers import told_apart
from training.config.messages import explain
from training.config.model_section import LearnedPriorConfig, ModelConfig
from training.config.sections import (
    MAX_SIDE,
    DataConfig,
    EvaluationConfig,
    Expectation,
    ObjectiveConfig,
    OptimiserConfig,
    Section,
    TrainerConfig,
)
from training.errors import ConfigError


class RunConfig(Section):
    """The whole configuration of a run, except the images themselves."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
    """Name of the recipe."""
    description: Annotated[str, Field(max_length=1000)] = ""
    """Purpose of the recipe, in a sentence."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    expect: Expectation | None = None
    """Expected time and figures of this exact recipe; left out if unknown."""

    @model_validator(mode="after")
    def _sections_agree(self) -> RunConfig:
        """Reject combinations that make no sense although each key is in range."""
        if 0 < self.data.side < 8:
            raise ValueError(f"data.side: expected 0, or 8 to {MAX_SIDE} pixels; got {self.data.side}")
        if objection := self.model.objection_to_sides(self.data.side, self.data.side):
            raise ValueError(f"data.side: {objection}")
        if self.data.grey_fraction > 0.0 and self.data.binarisation == "grey":
            raise ValueError(
                "data.grey_fraction: expected 0 when data.binarisation is 'grey', where all images "
                f"are grey already; got {self.data.grey_fraction}"
            )
        if self.model.likelihood.name == "gaussian" and self.data.binarisation == "dynamic":
            raise ValueError(
                "data.binarisation: expected 'grey' with model.likelihood.name = 'gaussian', got "
                "'dynamic'; a Gaussian over zeros and ones does not model grey levels"
            )
        if self.objective.importance_samples > 1 and (self.model.kind, self.objective.beta) != ("vae", 1.0):
            raise ValueError(
                "objective.importance_samples: expected 1 unless model.kind = 'vae' and objective.beta = "
                "1, because the importance-weighted bound requires both; got "
                f"{self.objective.importance_samples}"
            )
        alone = (1.0 - self.objective.importance_part) * self.trainer.epochs
        if self.objective.importance_samples > 1 and self.objective.beta_warmup_epochs > alone:
            warmup = told_apart(self.objective.beta_warmup_epochs, float(f"{alone:g}"))
            raise ValueError(
                f"objective.beta_warmup_epochs: expected at most {alone:g}, so that beta is 1 before the "
                f"last objective.importance_part of the epochs; got {warmup}"
            )
        if self.model.kind == "ae" and self.objective.beta_warmup_epochs > 0.0:
            raise ValueError(
                "objective.beta_warmup_epochs: expected 0 with model.kind = 'ae', which has no KL term; "
                f"got {self.objective.beta_warmup_epochs}"
            )
        if self.model.kind == "ae" and self.model.is_spatial:
            raise ValueError(
                "model.kind: expected 'vae' with model.trunk.latents = 'spatial', because the codes of an "
                "autoencoder have no density that could be fitted to thousands of latents; got 'ae'. A small "
                "objective.beta reconstructs as well"
            )
        if isinstance(self.model.prior, LearnedPriorConfig):
            self._check_learned_prior(self.model.prior)
        return self

    def _check_learned_prior(self, prior: LearnedPriorConfig) -> None:
        if self.model.kind == "ae":
            raise ValueError(
                "model.prior.name: expected 'standard' with model.kind = 'ae', which has no prior; got "
                "'learned'"
            )
        if self.model.is_spatial:
            raise ValueError(
                "model.prior.name: expected 'standard' with model.trunk.latents = 'spatial', whose latents "
                "are too many for couplings between all of them; got 'learned'"
            )
        if prior.couplings > 0 and self.model.latent_size == 1:
            raise ValueError(
                "model.prior.couplings: expected 0 with model.latent_size = 1, because a coupling changes "
                f"some latents by others; got {prior.couplings}"
            )
        gaussians = prior.components * max(1, prior.labels)
        if gaussians > 1000:
            raise ValueError(
                "model.prior.components: expected at most 1000 Gaussians in all, which is the components of "
                f"each label times the labels; got {gaussians}"
            )

    def decisive(self) -> RunConfig:
        """The configuration without the texts that change no run."""
        without: dict[str, object] = {"description": "", "expect": None}
        if self.trainer.start_from:  # then the recipe behind that version is only told
            without["trainer"] = self.trainer.model_copy(update={"start_recipe": ""})
        return self.model_copy(update=without)

    @property
    def first_part(self) -> str:
        """The recipe that this run trains by first; empty if it has none."""
        return "" if self.trainer.start_from else self.trainer.start_recipe

    def to_json(self) -> str:
        """The whole configuration, defaults included, for the run directory."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "config.json") -> RunConfig:
        """Read the output of `to_json`.

        Raises:
            ConfigError: It is not JSON, or not a configuration of this version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where=where)) from error

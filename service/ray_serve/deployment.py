"""The two inputs of a deployment: the arguments of its application, and the configuration of its replicas.

Knows settings and references. Knows nothing of Ray.

    args:                                    # of the application; a change starts new replicas
      settings: {default_model: mnist}       # as VAE_… variables, without the prefix
    deployments:
      - user_config:                         # of the replicas; a change restarts nothing
          aliases: {mnist: {stable: 4, canary: 5}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from model_store.aliases import LATEST
from model_store.manifest import NAME_PATTERN, AliasName, VersionNumber
from model_store.validation_messages import findings_in_one_line
from service.settings import Settings, SettingsError, load_settings

M = TypeVar("M", bound=BaseModel)

ModelName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
#: Settings of the process that listens; in a replica Ray does.
_OF_THE_PROCESS = ("host", "port", "grpc_port", "workers", "keep_alive_s", "max_connections", "drain_delay_s")


class Arguments(BaseModel):
    """The `args` of the application in a file for `serve deploy`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Settings of the server by name, such as `default_model`; the rest comes from `VAE_…` variables."""

    def read(self, *, threads: int | None = None) -> Settings:
        """The settings of a replica.

        Args:
            threads: Threads of one model run, unless the settings contain a number.

        Raises:
            SettingsError: A setting is unknown or invalid, or belongs to the process that listens.
        """
        for name in _OF_THE_PROCESS:
            if name in self.settings:
                raise SettingsError(
                    f"args: settings: {name}: expected a setting of the application; Ray Serve listens and "
                    "starts the processes. Use http_options, num_replicas or the variables of Ray Serve."
                )
        settings = load_settings(self.settings)
        if settings.threads is None and threads is not None:
            settings = settings.model_copy(update={"threads": threads})
        return settings


class ReplicaConfig(BaseModel):
    """The `user_config` of the deployment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aliases: dict[ModelName, dict[AliasName, VersionNumber]] = Field(default_factory=dict)
    """Alias to version, by name of the model. They replace those of the store in every replica."""

    @field_validator("aliases")
    @classmethod
    def _refuse_latest(cls, aliases: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        if any(LATEST in targets for targets in aliases.values()):
            raise ValueError(f"{LATEST!r} always names the highest version; choose another alias")
        return aliases


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """The arguments of the application.

    Raises:
        SettingsError: They are no such arguments.
    """
    return _read(Arguments, given, where="args")


def read_replica_config(given: object) -> ReplicaConfig:
    """The configuration of the replicas; None is an empty one.

    Raises:
        SettingsError: It is no such configuration.
    """
    return _read(ReplicaConfig, given or {}, where="user_config")


def _read(model: type[M], given: object, *, where: str) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise SettingsError(
            f"{where}: {findings_in_one_line(error)}. Expected {', '.join(model.model_fields)} as "
            "docs/how-to/ray.md shows them."
        ) from None

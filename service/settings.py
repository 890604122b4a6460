"""Every knob of the server, in one frozen object.

Knows names, units, bounds and reasons. Knows nothing of HTTP, models or the command line.
Read once, in `create_app` or in the command line; importing this module reads nothing.
A value comes from a `VAE_…` environment variable or from a flag, and the flag wins. Variables that an
orchestrator adds for a service of that name are no settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.nearest_name import did_you_mean
from service.references import REFERENCE_PATTERN
from service.service_links import service_links

ENV_PREFIX = "VAE_"
#: A path before every other: segments that need no escape, none of dots alone, no slash at the end.
ROOT_PATH = r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
)

_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")


class SettingsError(Exception):
    """A setting that cannot be used; the message says where, expected, got and what to do."""


@dataclass(frozen=True)
class Unit:
    """What a setting's number counts, for the help text."""

    name: str


def _reference(text: str) -> str:
    if re.fullmatch(REFERENCE_PATTERN, text) is None:
        raise PydanticCustomError(
            "reference",
            "Expected name, name@version or name@alias, of lower-case letters, digits and inner hyphens",
        )
    return text


def _origins(text: str) -> str:
    if text != "*" and not all(_ORIGIN.fullmatch(origin) for origin in split_origins(text)):
        raise PydanticCustomError(
            "origins",
            "Expected origins such as https://a.example or http://localhost:3000, lower-case, without a path "
            "or a slash at the end, separated by commas, or * alone",
        )
    return text


def _hosts(text: str) -> str:
    if not all(_HOST.fullmatch(name.strip()) for name in text.split(",")):
        raise PydanticCustomError(
            "hosts",
            "Expected host names such as vae.example,*.vae.example, lower-case, without a scheme or a port, "
            "separated by commas, or * for all",
        )
    return text


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and re.fullmatch(ROOT_PATH, path) is None:
        raise PydanticCustomError(
            "root_path",
            "Expected a path such as /vae or /team/vae, of letters, digits and . _ ~ -, with a slash first",
        )
    return path


def _store(value: object) -> object:
    """A path would make one slash of the two in an address."""
    if not isinstance(value, str):
        return value
    protocol, separator, rest = value.partition("://")
    if not separator:
        return Path(value)
    if not protocol or not rest.strip("/") or "@" in rest.partition("/")[0]:
        raise PydanticCustomError(
            "store",
            "Expected a directory, or an address such as s3://bucket/prefix without a user or a password, "
            "which the storage's own variables carry (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
        )
    return value


def split_origins(text: str) -> tuple[str, ...]:
    """`a, b` → `("a", "b")`."""
    return tuple(origin.strip() for origin in text.split(","))


class Settings(BaseSettings):
    """The server's settings. The docstring under each field is its reason."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,  # compose files pass what is unset as an empty text
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    model_store: Annotated[Path | str | None, BeforeValidator(_store), Unit("directory | address")] = None
    """Where the published models lie: a directory, or an address such as `s3://bucket/prefix`, of which a
    copy is kept (extra `s3`). Left out: the store that is part of the package."""

    store_cache: Annotated[Path | None, Unit("directory")] = None
    """Where the copy of a store with an address lies. Left out: `vae-service` in the user's cache directory.
    What is there when the server starts is served even if the address cannot be reached."""

    store_copy_s: Annotated[float, Field(ge=0.1, le=86_400.0, allow_inf_nan=False), Unit("seconds")] = 5.0
    """How often a store with an address is looked at for what is new. A look is one listing for the store and
    one for each name, which object storage charges for."""

    default_model: Annotated[str, AfterValidator(_reference), Unit("name[@version|@alias]")] = "mnist"
    """The model that answers a request that names none."""

    store_poll_s: Annotated[float, Field(ge=0.01, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 0.5
    """How often the store is looked at for what was published, promoted or rolled back. A look costs a few
    file attributes; polling works on every file system, network ones included."""

    model_idle_s: Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False), Unit("seconds")] = 600.0
    """How long a version without an alias stays in memory after it was last asked for."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=255), Unit("address")] = "127.0.0.1"
    """Address to listen on. This machine only: anything else wants `api_keys_file` or a proxy that knows its
    users, and the server says so when it starts. A container sets 0.0.0.0."""

    port: Annotated[int, Field(ge=0, le=65_535), Unit("TCP port")] = 8000
    """Port to listen on; 0 lets the system choose one, which is then printed."""

    workers: Annotated[int, Field(ge=1, le=256), Unit("processes")] = 1
    """Server processes on the one address. JSON and HTTP take more of a core than a small model does, and one
    process has one core for them: as many as cores gives the most requests; each holds its own models."""

    threads: Annotated[int | None, Field(ge=1, le=256), Unit("threads")] = None
    """Threads of one model run. Left out: the cores this process may use (affinity and cgroup quota), because
    onnxruntime itself would count the cores of the host."""

    max_loaded_models: Annotated[int, Field(ge=1, le=1024), Unit("models")] = 8
    """Model versions kept in memory beside the aliased ones; the least recently used goes first, so that
    naming old versions cannot fill the memory."""

    max_images: Annotated[int, Field(ge=1, le=65_536), Unit("images")] = 256
    """Most images in one request or answer: bounds the memory and the time of a single request."""

    max_stream_images: Annotated[int, Field(ge=1, le=1 << 24), Unit("images")] = 65_536
    """Most images of an npy answer of /sample or /decode. It is computed and sent a part at a time, so it
    takes no more memory than a small one; the bound is for the time it takes."""

    max_score_draws: Annotated[int, Field(ge=1, le=1 << 24), Unit("posterior draws")] = 16_384
    """Most importance draws of one /score: its images times its `importance_samples`. Each is a run of the
    decoder, so the bound is for the time that they take, all of them within `request_timeout_s`."""

    max_queue_images: Annotated[int, Field(ge=1, le=1 << 24), Unit("images")] = 1024
    """Most images that wait for a model; one more is answered 429 with the time to come back. What is
    accepted waits for at most as many images, so this bounds the latency."""

    request_timeout_s: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 30.0
    """Longest that a request may take until its result, or until each part of a long one; then it is answered
    504, and its images are not run any more."""

    max_buffered_bytes: Annotated[int, Field(ge=1024, le=1 << 40), Unit("bytes")] = 64 * 1024 * 1024
    """Bytes of request bodies held at any moment, all requests together; a body beyond them is answered 429.
    A thousand connections may each send a body, and each of these is only bounded by itself."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30), Unit("bytes")] = 8 * 1024 * 1024
    """Longest request body, counted as it arrives. 256 images of 784 floats are about 4 MB of JSON."""

    max_png_pixels: Annotated[int, Field(ge=1024, le=1 << 28), Unit("pixels")] = 4_194_304
    """Most pixels of a PNG that is drawn: `scale` grows it by its square, and compressing takes time."""

    log_format: Annotated[Literal["auto", "text", "json"], Unit("auto | text | json")] = "auto"
    """`auto` writes text to a terminal and one JSON object per line to anything else."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Unit("level")] = "info"
    """Quietest event that is still written. Info is one line per request and one per change."""

    access_log: Annotated[bool, Unit("true | false")] = True
    """Write one line per request. Off for those who count requests by /metrics alone."""

    telemetry: Annotated[bool, Unit("true | false")] = False
    """Send OpenTelemetry spans and metrics of each request to where OTEL_EXPORTER_OTLP_ENDPOINT says. Needs
    the extra of this name to be installed, and 0.2 ms of processor time for each request."""

    keep_alive_s: Annotated[int, Field(ge=1, le=3600), Unit("seconds")] = 75
    """How long an idle connection stays open. Longer than any proxy's own limit: with uvicorn's 5 s a proxy
    reuses a connection just as it closes, and answers 502."""

    receipt_timeout_s: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 10.0
    """How long a request may take to arrive, from its first byte, or from the connection, to the last byte of
    its body; then 408. A client that drips would hold a connection for ever otherwise. A client that reads
    nothing of its answer for twice as long is cut off."""

    max_connections: Annotated[int, Field(ge=1, le=1 << 20), Unit("connections")] = 1000
    """Most open connections; a few more are taken, on which only the probes are answered. Fewer where the
    process may not open as many files."""

    trusted_proxies: Annotated[
        str, StringConstraints(max_length=4096), Unit("addresses, comma separated")
    ] = ""
    """Proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are believed: addresses, networks, or `*`.
    IPv4 addresses also stand for proxies that reach a server on `::`. Left out, none is: anybody can send
    these headers."""

    root_path: Annotated[
        str, StringConstraints(max_length=1024), AfterValidator(_root_path), Unit("path")
    ] = ""
    """Path that a proxy puts before every path of this server, such as `/vae`: every link in an answer begins
    with it. The proxy may strip it or pass it on. A trusted proxy may say another in X-Forwarded-Prefix."""

    drain_delay_s: Annotated[float, Field(ge=0.0, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 0.0
    """How long after SIGTERM new connections are still taken while /readyz says no: as long as a load
    balancer needs to notice. Ctrl-C does not wait."""

    shutdown_grace_s: Annotated[int, Field(ge=1, le=3600), Unit("seconds")] = 20
    """How long running requests may take to finish after SIGTERM; without a bound one stalled client would
    hold the process for ever."""

    api_keys_file: Annotated[Path | None, Unit("file")] = None
    """API keys, one `SHA-256 scope [label]` a line; `vae-serve key` makes one. Left out: nobody needs one."""

    admin: Annotated[bool | None, Unit("true | false")] = None
    """Let models be administrated over HTTP (POST /models/{name}/reload). Left out: when the key file holds a
    key of the scope admin. True without a key file lets everybody do it who reaches the server, but no
    page of another site in a browser."""

    allowed_hosts: Annotated[Annotated[str, AfterValidator(_hosts)] | None, Unit("hosts | *")] = None
    """Host names by which clients may call this server, such as `vae.example,*.vae.example`, or `*` for all;
    `localhost`, IP addresses and the name in `host` are always allowed. If set, everything but the probes
    takes no other. Left out: administration without a key takes no other, the rest takes any."""

    cors_origins: Annotated[Annotated[str, AfterValidator(_origins)] | None, Unit("origins | *")] = None
    """Origins whose pages may call this server from a browser, such as `https://a.example,http://localhost:3000`,
    or `*` for all. Left out: none but its own."""

    @classmethod
    def settings_customise_sources(  # the names are pydantic's
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment; no .env file is looked for, because none was asked for."""
        links = {name.lower() for name in ignored_variables()}
        if links and isinstance(env_settings, EnvSettingsSource):
            values = env_settings.env_vars
            env_settings.env_vars = {name: values[name] for name in values if name.lower() not in links}
        return init_settings, env_settings


class SettingDescription(BaseModel):
    """One line of the help: everything a person needs to set it."""

    model_config = ConfigDict(frozen=True)

    field: str
    flag: str
    variable: str
    unit: str
    default: str
    reason: str


def describe_settings() -> tuple[SettingDescription, ...]:
    """Every setting with its flag, variable, unit, default and reason, in the order of the class."""
    described = []
    for name, field in Settings.model_fields.items():
        unit = next((item.name for item in field.metadata if isinstance(item, Unit)), "")
        default = "left out" if field.default is None else _text(field.default)
        described.append(
            SettingDescription(
                field=name,
                flag=flag_of(name),
                variable=f"{ENV_PREFIX}{name.upper()}",
                unit=unit,
                default=default,
                reason=" ".join((field.description or "").split()),
            )
        )
    return tuple(described)


def flag_of(field: str) -> str:
    """`max_images` → `--max-images`; the store is `--store`, as everywhere in the project."""
    return "--store" if field == "model_store" else "--" + field.replace("_", "-")


def load_settings(
    overrides: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings of this process: `overrides` (flags), then the environment, then the defaults.

    Raises:
        SettingsError: An unknown `VAE_…` variable, with the nearest name, or a value that does not fit.
    """
    environment = os.environ if environ is None else environ
    refuse_unknown_variables(environment)
    links = ignored_variables(environment)
    given = dict(overrides or {})
    try:
        if environ is None:
            return Settings(**given)
        from_environment = {
            name: environment[variable]
            for name in Settings.model_fields
            if environment.get(variable := f"{ENV_PREFIX}{name.upper()}") and variable not in links
        }
        return Settings(**{**from_environment, **given})
    except ValidationError as error:
        raise SettingsError(_explain(error, given)) from None


def ignored_variables(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Variables with the prefix of settings that Kubernetes or Docker added for a service, sorted."""
    return tuple(sorted(service_links(os.environ if environ is None else environ, prefix=ENV_PREFIX)))


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """A misspelt variable would otherwise be a default that nobody notices."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    links = ignored_variables(environment)
    for variable in sorted(environment):
        if not variable.startswith(ENV_PREFIX) or variable in known or variable in links:
            continue
        hint = did_you_mean(variable, known) or "See `vae-serve run --help`."
        raise SettingsError(
            f"environment: {variable[:80]!r} is no setting; expected one of the "
            f"{len(known)} names that `vae-serve run --help` lists. {hint} Unset it or correct it."
        )


def _explain(error: ValidationError, given: Mapping[str, Any]) -> str:
    """One line per wrong value, naming the flag or variable it came from. The value is not repeated."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        field = str(item["loc"][0]) if item["loc"] else "settings"
        if field in Settings.model_fields:
            source = flag_of(field) if field in given else f"{ENV_PREFIX}{field.upper()}"
        else:
            source = field
        lines.append(f"{source}: {item['msg']}. See `vae-serve run --help` for its unit and default.")
    return "\n".join(lines)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

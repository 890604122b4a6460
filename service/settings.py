"""All settings of the server, in one frozen object.

Knows names, units, bounds and reasons. Knows nothing of HTTP, models or the command line. `create_app` or the
command line reads the settings once; importing this module reads nothing. A value comes from a `VAE_…`
environment variable or from a flag, and the flag wins. Variables that an orchestrator adds for a service of
that name are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from model_store.echo import did_you_mean, echo
from model_store.validation_messages import findings_of
from service.service_links import service_links
from service.setting_values import (
    AccessLog,
    Hosts,
    ModelName,
    Origins,
    Reference,
    RootPath,
    StoreLocation,
    Unit,
)

ENV_PREFIX = "VAE_"
#: Settings whose value may contain a password or a key by mistake.
_NEVER_ECHOED = frozenset({"model_store", "store_cache", "api_keys_file", "require_signature"})


class SettingsError(Exception):
    """An unusable setting. The message names the place, expected and actual value, and the remedy."""


class ExtraNotInstalled(SettingsError):
    """A setting needs an extra that is not installed."""


class NoAccelerator(SettingsError):
    """Models would not run on the processor, or in the number format, of the settings."""


class Settings(BaseSettings):
    """The settings of the server. The docstring under each field is its reason."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,  # compose files pass unset variables as empty text
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    model_store: Annotated[StoreLocation, Unit("directory | address")] = None
    """Location of the published models: a directory, or an address such as `s3://bucket/prefix`, which the
    server copies to `store_cache` (extra `s3`). The directory may also be that of one model or one version.
    Left out: your own store, `vae-service/models` in
    `$XDG_DATA_HOME` or in `~/.local/share`; while it does not exist, the store inside the package."""

    store_cache: Annotated[Path | None, Unit("directory")] = None
    """Directory of the local copy of a store with an address. Left out: `vae-service` in the user's cache
    directory. The server starts with the models in this copy, even if the address is unreachable."""

    store_copy_s: Annotated[float, Field(ge=0.1, le=86_400.0, allow_inf_nan=False), Unit("seconds")] = 5.0
    """Interval between checks of a store with an address. A check is one listing for the store and one for
    each name, and object storage charges for listings."""

    default_model: Annotated[Reference, Unit("name[@version|@alias]")] = "mnist"
    """The model for requests that name none. Left out: the only model, if the store is the directory of one
    model or one version; otherwise the store's model called `served_name`, or else `mnist`."""

    served_name: Annotated[ModelName | None, Unit("name")] = None
    """Second name of the default model, for clients that know no other. KServe calls a model by the name of
    its InferenceService, so its runtime sets this to `{{.Name}}`. A model of the store that has this name
    comes first."""

    store_poll_s: Annotated[float, Field(ge=0.01, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 0.5
    """Interval between checks of the store for published, promoted or rolled back versions. A check reads a
    few file attributes. Polling works on every file system, including network ones."""

    require_signature: Annotated[Path | None, Unit("file")] = None
    """Public keys as PEM, one of which must have signed a version (`vae-store sign`). The server refuses any
    other version. Requires the extra `verify`. Left out: no signature is needed."""

    model_idle_s: Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False), Unit("seconds")] = 600.0
    """How long a version without an alias stays in memory after its last request."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=255), Unit("address")] = "127.0.0.1"
    """Address to listen on. The default accepts connections of this machine only. For any other address set
    `api_keys_file`, or use a proxy that authenticates its users; without either the server logs a warning at
    its start. A container sets 0.0.0.0."""

    port: Annotated[int, Field(ge=0, le=65_535), Unit("TCP port")] = 8000
    """Port to listen on. With 0 the system chooses a port, and the server prints it."""

    grpc_port: Annotated[int | None, Field(ge=0, le=65_535), Unit("TCP port")] = None
    """Port for the Open Inference Protocol over gRPC, on the same address. Requires the extra `grpc`. With 0
    the system chooses a port. Left out: no gRPC."""

    max_grpc_calls: Annotated[int, Field(ge=1, le=1 << 16), Unit("calls")] = 256
    """Maximum number of gRPC calls, and of streams, in one process. Health checks are answered beyond it."""

    workers: Annotated[int, Field(ge=1, le=256), Unit("processes")] = 1
    """Number of server processes that share the address. JSON and HTTP need more processor time than a small
    model, and one process uses one core for them. One worker per core serves the most requests; each worker
    loads its own models."""

    threads: Annotated[int | None, Field(ge=1, le=256), Unit("threads")] = None
    """Threads of one model run. Left out: the cores that this process may use (affinity and cgroup quota),
    because onnxruntime itself would count the cores of the host."""

    accelerator: Annotated[Literal["cpu", "cuda", "openvino"], Unit("cpu | cuda | openvino")] = "cpu"
    """What runs the models: the CPU, a GPU of NVIDIA (extra `gpu`), or the CPU through OpenVINO (extra
    `openvino`). Each extra replaces the distribution of onnxruntime. Without a usable one the server ends; it
    never runs on the CPU instead. A seed yields slightly other numbers on each."""

    accelerator_device: Annotated[int, Field(ge=0, le=127), Unit("number")] = 0
    """Number of the GPU, as `nvidia-smi` lists it."""

    accelerator_memory_bytes: Annotated[int | None, Field(ge=1 << 24, le=1 << 40), Unit("bytes")] = None
    """Maximum GPU memory for the buffers of one graph. A version has two graphs. Left out: no limit."""

    precision: Annotated[Literal["float32", "bfloat16"], Unit("float32 | bfloat16")] = "float32"
    """Number format of the computation. `bfloat16` requires `openvino` and a processor with AMX or AVX-512
    BF16. It is faster, and pixels differ by some hundredths; golden vectors are compared with a wider
    tolerance."""

    max_loaded_models: Annotated[int, Field(ge=1, le=1024), Unit("models")] = 8
    """Model versions to keep in memory in addition to the aliased ones. The least recently used is removed
    first, so that requests for old versions cannot fill the memory."""

    max_images: Annotated[int, Field(ge=1, le=65_536), Unit("images")] = 256
    """Maximum number of images in one request or response: bounds the memory and the time of a single
    request."""

    max_values: Annotated[int, Field(ge=1, le=1 << 32), Unit("numbers")] = 16_777_216
    """Maximum number of values, channels times height times width, of all images in one request or response:
    bounds the memory of a request for large images. One image is always allowed. The default is 64 MB of
    float32: 256 images of up to 147 × 147 in colour, 21 of 512 × 512, 5 of 1024 × 1024."""

    max_run_pixels: Annotated[int, Field(ge=4096, le=1 << 26), Unit("pixels")] = 1_048_576
    """Maximum number of pixels of an image that /remote/decode computes in one run of the decoder, for a
    model with open sizes; its default size is always allowed. A larger image is computed in tiles, and a tile
    has at most half of these pixels. The default is 1024 × 1024."""

    max_json_values: Annotated[int, Field(ge=1, le=1 << 32), Unit("numbers")] = 4_194_304
    """Maximum number of values of the images in a JSON response, and of numbers in the arrays of a JSON
    request. A number takes about ten bytes as text and more as an object, so npy allows `max_values`."""

    max_stream_images: Annotated[int, Field(ge=1, le=1 << 24), Unit("images")] = 65_536
    """Maximum number of images in an npy response of /sample or /decode. The server computes and sends it in
    parts, so its size bounds time and not memory."""

    max_stream_values: Annotated[int, Field(ge=1, le=1 << 40), Unit("numbers")] = 1 << 30
    """Maximum number of values of all images in such a response: 4 GB of float32 by default."""

    max_score_draws: Annotated[int, Field(ge=1, le=1 << 24), Unit("posterior draws")] = 16_384
    """Maximum number of importance draws of one /score: its images times its `importance_samples`. Each draw
    is a run of the decoder, and all of them must finish within `request_timeout_s`."""

    max_queue_images: Annotated[int, Field(ge=1, le=1 << 24), Unit("images")] = 1024
    """Maximum number of images that wait for a model. The server rejects further ones with 429 and a time to
    retry. An accepted request waits for at most this many images, so this bounds the latency."""

    max_queue_values: Annotated[int, Field(ge=1, le=1 << 40), Unit("numbers")] = 67_108_864
    """Maximum number of values of the images that wait for a model: bounds memory when images are large. The
    default is 256 MB of float32."""

    request_timeout_s: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 30.0
    """Maximum time from a request to its result, or to each part of a long result. After it the server
    returns 504 and drops the request's images."""

    max_buffered_bytes: Annotated[int, Field(ge=1024, le=1 << 40), Unit("bytes")] = 64 * 1024 * 1024
    """Maximum total size of all request bodies in memory; the server rejects a body beyond it with 429.
    `max_body_bytes` bounds one body, but a thousand connections may each send one."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30), Unit("bytes")] = 32 * 1024 * 1024
    """Maximum size of a request body, counted as it arrives. 256 images of 784 floats are about 4 MB of JSON,
    a PNG of 1024 × 1024 pixels up to 8 MB, and such an image as float32 12 MB."""

    max_png_pixels: Annotated[int, Field(ge=1024, le=1 << 28), Unit("pixels")] = 4_194_304
    """Maximum number of pixels of a PNG, JPEG or WebP response: it grows with the square of `scale`, and
    compression takes time. One image of the model, without `scale`, is always allowed."""

    max_picture_pixels: Annotated[int, Field(ge=1024, le=1 << 26), Unit("pixels")] = 4_194_304
    """Maximum number of pixels of a PNG or WebP in a request; a JPEG may have four times as many. The server
    decodes such a JPEG at half its width and height. A picture of the model's own size is always allowed.
    Each worker decodes at most this number of pixels at the same time, and needs up to 60 bytes of memory for
    each: 250 MB by default."""

    compression: Annotated[bool, Unit("true | false")] = True
    """Compress JSON and text with zstd or gzip for clients that accept it. Switch it off if a proxy
    compresses, or if processor time is scarcer than bandwidth: 1 MB of JSON takes 8 ms with gzip and becomes
    a third."""

    open_inference: Annotated[bool, Unit("true | false")] = True
    """Serve the Open Inference Protocol under /v2, for clients of Triton and KServe, with the same models,
    limits and keys."""

    remote_vae: Annotated[bool, Unit("true | false")] = True
    """Serve /remote/decode and /remote/encode, for the remote VAE of diffusers, with the same models, limits
    and keys."""

    playground: Annotated[bool, Unit("true | false")] = True
    """Send browsers that open `/` a page to play with the models. Without it, and for every other client, `/`
    is a text with commands."""

    log_format: Annotated[Literal["auto", "text", "json"], Unit("auto | text | json")] = "auto"
    """`auto` writes text to a terminal and one JSON object per line to anything else."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Unit("level")] = "info"
    """Lowest level of events in the log. Info is one line per request and one per change."""

    access_log: Annotated[AccessLog, Unit("all | no-probes | errors | none")] = "no-probes"
    """Requests that get a line in the log. `no-probes`: all except successful probes (/livez, /readyz,
    /metrics): Docker, Kubernetes and Prometheus send 10,000 to 60,000 of these a day, and /metrics counts
    them. `errors`: those that failed, with a status of 400 or more. `none`: no request. `true` and `false`,
    the values of earlier versions, mean `all` and `none`."""

    telemetry: Annotated[bool, Unit("true | false")] = False
    """Send OpenTelemetry spans and metrics of each request to OTEL_EXPORTER_OTLP_ENDPOINT. Requires the extra
    `telemetry`, and 0.2 ms of processor time for each request."""

    keep_alive_s: Annotated[int, Field(ge=1, le=3600), Unit("seconds")] = 75
    """How long an idle connection stays open. It must exceed the limit of any proxy: with uvicorn's 5 s a
    proxy reuses a connection while the server closes it, and returns 502."""

    receipt_timeout_s: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 10.0
    """Maximum time from the first byte of a request, or from the connection, to the last byte of its body;
    then 408. Without it a client that drips bytes would hold a connection for ever. The server also
    disconnects a client that reads nothing of its response for twice this time."""

    max_connections: Annotated[int, Field(ge=1, le=1 << 20), Unit("connections")] = 1000
    """Maximum number of open connections. The server accepts a few more, for the probes only. It lowers this
    number if the process may not open as many files."""

    trusted_proxies: Annotated[
        str, StringConstraints(max_length=4096), Unit("addresses, comma separated")
    ] = ""
    """Proxies that may set X-Forwarded-For, -Proto, -Host and -Prefix: addresses, networks, or `*`. IPv4
    addresses also match proxies that reach a server on `::`. Left out: the server ignores these headers,
    because any client can send them."""

    root_path: Annotated[RootPath, Unit("path")] = ""
    """Path that a proxy puts before every path of this server, such as `/vae`; every link in a response
    begins with it. The proxy may strip it or pass it on. A trusted proxy may set another path in
    X-Forwarded-Prefix."""

    drain_delay_s: Annotated[float, Field(ge=0.0, le=3600.0, allow_inf_nan=False), Unit("seconds")] = 0.0
    """How long the server accepts new connections after SIGTERM while /readyz returns 503: the time that a
    load balancer needs to notice. Ctrl-C does not wait."""

    shutdown_grace_s: Annotated[int, Field(ge=1, le=3600), Unit("seconds")] = 20
    """How long running requests may take to finish after SIGTERM. Without a bound one stalled client would
    hold the process for ever."""

    api_keys_file: Annotated[Path | None, Unit("file")] = None
    """API keys, one `SHA-256 scope [label]` per line; `vae-serve key` makes one. Left out: no request needs a
    key."""

    admin: Annotated[bool | None, Unit("true | false")] = None
    """Allow administration of models over HTTP (POST /models/{name}/reload). Left out: allowed if the key
    file contains a key of the scope admin. True without a key file allows it to every client that reaches the
    server, except pages of other sites in a browser."""

    allowed_hosts: Annotated[Hosts | None, Unit("hosts | *")] = None
    """Host names that clients may use for this server, such as `vae.example,*.vae.example`, or `*` for all.
    `localhost`, IP addresses and the name in `host` are always allowed. If set, only the probes accept other
    names. Left out: only administration without a key rejects other names."""

    cors_origins: Annotated[Origins | None, Unit("origins | *")] = None
    """Origins of pages that may call this server from a browser, such as
    `https://a.example,http://localhost:3000`, or `*` for all. If set, every page may show images of this
    server. Left out: only the server's own pages."""

    @classmethod
    def settings_customise_sources(  # the names are pydantic's
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment. No .env file is read."""
        links = {name.lower() for name in ignored_variables()}
        if links and isinstance(env_settings, EnvSettingsSource):
            values = env_settings.env_vars
            env_settings.env_vars = {name: values[name] for name in values if name.lower() not in links}
        return init_settings, env_settings


class SettingDescription(BaseModel):
    """One line of the help: all that an operator needs to use a setting."""

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
        SettingsError: The environment contains an unknown `VAE_…` variable, or a value is invalid.
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
    """Reject unknown variables: a misspelt one would otherwise leave a default in force without notice."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    links = ignored_variables(environment)
    for variable in sorted(environment):
        if not variable.startswith(ENV_PREFIX) or variable in known or variable in links:
            continue
        hint = did_you_mean(variable, known) or "See `vae-serve run --help`."
        raise SettingsError(
            f"environment: {echo(variable)}: no such setting. {hint} Expected one of the {len(known)} "
            "names that `vae-serve run --help` lists. Unset or correct the variable."
        )


def _explain(error: ValidationError, given: Mapping[str, Any]) -> str:
    """One line per invalid value, with the flag or variable that it came from."""
    lines = []
    for finding in findings_of(error):
        field = finding.field or "settings"
        if field in Settings.model_fields:
            source = flag_of(field) if field in given else f"{ENV_PREFIX}{field.upper()}"
        else:
            source = field
        got = f", got {echo(finding.value)}" if field not in _NEVER_ECHOED else ""
        lines.append(
            f"{source}: {finding.message}{got}. See `vae-serve run --help` for its unit and default."
        )
    return "\n".join(lines)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

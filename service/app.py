"""The composition root: the only place where all parts meet.

`create_app(settings)` returns a complete application; settings and store contain everything that varies.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from model_store import MissingExtra, ModelStore, MountedStore, TrustedKeys, UnusableKey, open_store
from model_store.release import release
from service.api.endpoint import Endpoints
from service.api.native.models import ModelRoutes
from service.api.native.preview import PreviewRoutes
from service.api.native.table import OPERATIONS
from service.api.open_inference.core import OpenInference
from service.api.open_inference.rest import OpenInferenceRoutes
from service.api.openapi.document import openapi_document
from service.api.openapi.examples import ExampleModel
from service.api.openapi.headers import EXPOSED_HEADERS
from service.api.operation import Operation
from service.api.operators.admin import AdministrationRoutes
from service.api.operators.health import HealthRoutes
from service.api.operators.limits import LIMITS, LimitRoutes
from service.api.operators.limits_table import limit_table
from service.api.pages.browser_files import BrowserFileRoutes
from service.api.pages.help_and_docs import HelpAndDocsRoutes
from service.api.pages.playground_page import PlaygroundRoutes
from service.api.remote.routes import RemoteRoutes
from service.api.resource import ResourceRoutes
from service.app_state import AppState, Lifecycle
from service.engine import (
    Accelerator,
    AcceleratorUnavailable,
    ModelRegistry,
    UnloadedNames,
    WorkerPool,
    allowed_threads,
    check_accelerator,
)
from service.http.addresses import TrustedProxies
from service.http.application import Application
from service.http.compression import Compression
from service.http.cross_origin import CrossOrigin
from service.http.exception_handlers import EXCEPTION_HANDLERS
from service.http.fast_routes import FastPaths, no_path
from service.http.forwarded import ForwardedHeaders
from service.http.middleware import BodyBudget, BodyCeiling, Envelope
from service.http.parameters import Limits
from service.http.precision import PRECISION_HEADER, PrecisionHeader
from service.http.public_address import PublicAddress, PublicPaths
from service.lifespan import run_services
from service.observability.access_log import AccessLog
from service.observability.inference_metrics import SHARED_DIRECTORY
from service.observability.metrics import Metrics
from service.observability.telemetry import SpanFacts, sending, telemetry_config
from service.security.access import Access, AccessGuard
from service.security.cors import Preflight
from service.security.hosts import HostGuard
from service.settings import ExtraNotInstalled, NoAccelerator, Settings, SettingsError
from service.store_mirror import MirrorError, StoreMirror, cache_directory
from service.thread_pool import Room, WorkPool

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

    from service.api.open_inference.grpc.server import GrpcServer

__all__ = ["create_app"]

#: Documents to keep, one for each prefix and default model: making one takes 0.2 s of the event loop.
_DOCUMENTS = 4


def create_app(
    settings: Settings,
    *,
    reload_siblings: Callable[[], bool] | None = None,
    operations: Sequence[Operation[Any, Any]] = OPERATIONS,
    as_read: Callable[[ModelStore], ModelStore] = lambda store: store,
) -> FastAPI:
    """The application. Models are loaded when its lifespan starts, not here.

    Args:
        settings: All settings.
        reload_siblings: For one of several workers: asks the others to read the store again.
        operations: The operations of the models.
        as_read: The store as this application reads it, from the store of the settings.

    Raises:
        SettingsError: A key file of the settings is unusable, a trusted proxy is no address, or the
            libraries for telemetry, for gRPC, for signatures or for the store's address are not installed.
    """
    trusted = _trusted_proxies(settings)
    telemetry = telemetry_config(settings)
    mirror = _mirror(settings)
    store = as_read(_store(settings, mirror))
    if settings.require_signature is not None:
        store.trust_only(_trusted_keys(settings.require_signature))
    threads = settings.threads or allowed_threads().threads
    limits = Limits(
        max_images=settings.max_images,
        max_stream_images=settings.max_stream_images,
        max_score_draws=settings.max_score_draws,
        max_picture_pixels=settings.max_picture_pixels,
        max_png_pixels=settings.max_png_pixels,
        max_values=settings.max_values,
        max_json_values=settings.max_json_values,
        max_stream_values=settings.max_stream_values,
        max_body_bytes=settings.max_body_bytes,
    )
    worker_pool = WorkerPool(
        threads, max_waiting=settings.max_queue_images, max_values=settings.max_queue_values
    )
    metrics = Metrics()
    app_state = AppState(
        settings=settings,
        store=store,
        mirror=mirror,
        limits=limits,
        worker_pool=worker_pool,
        registry=ModelRegistry(
            store,
            default=settings.default_model,
            accelerator=_accelerator(settings, parallel_runs=threads),
            threads=1,
            max_loaded=settings.max_loaded_models,
            max_batch=settings.max_images,
            max_values=settings.max_values,
            worker_pool=worker_pool,
            observer=metrics.engine,
            unloaded=UnloadedNames(_shared_directory() if reload_siblings is not None else None),
            default_is_stated="default_model" in settings.model_fields_set,
            served_name=settings.served_name,
        ),
        pool=WorkPool(max(2, threads)),
        picture_room=Room(settings.max_picture_pixels),
        metrics=metrics,
        lifecycle=Lifecycle(),
        access=Access.of(settings),
        cross_origin=CrossOrigin(settings.cors_origins, exposed_headers=_exposed_headers(settings)),
        address=PublicAddress(settings.root_path, trusted=trusted),
        reload_siblings=reload_siblings,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with sending(telemetry, settings), run_services(app_state):
            yield

    endpoints = Endpoints(operations, app_state)
    budget = BodyBudget(settings.max_buffered_bytes)
    open_inference = OpenInference(app_state) if settings.open_inference else None
    open_inference_routes = [OpenInferenceRoutes(app_state, open_inference)] if open_inference else []
    playground = PlaygroundRoutes(compression=settings.compression) if settings.playground else None
    remote = [RemoteRoutes(app_state)] if settings.remote_vae else []
    table = limit_table(settings, operations)
    app = Application(
        title="vae-service",
        version=release(),
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry=telemetry,
        redirect_slashes=False,
        exception_handlers=EXCEPTION_HANDLERS,
    )

    @functools.lru_cache(maxsize=_DOCUMENTS)
    def document_for(prefix: str, model: ExampleModel) -> dict[str, Any]:
        return openapi_document(
            operations,
            (resource for part in resources for resource in part.resources),
            limits,
            version=app.version,
            model=model,
            keys_required=app_state.access.keys_required,
            hosts_restricted=settings.allowed_hosts is not None,
            prefix=prefix,
            examples={LIMITS.path: table},
        )

    def document(prefix: str = settings.root_path) -> dict[str, Any]:
        return document_for(prefix, _example(app_state))

    resources: tuple[ResourceRoutes, ...] = (
        ModelRoutes(app_state),
        PreviewRoutes(app_state),
        *open_inference_routes,
        *remote,
        HealthRoutes(app_state),
        AdministrationRoutes(app_state),
        LimitRoutes(table),
        HelpAndDocsRoutes(app_state, document, playground),
        *([playground] if playground else []),
        BrowserFileRoutes(),
    )

    app.openapi = document  # type: ignore[method-assign]
    app.state.app_state = app_state
    app.state.telemetry = telemetry
    app.has_telemetry = settings.telemetry
    app.state.grpc = _grpc_server(app_state, open_inference, budget, telemetry)
    app.edge = (
        *_behind_proxies(settings, app_state.address, trusted),
        *_precision_header(settings),
        *([Middleware(SpanFacts)] if settings.telemetry else []),
        Middleware(
            Envelope,
            metrics=app_state.metrics,
            access_log=AccessLog(settings.access_log),
            is_draining=lambda: app_state.lifecycle.draining,
            cross_origin=app_state.cross_origin,
            open_inference=settings.open_inference,
        ),
        *([Middleware(Compression, run_in_thread=app_state.pool.run)] if settings.compression else []),
        *_doors(app_state),
        Middleware(
            BodyCeiling,
            max_bytes=settings.max_body_bytes,
            budget=budget,
        ),
        Middleware(
            FastPaths,
            paths=endpoints.fast_paths(),
            exception_handlers=EXCEPTION_HANDLERS,
            find=open_inference_routes[0].fast_path if open_inference_routes else no_path,
        ),
    )
    app.router.routes.extend(endpoints.routes())
    for part in resources:
        app.router.routes.extend(part.routes())
    _refuse_own_path(settings.root_path, app)
    return app


def _grpc_server(
    app_state: AppState, core: OpenInference | None, budget: BodyBudget, telemetry: TelemetryConfig
) -> GrpcServer | None:
    """The server of the gRPC port, which `service.process` opens; None without such a port."""
    if app_state.settings.grpc_port is None:
        return None
    if core is None:
        raise SettingsError(
            "--grpc-port or VAE_GRPC_PORT: expected the Open Inference Protocol to be on, which this port "
            "speaks, got VAE_OPEN_INFERENCE=false. Leave out one of the two."
        )
    try:
        import grpc  # noqa: F401, PLC0415
        from google.protobuf.message import Message  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExtraNotInstalled(
            "--grpc-port or VAE_GRPC_PORT: expected the extra to be installed, but Python finds no "
            f"{error.name}. Install vae-service[grpc], or leave out the port."
        ) from None
    from service.api.open_inference.grpc.server import GrpcServer  # noqa: PLC0415  (60 ms)
    from service.observability.rpc_metrics import RpcMetrics  # noqa: PLC0415
    from service.observability.rpc_spans import RpcSpans  # noqa: PLC0415

    return GrpcServer(
        app_state,
        core,
        budget=budget,
        metrics=RpcMetrics(app_state.metrics),
        spans=RpcSpans(telemetry) if app_state.settings.telemetry else None,
    )


def _shared_directory() -> Path | None:
    """The directory of unloaded names, if several workers share one."""
    shared = os.environ.get(SHARED_DIRECTORY)
    return Path(shared) / "unloaded" if shared else None


def _trusted_keys(file: Path) -> TrustedKeys:
    """The keys of which one must have signed a version."""
    where = "--require-signature or VAE_REQUIRE_SIGNATURE"
    try:
        return TrustedKeys.from_file(file)
    except MissingExtra as error:
        raise ExtraNotInstalled(f"{where}: {error}") from None
    except UnusableKey as error:
        raise SettingsError(f"{where}: {error}") from None


def _precision_header(settings: Settings) -> list[Middleware]:
    if settings.precision == "float32":
        return []
    return [Middleware(PrecisionHeader, precision=settings.precision)]


def _exposed_headers(settings: Settings) -> tuple[str, ...]:
    """Response headers that pages of other origins may read."""
    return EXPOSED_HEADERS if settings.precision == "float32" else (*EXPOSED_HEADERS, PRECISION_HEADER)


def _accelerator(settings: Settings, *, parallel_runs: int) -> Accelerator:
    """The processor of the settings, after a trial run on it."""
    if settings.precision == "bfloat16" and settings.accelerator != "openvino":
        raise SettingsError(
            "--precision or VAE_PRECISION: expected float32, or bfloat16 with VAE_ACCELERATOR=openvino, got "
            f"bfloat16 with {settings.accelerator}. Leave out the precision, or set the accelerator."
        )
    accelerator = Accelerator(
        kind=settings.accelerator,
        precision=settings.precision,
        device_id=settings.accelerator_device,
        memory_bytes=settings.accelerator_memory_bytes,
        parallel_runs=parallel_runs,
    )
    try:
        check_accelerator(accelerator)
    except AcceleratorUnavailable as error:
        raise NoAccelerator(f"--accelerator or VAE_ACCELERATOR: {error}") from None
    return accelerator


def _mirror(settings: Settings) -> StoreMirror | None:
    """The copy of a store that is no directory."""
    address = settings.model_store
    if not isinstance(address, str):
        return None
    try:
        return StoreMirror(address, cache_directory(address, settings.store_cache))
    except MirrorError as error:
        raise SettingsError(str(error)) from None


def _store(settings: Settings, mirror: StoreMirror | None) -> ModelStore:
    """The copy, the directory of the settings in any layout, or the user's own or bundled store."""
    if mirror is not None:
        return ModelStore(mirror.directory)
    if isinstance(settings.model_store, Path):
        return MountedStore(settings.model_store)
    return open_store(settings.model_store)


def _refuse_own_path(root_path: str, app: FastAPI) -> None:
    """Reject a path that could be one of ours after a proxy has stripped its prefix, or the prefix itself."""
    first = root_path.removeprefix("/").partition("/")[0].partition(".")[0]
    own = {
        route.path.split("/")[1].partition(".")[0] for route in app.router.routes if isinstance(route, Route)
    }
    if first and first in own:
        raise SettingsError(
            "--root-path or VAE_ROOT_PATH: expected a first part that is none of this server's own paths, "
            f"got /{first}. Taken are {', '.join(sorted(own - {''}))}. Choose another, such as /vae/{first}."
        )


def _trusted_proxies(settings: Settings) -> TrustedProxies:
    try:
        return TrustedProxies(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"--trusted-proxies or VAE_TRUSTED_PROXIES: {error}") from None


def _behind_proxies(settings: Settings, address: PublicAddress, trusted: TrustedProxies) -> list[Middleware]:
    """If there may be proxies, requests have their client and path before anything reads them."""
    layers = []
    if settings.root_path or settings.trusted_proxies:
        layers.append(Middleware(PublicPaths, address=address))
    if settings.trusted_proxies:
        layers.append(Middleware(ForwardedHeaders, trusted=trusted))
    return layers


def _doors(app_state: AppState) -> list[Middleware]:
    """Access control, if there is any. Browsers ask without a key whether they may call: that comes first."""
    doors = []
    if app_state.settings.allowed_hosts is not None:
        doors.append(Middleware(HostGuard, hosts=app_state.access.hosts))
    if app_state.cross_origin.is_on:
        doors.append(Middleware(Preflight, cross_origin=app_state.cross_origin))
    if app_state.access.keys_required:
        doors.append(Middleware(AccessGuard, access=app_state.access))
    return doors


def _example(app_state: AppState) -> ExampleModel:
    """Name and sizes of the default model, for examples in the document that work."""
    name = app_state.registry.default
    model = app_state.registry.peek(None)
    if model is None:
        return ExampleModel(name=name)
    return ExampleModel(
        name=name,
        label=model.label,
        image_shape=model.image_shape,
        latent_size=model.latent_size,
        latent_shape=model.queued.latent_shape,
    )

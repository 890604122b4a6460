"""From guarded files to a published version: every check, the manifest, the golden vectors and the card.

Knows the order. Knows nothing of arguments or streams.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from model_store import (
    GoldenSpec,
    GoldenVectors,
    GraphSpec,
    ImageSpec,
    ImportedProvenance,
    LatentSpec,
    Manifest,
    ManifestDraft,
    ModelStore,
    OpenSizes,
    StandardNormalPrior,
    UnknownLikelihood,
    VersionId,
)
from model_store.import_options import Options
from model_store.manifest import lowest_schema_version
from model_store.validation_messages import findings_in_one_line
from service.commands.importing.graph_files import GraphFile, Source
from service.commands.importing.pictures import Pictures
from service.commands.importing.probing import (
    Range,
    Sizes,
    choose_default,
    probe_range,
    probe_repeatability,
    probe_sizes,
)
from service.commands.importing.reach import probe_halo, probe_reach
from service.commands.importing.report import Report, refuse
from service.commands.importing.roles import find_roles
from service.commands.importing.trial import Trial
from service.engine.errors import ModelRejected
from service.engine.loading import load_model
from service.engine.runtime.cpu_quota import allowed_threads
from service.engine.runtime.imported_graph import ImportedGraph
from service.engine.runtime.worker_pool import WorkerPool

Array = NDArray[np.float32]
_GOLDEN_ROWS: Final = 2
_TRIED_ROWS: Final = 3
#: Permitted differences between machines, in units of the largest latent and of the range of pixels.
_LATENT_TOLERANCE: Final = 2e-4
_PIXEL_TOLERANCE: Final = 5e-4
_LARGEST_TOLERANCE: Final = 0.1
_LATENT_ROW_LIMIT: Final = 65_536


@dataclass(frozen=True)
class Prepared:
    """A version that passed every check."""

    draft: ManifestDraft
    encoder: bytes
    decoder: bytes
    golden: GoldenVectors
    report: Report

    def card(self, manifest: Manifest) -> str:
        """`MODEL_CARD.md`."""
        return _card(manifest, self.report)


def prepare(source: Source, options: Options) -> Prepared:
    """Try the graphs, and describe what was found. It takes seconds, and writes nothing.

    Args:
        source: The guarded graphs.
        options: Choices of the user.

    Raises:
        ImportRefused: A check failed.
    """
    report = Report()
    tensors = find_roles(source, stated=options.roles, channels=options.channels)
    trial = Trial(source, tensors, threads=allowed_threads().threads)
    pictures = Pictures(options.golden)
    sizes = probe_sizes(trial, report, channels=options.channels, size=options.size)
    images = pictures.images(_TRIED_ROWS, sizes.image)
    z = _latents(trial, images, sizes)
    probe_repeatability(trial, report, images, z)
    pixels = probe_range(
        trial,
        report,
        images,
        stated=None if options.pixels == "none" else options.pixels,
        is_unbounded=options.pixels == "none",
        is_diffusers=source.is_diffusers,
    )
    image, latent = choose_default(trial, sizes, size=options.size, most=options.most)
    if max(image[1:]) > 1024 or math.prod(latent) > _LATENT_ROW_LIMIT:
        raise refuse(
            "size",
            expected=f"a default size of at most 1024 pixels a side and {_LATENT_ROW_LIMIT} latent values",
            got=f"{image[1]} × {image[2]} with {math.prod(latent)}",
            remedy="Name a smaller one with --size HxW.",
        )
    open_sizes = _open_sizes(sizes, most=options.most)
    reach = halo = None
    if tensors.decoder is not None and open_sizes is not None:
        trial.decode(np.zeros((1, *latent), np.float32))
        seconds, positions = trial.seconds, latent[1] * latent[2]
        reach = probe_reach(trial, report, latent, seconds=seconds)
        if reach is not None and pixels is not None:
            factor = image[1] // latent[1]
            halo = probe_halo(
                trial,
                report,
                z,
                reach=reach,
                step=open_sizes.multiple // factor,
                least=math.ceil(open_sizes.least / factor),
                pixels=pixels,
                seconds_per_position=seconds / positions,
            )
    golden = _golden(trial, image, latent, pixels, pictures)
    if open_sizes is not None:
        other = _other_image(image, open_sizes)
        factor = image[1] // latent[1]
        other_latent = (latent[0], other[1] // factor, other[2] // factor)
        golden = _with_other(golden, _golden(trial, other, other_latent, pixels, pictures))
        report.ok("golden vectors", f"at {image[1]} × {image[2]} and {other[1]} × {other[2]}")
    else:
        report.ok("golden vectors", f"at {image[1]} × {image[2]}, from {pictures.origin}")
    has_logvar = len(golden.logvar) > 0
    prior = _prior(options, has_logvar=has_logvar, latent=latent, source=source, report=report)
    encoder, decoder = source.encoder, source.decoder
    is_vae = has_logvar or (encoder is None and (source.is_diffusers or prior))
    shape = ImageSpec(shape=image, range=pixels, sizes=open_sizes)
    origin = options.origin or source.described
    try:
        draft = ManifestDraft(
            schema_version=lowest_schema_version(shape, fitted=False, imported=True),
            name=options.name,
            kind="vae" if is_vae else "ae",
            description=options.description or f"Imported from {origin}.",
            image=shape,
            latent_size=math.prod(latent),
            latent=LatentSpec(
                shape=latent,
                scaling_factor=options.scaling_factor or source.normalisation.scaling_factor,
                shift_factor=options.shift_factor
                if options.shift_factor is not None
                else source.normalisation.shift_factor,
                mean=source.normalisation.mean,
                std=source.normalisation.std,
                decoder_reach=reach,
                decoder_halo=halo,
            ),
            likelihood=UnknownLikelihood(),
            encoder=tensors.encoder,
            decoder=tensors.decoder,
            golden=_tolerances(golden),
            metrics=(),
            provenance=ImportedProvenance(
                source=origin,
                producer=(encoder or _there(decoder)).signature.producer,
                libraries={name: metadata.version(name) for name in ("onnxruntime", "numpy")},
                encoder_sha256=_digest(encoder),
                decoder_sha256=_digest(decoder),
                created_at=datetime.now(UTC).replace(microsecond=0),
            ),
            priors=(StandardNormalPrior(),) if prior else (),
            licence=options.licence,
        )
    except ValidationError as error:
        raise refuse(
            "manifest", expected="values that a manifest allows", got=findings_in_one_line(error), remedy=""
        ) from error
    prepared = Prepared(
        draft,
        b"" if encoder is None else encoder.data,
        b"" if decoder is None else decoder.data,
        golden,
        report,
    )
    _check_by_serving(prepared)
    return prepared


def publish(prepared: Prepared, store: ModelStore, *, aliases: tuple[str, ...]) -> VersionId:
    """Publish a version under the next number.

    Raises:
        StoreError: As `ModelStore.publish`.
    """
    return store.publish(
        prepared.draft,
        encoder=prepared.encoder,
        decoder=prepared.decoder,
        golden=prepared.golden,
        card=prepared.card,
        aliases=aliases,
    )


def _check_by_serving(prepared: Prepared) -> None:
    """Publish into a temporary store, and load it as the server does."""
    with tempfile.TemporaryDirectory(prefix="vae-import-") as folder:
        store = ModelStore(Path(folder))
        identity = publish(prepared, store, aliases=())
        pool = WorkerPool(1, max_waiting=1)
        try:
            load_model(store.open(identity), threads=allowed_threads().threads, worker_pool=pool)
        except ModelRejected as error:
            raise refuse("serving", expected="a version that loads", got=str(error), remedy="") from error
        finally:
            pool.close()
    prepared.report.ok("serving", "it loads as the server loads it, and reproduces its golden vectors")


def _latents(trial: Trial, images: Array, sizes: Sizes) -> Array:
    if trial.encoder is not None:
        return trial.encode(images)[0]
    rows = np.random.default_rng(0).standard_normal((len(images), *sizes.latent))
    return rows.astype(np.float32)


def _open_sizes(sizes: Sizes, *, most: int) -> OpenSizes | None:
    if sizes.multiple is None or sizes.least is None:
        return None
    return OpenSizes(
        multiple=sizes.multiple,
        least=sizes.least,
        most=max(most // sizes.multiple * sizes.multiple, *sizes.image[1:]),
    )


def _other_image(image: tuple[int, int, int], sizes: OpenSizes) -> tuple[int, int, int]:
    """A second size, H ≠ W and smaller if that is possible."""
    step = sizes.multiple
    half = max(sizes.least, image[1] // 2 // step * step)
    for height, width in ((half, half + step), (half + step, half), (image[1] + step, image[2])):
        if (height, width) != image[1:] and sizes.accepts(height, width):
            return (image[0], height, width)
    raise refuse(
        "sizes",
        expected=f"a longest side that allows a second size than {image[1]} × {image[2]}",
        got=f"{sizes.most}",
        remedy="Raise --most.",
    )


def _golden(
    trial: Trial,
    image: tuple[int, int, int],
    latent: tuple[int, ...],
    pixels: Range | None,
    pictures: Pictures,
) -> GoldenVectors:
    """The outputs for a few inputs, through the code that serves requests."""

    def run(name: Literal["encoder", "decoder"], rows: Array) -> list[Array]:
        session = trial.encoder if name == "encoder" else trial.decoder
        spec: GraphSpec | None = getattr(trial.tensors, name)
        assert session is not None
        assert spec is not None
        graph = ImportedGraph(session, spec, pixels=pixels, latent_shape=latent)
        done = [graph.run(rows[at : at + 1]) for at in range(len(rows))]
        return [np.concatenate(each) for each in zip(*done, strict=True)]

    none = np.zeros((0,), np.float32)
    x = mu = logvar = z = x_hat = none
    if trial.encoder is not None and trial.tensors.encoder is not None:
        x = pictures.images(_GOLDEN_ROWS, image)
        mu, logvar = run("encoder", x)
        if trial.tensors.encoder.meanings == {"mu"}:
            logvar = none
    if trial.decoder is not None:
        size = math.prod(latent)
        z = mu if len(mu) else np.random.default_rng(1).standard_normal((_GOLDEN_ROWS, size), np.float32)
        (x_hat,) = run("decoder", z)
    return GoldenVectors(x=x, mu=mu, logvar=logvar, z=z, x_hat=x_hat)


def _with_other(golden: GoldenVectors, other: GoldenVectors) -> GoldenVectors:
    return GoldenVectors(
        x=golden.x, mu=golden.mu, logvar=golden.logvar, z=golden.z, x_hat=golden.x_hat, other=other
    )


def _tolerances(golden: GoldenVectors) -> GoldenSpec:
    """Convolutions of another processor differ by some units in the last place of the largest value."""
    latents = [each for each in (golden.mu, golden.logvar) if len(each)]
    largest = max([1.0, *(float(np.abs(each).max()) for each in latents)])
    pixels = max(1.0, float(np.abs(golden.x_hat).max(initial=0.0)))
    return GoldenSpec(
        latent_atol=min(_LARGEST_TOLERANCE, _LATENT_TOLERANCE * largest),
        pixel_atol=min(_LARGEST_TOLERANCE, _PIXEL_TOLERANCE * pixels),
    )


def _prior(
    options: Options, *, has_logvar: bool, latent: tuple[int, ...], source: Source, report: Report
) -> bool:
    """Whether latents may be drawn from N(0, I)."""
    if options.prior is not None:
        report.ok("prior", f"{options.prior}, as stated")
        return options.prior == "standard"
    is_flat = len(latent) == 1 and source.normalisation.scaling_factor is None
    if has_logvar and is_flat:
        report.warn(
            "prior", "standard is assumed, because latents are flat; --prior none if training had no KL term"
        )
        return True
    report.ok("prior", "none: latents are not known to follow N(0, I), so /sample is refused")
    return False


def _digest(graph: GraphFile | None) -> str:
    return "none" if graph is None else hashlib.sha256(graph.data).hexdigest()


def _there(graph: GraphFile | None) -> GraphFile:
    assert graph is not None, "one graph is there"
    return graph


def _card(manifest: Manifest, report: Report) -> str:
    provenance = manifest.provenance
    assert isinstance(provenance, ImportedProvenance)
    latent = "x".join(map(str, manifest.latent_shape))
    checks = "\n".join(f"- {f.check}: {f.detail}" for f in report.findings)
    return (
        f"# {manifest.name}, version {manifest.version}\n\n{manifest.description}\n\n"
        "This model was imported. Its training, its data and its likelihood are not known here; the graphs' "
        "bytes are those of the imported files.\n\n"
        f"Origin: {provenance.source}; exporter: {provenance.producer}; licence: {manifest.licence}.\n\n"
        f"Images: {'x'.join(map(str, manifest.image.shape))}; latents: {latent}.\n\n"
        f"## Checks at the import\n\n{checks}\n"
    )

"""The output of `vae-store`: one document for machines and one text for people, with the same content.

Knows the store's public names and the layout of tables. Knows nothing of arguments, exit codes or streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from model_store import text_layout
from model_store.adding import Addition, AliasMove
from model_store.aliases import LATEST, AliasEntry, AliasTable
from model_store.calibration import Calibration
from model_store.errors import CorruptVersion, ModelNotFound, StoreError
from model_store.garbage import CollectionReport
from model_store.history import HistoryEntry, Record
from model_store.image_spec import UNSTATED_PREPROCESSING
from model_store.imported import ImportedProvenance
from model_store.manifest import Manifest
from model_store.provenance import Provenance
from model_store.signature import signature_file
from model_store.store import ModelStore
from model_store.store_messages import empty_store
from model_store.tensor_spec import GraphSpec
from model_store.verification import PublishedModel
from model_store.version_id import VersionId

Document = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """The same content as JSON and as text."""

    document: Document
    text: str


def listing(
    store: ModelStore,
    names: Sequence[str],
    *,
    unusable: Mapping[str, CorruptVersion] | None = None,
    width: int | None = None,
) -> Answer:
    """Every version of these models, from manifests alone; unreadable ones are listed as such.

    Args:
        store: The store of the models.
        names: Names of the models.
        unusable: Entries with the name of a model that are no models, and the reasons.
        width: Characters in a line; None: any number. Where the table is wider, times are in minutes.
    """
    rows: list[Document] = []
    problems: list[Document] = []
    for name in names:
        try:
            rows += _rows(store, name, problems)
        except ModelNotFound:
            continue  # removed by another process
        except CorruptVersion as error:
            problems.append(problem(name, error))
    problems += [problem(name, error) for name, error in (unusable or {}).items()]
    columns = ("version", "aliases", "kind", "image", "latent", "created", "bytes")
    shown = [{**row, "aliases": _pointing(row["aliases"], row["splits"])} for row in rows]
    cells = [[_cell(row[column]) for column in columns] for row in shown]
    text = text_layout.table(columns, cells) if rows else empty_store(store.root)
    if rows and width is not None and max(map(len, text.splitlines())) > width:
        at = columns.index("created")
        text = text_layout.table(
            columns, [[*row[:at], _to_the_minute(row[at]), *row[at + 1 :]] for row in cells]
        )
    told = [f"CORRUPT {entry['of']}: {entry['message']}" for entry in problems]
    return Answer(
        {"store": str(store.root), "versions": rows, "problems": problems}, "\n".join([text, *told])
    )


def details(model: PublishedModel, aliases: Mapping[str, AliasEntry], *, width: int | None = None) -> Answer:
    """Description, figures and origin of one verified version, in lines of `width` characters or any."""
    manifest = model.manifest
    pointing = [alias for alias, entry in aliases.items() if entry.version == model.id.version]
    splits = _splits(aliases, model.id.version)
    likelihood = manifest.likelihood.model_dump()
    origin = [
        ("version", str(model.id)),
        ("aliases", ", ".join(_pointing(pointing, splits)) or "none"),
        ("description", manifest.description),
        ("kind", manifest.kind),
        ("image", _image(manifest)),
        ("picture files", _preprocessing(manifest)),
        *_latent(manifest),
        ("likelihood", ", ".join(str(value) for value in likelihood.values())),
        ("priors", _priors(manifest)),
        *([("preview", f"{manifest.preview.images} images")] if manifest.preview else []),
        *([("thresholds", _thresholds(manifest.calibration))] if manifest.calibration else []),
        ("opset", f"encoder {_opset(manifest.encoder)}, decoder {_opset(manifest.decoder)}"),
        *_origin(manifest.provenance),
        ("created", manifest.provenance.created_at.isoformat()),
        ("licence", manifest.licence),
    ]
    metrics = manifest.metrics + (manifest.fitted_prior.metrics if manifest.fitted_prior else ())
    figures = text_layout.table(
        ("metric", "value", "unit", "protocol"),
        [[m.name, f"{m.value:.6g}", m.unit, m.protocol] for m in metrics],
        width=width,
    )
    files = text_layout.table(
        ("file", "bytes", "sha256"),
        [[name, str(entry.size_bytes), entry.sha256] for name, entry in sorted(manifest.files.items())],
    )
    parts = [
        text_layout.facts(origin, width=width),
        figures,
        files,
        "Verified: every byte equals the published one.",
    ]
    text = "\n\n".join(parts)
    return Answer(
        {
            "version": str(model.id),
            "aliases": pointing,
            "splits": splits,
            "manifest": manifest.model_dump(mode="json"),
        },
        text,
    )


def verification(found: Mapping[str, Sequence[StoreError]], *, root: Path) -> Answer:
    """Every failure of the checked versions and models of the store below `root`."""
    lines: list[str] = []
    results: list[Document] = []
    for of, errors in found.items():
        lines.append(f"{'CORRUPT' if errors else 'ok':<7}  {of}")
        lines += [f"         {type(error).__name__}: {error}" for error in errors]
        results.append({"of": of, "ok": not errors, "problems": [problem(of, error) for error in errors]})
    failed = sum(1 for errors in found.values() if errors)
    lines.append(f"{len(found)} checked, {failed} corrupt." if found else empty_store(root))
    return Answer({"checked": len(found), "corrupt": failed, "results": results}, "\n".join(lines))


def signed(identity: VersionId, root: Path) -> Answer:
    """A version has a signature now."""
    path = root / identity.name / signature_file(identity.version)
    return Answer(
        {"version": str(identity), "signature": str(path)},
        f"signed {identity}: {path}",
    )


def moved(name: str, alias: str, version: int) -> Answer:
    """An alias has a new target."""
    return Answer(
        {"name": name, "alias": alias, "version": version}, f"{name}@{alias} is now version {version}."
    )


def shares(name: str, alias: str, entry: AliasEntry) -> Answer:
    """The versions that answer for an alias."""
    versions = [{"version": version, "percent": percent} for version, percent in entry.shares.items()]
    told = ", ".join(f"version {version} at {percent:g} %" for version, percent in entry.shares.items())
    text = f"{name}@{alias}: {told}." if entry.canary else f"{name}@{alias} is version {entry.version}."
    return Answer({"name": name, "alias": alias, "versions": versions}, text)


def collection(report: CollectionReport) -> Answer:
    """The removed entries, or those to be removed."""
    verb = "would remove" if report.dry_run else "removed"
    removed = [*report.temporaries, *map(str, report.versions)]
    lines = [f"{verb} {item}" for item in removed] + [f"skipped: {reason}" for reason in report.skipped]
    return Answer(
        {
            "dry_run": report.dry_run,
            "temporaries": list(report.temporaries),
            "versions": [str(identity) for identity in report.versions],
            "skipped": list(report.skipped),
        },
        "\n".join(lines) or "Nothing to remove.",
    )


def addition(result: Addition, store: ModelStore) -> Answer:
    """The versions that were added, were here, or were refused, and the aliases."""
    lines = [
        f"added {here}" + ("" if here == of else f", which is {of} in {result.source}")
        for of, here in result.added
    ]
    lines += [f"refused {of}: {error}" for of, error in result.refused]
    lines += [f"{move.name}@{move.alias} is now version {move.version}." for move in result.moved]
    lines += [
        f"{move.name}@{move.alias} stays at version {move.before}; the source has it on the one added as "
        f"{move.version}: vae-store promote {move.name}@{move.version} {move.alias}"
        for move in result.stayed
    ]
    if result.present and not result.added:
        count = len(result.present)
        one = f"{result.present[0][1]} is already in {store.root}."
        lines.append(one if count == 1 else f"{count} versions are already in {store.root}.")
    return Answer(
        {
            "source": result.source,
            "store": str(store.root),
            "added": [_pair(of, here) for of, here in result.added],
            "present": [_pair(of, here) for of, here in result.present],
            "refused": [problem(str(of), error) for of, error in result.refused],
            "aliases": [_move(move) for move in result.moved],
            "stayed": [_move(move) for move in result.stayed],
        },
        "\n".join(lines),
    )


def removed(identity: VersionId, aliases: Sequence[str]) -> Answer:
    """A version is gone, and perhaps aliases with it."""
    lines = [f"removed {identity}", *(f"removed {identity.name}@{alias}" for alias in aliases)]
    return Answer({"version": str(identity), "aliases": list(aliases)}, "\n".join(lines))


def history(
    store: ModelStore, name: str, record: Record, table: AliasTable, numbers: Sequence[int]
) -> Answer:
    """The recorded changes of a model, the versions without a record, and the aliases of today."""
    events = [_event(entry) for entry in record.entries]
    arrived = {entry.version for entry in record.entries if entry.event in ("published", "added")}
    events = [*_unrecorded(store, name, [n for n in numbers if n not in arrived]), *events]
    columns = ("time", "event", "version", "alias", "before", "source")
    rows = [[_event_cell(event, column) for column in columns] for event in events]
    lines = [text_layout.table(columns, rows)]
    if any(not event["recorded"] for event in events):
        lines.append("created: the time in the manifest; this store has no record of the publication.")
    if record.unreadable:
        lines.append(f"{record.unreadable} lines of the record cannot be read by this release.")
    aliases = {
        alias: {
            "version": entry.version,
            "canary": entry.canary and entry.canary.model_dump(),
            "earlier": list(entry.history),
        }
        for alias, entry in sorted(table.aliases.items())
        if alias != LATEST
    }
    for alias in aliases:
        earlier = ", ".join(map(str, reversed(table.aliases[alias].history))) or "none"
        now = table.aliases[alias]
        second = f", and version {now.canary.version} at {now.canary.percent:g} %" if now.canary else ""
        lines.append(
            f"{name}@{alias} is version {now.version}{second}; earlier, the most recent first: {earlier}."
        )
    return Answer(
        {"name": name, "events": events, "aliases": aliases, "unreadable": record.unreadable},
        "\n".join(lines),
    )


def problem(of: str, error: StoreError) -> Document:
    """An error for machines: its class is its code."""
    return {"of": of, "error": type(error).__name__, "message": str(error)}


def _pair(of: VersionId, here: VersionId) -> Document:
    return {"version": str(here), "from": str(of)}


def _move(move: AliasMove) -> Document:
    return {"name": move.name, "alias": move.alias, "version": move.version, "before": move.before}


def _event(entry: HistoryEntry) -> Document:
    return {
        "time": entry.time.isoformat(),
        "event": entry.event,
        "version": entry.version,
        "alias": entry.alias,
        "before": entry.before,
        "canary": entry.canary,
        "percent": entry.percent,
        "source": entry.source,
        "recorded": True,
    }


def _event_cell(event: Document, column: str) -> str:
    if column == "version" and event["canary"] is not None:
        return f"{event['version']}, and {event['canary']} at {event['percent']:g} %"
    return "" if event[column] is None else str(event[column])


def _unrecorded(store: ModelStore, name: str, numbers: Sequence[int]) -> list[Document]:
    """Versions from before the record, with the time in their manifests."""
    events = []
    for number in numbers:
        try:
            time = store.manifest(VersionId(name, number)).provenance.created_at.astimezone(UTC).isoformat()
        except (CorruptVersion, ModelNotFound):
            time = None
        empty: Document = dict.fromkeys(("alias", "before", "canary", "percent", "source"))
        events.append({"time": time, "event": "created", "version": number, **empty, "recorded": False})
    return events


def _rows(store: ModelStore, name: str, problems: list[Document]) -> list[Document]:
    """The versions of one model; its faults are added to `problems`."""
    try:
        entries = store.alias_entries(name)
    except CorruptVersion as error:
        entries = {}
        problems.append(problem(name, error))
    rows: list[Document] = []
    for number in store.versions(name):
        pointing = [alias for alias, entry in entries.items() if entry.version == number]
        named = {"aliases": pointing, "splits": _splits(entries, number)}
        rows.append(_row(store, VersionId(name, number), named, problems))
    problems += [
        entry for error in store.model_problems(name) if (entry := problem(name, error)) not in problems
    ]
    return rows


def _splits(aliases: Mapping[str, AliasEntry], version: int) -> dict[str, float]:
    """The share of a version by alias, for the aliases that split."""
    return {
        alias: entry.shares[version]
        for alias, entry in aliases.items()
        if entry.canary is not None and version in entry.targets
    }


def _pointing(aliases: Sequence[str], splits: Mapping[str, float]) -> list[str]:
    """The aliases of a version for people, with its share of each that splits."""
    names = sorted({*aliases, *splits})
    return [f"{name} {splits[name]:g} %" if name in splits else name for name in names]


def _row(store: ModelStore, identity: VersionId, named: Document, problems: list[Document]) -> Document:
    row: Document = {"version": str(identity), **named}
    try:
        manifest = store.manifest(identity)
    except (CorruptVersion, ModelNotFound) as error:
        problems.append(problem(str(identity), error))
        return {**row, "kind": None, "image": None, "latent": None, "created": None, "bytes": None}
    return {
        **row,
        "kind": manifest.kind,
        "image": list(manifest.image.shape),
        "latent": manifest.latent_size if manifest.latent is None else list(manifest.latent.shape),
        "created": manifest.provenance.created_at.isoformat(),
        "bytes": sum(entry.size_bytes for entry in manifest.files.values()),
    }


def _preprocessing(manifest: Manifest) -> str:
    how = manifest.image.preprocessing
    fit = "fit not stated, so a server uses contain" if how == UNSTATED_PREPROCESSING else how.fit
    return f"{fit}, ground {how.ground}, {how.levels or 'no'} levels"


def _thresholds(made: Calibration) -> str:
    """The flagged share, and the thresholds of all figures."""
    each = ", ".join(f"{figure.name} {figure.threshold:.6g}" for figure in made.figures)
    return f"{made.rate:.3g} of {made.data}, by {made.flagged_by}; in nats: {each}"


def _priors(manifest: Manifest) -> str:
    fitted = manifest.mixture_prior
    told = ", ".join(prior.name for prior in manifest.priors) or "none"
    if fitted is None:
        return told
    labels = ", ".join(each.label for each in fitted.labels) or "none"
    plural = "s" if fitted.components > 1 else ""
    return f"{told} ({fitted.components} Gaussian{plural}; labels: {labels})"


def _image(manifest: Manifest) -> str:
    image = manifest.image
    shape = "x".join(map(str, image.shape))
    values = "of any values" if image.range is None else f"in [{image.range[0]:g}, {image.range[1]:g}]"
    if image.sizes is None:
        return f"{shape} {values}"
    sizes = image.sizes
    return (
        f"{shape} {values}, or other sides from {sizes.least} to {sizes.most}, multiples of {sizes.multiple}"
    )


def _latent(manifest: Manifest) -> list[tuple[str, str]]:
    latent = manifest.latent
    if latent is None:
        return [("latent size", str(manifest.latent_size))]
    facts = [("latent", "x".join(map(str, latent.shape)))]
    for name, value in (("scaling factor", latent.scaling_factor), ("shift factor", latent.shift_factor)):
        if value is not None:
            facts.append((name, f"{value:g}"))
    if latent.mean is not None:
        facts.append(("normalisation", f"mean and std of {len(latent.mean)} channels"))
    return facts


def _opset(graph: GraphSpec | None) -> str:
    return "none" if graph is None else str(graph.opset)


def _origin(provenance: Provenance) -> list[tuple[str, str]]:
    if isinstance(provenance, ImportedProvenance):
        return [("imported from", provenance.source), ("exporter", provenance.producer)]
    return [
        ("data", provenance.data),
        ("seed, epochs", f"{provenance.seed}, {provenance.epochs}"),
        ("revision", provenance.git_revision),
    ]


def _to_the_minute(time: str) -> str:
    """`2026-11-28T14:53:36+00:00` as `2026-11-28 14:53`; all are in UTC."""
    return time[:16].replace("T", " ")


def _cell(value: object) -> str:
    if value is None:
        return "?"
    if isinstance(value, list):
        separator = "x" if all(isinstance(item, int) for item in value) else ", "
        return separator.join(map(str, value)) or "-"
    return str(value)

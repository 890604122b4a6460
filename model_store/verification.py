"""The complete check of one version's directory, and its verified bytes.

Knows the parts of a version and the order of their checks: entries, manifest, sizes and digests, graphs,
golden vectors, priors, previews. Knows nothing of other versions, aliases or publishing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from pydantic import ValidationError

from model_store.errors import (
    CorruptVersion,
    InvalidGolden,
    InvalidManifest,
    InvalidPreview,
    InvalidPrior,
    NewerSchema,
    defect,
    quoted,
)
from model_store.golden import GoldenVectors
from model_store.integrity import (
    RESTORE,
    OpenDirectory,
    SizeLimits,
    check_entries,
    check_entry,
    check_seal,
    sha256,
)
from model_store.learned_prior import LearnedPriorFiles, PriorGolden
from model_store.manifest import (
    CARD_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    OPTIONAL_FILES,
    PRIOR_DENSITY_FILE,
    PRIOR_GOLDEN_FILE,
    PRIOR_SAMPLER_FILE,
    REQUIRED_FILES,
    SCHEMA_VERSION,
    Manifest,
)
from model_store.onnx_guard import check_graph
from model_store.preview import Preview
from model_store.prior import PriorMixtures
from model_store.strict_json import parse_object
from model_store.tensor_spec import GraphSpec
from model_store.validation_messages import findings_in_one_line, of_a_later_contract
from model_store.version_id import VersionId

_Value = TypeVar("_Value")


class VersionParts(TypedDict):
    """The content of a version besides manifest and card, under the names that `publish` has for it."""

    encoder: bytes
    decoder: bytes
    golden: GoldenVectors
    prior: PriorMixtures | None
    preview: Preview | None
    learned_prior: LearnedPriorFiles | None


@dataclass(frozen=True, eq=False)
class PublishedModel:
    """A version with every byte verified; use these bytes and read no file again."""

    id: VersionId
    manifest: Manifest
    encoder: bytes
    """Empty if the version has none."""
    decoder: bytes
    """Empty if the version has none."""
    golden: GoldenVectors
    card: str
    prior: PriorMixtures | None
    """The mixtures of the fitted or learned prior, if the manifest lists one."""
    preview: Preview | None = None
    """The posterior means of some real images, if the manifest lists a preview."""
    learned_prior: LearnedPriorFiles | None = None
    """The graphs of the learned prior, if the manifest lists one; `prior` then contains its mixtures."""
    manifest_file_sha256: str = ""
    """Of `manifest.json` as it is on the disk; `manifest.manifest_sha256` leaves itself out."""
    signed_by: str | None = None
    """The beginning of the fingerprint of the key, if the store trusts only signed versions."""

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of every file of the version, by name: the content of a signature."""
        files = {name: entry.sha256 for name, entry in self.manifest.files.items()}
        return {**files, MANIFEST_FILE: self.manifest_file_sha256}

    @property
    def parts(self) -> VersionParts:
        """For a version that takes over everything from this one: `store.publish(draft, card=…, **parts)`."""
        return VersionParts(
            encoder=self.encoder,
            decoder=self.decoder,
            golden=self.golden,
            prior=self.prior,
            preview=self.preview,
            learned_prior=self.learned_prior,
        )


@dataclass(frozen=True)
class Examination:
    """All defects of a version, and its content if there are none."""

    problems: tuple[CorruptVersion, ...]
    model: PublishedModel | None

    def verified(self) -> PublishedModel:
        """The content.

        Raises:
            CorruptVersion: The first defect, in its own class.
        """
        if self.model is None:
            raise self.problems[0]
        return self.model


def examine(directory: OpenDirectory, identity: VersionId, limits: SizeLimits) -> Examination:
    """Check a version completely and collect every defect, not only the first."""
    problems: list[CorruptVersion] = list(
        check_entries(directory, (MANIFEST_FILE, *REQUIRED_FILES), optional=OPTIONAL_FILES)
    )

    def attempt(step: Callable[[], _Value]) -> _Value | None:
        try:
            return step()
        except CorruptVersion as error:
            # The defects from the listing usually include a missing file already.
            if str(error) not in map(str, problems):
                problems.append(error)
            return None

    read = attempt(lambda: _read_manifest(directory, identity, limits))
    if read is None:
        # Files that a later contract adds to a version are no defects.
        newer = tuple(problem for problem in problems if isinstance(problem, NewerSchema))
        return Examination(newer or tuple(problems), None)
    manifest, manifest_file_sha256 = read
    # Only the manifest decides which of the optional files belong here.
    problems = [*check_entries(directory, (MANIFEST_FILE, *manifest.file_names))]
    encoder = attempt(lambda: _read_graph(directory, manifest, manifest.encoder, limits))
    decoder = attempt(lambda: _read_graph(directory, manifest, manifest.decoder, limits))
    golden = attempt(lambda: _read_golden(directory, manifest, limits))
    card = attempt(lambda: _read_card(directory, manifest, limits))
    prior = attempt(lambda: _read_prior(directory, manifest, limits))
    preview = attempt(lambda: _read_preview(directory, manifest, limits))
    learned = attempt(lambda: _read_learned_prior(directory, manifest, limits))
    if problems or encoder is None or decoder is None or golden is None or card is None:
        return Examination(tuple(problems), None)
    model = PublishedModel(
        identity,
        manifest,
        encoder,
        decoder,
        golden,
        card,
        prior,
        preview,
        learned,
        manifest_file_sha256=manifest_file_sha256,
    )
    return Examination((), model)


def read_manifest(directory: OpenDirectory, identity: VersionId, limits: SizeLimits) -> Manifest:
    """The manifest in `directory`, which must describe the version of that directory.

    Raises:
        MissingFile, UnsafeFile, SizeMismatch, UnreadableFile: As for any file.
        InvalidManifest: Not valid, or of another name or version.
    """
    return _read_manifest(directory, identity, limits)[0]


def _read_manifest(directory: OpenDirectory, identity: VersionId, limits: SizeLimits) -> tuple[Manifest, str]:
    """The manifest, and the SHA-256 of its bytes."""
    path = directory.path / MANIFEST_FILE
    data = directory.read(MANIFEST_FILE, ceiling_bytes=limits.manifest_bytes)
    manifest = parse_manifest(data, where=str(path))
    if (manifest.name, manifest.version) != (identity.name, identity.version):
        raise InvalidManifest(
            defect(
                path,
                expected=f"the manifest of {identity}",
                got=f"that of {manifest.name}@{manifest.version}",
                remedy=RESTORE,
            )
        )
    return manifest, sha256(data)


def parse_manifest(data: bytes, *, where: str) -> Manifest:
    """Read `manifest.json` strictly.

    Raises:
        InvalidManifest: Names the invalid keys and the reasons, at most ten of them, without their values.
        NewerSchema: It follows a later contract; the rest was not checked.
        DigestMismatch: Valid, but not the published bytes.
    """
    try:
        stated = parse_object(data)
        if newer := of_a_later_contract(stated, where=where, known=SCHEMA_VERSION):
            raise NewerSchema(newer)
        # From the bytes and not from the parsed object: strict mode needs to know JSON's own types.
        manifest = Manifest.model_validate_json(data)
        _refuse_unstated(stated, manifest.model_dump(mode="json"))
    except ValidationError as error:
        raise InvalidManifest(
            defect(
                where,
                expected="a manifest as SPEC.md defines it",
                got=findings_in_one_line(error),
                remedy=RESTORE,
            )
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(
            defect(
                where, expected="complete and unambiguous UTF-8 JSON", got=quoted(str(error)), remedy=RESTORE
            )
        ) from error
    check_seal(data, where)
    return manifest


def _refuse_unstated(stated: Any, complete: Any, path: str = "") -> None:
    """A published manifest states everything: readers with other defaults must read the same."""
    if isinstance(complete, dict):
        unstated = sorted(set(complete) - set(stated))
        if unstated:
            raise ValueError(f"{path or 'the manifest'} lacks {unstated}")
        if needless := sorted(set(stated) - set(complete)):
            raise ValueError(
                f"{path or 'the manifest'} states {needless}, whose value is that of no such key"
            )
        for key, value in complete.items():
            _refuse_unstated(stated[key], value, f"{path}.{key}" if path else key)
    elif isinstance(complete, list):
        for index, (mine, value) in enumerate(zip(stated, complete, strict=True)):
            _refuse_unstated(mine, value, f"{path}[{index}]")


def _read(directory: OpenDirectory, manifest: Manifest, name: str, limits: SizeLimits) -> bytes:
    entry = manifest.files[name]
    data = directory.read(name, ceiling_bytes=limits.of(name), expected_bytes=entry.size_bytes)
    check_entry(data, entry, directory.path / name)
    return data


def _read_graph(
    directory: OpenDirectory, manifest: Manifest, spec: GraphSpec | None, limits: SizeLimits
) -> bytes:
    if spec is None:
        return b""
    data = _read(directory, manifest, spec.file, limits)
    check_graph(data, spec, where=str(directory.path / spec.file))
    return data


def _read_golden(directory: OpenDirectory, manifest: Manifest, limits: SizeLimits) -> GoldenVectors:
    data = _read(directory, manifest, GOLDEN_FILE, limits)
    with _placed(directory):
        return GoldenVectors.from_bytes(data, manifest, max_unpacked_bytes=limits.golden_bytes)


def _read_prior(directory: OpenDirectory, manifest: Manifest, limits: SizeLimits) -> PriorMixtures | None:
    if manifest.mixture_prior is None:
        return None
    data = _read(directory, manifest, manifest.mixture_prior.file, limits)
    with _placed(directory):
        return PriorMixtures.from_bytes(data, manifest, max_unpacked_bytes=limits.prior_bytes)


def _read_learned_prior(
    directory: OpenDirectory, manifest: Manifest, limits: SizeLimits
) -> LearnedPriorFiles | None:
    entry = manifest.learned_prior
    if entry is None:
        return None
    sampler, density, golden = (
        _read(directory, manifest, name, limits)
        for name in (PRIOR_SAMPLER_FILE, PRIOR_DENSITY_FILE, PRIOR_GOLDEN_FILE)
    )
    with _placed(directory):
        recorded = PriorGolden.from_bytes(
            golden, manifest.latent_size, max_unpacked_bytes=limits.golden_bytes
        )
    files = LearnedPriorFiles(sampler, density, recorded)
    files.validate(entry, latent_size=manifest.latent_size, where=f"{directory.path}/")
    return files


def _read_preview(directory: OpenDirectory, manifest: Manifest, limits: SizeLimits) -> Preview | None:
    if manifest.preview is None:
        return None
    data = _read(directory, manifest, manifest.preview.file, limits)
    with _placed(directory):
        return Preview.from_bytes(data, manifest, max_unpacked_bytes=limits.preview_bytes)


@contextmanager
def _placed(directory: OpenDirectory) -> Iterator[None]:
    """A defect of a file of arrays names the directory as well."""
    try:
        yield
    except (InvalidGolden, InvalidPreview, InvalidPrior) as error:
        raise type(error)(f"{directory.path}: {error}") from error


def _read_card(directory: OpenDirectory, manifest: Manifest, limits: SizeLimits) -> str:
    data = _read(directory, manifest, CARD_FILE, limits)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidManifest(
            defect(directory.path / CARD_FILE, expected="UTF-8 text", got=str(error), remedy=RESTORE)
        ) from error

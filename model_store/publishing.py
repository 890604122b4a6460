"""Publication of a version: complete and verified under a temporary name, then visible by one rename.

Knows the order of writes that leaves either the whole version or nothing. Knows nothing of finding or reading
versions.

    check the candidate ─▶ .tmp-…/ with graphs, golden vectors and priors, each synced
        ─▶ lock ─▶ next number ─▶ card, manifest ─▶ sync ─▶ verify ─▶ new aliases as a temporary file
        ─▶ record ─▶ rename to the number ─▶ sync ─▶ rename aliases.json ─▶ sync ─▶ unlock

A reader never sees an incomplete version, and a crash leaves at most a `.tmp-…` for the collector. All writes
that need space precede the first rename.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from model_store.aliases import ALIASES_FILE, AliasTable
from model_store.directory import highest_number, read_aliases
from model_store.durable_io import (
    LOCK_FILE,
    PUBLISHERS_FILE,
    lock,
    make_directory,
    make_root,
    remove,
    remove_if_empty,
    rename,
    sync_directory,
    temporary_name,
    write_file,
)
from model_store.errors import (
    CorruptVersion,
    InvalidDraft,
    StoreError,
    StoreLocked,
    StoreWriteFailed,
    UnreadableFile,
    quoted,
)
from model_store.golden import GoldenVectors
from model_store.history import arrival, moves, recorded
from model_store.integrity import UNSEALED, OpenDirectory, SizeLimits, file_entries, seal
from model_store.learned_prior import LearnedPriorFiles
from model_store.manifest import (
    CARD_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    PREVIEW_FILE,
    PRIOR_FILE,
    FileEntry,
    Manifest,
    ManifestDraft,
)
from model_store.onnx_guard import check_graph
from model_store.preview import Preview
from model_store.prior import PriorMixtures
from model_store.reference import is_alias_name, version_number
from model_store.tensor_spec import GraphSpec
from model_store.validation_messages import findings_in_one_line
from model_store.verification import examine
from model_store.version_id import VersionId

#: A card, or a function that writes it for a numbered manifest. See `render_card`.
Card = str | Callable[[Manifest], str]

#: Maximum number of attempts if other processes take numbers without the lock; more means a fault of the
#: directory.
_MAX_ATTEMPTS = 64
_GIVEN_BY_THE_STORE = {"version", "files", "manifest_sha256"}
_CARD_PLACEHOLDER = FileEntry(sha256="0" * 64, size_bytes=1)


@dataclass(frozen=True)
class Candidate:
    """A publisher's input after its checks; only `check_candidate` creates it."""

    draft: ManifestDraft
    payload: dict[str, bytes]
    """Graphs, golden vectors, any fitted prior and any preview by file name. The card and the manifest need
    the number."""
    card: Card
    aliases: tuple[str, ...]
    source: str | None = None
    """Origin of a version that another store published before."""


def check_candidate(
    draft: ManifestDraft,
    *,
    encoder: bytes,
    decoder: bytes,
    golden: GoldenVectors,
    prior: PriorMixtures | None,
    preview: Preview | None = None,
    learned_prior: LearnedPriorFiles | None = None,
    card: Card,
    aliases: Iterable[str],
    limits: SizeLimits,
    source: str | None = None,
) -> Candidate:
    """Check everything that can be checked before any write.

    Raises:
        InvalidDraft: Names the part that may not be published, and the reason.
    """
    where = f"draft of {quoted(getattr(draft, 'name', None))}"
    checked = _checked_draft(draft, where)
    wanted = tuple(aliases)
    for alias in wanted:
        if not is_alias_name(alias):
            raise InvalidDraft(
                f"{where}: {quoted(alias)} is no alias. Use lower-case letters, digits and hyphens."
            )
    try:
        golden.validate(checked)
        graphs = _graphs(checked, encoder, decoder)
        payload = {file: data for file, (_, data) in graphs.items()} | {GOLDEN_FILE: golden.to_bytes()}
        if prior is not None:
            prior.validate(checked)
            payload[PRIOR_FILE] = prior.to_bytes()
        elif checked.mixture_prior is not None:
            raise InvalidDraft(f"{PRIOR_FILE}: expected the mixtures of priors, got none. Pass them.")
        if preview is not None:
            preview.validate(checked)
            payload[PREVIEW_FILE] = preview.to_bytes()
        elif checked.preview is not None:
            raise InvalidDraft(f"{PREVIEW_FILE}: expected the arrays of the preview, got none. Pass them.")
        payload |= _of_learned_prior(checked, learned_prior)
        for name, data in payload.items():
            _check_size(name, data, limits)
        for file, (spec, data) in graphs.items():
            check_graph(data, spec, where=file)
        if isinstance(card, str):
            _check_size(CARD_FILE, _card_bytes(card), limits)
    except (InvalidDraft, CorruptVersion) as error:
        raise InvalidDraft(f"{where}: {error} Nothing was published.") from error
    return Candidate(checked, payload, card, wanted, source)


def _of_learned_prior(draft: ManifestDraft, files: LearnedPriorFiles | None) -> Mapping[str, bytes]:
    """The files of a learned prior, if the draft lists one.

    Raises:
        InvalidDraft: Only one of the draft and the caller has them.
        CorruptVersion: They contradict the draft.
    """
    if files is None:
        if draft.learned_prior is not None:
            raise InvalidDraft("priors: expected the graphs of the learned prior, got none. Pass them.")
        return {}
    if draft.learned_prior is None:
        raise InvalidDraft("priors: expected 'learned' with its graphs. List it, or leave them out.")
    files.validate(draft.learned_prior, latent_size=draft.latent_size)
    return files.payload()


def _graphs(draft: ManifestDraft, encoder: bytes, decoder: bytes) -> dict[str, tuple[GraphSpec, bytes]]:
    """Description and bytes of each graph that the draft has.

    Raises:
        InvalidDraft: There are bytes of a graph that it does not have.
    """
    found = {}
    for file, spec, data in ((ENCODER_FILE, draft.encoder, encoder), (DECODER_FILE, draft.decoder, decoder)):
        if spec is not None:
            found[file] = (spec, data)
        elif data:
            raise InvalidDraft(f"{file}: expected no bytes, as the manifest has no such graph, got some.")
    return found


def publish(root: Path, candidate: Candidate, limits: SizeLimits) -> VersionId:
    """Write, verify and reveal a version under the next number, then move its aliases and `latest`.

    Raises:
        StoreWriteFailed: Nothing became visible, unless the error's `published` names a version.
        CorruptAliases, UnsafeFile: This model's `aliases.json` or directory must be repaired first.
        InvalidDraft: The card for the number may not be published.
    """
    attempt = _Publication(candidate, limits)
    try:
        make_root(root)
        with OpenDirectory.at(root) as store, lock(store, PUBLISHERS_FILE, shared=True):
            return attempt.run(store)
    except (StoreWriteFailed, UnreadableFile, OSError) as error:
        cause = error.__cause__ if isinstance(error, UnreadableFile) else error
        kind = StoreLocked if isinstance(error, StoreLocked) else StoreWriteFailed
        raise kind(
            f"{error} {attempt.outcome()}",
            errno=getattr(cause, "errno", None),
            path=getattr(error, "path", None) or str(root),
            published=attempt.published,
        ) from error


class _Publication:
    """One run of the sequence at the top of this module, and its visible results so far."""

    def __init__(self, candidate: Candidate, limits: SizeLimits) -> None:
        self._candidate = candidate
        self._limits = limits
        self._name = candidate.draft.name
        self._temporary = temporary_name()
        self._temporary_aliases = temporary_name()
        self._left_behind = False
        self.published: VersionId | None = None

    def outcome(self) -> str:
        """The state of the store after a failure, for the reader of the error."""
        left = " A temporary entry remained; 'vae-store gc' removes it." if self._left_behind else ""
        if self.published is not None:
            return (
                f"{self.published} itself is published and complete; its aliases may not have moved, and "
                f"it may not survive a power cut. Check with 'vae-store verify {self.published}'.{left}"
            )
        return f"Nothing was published, and the previous content is unchanged.{left}"

    def run(self, store: OpenDirectory) -> VersionId:
        try:
            # Under the lock, so that no other process removes the model's directory in between.
            with lock(store, LOCK_FILE):
                if make_directory(store, self._name):
                    sync_directory(store)
                with store.subdirectory(self._name) as model:
                    read_aliases(model, self._limits)  # refuse a corrupt table before anything is written
                    make_directory(model, self._temporary)
            with store.subdirectory(self._name) as model, model.subdirectory(self._temporary) as version:
                for name, data in self._candidate.payload.items():
                    write_file(version, name, data)
                with lock(store, LOCK_FILE):
                    return self._commit(store, model, version)
        finally:
            self._clean(store)

    def _commit(self, store: OpenDirectory, model: OpenDirectory, version: OpenDirectory) -> VersionId:
        """Under the lock: number, card, manifest, verification, record, and the two renames."""
        for _ in range(_MAX_ATTEMPTS):
            table = read_aliases(model, self._limits)
            identity = VersionId(self._name, 1 + max(highest_number(model), table.highest()))
            if version_number(str(identity.version)) is None:
                raise StoreWriteFailed(f"{model.path}: no version number is left", path=str(model.path))
            digest = self._write_description(version, identity)
            new_table = self._write_aliases(model, table, identity)
            changes = (
                arrival(identity, manifest_sha256=digest, source=self._candidate.source),
                *moves(self._name, table, new_table),
            )
            try:
                with recorded(store, changes):
                    rename(model, self._temporary, str(identity.version))
            except FileExistsError:
                # A process without the lock was faster: the rename decides, and this one takes the next
                # number.
                continue
            self.published = identity
            sync_directory(model)
            rename(model, self._temporary_aliases, ALIASES_FILE)
            sync_directory(model)
            return identity
        raise StoreWriteFailed(
            f"{model.path}: {_MAX_ATTEMPTS} version numbers were taken while publishing. Find the other "
            "program that writes there; publishers take turns by the lock.",
            path=str(model.path),
        )

    def _write_description(self, version: OpenDirectory, identity: VersionId) -> str:
        """Write card and manifest for this number, then read everything back and verify it.

        Returns the manifest's digest.
        """
        files = {**file_entries(self._candidate.payload), CARD_FILE: _CARD_PLACEHOLDER}
        card = render_card(self._candidate.card, _manifest(self._candidate.draft, identity, files))
        _check_size(CARD_FILE, card, self._limits)
        files |= file_entries({CARD_FILE: card})
        manifest = _manifest(self._candidate.draft, identity, files)
        try:
            data = seal((manifest.model_dump_json(indent=2) + "\n").encode())
        except ValueError as error:
            raise InvalidDraft(f"draft of {self._name!r}: recipe: {error}. Rename that key.") from error
        _check_size(MANIFEST_FILE, data, self._limits)
        for name, content in ((CARD_FILE, card), (MANIFEST_FILE, data)):
            remove(version, name)
            write_file(version, name, content)
        sync_directory(version)
        try:
            return examine(version, identity, self._limits).verified().manifest.manifest_sha256
        except CorruptVersion as error:
            cause = error.__cause__
            raise StoreWriteFailed(
                f"{version.path}: the written version does not verify: {error}",
                errno=cause.errno if isinstance(cause, OSError) else None,
                path=str(version.path),
            ) from error

    def _write_aliases(self, model: OpenDirectory, table: AliasTable, identity: VersionId) -> AliasTable:
        for alias in self._candidate.aliases:
            table = table.moved(alias, identity.version)
        table = table.with_latest(identity.version)
        remove(model, self._temporary_aliases)
        write_file(model, self._temporary_aliases, table.to_bytes())
        return table

    def _clean(self, store: OpenDirectory) -> None:
        """Remove temporary entries, and an empty directory of a model that never had a version."""
        temporary = {self._temporary, self._temporary_aliases}
        try:
            with store.subdirectory(self._name) as model:
                for name in temporary & set(model.entries()):
                    remove(model, name)
                left = set(model.entries())
            self._left_behind = bool(temporary & left)
            if not left:
                # The model never had a version. The lock, because another publisher may be about to add one.
                with suppress(StoreLocked), lock(store, LOCK_FILE, wait_s=1.0):
                    remove_if_empty(store, self._name)
        except FileNotFoundError:
            pass  # The model's directory was never created.
        except StoreError:
            # The original error's message mentions it; the collector removes the rest.
            self._left_behind = True


def render_card(card: Card, manifest: Manifest) -> bytes:
    """The card's bytes.

    A callable receives the manifest with the version's number and all digests. The card's own entry is a
    placeholder, because no file can contain its own digest. It runs under the store's lock.

    Raises:
        InvalidDraft: Not text.
    """
    return _card_bytes(card if isinstance(card, str) else card(manifest))


def _card_bytes(card: str) -> bytes:
    if not isinstance(card, str):
        raise InvalidDraft(f"{CARD_FILE}: expected text, got {type(card).__name__}.")
    try:
        return card.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidDraft(
            f"{CARD_FILE}: expected text that UTF-8 can encode, got a lone surrogate."
        ) from error


def _check_size(name: str, data: bytes, limits: SizeLimits) -> None:
    if not isinstance(data, bytes):
        raise InvalidDraft(f"{name}: expected bytes, got {type(data).__name__}.")
    if not 1 <= len(data) <= limits.of(name):
        raise InvalidDraft(f"{name}: expected 1 to {limits.of(name)} bytes, got {len(data)}.")


def _checked_draft(draft: ManifestDraft, where: str) -> ManifestDraft:
    """The draft as every reader will see it: through JSON and back, without loss."""
    try:
        data = draft.model_dump_json(exclude=_GIVEN_BY_THE_STORE, warnings="error")
        checked = ManifestDraft.model_validate_json(data)
    except ValidationError as error:
        got = findings_in_one_line(error)
        raise InvalidDraft(f"{where}: expected a valid ManifestDraft, got: {got}") from error
    except (PydanticSerializationError, ValueError, AttributeError) as error:
        raise InvalidDraft(f"{where}: expected a valid ManifestDraft, got: {quoted(str(error))}") from error
    if checked.model_dump() != draft.model_dump(exclude=_GIVEN_BY_THE_STORE):
        raise InvalidDraft(
            f"{where}: expected values that JSON preserves, got some that it changes (perhaps NaN or "
            "infinity in the recipe). Use plain finite values."
        )
    return checked


def _manifest(draft: ManifestDraft, identity: VersionId, files: dict[str, FileEntry]) -> Manifest:
    """Everything except its own digest, which `seal` writes in place of the zeros at the end."""
    return Manifest.model_validate(
        {
            **draft.model_dump(),
            "version": identity.version,
            "files": {name: entry.model_dump() for name, entry in files.items()},
            "manifest_sha256": UNSEALED,
        }
    )

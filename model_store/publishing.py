"""How a version comes to be: complete and verified under a temporary name, then visible by one rename.

Knows the order of writes that leaves either the whole version or nothing. Knows nothing of how versions are
found or read back later.

    check the candidate ─▶ .tmp-…/ with graphs, golden vectors and priors, each synced
        ─▶ lock ─▶ next number ─▶ card, manifest ─▶ sync ─▶ verify what lies there ─▶ new aliases beside
        ─▶ rename to the number ─▶ sync ─▶ rename aliases.json ─▶ sync ─▶ unlock

A reader never sees a version before it is whole, and a crash leaves at most a `.tmp-…` for the collector.
Whatever can run out of space is written before the first rename.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from model_store.integrity import UNSEALED, OpenDirectory, SizeLimits, file_entries, seal
from model_store.manifest import (
    CARD_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    PRIOR_FILE,
    FileEntry,
    Manifest,
    ManifestDraft,
)
from model_store.onnx_guard import check_graph
from model_store.prior import PriorMixtures
from model_store.reference import is_alias_name, version_number
from model_store.verification import examine
from model_store.version_id import VersionId

#: A card, or what writes it once the number is known. See `render_card`.
Card = str | Callable[[Manifest], str]

#: Numbers tried when others appear without the lock; more means something is wrong with the directory.
_MAX_ATTEMPTS = 64
_GIVEN_BY_THE_STORE = {"version", "files", "manifest_sha256"}
_CARD_PLACEHOLDER = FileEntry(sha256="0" * 64, size_bytes=1)


@dataclass(frozen=True)
class Candidate:
    """What a publisher hands over, checked: `check_candidate` is the only maker."""

    draft: ManifestDraft
    payload: dict[str, bytes]
    """Graphs, golden vectors and any fitted prior by file name; the card and the manifest need the number."""
    card: Card
    aliases: tuple[str, ...]


def check_candidate(
    draft: ManifestDraft,
    *,
    encoder: bytes,
    decoder: bytes,
    golden: GoldenVectors,
    prior: PriorMixtures | None,
    card: Card,
    aliases: Iterable[str],
    limits: SizeLimits,
) -> Candidate:
    """Check everything that can be checked before a byte is written.

    Raises:
        InvalidDraft: Says which part may not be published and why.
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
        payload = {ENCODER_FILE: encoder, DECODER_FILE: decoder, GOLDEN_FILE: golden.to_bytes()}
        if prior is not None:
            prior.validate(checked)
            payload[PRIOR_FILE] = prior.to_bytes()
        elif checked.fitted_prior is not None:
            raise InvalidDraft(f"{PRIOR_FILE}: expected the mixtures that priors lists, got none. Give them.")
        for name, data in payload.items():
            _check_size(name, data, limits)
        check_graph(encoder, checked.encoder, where=ENCODER_FILE)
        check_graph(decoder, checked.decoder, where=DECODER_FILE)
        if isinstance(card, str):
            _check_size(CARD_FILE, _card_bytes(card), limits)
    except (InvalidDraft, CorruptVersion) as error:
        raise InvalidDraft(f"{where}: {error} Nothing was published.") from error
    return Candidate(checked, payload, card, wanted)


def publish(root: Path, candidate: Candidate, limits: SizeLimits) -> VersionId:
    """Write, verify and reveal a version under the next number, then move its aliases and `latest`.

    Raises:
        StoreWriteFailed: Nothing became visible, unless the error's `published` says otherwise.
        CorruptAliases, UnsafeFile: This model's `aliases.json` or directory must be mended first.
        InvalidDraft: The card that was rendered for the number may not be published.
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
    """One run of the sequence at the top of this module, and what of it has become visible."""

    def __init__(self, candidate: Candidate, limits: SizeLimits) -> None:
        self._candidate = candidate
        self._limits = limits
        self._name = candidate.draft.name
        self._temporary = temporary_name()
        self._temporary_aliases = temporary_name()
        self._left_behind = False
        self.published: VersionId | None = None

    def outcome(self) -> str:
        """What a reader of the error needs to know about the state of the store."""
        left = " A temporary entry was left behind; 'vae-store gc' removes it." if self._left_behind else ""
        if self.published is not None:
            return (
                f"{self.published} itself is published and complete; its aliases may not have moved, and "
                f"it may not survive a power cut. Check with 'vae-store verify {self.published}'.{left}"
            )
        return f"Nothing was published, and what was there before is untouched.{left}"

    def run(self, store: OpenDirectory) -> VersionId:
        try:
            # Under the lock, so that nobody else's clean-up takes the model's directory away in between.
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
                    return self._commit(model, version)
        finally:
            self._clean(store)

    def _commit(self, model: OpenDirectory, version: OpenDirectory) -> VersionId:
        """Under the lock: number, card, manifest, verification, and the two renames."""
        for _ in range(_MAX_ATTEMPTS):
            table = read_aliases(model, self._limits)
            identity = VersionId(self._name, 1 + max(highest_number(model), table.highest()))
            if version_number(str(identity.version)) is None:
                raise StoreWriteFailed(f"{model.path}: no version number is left", path=str(model.path))
            self._write_description(version, identity)
            self._write_aliases(model, table, identity)
            try:
                rename(model, self._temporary, str(identity.version))
            except FileExistsError:
                # Someone without the lock was faster: the rename decides, and the loser counts on.
                continue
            self.published = identity
            sync_directory(model)
            rename(model, self._temporary_aliases, ALIASES_FILE)
            sync_directory(model)
            return identity
        raise StoreWriteFailed(
            f"{model.path}: {_MAX_ATTEMPTS} version numbers were taken while publishing. "
            "Find out what else writes there; publishers take turns by the lock.",
            path=str(model.path),
        )

    def _write_description(self, version: OpenDirectory, identity: VersionId) -> None:
        """Card and manifest for this number, then everything read back and verified."""
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
            examine(version, identity, self._limits).verified()
        except CorruptVersion as error:
            cause = error.__cause__
            raise StoreWriteFailed(
                f"{version.path}: what was written does not verify when read back: {error}",
                errno=cause.errno if isinstance(cause, OSError) else None,
                path=str(version.path),
            ) from error

    def _write_aliases(self, model: OpenDirectory, table: AliasTable, identity: VersionId) -> None:
        for alias in self._candidate.aliases:
            table = table.moved(alias, identity.version)
        remove(model, self._temporary_aliases)
        write_file(model, self._temporary_aliases, table.with_latest(identity.version).to_bytes())

    def _clean(self, store: OpenDirectory) -> None:
        """Leave nothing temporary, and no empty directory of a model that never had a version."""
        temporary = {self._temporary, self._temporary_aliases}
        try:
            with store.subdirectory(self._name) as model:
                for name in temporary & set(model.entries()):
                    remove(model, name)
                left = set(model.entries())
            self._left_behind = bool(temporary & left)
            if not left:
                # Never a version here. The lock, because another publisher may be about to fill it.
                with suppress(StoreLocked), lock(store, LOCK_FILE, wait_s=1.0):
                    remove_if_empty(store, self._name)
        except FileNotFoundError:
            pass  # The model's directory was never made.
        except StoreError:
            # Told in the message of the error that is on its way; the collector removes what is left.
            self._left_behind = True


def render_card(card: Card, manifest: Manifest) -> bytes:
    """The card's bytes.

    A callable is given the manifest with the version's number and the digests of all files but the card's
    own, whose entry is a placeholder: no file can state its own digest. It runs under the store's lock.

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
            f"{CARD_FILE}: expected text that UTF-8 can hold, got a lone surrogate."
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
    except (ValidationError, PydanticSerializationError, ValueError, AttributeError) as error:
        raise InvalidDraft(f"{where}: expected a valid ManifestDraft, got: {quoted(str(error))}") from error
    if checked.model_dump() != draft.model_dump(exclude=_GIVEN_BY_THE_STORE):
        raise InvalidDraft(
            f"{where}: expected values that JSON can carry, got some that change on the way "
            "(NaN or infinity in the recipe, perhaps). Put plain finite values there."
        )
    return checked


def _manifest(draft: ManifestDraft, identity: VersionId, files: dict[str, FileEntry]) -> Manifest:
    """Everything but its own digest, which `seal` writes over the zeros once the text is final."""
    return Manifest.model_validate(
        {
            **draft.model_dump(),
            "version": identity.version,
            "files": {name: entry.model_dump() for name, entry in files.items()},
            "manifest_sha256": UNSEALED,
        }
    )

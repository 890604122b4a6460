"""Signatures of versions: an OpenSSF Model Signing bundle is checked with public keys.

Knows the bundle, elliptic-curve keys, and the digests that a signature must name. Knows nothing of stores or
of how a signature is made (`signing.py`). `cryptography` is imported on first use: it comes with an extra.

    <version>.sig          a sigstore bundle, one JSON object
      dsseEnvelope         payloadType, payload, one signature of both (DSSE v1.0)
        payload            an in-toto statement: predicate model_signing/signature/v1.0
          resources        name and SHA-256 of every file of the version

Source:
    OMS specification 1.0 (ossf/model-signing-spec), DSSE 1.0.2 (secure-systems-lab/dsse), as `model-signing`
    1.1 writes them.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from model_store.errors import InvalidSignature, MissingExtra, UnusableKey, defect
from model_store.strict_json import parse_object
from model_store.validation_messages import findings_in_one_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

#: A bundle of a version with seven files has 3 KB.
MAX_SIGNATURE_BYTES = 256 * 1024
#: A file of keys is a line or two of each; more is another file by mistake.
_MAX_KEYS_BYTES = 64 * 1024
#: Characters of a key's fingerprint that messages and logs show.
_SHOWN_DIGITS = 16
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_CURVES = "secp256r1, secp384r1 or secp521r1"
_SIGN = "Sign it with 'vae-store sign REFERENCE --key PRIVATE_KEY'."
_SIGN_AGAIN = (
    "Find out where it comes from. If it is yours, sign it again with 'vae-store sign REFERENCE --key "
    "PRIVATE_KEY'."
)


def signature_file(version: int) -> str:
    """Name of the signature of a version, in the directory of its model."""
    return f"{version}.sig"


def _bytes_of_base64(value: object) -> object:
    return b64decode(value, validate=True) if isinstance(value, str) else value


_Base64 = Annotated[bytes, BeforeValidator(_bytes_of_base64)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """A part of the bundle. Unknown keys are ignored, as the specification demands."""

    model_config = ConfigDict(extra="ignore", frozen=True)


_AnyPart = TypeVar("_AnyPart", bound=_Part)


class _Signature(_Part):
    sig: _Base64


class _Envelope(_Part):
    payload: _Base64
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=1)]


class _KeyHint(_Part):
    hint: str | None = None


class _Material(_Part):
    public_key: _KeyHint | None = Field(default=None, alias="publicKey")
    certificate: Any = None
    """Only in signatures by an identity instead of a key."""


class _Bundle(_Part):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    verification_material: _Material = Field(alias="verificationMaterial")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _SubjectDigest(_Part):
    sha256: _Digest


class _Subject(_Part):
    digest: _SubjectDigest


class _Serialization(_Part):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Resource(_Part):
    name: str
    algorithm: Literal["sha256"]
    digest: _Digest


class _Predicate(_Part):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(_Part):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    subject: Annotated[tuple[_Subject, ...], Field(min_length=1, max_length=1)]
    predicate: _Predicate


@dataclass(frozen=True)
class _Key:
    public: EllipticCurvePublicKey
    fingerprint: str
    """SHA-256 of the key as PEM: the `hint` of a bundle."""


class TrustedKeys:
    """Public keys, one of which must have signed a version. May be used from any thread."""

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self._keys = keys

    @classmethod
    def from_file(cls, path: Path) -> TrustedKeys:
        """Read one or more public keys as PEM (`-----BEGIN PUBLIC KEY-----`).

        Raises:
            UnusableKey: The file is unreadable, or has no such key, or a key of another kind.
            MissingExtra: `cryptography` is not installed.
        """
        return cls.from_pem(read_key_file(path), where=str(path))

    @classmethod
    def from_pem(cls, data: bytes, *, where: str) -> TrustedKeys:
        """The same from the content of a file.

        Args:
            data: PEM blocks; other text between them is ignored.
            where: The file, for messages.
        """
        keys = []
        for block in _PEM.finditer(data):
            kind = block[1].decode("ascii")
            if kind != "PUBLIC KEY":
                remedy = (
                    "Keep it away from servers, and write its public half: openssl pkey -in PRIVATE -pubout."
                    if "PRIVATE" in kind
                    else "Write the key alone: openssl x509 -in CERTIFICATE -pubkey -noout."
                )
                raise UnusableKey(defect(where, expected="public keys", got=f"a {kind}", remedy=remedy))
            keys.append(_key(block[0], where))
        if not keys:
            raise UnusableKey(
                defect(
                    where,
                    expected="at least one public key as PEM (-----BEGIN PUBLIC KEY-----)",
                    got="none",
                    remedy="Write one with: openssl pkey -in PRIVATE -pubout.",
                )
            )
        return cls(tuple(keys))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The beginning of the SHA-256 of each key, as in messages and logs."""
        return tuple(key.fingerprint[:_SHOWN_DIGITS] for key in self._keys)

    def check(self, signature: bytes | None, digests: Mapping[str, str], *, where: object) -> str:
        """Accept a version whose signature is by one of these keys and names exactly its files.

        Args:
            signature: The bundle; None if there is none.
            digests: SHA-256 of every file of the version, by name, of the bytes that will be used.
            where: The signature's file, for messages.

        Returns:
            The fingerprint of the key.

        Raises:
            InvalidSignature: There is none, it is by another key, or it is of other content.
        """
        if signature is None:
            raise InvalidSignature(
                defect(where, expected=f"a signature by {self}", got="no signature", remedy=_SIGN)
            )
        bundle = _parsed(_Bundle, signature, where, "a bundle of OpenSSF Model Signing")
        key = self._signer(bundle, where)
        statement = _parsed(_Statement, bundle.envelope.payload, where, "a signed list of SHA-256 of files")
        _compare(statement, digests, where)
        return key.fingerprint[:_SHOWN_DIGITS]

    def _signer(self, bundle: _Bundle, where: object) -> _Key:
        from cryptography.exceptions import InvalidSignature as NotByThisKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        envelope = bundle.envelope
        signed = b"DSSEv1 %d %b %d %b" % (
            len(_PAYLOAD_TYPE),
            _PAYLOAD_TYPE.encode(),
            len(envelope.payload),
            envelope.payload,
        )
        for key in self._keys:
            try:
                key.public.verify(envelope.signatures[0].sig, signed, ec.ECDSA(_hash_for(key.public)))
            except NotByThisKey:
                continue
            return key
        raise InvalidSignature(
            defect(where, expected=f"a signature by {self}", got=self._author_of(bundle), remedy=_SIGN_AGAIN)
        )

    def _author_of(self, bundle: _Bundle) -> str:
        """A description of a signature that none of the keys made. Its hint is unsigned: only a hint."""
        material = bundle.verification_material
        if material.certificate is not None:
            return "one by an identity (sigstore), which 'model_signing verify sigstore' checks"
        hint = material.public_key and material.public_key.hint
        if hint and any(hint == key.fingerprint for key in self._keys):
            return "one that names this key, which did not make it"
        return f"one by another key ({hint[:_SHOWN_DIGITS]!a})" if hint else "one by another key"

    def __str__(self) -> str:
        shown = ", ".join(self.fingerprints)
        return f"the key {shown}" if len(self._keys) == 1 else f"one of the keys {shown}"


def read_key_file(path: Path) -> bytes:
    """The content of a file of keys.

    Raises:
        UnusableKey: It is unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEYS_BYTES + 1)
    except OSError as error:
        raise UnusableKey(
            defect(
                path,
                expected="a readable file of keys",
                got=error.strerror or type(error).__name__,
                remedy="Check the path, its owner and permissions.",
            )
        ) from error
    if len(data) > _MAX_KEYS_BYTES:
        raise UnusableKey(
            defect(
                path,
                expected=f"a file of keys of at most {_MAX_KEYS_BYTES} bytes",
                got="a larger one",
                remedy="Name another file.",
            )
        )
    return data


def _key(pem: bytes, where: str) -> _Key:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  (an extra)
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            f"signatures: expected the extra 'verify' to be installed, but Python finds no {error.name}. "
            "Install it: pip install 'vae-service[verify]'."
        ) from None
    remedy = f"Use an elliptic-curve key on {_CURVES}: openssl ecparam -name prime256v1 -genkey -noout."
    try:
        public = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(
            defect(where, expected="a public key", got="one that cannot be read", remedy=remedy)
        ) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in _HASHES:
        kind = public.curve.name if isinstance(public, ec.EllipticCurvePublicKey) else type(public).__name__
        raise UnusableKey(defect(where, expected=f"a key on {_CURVES}", got=kind, remedy=remedy))
    canonical = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _Key(public, hashlib.sha256(canonical).hexdigest())


#: Curve → name of its hash, by the specification.
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


def _hash_for(public: EllipticCurvePublicKey) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    algorithm: HashAlgorithm = getattr(hashes, _HASHES[public.curve.name])()
    return algorithm


def _parsed(kind: type[_AnyPart], data: bytes, where: object, expected: str) -> _AnyPart:
    try:
        return kind.model_validate(parse_object(data))
    except ValidationError as error:
        got = findings_in_one_line(error)
    except (ValueError, RecursionError) as error:
        got = f"other content ({str(error)[:200]!a})"
    raise InvalidSignature(defect(where, expected=expected, got=got, remedy=_SIGN_AGAIN))


def _compare(statement: _Statement, digests: Mapping[str, str], where: object) -> None:
    """The signed list must name exactly these files with these digests."""
    resources = statement.predicate.resources
    signed = {resource.name: resource.digest for resource in resources}
    root = hashlib.sha256(b"".join(bytes.fromhex(each.digest) for each in resources)).hexdigest()
    if len(signed) != len(resources) or root != statement.subject[0].digest.sha256:
        raise InvalidSignature(
            defect(where, expected="each file once", got="a list that contradicts itself", remedy=_SIGN_AGAIN)
        )
    for name in sorted({*digests, *signed}):
        if signed.get(name) != digests.get(name):
            raise InvalidSignature(
                defect(
                    where,
                    expected=f"{name!a:.80} with sha256 {signed.get(name, 'of no file')} (as signed)",
                    got=f"sha256 {digests.get(name, 'of no file')}",
                    remedy=_SIGN_AGAIN,
                )
            )

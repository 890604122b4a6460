"""Signatures of versions for tests: bundles of OpenSSF Model Signing, made with `cryptography` alone.

Knows the format, so that a test can write one that `model-signing` would not. Knows nothing of readers.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from model_store import ModelStore, VersionId

PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASHES: Mapping[int, hashes.HashAlgorithm] = {
    256: hashes.SHA256(),
    384: hashes.SHA384(),
    521: hashes.SHA512(),
}
PrivateKey = ec.EllipticCurvePrivateKey


def new_key(curve: ec.EllipticCurve | None = None) -> PrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def private_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def public_pem(*keys: PrivateKey) -> bytes:
    return b"".join(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for key in keys
    )


def statement(resources: Iterable[tuple[str, str]], **changes: Any) -> dict[str, Any]:
    """The signed part; `changes` replace keys of its predicate's `serialization`, or `subject_sha256`."""
    listed = list(resources)
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "1", "digest": {"sha256": changes.pop("subject_sha256", root)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
                **changes,
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in listed],
        },
    }


def bundle(signed: Mapping[str, Any] | bytes, key: PrivateKey, *, hint: str | None = None) -> dict[str, Any]:
    """The file, as an object: `signed` is the statement or other bytes in its place."""
    payload = signed if isinstance(signed, bytes) else json.dumps(signed).encode()
    text = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    signature = key.sign(text, ec.ECDSA(HASHES[key.curve.key_size]))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": hint or hashlib.sha256(public_pem(key)).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
        },
    }


def signed_bundle(digests: Mapping[str, str], key: PrivateKey) -> bytes:
    """A valid signature of these files."""
    return json.dumps(bundle(statement(sorted(digests.items())), key)).encode()


def sign_tiny(store: ModelStore, identity: VersionId, key: PrivateKey) -> None:
    """Sign a version of a store as `vae-store sign` does, without `model-signing`."""
    store.attach(identity, signed_bundle(store.open(identity).digests, key))


def write_keys(path: Path, *keys: PrivateKey) -> Path:
    path.write_bytes(public_pem(*keys))
    return path

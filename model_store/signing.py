"""Sign a published version with a private key, by OpenSSF's `model-signing`.

Knows the files of keys, and that the signed bytes must be the verified ones. Knows nothing of the bundle's
format, which `model-signing` writes and `signature.py` checks. The extra `sign` brings both libraries.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from model_store.errors import MissingExtra, StoreWriteFailed, UnusableKey, defect
from model_store.signature import TrustedKeys, read_key_file

_PRIVATE_KEY = "an elliptic-curve private key as PEM, such as openssl ecparam -name prime256v1 -genkey writes"


def sign_files(directory: Path, digests: Mapping[str, str], *, key: Path, password: bytes | None) -> bytes:
    """The signature of a verified version.

    Args:
        directory: The directory of the version.
        digests: SHA-256 of each of its files, by name, as verified.
        key: The private key as PEM.
        password: Of the private key, if it is encrypted.

    Raises:
        MissingExtra: `model-signing` is not installed.
        UnusableKey: The key is unreadable, encrypted with another password, or of another kind.
        InvalidSignature: A file changed between its verification and its signing.
        StoreWriteFailed: There is no directory for the temporary file.
    """
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  (an extra, and slow)
        from model_signing import signing  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            f"sign: expected the extra 'sign' to be installed, but Python finds no {error.name}. Install it: "
            "pip install 'vae-service[sign]'."
        ) from None
    pem = read_key_file(key)
    try:
        private = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError) as error:
        remedy = "If the key is encrypted, pass its password with --password-file; otherwise leave that out."
        raise UnusableKey(defect(key, expected=_PRIVATE_KEY, got=str(error), remedy=remedy)) from error
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    keys = TrustedKeys.from_pem(public, where=str(key))
    try:
        folder = tempfile.TemporaryDirectory(prefix="vae-sign-")
    except OSError as error:
        raise StoreWriteFailed(
            f"{error.filename}: expected a writable temporary directory, got {error.strerror}. Name another "
            "with TMPDIR.",
            errno=error.errno,
        ) from error
    with folder as temporary:
        bundle = Path(temporary) / "bundle.sig"
        signing.Config().use_elliptic_key_signer(private_key=key, password=password).sign(directory, bundle)
        signature = bundle.read_bytes()
    keys.check(signature, digests, where=directory)
    return signature

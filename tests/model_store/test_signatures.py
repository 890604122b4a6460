"""Signatures: only a version that a trusted key signed, with exactly its files, is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S
from signed_models import (
    bundle,
    new_key,
    private_pem,
    public_pem,
    sign_tiny,
    signed_bundle,
    statement,
    write_keys,
)
from tiny_models import publish_tiny

from model_store import (
    BUNDLED_STORE,
    InvalidSignature,
    MissingExtra,
    ModelStore,
    TrustedKeys,
    UnusableKey,
    VersionId,
)
from model_store.adding import add_versions
from model_store.cli import main
from model_store.integrity import seal
from model_store.signature import MAX_SIGNATURE_BYTES
from model_store.sources import open_source

pytestmark = pytest.mark.usefixtures("published")
#: The version that `published` made.
TINY = VersionId("tiny", 1)
RECORDED = Path(__file__).parent.parent / "data" / "signatures"


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return new_key()


@dataclass
class Cli:
    """`vae-store` on the store of the test."""

    root: Path
    folder: Path
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: object) -> int:
        code = main(["--store", str(self.root), *map(str, arguments)])
        self.out, self.err = self.capsys.readouterr()
        return code

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


@pytest.fixture
def cli(store: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(store.root, tmp_path, capsys)


@pytest.fixture
def trusting(store: ModelStore, published: VersionId, key) -> ModelStore:
    """The same store, for a reader that requires a signature by `key`; tiny@1 is unsigned."""
    other = ModelStore(store.root)
    other.trust_only(TrustedKeys.from_pem(public_pem(key), where="keys.pem"))
    return other


def refusal(store: ModelStore, reference: str = "tiny@1") -> str:
    with pytest.raises(InvalidSignature) as caught:
        store.open(reference)
    assert [type(error) for error in store.problems(reference)] == [InvalidSignature]
    return str(caught.value)


def test_version_signed_by_a_trusted_key_is_read_and_names_the_key(store, trusting, key):
    sign_tiny(store, TINY, key)
    model = trusting.open("tiny@stable")
    (fingerprint,) = TrustedKeys.from_pem(public_pem(key), where="").fingerprints
    assert model.signed_by == fingerprint
    assert trusting.problems("tiny") == ()
    assert store.open("tiny").signed_by is None


def test_unsigned_version_is_refused_with_the_command_that_signs_it(trusting):
    text = refusal(trusting)
    assert "tiny/1.sig: expected a signature by the key " in text
    assert "got no signature" in text
    assert "vae-store sign" in text


def test_a_store_without_trusted_keys_ignores_signatures_and_what_poses_as_one(store):
    (store.root / "tiny" / "1.sig").write_bytes(b"nonsense")
    assert store.open("tiny").id == TINY
    assert store.problems("tiny@1") == store.model_problems("tiny") == ()


def test_signature_by_another_key_is_refused_and_both_keys_are_named(store, trusting):
    other = new_key()
    sign_tiny(store, TINY, other)
    (fingerprint,) = TrustedKeys.from_pem(public_pem(other), where="").fingerprints
    assert f"got one by another key ('{fingerprint}')" in refusal(trusting)


def test_hint_of_a_trusted_key_does_not_make_a_signature_trusted(store, trusting, key):
    """The hint is not signed: whoever signs may write any."""
    hint = TrustedKeys.from_pem(public_pem(key), where="")._keys[0].fingerprint
    digests = store.open(TINY).digests
    forged = bundle(statement(digests.items()), new_key(), hint=hint)
    store.attach(TINY, json.dumps(forged).encode())
    assert "got one that names this key, which did not make it" in refusal(trusting)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_each_curve_of_the_specification_is_accepted_alone_or_among_others(store, curve):
    signer = new_key(curve)
    sign_tiny(store, TINY, signer)
    store.trust_only(TrustedKeys.from_pem(public_pem(new_key(), signer), where="keys.pem"))
    assert store.open(TINY).signed_by is not None


def test_version_changed_after_signing_is_refused_even_if_its_manifest_is_sealed_again(
    store, trusting, version_path, key
):
    """The manifest's own digests find damage. Only the signature finds a forgery."""
    sign_tiny(store, TINY, key)
    manifest = version_path / "manifest.json"
    document = json.loads(manifest.read_bytes())
    document["description"] = "Another model."
    document["manifest_sha256"] = "0" * 64
    manifest.write_bytes(seal(json.dumps(document, indent=2).encode()))
    assert store.open(TINY).manifest.description == "Another model."
    text = refusal(trusting)
    assert "1.sig: expected 'manifest.json' with sha256 " in text
    assert "(as signed)" in text


def test_signature_of_one_version_does_not_serve_for_another(store, trusting, key, tiny):
    """Nor under another number or name: the signed manifest has both."""
    sign_tiny(store, TINY, key)
    second = publish_tiny(store, model=tiny)
    signature = store.signature(TINY)
    store.attach(second, signature)
    assert "'manifest.json' with sha256" in refusal(trusting, str(second))


def without(resources: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    return [each for each in resources if each[0] != name]


ATTACKS: dict[str, Callable[[list[tuple[str, str]]], dict[str, Any]]] = {
    "a file is not signed": lambda files: statement(files[:-1]),
    "the manifest is not signed": lambda files: statement(without(files, "manifest.json")),
    "a file too many is signed": lambda files: statement([*files, ("pickle.pkl", "0" * 64)]),
    "a file is signed twice": lambda files: statement([*files, files[0]]),
    "the list contradicts its own digest": lambda files: statement(files, subject_sha256="0" * 64),
    "shards": lambda files: statement(files, method="shards"),
    "another hash": lambda files: statement(files, hash_type="blake2b"),
    "another statement": lambda files: {
        **statement(files),
        "predicateType": "https://slsa.dev/provenance/v1",
    },
    "two subjects": lambda files: {**statement(files), "subject": statement(files)["subject"] * 2},
    "no predicate": lambda files: {k: v for k, v in statement(files).items() if k != "predicate"},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_validly_signed_statement_about_anything_else_is_refused(store, trusting, key, attack):
    files = sorted(store.open(TINY).digests.items())
    store.attach(TINY, json.dumps(bundle(ATTACKS[attack](files), key)).encode())
    refusal(trusting)


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "not JSON": lambda _: b"-----BEGIN",
    "not UTF-8": lambda _: b"\xff\xfe{}",
    "a list": lambda _: [],
    "no envelope": lambda b: {k: v for k, v in b.items() if k != "dsseEnvelope"},
    "another media type": lambda b: {
        **b,
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2",
    },
    "no signature": lambda b: {**b, "dsseEnvelope": {**b["dsseEnvelope"], "signatures": []}},
    "two signatures": lambda b: {
        **b,
        "dsseEnvelope": {**b["dsseEnvelope"], "signatures": b["dsseEnvelope"]["signatures"] * 2},
    },
    "not base64": lambda b: {**b, "dsseEnvelope": {**b["dsseEnvelope"], "payload": "%%%"}},
    "another payload type": lambda b: {
        **b,
        "dsseEnvelope": {**b["dsseEnvelope"], "payloadType": "text/plain"},
    },
    "another payload": lambda b: {
        **b,
        "dsseEnvelope": {**b["dsseEnvelope"], "payload": b64encode(b"{}").decode()},
    },
    "too deep": lambda _: b'{"a":' * 40 + b"1" + b"}" * 40,
    "a keyless signature": lambda b: {**b, "verificationMaterial": {"certificate": {"rawBytes": "AA=="}}},
}


@pytest.mark.parametrize("damage", BROKEN)
def test_damaged_bundle_is_refused(store, trusting, key, damage):
    sound = json.loads(signed_bundle(store.open(TINY).digests, key))
    if damage == "a keyless signature":
        sound = bundle(statement(store.open(TINY).digests.items()), new_key())
    broken = BROKEN[damage](sound)
    store.attach(TINY, broken if isinstance(broken, bytes) else json.dumps(broken).encode())
    text = refusal(trusting)
    assert len(text) < 1500
    if damage == "a keyless signature":
        assert "model_signing verify sigstore" in text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_signature_is_accepted_as_another_signature(at: int, bit: int) -> None:
    """A bit may fall into white space or an unsigned hint; what is signed never changes."""
    keys = TrustedKeys.from_pem(public_pem(FLIP_KEY), where="")
    data = bytearray(FLIP_BUNDLE)
    data[at % len(data)] ^= 1 << bit
    try:
        keys.check(bytes(data), FLIP_FILES, where="x")
    except InvalidSignature:
        return
    signed = json.loads(FLIP_BUNDLE)["dsseEnvelope"]
    read = json.loads(bytes(data))["dsseEnvelope"]
    assert read["payload"] == signed["payload"]


FLIP_KEY = new_key()
FLIP_FILES = {"manifest.json": "1" * 64, "encoder.onnx": "2" * 64}
FLIP_BUNDLE = signed_bundle(FLIP_FILES, FLIP_KEY)


def test_signature_that_is_a_link_or_too_large_is_refused_unread(store, trusting, tmp_path, key):
    file = store.root / "tiny" / "1.sig"
    elsewhere = tmp_path / "sig"
    elsewhere.write_bytes(signed_bundle(store.open(TINY).digests, key))
    file.symlink_to(elsewhere)
    assert "a symbolic link" in str(trusting.problems("tiny@1")[0])
    file.unlink()
    file.write_bytes(b" " * (MAX_SIGNATURE_BYTES + 1))
    assert f"expected at most {MAX_SIGNATURE_BYTES} bytes" in str(trusting.problems("tiny@1")[0])


# Keys


def test_file_without_a_usable_public_key_says_what_it_found(tmp_path, key):
    def reason(content: bytes) -> str:
        path = tmp_path / "keys.pem"
        path.write_bytes(content)
        with pytest.raises(UnusableKey) as caught:
            TrustedKeys.from_file(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert "expected at least one public key as PEM" in reason(b"")
    assert "got a PRIVATE KEY. Keep it away from servers" in reason(private_pem(key))
    assert "openssl x509" in reason(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    assert "one that cannot be read" in reason(
        b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"
    )
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = edwards.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert "secp256r1, secp384r1 or secp521r1" in reason(pem)
    assert "got secp256k1" in reason(public_pem(new_key(ec.SECP256K1())))
    assert "a file of keys of at most" in reason(b"#" * 70_000)
    with pytest.raises(UnusableKey, match="No such file"):
        TrustedKeys.from_file(tmp_path / "absent.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_keys_that_openssl_makes_are_usable(store, tmp_path):
    for command in (
        "openssl ecparam -name prime256v1 -genkey -noout -out private.pem",
        "openssl pkey -in private.pem -pubout -out public.pem",
    ):
        subprocess.run(command.split(), cwd=tmp_path, check=True, timeout=PATIENCE_S, capture_output=True)
    private = serialization.load_pem_private_key((tmp_path / "private.pem").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    sign_tiny(store, TINY, private)
    store.trust_only(TrustedKeys.from_file(tmp_path / "public.pem"))
    assert store.open(TINY).signed_by is not None


def test_without_cryptography_the_error_has_the_command_that_installs_it(monkeypatch, key):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vae-service\[verify\]'"):
        TrustedKeys.from_pem(public_pem(key), where="keys.pem")


def test_reading_a_store_without_trusted_keys_needs_no_cryptography(store):
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path; from model_store import ModelStore\n"
        f"print(ModelStore(Path({str(store.root)!r})).open('tiny').id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "tiny@1"), done.stderr


# Through copies, removals and the command line


def test_added_version_brings_its_signature_and_a_removed_one_takes_it_along(store, memory_path, key, tiny):
    sign_tiny(store, TINY, key)
    copy = ModelStore(memory_path / "copy")
    with open_source(str(store.root), fetch=None, limits=store.limits) as source:
        add_versions(copy, source)
    copy.trust_only(TrustedKeys.from_pem(public_pem(key), where=""))
    assert copy.open("tiny").signed_by is not None
    publish_tiny(copy, model=tiny)
    copy.remove("tiny", 1, with_aliases=True)
    assert not (copy.root / "tiny" / "1.sig").exists()


def test_signature_made_after_a_copy_follows_with_the_next_addition(store, memory_path, key):
    copy = ModelStore(memory_path / "copy")

    def add(text: str) -> None:
        with open_source(text, fetch=None, limits=store.limits) as source:
            assert add_versions(copy, source).refused == []

    add(str(store.root))
    sign_tiny(store, TINY, key)
    add(str(store.root / "tiny" / "1"))
    assert (copy.root / "tiny" / "1.sig").read_bytes() == (store.root / "tiny" / "1.sig").read_bytes()


def test_verify_with_a_key_reports_unsigned_versions(store, tiny, cli, key):
    sign_tiny(store, TINY, key)
    publish_tiny(store, model=tiny)
    keys = write_keys(cli.folder / "public.pem", key)
    assert cli("verify") == 0
    assert cli("verify", "tiny@1", "--key", keys) == 0
    assert cli("verify", "--key", keys) == 65
    assert "ok       tiny@1" in cli.out
    assert "CORRUPT  tiny@2\n         InvalidSignature: " in cli.out
    assert cli("verify", "--key", cli.folder / "absent") == 2
    assert "expected a readable file of keys" in cli.err


def test_sign_without_model_signing_has_its_own_exit_code(store, cli, key, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    assert cli("sign", "tiny", "--key", cli.write("private.pem", private_pem(key))) == 72
    assert "pip install 'vae-service[sign]'" in cli.err
    assert store.signature(TINY) is None


# Bundles of model-signing itself, recorded with its command line; see tests/data/README.md


@pytest.mark.parametrize("curve", ["p256", "p384"])
def test_recorded_bundle_of_model_signing_is_accepted(tmp_path, curve):
    root = tmp_path / "store"
    shutil.copytree(BUNDLED_STORE / "mnist-2d" / "1", root / "mnist-2d" / "1")
    shutil.copy(RECORDED / f"mnist-2d-1.{curve}.sig", root / "mnist-2d" / "1.sig")
    store = ModelStore(root)
    store.trust_only(TrustedKeys.from_file(RECORDED / f"{curve}.pub.pem"))
    assert store.open("mnist-2d").signed_by is not None


def test_recorded_bundle_with_a_changed_byte_is_refused(tmp_path):
    root = tmp_path / "store"
    shutil.copytree(BUNDLED_STORE / "mnist-2d" / "1", root / "mnist-2d" / "1")
    recorded = (RECORDED / "mnist-2d-1.p256.sig").read_text()
    payload = json.loads(recorded)["dsseEnvelope"]["payload"]
    changed = payload[:200] + ("A" if payload[200] != "A" else "B") + payload[201:]
    (root / "mnist-2d" / "1.sig").write_text(recorded.replace(payload, changed))
    store = ModelStore(root)
    store.trust_only(TrustedKeys.from_file(RECORDED / "p256.pub.pem"))
    with pytest.raises(InvalidSignature, match="names this key, which did not make it"):
        store.open("mnist-2d")


# With model-signing installed


@pytest.fixture
def model_signing() -> Callable[..., None]:
    """Runs its command line, which must succeed."""
    pytest.importorskip("model_signing", reason="the extra 'sign' is not installed")

    def run(*arguments: object, prints: Sequence[str] = ()) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "model_signing", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [flag for flag in prints if flag not in done.stdout] == []

    return run


def test_command_line_of_model_signing_has_the_flags_of_the_page(model_signing):
    """Signing by an identity needs the network and a person: here only its flags are compared."""
    model_signing("sign", "sigstore", "--help", prints=["--signature"])
    model_signing("verify", "sigstore", "--help", prints=["--signature", "--identity", "--identity_provider"])


@pytest.mark.parametrize("password", [None, b"correct horse"], ids=["plain", "encrypted"])
def test_vae_store_signs_for_model_signing(trusting, cli, key, model_signing, password):
    private = cli.write("private.pem", private_pem(key, password))
    secret = ["--password-file", cli.write("password", password + b"\n")] if password else []
    version, signature = cli.root / "tiny" / "1", cli.root / "tiny" / "1.sig"
    assert cli("sign", "tiny", "--key", private, *secret, "--json") == 0, cli.err
    assert json.loads(cli.out) == {"version": "tiny@1", "signature": str(signature)}
    assert trusting.open("tiny").signed_by is not None
    public = write_keys(cli.folder / "public.pem", key)
    model_signing("verify", "key", version, "--signature", signature, "--public_key", public)


def test_model_signing_signs_for_vae_store(trusting, cli, key, model_signing):
    private = cli.write("private.pem", private_pem(key))
    version, signature = cli.root / "tiny" / "1", cli.root / "tiny" / "1.sig"
    model_signing("sign", "key", version, "--signature", signature, "--private_key", private)
    assert trusting.open("tiny").signed_by is not None


def test_wrong_password_and_wrong_kind_of_key_are_refused_by_sign(store, cli, key, model_signing):
    edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content, reason in (
        (private_pem(key, b"secret"), "--password-file"),
        (edwards, "secp256r1"),
        (public_pem(key), "private key"),
    ):
        assert cli("sign", "tiny", "--key", cli.write("key.pem", content)) == 2
        assert reason in cli.err
    assert store.signature(TINY) is None

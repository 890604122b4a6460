"""How keys are made, and the file that holds their digests."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import re
from pathlib import Path

import pytest

from service.cli import main
from service.security import api_keys
from service.security.api_keys import KEY_PREFIX, MAX_KEYS, KeyFileError, KeyRing, new_key, read_key_file

DIGEST = hashlib.sha256(b"key").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api-keys"


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_key_has_a_prefix_and_32_random_bytes_and_is_found_by_its_line(path: Path) -> None:
    key, entry = new_key("admin", "deploy")
    assert re.fullmatch(rf"{KEY_PREFIX}[A-Za-z0-9_-]{{43}}", key)
    assert entry.line == f"{hashlib.sha256(key.encode()).hexdigest()} admin deploy"
    keys, warning = read_key_file(write(path, entry.line))
    assert keys.find(key.encode()) == entry
    assert keys.find(key.encode()) is keys.find(key.encode())
    assert keys.find(key[:-1].encode()) is None
    assert warning is None
    assert len({new_key()[0] for _ in range(100)}) == 100


def test_file_may_hold_comments_empty_lines_and_windows_line_ends(path: Path) -> None:
    text = f"# keys of the lab, größer\r\n\r\n  {DIGEST.upper()}\tuse   phone-app \r\n\n{OTHER} admin"
    keys, _ = read_key_file(write(path, text))
    assert len(keys) == 2
    found = keys.find(b"key")
    assert found is not None
    assert (found.scope, found.label) == ("use", "phone-app")
    assert keys.has_admin


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("vae_secretsecret use", "text that looks like a key"),
        ("abc use", "3 other characters"),
        (f"{DIGEST}", "got nothing. Add one"),
        (f"{DIGEST} root", "another word of 4 characters"),
        (f"{DIGEST} ADMIN", "another word of 5 characters"),
        (f"{DIGEST} use two words", "4 words"),
        (f"{DIGEST} use lábel", "ASCII"),
        (f"{DIGEST} use {'x' * 65}", "label"),
        (f"{DIGEST} use vae_secretsecret", "looks like a key"),
        (f"{DIGEST} use a;b", "label"),
        (f"{OTHER} use", "the digest of line 1 again"),
        ("\x00", "1 other characters"),
    ],
)
def test_wrong_line_is_refused_by_its_number_and_never_repeated(path: Path, line: str, told: str) -> None:
    write(path, f"{OTHER} use first\n# a comment\n{line}\n")
    with pytest.raises(KeyFileError, match=re.escape(f"{path}, line 3: expected")) as caught:
        read_key_file(path)
    assert told in str(caught.value)
    for word in line.split():
        if len(word) > 5 and word != OTHER:
            assert word not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no client could use the server"),
        ("# nothing\n", "no client could use the server"),
        ("#" * (1024 * 1024 + 1), "at most 1048576 bytes"),
        (
            "\n".join(f"{i:064x} use" for i in range(MAX_KEYS + 1)),
            "at most 1000 keys, got 1001",
        ),
    ],
)  # fmt: skip
def test_file_of_no_keys_or_too_many_is_refused(path: Path, text: str, told: str) -> None:
    with pytest.raises(KeyFileError, match=told):
        read_key_file(write(path, text))


def test_file_that_is_none_is_refused_with_what_makes_one(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(KeyFileError, match=f"{path}: expected .*vae-serve key"):
            read_key_file(path)


def test_file_that_anybody_may_write_is_refused_and_one_that_all_may_read_warned_of(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"0602.*chmod 600"):
        read_key_file(write(path, f"{DIGEST} use", 0o602))
    for mode, warned in ((0o600, False), (0o640, False), (0o644, True), (0o444, True)):
        warning = read_key_file(write(path, f"{DIGEST} use", mode))[1]
        assert (warning is not None) == warned
        assert warning is None or "chmod 600" in warning


def test_secret_of_a_container_may_be_readable_by_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines mount it so, and it is the container's own."""
    monkeypatch.setattr(api_keys, "_CONTAINER_SECRETS", path.parent)
    assert read_key_file(write(path, f"{DIGEST} use", 0o444))[1] is None


def test_every_digest_is_compared_even_after_the_right_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long a look-up takes must not tell where, or how nearly, a digest agrees."""
    keys, _ = read_key_file(write(path, f"{DIGEST} use\n{OTHER} use\n{hashlib.sha256(b'x').hexdigest()} use"))
    compared: list[bytes] = []
    really = hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return really(a, b)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", counted)  # type: ignore[attr-defined]
    for attempt, expected in ((b"key", 3), (b"nobody", 3), (b"nobody", 3), (b"key", 0)):
        compared.clear()
        keys.find(attempt)
        assert len(compared) == expected, attempt
    source = inspect.getsource(KeyRing.find)
    assert "break" not in source
    assert "==" not in source


def test_what_was_never_a_key_is_not_kept(path: Path) -> None:
    keys, _ = read_key_file(write(path, f"{DIGEST} use"))
    for i in range(1_000):
        assert keys.find(b"wrong %d" % i) is None
    assert len(keys._found) == 0


def test_command_prints_the_line_alone_on_standard_output(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    """So that `vae-serve key >> api-keys` adds the line, and the key itself cannot get into the file."""
    assert main(["key", "--scope", "admin", "--label", "deploy"]) == 0
    printed = capsys.readouterr()
    key = re.findall(rf"{KEY_PREFIX}[A-Za-z0-9_-]+", printed.err)[0]
    assert key not in printed.out
    found = read_key_file(write(path, printed.out))[0].find(key.encode())
    assert found is not None
    assert (found.scope, found.label) == ("admin", "deploy")


@pytest.mark.parametrize("label", ["", "two words", "ä", "x" * 65, "-x", "a\nb"])
def test_command_refuses_a_label_that_the_file_would_not_take(
    capsys: pytest.CaptureFixture[str], label: str
) -> None:
    assert main(["key", f"--label={label}"]) == 2
    assert "1 to 64 letters" in capsys.readouterr().err


def test_wrong_key_file_ends_the_start_with_78(
    capsys: pytest.CaptureFixture[str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "service.observability.logs.configure_logging", lambda **_: None
    )  # this process is the tests' own
    for command in ("run", "check"):
        assert main([command, "--api-keys-file", str(write(path, "nonsense"))]) == 78
        assert f"{path}, line 1" in capsys.readouterr().err

"""`vae-serve bench` against a real server: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S
from scripted_server import Say, ok, scripted_server
from server_process import Running

from service.cli import main

QUICK = ("--duration-s", "0.4", "--warm-up-s", "0.1", "--concurrency", "2")


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_bench_draws_the_latencies_of_a_running_server(
    server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = bench(capsys, f"http://127.0.0.1:{server.port}", *QUICK)
    assert code == 0
    assert "mnist@" in out
    assert "p99.9" in out
    assert "█" in out
    assert "× 200" in out


@pytest.mark.parametrize(
    "asked",
    [
        ("--operation", "encode", "--form", "npy", "--images", "16"),
        ("--operation", "encode", "--form", "png"),
        ("--operation", "decode", "--form", "txt", "--model", "colour"),
        ("--operation", "sample", "--form", "png", "--images", "4"),
        ("--operation", "reconstruct", "--form", "npy", "--rate", "100"),
    ],
)
def test_every_operation_is_answered_and_told_as_json(
    server: Running, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...]
) -> None:
    code, out, _ = bench(capsys, f"127.0.0.1:{server.port}", "--json", *QUICK, *asked)
    document = json.loads(out)
    assert code == 0
    assert set(document["statuses"]) == {"200"}
    assert document["ok_per_s"] > 0
    assert document["latency"]["p50_ms"] <= document["latency"]["p99_ms"] <= document["latency"]["max_ms"]
    assert document["failed"] == 0
    assert document["settings"]["operation"] == asked[1]


def test_windows_go_on_until_three_agree_or_there_are_enough(
    server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = bench(
        capsys, f"127.0.0.1:{server.port}", "--json",
        "--window-s", "0.2", "--max-windows", "4", "--warm-up-s", "0",
    )  # fmt: skip
    document = json.loads(out)
    assert code == (0 if document["stable"] else 75)
    assert 3 <= len(document["windows"]) <= 4


def test_nobody_there_is_told_with_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code, _, err = bench(capsys, f"127.0.0.1:{port}")
    assert code == 69
    assert "Is the server running there?" in err


def test_first_refusal_is_told_in_the_servers_words(
    server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = bench(capsys, f"127.0.0.1:{server.port}", "--images", "300")
    assert code == 1
    assert "422 invalid-value: images: expected 1 to 256 entries" in err
    code, _, err = bench(capsys, f"127.0.0.1:{server.port}", "--model", "nobody")
    assert code == 1
    assert "404 unknown-model" in err


def test_form_that_an_operation_lacks_is_wrong_usage(
    server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = bench(capsys, f"127.0.0.1:{server.port}", "--form", "txt")
    assert code == 2
    assert "json, npy, png" in err


@pytest.mark.parametrize(
    "flag", [("--rate", "0"), ("--rate", "nan"), ("--concurrency", "0"), ("--images", "x")]
)
def test_number_that_makes_no_sense_is_wrong_usage(
    flag: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "127.0.0.1:1", *flag])
    assert ended.value.code == 2
    assert flag[0] in capsys.readouterr().err


def test_failed_requests_make_the_exit_code_and_the_key_is_sent_but_never_shown() -> None:
    """In a process of its own, as the environment variable is."""
    keys = set()

    def answer(request: bytes) -> Say:
        head = request.partition(b"\r\n\r\n")[0].decode()
        keys.update(line for line in head.split("\r\n") if line.startswith("Authorization"))
        if " /models " in head:
            return ok(b'{"default": "a"}')
        if " /models/a " in head:
            return ok(b'{"model": "a@1", "image_shape": [1, 2, 2], "latent_size": 2}')
        return ok(b"{}", status="503 Service Unavailable")

    async def test() -> tuple[int | None, bytes]:
        async with scripted_server(answer) as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "service", "bench", url, *QUICK,
                env={"VAE_BENCH_API_KEY": "vae_hush", "PYTHONPATH": ":".join(sys.path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
            out, _ = await process.communicate()
            return process.returncode, out

    code, out = asyncio.run(test())
    assert code == 1
    assert "× 503" in out.decode()
    assert keys == {"Authorization: Bearer vae_hush"}
    assert b"vae_hush" not in out


def test_without_its_package_bench_says_in_one_line_where_to_get_it(tmp_path: Path) -> None:
    """As in the image, whose build leaves `service/bench` out; everything else works."""
    repository = Path(__file__).resolve().parents[3]
    assert "service/bench" in (repository / ".dockerignore").read_text().splitlines()
    (tmp_path / "service").mkdir()
    for path in (repository / "service").iterdir():
        if path.name != "bench":
            (tmp_path / "service" / path.name).symlink_to(path)
    (tmp_path / "model_store").symlink_to(repository / "model_store")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    asked = run("bench", "--rate", "3", "http://127.0.0.1:1")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.count("\n") == 1
    assert asked.stderr.startswith("vae-serve bench: not part of the server's image. Install it where")
    told = run("--help")
    assert told.returncode == 0
    assert "put load on a running server" not in told.stdout
    assert "healthcheck" in told.stdout

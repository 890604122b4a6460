"""Large pictures at once: memory grows by what one of them takes, whatever their number and their kind."""

from __future__ import annotations

import http.client
import io
import struct
import threading
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from patience import PATIENCE_S
from PIL import Image
from process_facts import resident_bytes
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

SIDE = 2048
CLIENTS = 6
EACH = 3
#: What the setting promises: 60 bytes for each of 4,194,304 pixels.
MOST_GROWTH_BYTES = 60 * SIDE * SIDE


def bomb(*, interlaced: bool) -> bytes:
    """The largest picture for its length: 16 bits, colour and alpha, all black."""
    packer = zlib.compressobj(9)
    passes: tuple[tuple[int, int], ...] = ((SIDE, SIDE),)
    if interlaced:  # the bytes of all passes together, rows with their filters
        passes = ((256, 256), (256, 256), (512, 256), (512, 512), (1024, 512), (1024, 1024), (2048, 1024))
    rows = b"".join(packer.compress(bytes((1 + 8 * wide) * tall)) for wide, tall in passes) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def kinds() -> dict[str, bytes]:
    noise = np.random.default_rng(1).integers(0, 40, (SIDE, SIDE, 4), dtype=np.uint8)
    coloured = Image.fromarray(noise[:, :, :3])
    shades = (np.add.outer(np.arange(2 * SIDE), np.arange(2 * SIDE)) % 256).astype(np.uint8)
    four_times = Image.fromarray(shades).convert("CMYK")
    return {
        "PNG of 16 bits": bomb(interlaced=False),
        "interlaced PNG of 16 bits": bomb(interlaced=True),
        "palette": saved(Image.new("P", (SIDE, SIDE)), "PNG", transparency=0),
        "progressive JPEG": saved(coloured, "JPEG", progressive=True, quality=40),
        "CMYK JPEG": saved(coloured.convert("CMYK"), "JPEG", progressive=True, quality=30),
        # Its coefficients are all in memory, and a quarter of its pixels.
        "CMYK JPEG to be halved": saved(four_times, "JPEG", progressive=True, subsampling=0),
        "WebP with alpha": saved(Image.fromarray(noise // 40), "WEBP", quality=40),
        "WebP without losses": saved(Image.new("RGBA", (SIDE, SIDE)), "WEBP", lossless=True),
    }


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def statuses(server: Running, body: bytes) -> Counter[int]:
    found: Counter[int] = Counter()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        for _ in range(EACH):
            connection.request("POST", "/encode?fit=contain&invert=auto", body)
            answer = connection.getresponse()
            answer.read()
            found[answer.status] += 1
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return found


@pytest.mark.hard
@pytest.mark.hazard_row("pictures")
def test_memory_is_that_of_one_large_picture_whatever_their_number(tmp_path: Path, hazard: Hazard) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", aliases=("stable",))
    worst, grown = "", 0
    options = ("--threads", "4", "--request-timeout-s", "600", "--receipt-timeout-s", "600")
    with serving(tmp_path / "models", tmp_path / "log", *options) as server:
        pid = server.process.pid
        for name, body in kinds().items():
            before = resident_bytes(pid)
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
            assert statuses(server, body) == {200: CLIENTS * EACH}, name
            growth = peak_bytes(pid) - before
            if growth > grown:
                worst, grown = name, growth
        assert "Traceback" not in server.log
    told = f"{CLIENTS} clients: at most {grown / 1e6:+.0f} MB ({worst})"
    met = grown < MOST_GROWTH_BYTES
    hazard("pictures", figure=told, bar=f"4 megapixels at once: < +{MOST_GROWTH_BYTES / 1e6:.0f} MB", met=met)
    assert met, told

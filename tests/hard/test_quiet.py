"""What must not get out: pixels, latents, secrets and whatever else a client sends."""

from __future__ import annotations

import http.client
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from patience import PATIENCE_S
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

#: A pixel, a latent and texts that occur nowhere else, as they would be written.
PIXEL, LATENT = 0.7310585, -3.1622776
SECRETS = (
    "hunter2-bearer",
    "hunter2-cookie",
    "hunter2-query",
    "hunter2-body",
    "hunter2-name",
    "hunter2-agent",
)


def post(running: Running, target: str, body: bytes, content_type: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
    headers = {
        "Content-Type": content_type,
        "Authorization": f"Bearer {SECRETS[0]}",
        "Cookie": f"session={SECRETS[1]}",
        "User-Agent": SECRETS[5],
    }
    try:
        connection.request("POST", target, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.hazard_row("quiet")
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_pixel_latent_or_secret_reaches_log_or_metrics(
    tmp_path: Path, log_format: str, hazard: Hazard
) -> None:
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist", image_shape=(1, 4, 4), latent_size=2)
    images = np.full((1, 1, 4, 4), PIXEL, np.float32)
    npy = io.BytesIO()
    np.save(npy, images)
    flags = ("--log-level", "debug", "--log-format", log_format)
    with serving(tmp_path / "models", tmp_path / "log", *flags) as running:
        statuses = [
            post(running, "/encode", json.dumps({"images": images.tolist()}).encode(), "application/json"),
            post(running, "/encode", npy.getvalue(), "application/x-npy"),
            post(running, "/decode", json.dumps({"z": [[LATENT, 0]]}).encode(), "application/json"),
            post(running, "/reconstruct.png", npy.getvalue(), "application/x-npy"),
            post(running, "/score", npy.getvalue(), "application/x-npy"),
            post(running, "/traverse", json.dumps({"z": [[LATENT, 0]]}).encode(), "application/json"),
            post(running, f"/sample?key={SECRETS[2]}", b"{}", "application/json"),
            post(running, "/sample", json.dumps({SECRETS[3]: SECRETS[3]}).encode(), "application/json"),
            post(running, "/encode", json.dumps({"images": [[[PIXEL]]]}).encode(), "application/json"),
            post(running, "/encode", npy.getvalue()[:-3] + SECRETS[3].encode(), "application/x-npy"),
            post(running, f"/sample?model={SECRETS[4]}", b"{}", "application/json"),
        ]
        _, _, metrics = running.get("/metrics")
        assert running.stop() == 0
        log = running.log
    assert statuses == [200, 200, 200, 200, 200, 200, 422, 422, 422, 400, 404]
    assert log.count("/encode") >= 4, "the requests are in the log, without what they held"
    told = log + metrics.decode()
    forms = [f"{abs(value):.7g}"[:6] for value in (PIXEL, LATENT)]
    found = [text for text in (*SECRETS, *forms) if text in told]
    figure = f"{log_format} log at debug, 11 requests: {len(found)} of {len(SECRETS) + 2} markers found"
    hazard("quiet", figure=figure, bar="none", met=not found)

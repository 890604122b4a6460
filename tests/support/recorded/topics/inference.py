"""The Open Inference Protocol: what clients of Triton and KServe ask, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from recorded.models import ExactModel, steps
from recorded.notebook import Application, Notebook
from recorded.payloads import Payload, json_of, png, ramp
from recorded.transcript import Varying

_SHAPE: Final = ExactModel().shape
_X: Final = steps(2, _SHAPE)
_Z: Final = {"name": "z", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1, 2]}
_INFER: Final = "/v2/models/mnist/infer"
#: Times of requests; compressed bytes, which depend on the library.
_VARIES: Final = Varying(body=True)


def protocol(notebook: Notebook) -> None:
    """Health, metadata, inference in every form, statistics, the repository."""
    with notebook.application("health and metadata") as ask:
        for target in ("/v2", "/v2/"):
            ask.ask("GET", target, varying=Varying(texts={version("vae-service"): "<release>"}))
        for target in (
            *("/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models?x=1"),
            *("/v2/models/mnist", "/v2/models/mnist-encoder", "/v2/models/mnist-decoder"),
            *("/v2/models/mnist-sampler", "/v2/models/mnist/versions/2", "/v2/models/mnist/versions/3"),
            *("/v2/models/mnist/ready", "/v2/models/mnist/versions/2/ready", "/v2/models/mnist/config"),
            *("/v2/models/mnist-sampler/versions/2/config", "/v2/models/mnist/stats"),
            *("/v2/models/mnist/versions/2/stats", "/v2/models/colour-decoder/config"),
        ):
            ask.get(target)
        ask.ask("GET", "/v2/models/stats", varying=_VARIES)
        for target in (
            *(
                "/v2/models/plain-sampler",
                "/v2/models/none",
                "/v2/models/mnist@2",
                "/v2/models/broken-encoder",
            ),
            *("/v2/models/mnist/versions/9/ready", "/v2/models/mnist/versions/stable", "/v2/nothing", _INFER),
            *("/v2/systemsharedmemory/status", "/v2/logging"),
        ):
            ask.get(target)
        ask.ask("POST", "/v2/cudasharedmemory/region/r/register")
        ask.ask("HEAD", "/v2/health/ready")
        ask.ask("OPTIONS", _INFER)
    with notebook.application("inference") as ask:
        _inference(ask)
    with notebook.application("refused") as ask:
        _refused(ask)
    with notebook.application("the repository", admin=True) as ask:
        ask.ask("POST", "/v2/repository/index")
        ask.post("/v2/repository/index", {"ready": True})
        ask.post("/v2/repository/index", {"ready": 1})
        ask.post("/v2/repository/models/colour/unload", {})
        ask.get("/v2/models/colour/ready")
        ask.get("/sample?model=colour&seed=1")
        ask.post("/v2/repository/index", {})
        ask.post("/v2/repository/models/colour/load", {"parameters": {}})
        ask.get("/v2/models/colour/ready")
        ask.post("/v2/repository/models/none/load", {})
        ask.post("/v2/repository/models/none/unload", {})
    with notebook.application("administration is off") as ask:
        ask.post("/v2/repository/models/colour/unload", {})
    with notebook.application("the protocol is off", open_inference=False) as ask:
        ask.get("/v2")
        ask.post(_INFER, {"inputs": [_Z]})
    with notebook.application("a default model that was refused", default_model="broken") as ask:
        ask.get("/v2/health/ready")
        ask.get("/v2/models/broken/ready")


def _inference(ask: Application) -> None:
    x = {"name": "x", "shape": [2, *_SHAPE], "datatype": "FP32"}
    flat = {**x, "data": _X.ravel().tolist()}
    ask.post(_INFER, {"inputs": [flat]})
    ask.post(
        _INFER,
        {
            "id": "7",
            "model_name": "mnist",
            "parameters": {"priority": 1, "timeout": 20_000_000, "sequence_id": 3, "triton_x": 1},
            "inputs": [{**x, "data": _X.tolist()}],
            "outputs": [{"name": "logvar", "parameters": {"binary_data": True}}, {"name": "mu"}],
        },
    )
    ask.post("/v2/models/mnist/versions/2/infer", {"id": "v", "inputs": [flat], "outputs": [{"name": "mu"}]})
    ask.post("/v2/models/mnist-encoder/infer", {"inputs": [flat], "parameters": {"binary_data_output": True}})
    ask.post("/v2/models/mnist-decoder/infer", {"inputs": [_Z]})
    seeds = {"name": "seed", "shape": [2], "datatype": "INT64", "data": [7, 0]}
    ask.post("/v2/models/mnist-sampler/infer", {"inputs": [seeds], "parameters": {"temperature": 0.5}})
    drawn = {"inputs": [seeds], "parameters": {"label": "7"}, "outputs": [{"name": "z"}]}
    ask.post("/v2/models/mnist-sampler/versions/2/infer", drawn)
    picture = png(6, 4, ramp(24))
    image = {"name": "image", "shape": [1], "datatype": "BYTES"}
    in_text = {**image, "data": [base64.b64encode(picture.data).decode()]}
    ask.post("/v2/models/mnist-encoder/infer", {"inputs": [in_text]})
    _raw(ask, "/v2/models/mnist-encoder/infer", picture)
    _raw(ask, "/v2/models/mnist-encoder/infer", Payload(_X.tobytes(), None, "(2 images of float32)"))
    sent, length = _binary([(x, _X.tobytes())], "2 images of float32")
    ask.post(_INFER, sent, inference_header_content_length=length)
    ask.post("/v2/models/mnist/versions/2/infer", sent, inference_header_content_length=length)
    whole = json_of({"inputs": [flat], "parameters": {"binary_data_output": True}})
    ask.post("/v2/models/mnist/versions/2/infer", whole)
    for name, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        packed = Payload(compress(sent.data), None, f"(the same, {name})")
        ask.post(_INFER, packed, inference_header_content_length=length, content_encoding=name)
        stated = [("inference-header-content-length", length), ("accept-encoding", name)]
        ask.ask("POST", _INFER, stated, sent, varying=_VARIES)
    ask.post(_INFER, {"inputs": [flat], "outputs": [{"name": "mu"}]}, accept_encoding="gzip, deflate, br")
    ask.ask("GET", "/v2/models/mnist/stats", varying=_VARIES)


def _refused(ask: Application) -> None:
    x = {"name": "x", "shape": [1, *_SHAPE], "datatype": "FP32"}
    for document in (
        {},
        {"inputs": [{**x, "data": [0.0] * 23}]},
        {"inputs": [{**x, "data": [0.0] * 23 + [2.0]}]},
        {"inputs": [{**x, "datatype": "FP64", "data": [0.0] * 24}]},
        {"inputs": [{**x, "datatype": "FP16", "data": [0.0] * 24}]},
        {"inputs": [{**x, "shape": [-1, *_SHAPE], "data": [0.0] * 24}]},
        {"inputs": [{**x, "shape": [1, 6, 4], "data": [0.0] * 24}]},
        {"inputs": [{**x, "name": "X", "data": []}]},
        {"inputs": [{**x, "data": []}, {**x, "data": []}]},
        {"inputs": [{**x, "data": [], "parameters": {"binary_data_size": 0}}]},
        {"inputs": [{**x, "parameters": {"shared_memory_region": "r"}, "data": []}]},
        {"inputs": [{**x, "data": [0.0] * 24}], "outputs": [{"name": "y"}]},
        {"inputs": [{**x, "data": [0.0] * 24}], "parameters": {"temprature": 1}},
        {"inputs": [{**x, "data": [0.0] * 24}], "parameters": {"timeout": -1}},
    ):
        ask.post(_INFER, document)
    ask.post("/v2/models/mnist-sampler/infer", {"inputs": [], "parameters": {"prior": "fitted"}})
    for body in (b"", b"{", b"[]", b'{"inputs": [], "inputs": []}'):
        ask.post(_INFER, Payload(body, None))
    raw = Payload(_X.tobytes()[:-1], None, "(191 bytes)")
    _raw(ask, _INFER, raw)
    sent, length = _binary([({**x, "shape": [2, *_SHAPE]}, _X.tobytes())], "2 images of float32")
    for stated in ("x", "-1", "99999", str(int(length) - 1)):
        ask.post(_INFER, sent, inference_header_content_length=stated)
    for name in ("gzip", "br"):
        ask.post(_INFER, sent, inference_header_content_length=length, content_encoding=name)
    ask.post("/v2/models/none/infer", {"inputs": [_Z]})


def _binary(inputs: Sequence[tuple[dict[str, Any], bytes]], shown: str) -> tuple[Payload, str]:
    """JSON and then the tensors, and the length of the JSON."""
    listed = [{**described, "parameters": {"binary_data_size": len(raw)}} for described, raw in inputs]
    head = json.dumps({"inputs": listed}, separators=(",", ":")).encode()
    body = head + b"".join(raw for _, raw in inputs)
    return Payload(body, "application/octet-stream", f"{head.decode()} ({shown})"), str(len(head))


def _raw(ask: Application, target: str, payload: Payload) -> None:
    """A body that is one tensor alone."""
    ask.post(target, payload, inference_header_content_length="0")

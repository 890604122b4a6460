"""Messages that no client makes: each is refused as the caller's own fault, and the server goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from grpc_client import Client, one_after_another
from hazard_plugin import Hazard

from service.api.open_inference.grpc.definitions import inference as make

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
OTHERS = (
    "ModelMetadata",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "ModelConfig",
    "TraceSetting",
)
#: Codes that blame the caller, or nobody.
FINE = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNIMPLEMENTED"}
COUNT = 2_000
WORDS = (
    "",
    "x",
    "mu",
    "mnist",
    "mnist-encoder",
    "..",
    "FP32",
    "BYTES",
    "INT64",
    "FP99",
    "\x00",
    "ü" * 300,
    "a" * 5000,
)
NUMBERS = (0, 1, -1, 2, 7, 28, 2**31, 2**63 - 1, -(2**63))
Server = Any


def good(model: str, name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> Any:
    made = make("ModelInferRequest", model_name=model, id="a", raw_input_contents=[raw])
    made.inputs.add(name=name, datatype=datatype, shape=shape)
    made.outputs.add(name="mu" if name == "x" else "x_hat")
    made.parameters["timeout"].int64_param = 10_000_000
    return made


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, cut out or put in."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) or 1)
        kind = rng.randrange(4)
        if kind == 0 and found:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at : at + rng.randint(1, 40)]
        elif kind == 2:
            found[at:at] = rng.randbytes(rng.randint(1, 12))
        else:
            found = found[: rng.randrange(len(found) + 1)]
    return bytes(found)


def invented(rng: random.Random) -> bytes:
    """Well-formed messages of words and numbers that do not belong together."""
    word = lambda: rng.choice(WORDS)  # noqa: E731
    made = make(
        "ModelInferRequest", model_name=word(), model_version=rng.choice(("", "1", "2", "x", "-1")), id=word()
    )
    for _ in range(rng.randrange(3)):
        tensor = made.inputs.add(name=word(), datatype=word(), shape=rng.choices(NUMBERS, k=rng.randrange(5)))
        if rng.random() < 0.5:
            field = rng.choice(
                ("fp32_contents", "int64_contents", "bytes_contents", "bool_contents", "int_contents")
            )
            value: Any = b"ab" if field == "bytes_contents" else 1
            getattr(tensor.contents, field).extend([value] * rng.randrange(40))
        if rng.random() < 0.2:
            tensor.parameters[word()].string_param = word()
    for _ in range(rng.randrange(3)):
        made.outputs.add(name=word())
    for _ in range(rng.randrange(3)):
        made.raw_input_contents.append(rng.randbytes(rng.randrange(64)))
    for _ in range(rng.randrange(3)):
        made.parameters[word() or "b"].double_param = rng.choice((0.5, float("nan"), float("inf"), -1.0))
    return bytes(made.SerializeToString())


def messages(rng: random.Random) -> Iterator[bytes]:
    x = np.zeros((1, 1, 28, 28), np.float32)
    originals = [
        good("mnist-encoder", "x", "FP32", x.shape, x.tobytes()),
        good("mnist-decoder", "z", "FP32", (1, 8), bytes(32)),
        good("mnist-sampler", "seed", "INT64", (1,), bytes(8)),
        good("mnist", "image", "BYTES", (1,), b"\x04\x00\x00\x00\x89PNG"),
    ]
    for at in range(COUNT):
        if at % 3:
            yield mutated(rng, rng.choice(originals).SerializeToString())
        else:
            yield invented(rng)


@pytest.mark.hazard_row("grpc-messages")
def test_no_message_is_the_fault_of_the_server(
    grpc_client: Client, grpc_server: Server, hazard: Hazard
) -> None:
    sent = list(messages(random.Random(7)))
    done = grpc_client.run(one_after_another, grpc_server.port, INFER, sent)
    codes = {each.code for each in done}
    assert codes <= FINE, [
        (each, data) for each, data in zip(done, sent, strict=True) if each.code not in FINE
    ][:3]
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= codes  # otherwise these messages prove little
    streamed = grpc_client.stream(grpc_server.port, STREAM, sent[:300])
    assert (streamed.code, len(streamed.answers)) == ("OK", 300)
    for name in OTHERS:
        every = grpc_client.run(
            one_after_another, grpc_server.port, f"/inference.GRPCInferenceService/{name}", sent[:30]
        )
        assert {each.code for each in every} <= FINE, name
    assert "traceback" not in grpc_server.running.log
    hazard(
        "grpc-messages",
        figure=f"{COUNT}: {', '.join(sorted(codes))}",
        bar="no code blames the server",
        met=True,
    )

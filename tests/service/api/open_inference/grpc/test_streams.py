"""Streams of requests: answers in order, errors as answers, and no stream lasts for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc_client import Client, stream
from patience import eventually
from server_process import free_port, serving

from service.api.open_inference.grpc.definitions import inference as make
from service.api.open_inference.grpc.definitions import message

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
Server = Any


def request(at: int, *, model: str = "mnist-encoder", rows: int = 1) -> bytes:
    x = np.full((rows, 1, 28, 28), at % 2, np.float32)
    made = make("ModelInferRequest", model_name=model, id=str(at), raw_input_contents=[x.tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=x.shape)
    return bytes(made.SerializeToString())


def read(data: bytes) -> Any:
    return message("inference.ModelStreamInferResponse").FromString(data)


def test_answers_have_the_order_of_the_requests(grpc_client: Client, grpc_server: Server) -> None:
    """Large requests beside small ones, more than are answered at a time. The queue has room for all."""
    sent = [request(at, rows=90 if at % 7 == 0 else 1) for at in range(200)]
    done = grpc_client.stream(grpc_server.port, PATH, sent)
    assert done.code == "OK", done
    found = [read(answer) for answer in done.answers]
    assert [each.error_message for each in found] == [""] * 200
    assert [each.infer_response.id for each in found] == [str(at) for at in range(200)]
    assert all(each.infer_response.parameters["triton_final_response"].bool_param for each in found)
    mu = [bytes(each.infer_response.raw_output_contents[0])[:32] for each in found]
    assert mu[0] == mu[2] != mu[1] == mu[3]


def test_error_is_the_answer_to_its_request_and_the_stream_goes_on(
    grpc_client: Client, grpc_server: Server
) -> None:
    sent = [request(0), request(1, model="nothing"), b"\xff\xff", request(3)]
    done = grpc_client.stream(grpc_server.port, PATH, sent)
    assert done.code == "OK", done
    good, unknown, broken, last = map(read, done.answers)
    assert (good.error_message, last.error_message, last.infer_response.id) == ("", "", "3")
    assert "nothing" in unknown.error_message
    assert unknown.infer_response.id == "1"
    assert unknown.infer_response.parameters["problem"].string_param == "unknown-model"
    assert "ModelInferRequest" in broken.error_message


def test_every_message_is_a_line_in_the_log(grpc_client: Client, grpc_server: Server) -> None:
    grpc_client.stream(
        grpc_server.port, PATH, [request(0), request(1)], metadata=[("x-request-id", "of-a-stream")]
    )

    def lines() -> list[dict[str, Any]]:
        every = grpc_server.running.lines("request")
        return [line for line in every if line["request_id"] == "of-a-stream"]

    eventually(lambda: len(lines()) == 2, lambda: grpc_server.running.log)
    assert {line["path"] for line in lines()} == {PATH}


def test_stopping_server_ends_a_stream_after_the_messages_it_has_sent(
    grpc_client: Client, tiny_store: Path, tmp_path: Path
) -> None:
    port = free_port()
    with serving(tiny_store, tmp_path / "log", "--grpc-port", str(port)) as running:
        future = grpc_client._pool.submit(stream, port, PATH, [request(0), request(1)], ends=False)
        eventually(
            lambda: [line["path"] for line in running.lines("request")].count(PATH) == 2, lambda: running.log
        )
        assert not future.done()
        assert running.stop() == 0
        done = future.result(60)
    assert len(done.answers) == 2
    assert (done.code, done.problem) == ("UNAVAILABLE", "shutting-down")


def test_silent_stream_makes_room_for_another(grpc_client: Client, tiny_store: Path, tmp_path: Path) -> None:
    """Otherwise a client that opens streams and forgets them would keep all others out."""
    port = free_port()
    limits = ("--max-grpc-calls", "1", "--receipt-timeout-s", "0.2")
    with serving(tiny_store, tmp_path / "log", "--grpc-port", str(port), *limits) as running:
        with_one = grpc_client._pool.submit(two_streams, port, PATH, [request(0)])
        first, second = with_one.result(240)
        assert second == "OK"
        assert first == "RESOURCE_EXHAUSTED"
        assert running.stop() == 0


def two_streams(port: int, path: str, messages: list[bytes]) -> tuple[str, str]:
    """Codes of a stream that stays open, and of one that is opened while it is silent."""
    import threading
    import time

    first: list[str] = []
    thread = threading.Thread(
        target=lambda: first.append(stream(port, path, messages, ends=False).code), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + 120
    second = "none"
    while second != "OK" and time.monotonic() < deadline:
        time.sleep(0.3)
        second = stream(port, path, messages).code
    thread.join(60)
    return first[0] if first else "still open", second


@pytest.mark.parametrize("count", [0])
def test_stream_without_messages_ends_well(grpc_client: Client, grpc_server: Server, count: int) -> None:
    done = grpc_client.stream(grpc_server.port, PATH, [])
    assert (done.code, done.answers) == ("OK", [])

"""Messages to requests of the protocol, and its responses to messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from service.api.open_inference.grpc import conversions, remembered_requests
from service.api.open_inference.grpc.definitions import inference, message
from service.api.open_inference.grpc.wire import varint
from service.api.open_inference.messages import InferenceRequest, InferenceResponse, OutputTensor
from service.codecs.errors import CodecError, InvalidValue, MalformedBody

X = np.arange(8, dtype=np.float32).reshape(2, 4) / 8


def request(**kwargs: Any) -> Any:
    return inference("ModelInferRequest", model_name="mnist", **kwargs)


def raw_request() -> Any:
    made = request(id="seven", model_version="3", raw_input_contents=[X.tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=X.shape)
    made.outputs.add(name="mu")
    made.parameters["timeout"].int64_param = 5
    made.parameters["temperature"].double_param = 0.5
    made.parameters["prior"].string_param = "standard"
    made.parameters["resize"].bool_param = True
    made.parameters["nothing"].SetInParent()
    return made


def test_request_keeps_names_tensors_and_parameters() -> None:
    found = remembered_requests.read_request(raw_request().SerializeToString())
    assert (found.model, found.version, found.id) == ("mnist", "3", "seven")
    assert dict(found.parameters) == {
        "timeout": 5, "temperature": 0.5, "prior": "standard", "resize": True,
    }  # fmt: skip
    assert [output.name for output in found.outputs] == ["mu"]
    (tensor,) = found.inputs
    assert (tensor.name, tensor.datatype, tensor.shape, tensor.raw) == ("x", "FP32", (2, 4), X.tobytes())


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("FP32", "fp32_contents", [0.25, -0.0, 3e38, 1e-45]),
        ("FP64", "fp64_contents", [0.1, -1e300]),
        ("INT64", "int64_contents", [0, -1, 2**63 - 1]),
        ("BYTES", "bytes_contents", [b"", b"\x89PNG"]),
        ("INT8", "int_contents", [1, -2]),
        ("UINT64", "uint64_contents", [2**64 - 1]),
        ("BOOL", "bool_contents", [True, False]),
    ],
)
def test_typed_contents_are_the_values_that_were_put_in(datatype: str, field: str, values: list[Any]) -> None:
    made = request()
    tensor = made.inputs.add(name="x", datatype=datatype, shape=[len(values)])
    getattr(tensor.contents, field).extend(values)
    (found,) = remembered_requests.read_request(made.SerializeToString()).inputs
    assert found.raw is None
    assert list(found.values) == list(getattr(tensor.contents, field))


def test_many_floats_are_read_whole() -> None:
    """The length of the field takes one to four bytes, and the values begin after it."""
    for count in (1, 31, 32, 4095, 4096, 600_000):
        values = np.random.default_rng(count).random(count, dtype=np.float32)
        made = request()
        made.inputs.add(name="x", datatype="FP32", shape=[count]).contents.fp32_contents.extend(values)
        (found,) = remembered_requests.read_request(made.SerializeToString()).inputs
        assert isinstance(found.values, np.ndarray)
        assert found.values.dtype == np.float32
        np.testing.assert_array_equal(found.values, values)


def with_raw(count: int, *, contents: bool = False) -> bytes:
    made = request(raw_input_contents=[b"1234"] * count)
    tensor = made.inputs.add(name="x", datatype="FP32", shape=[1])
    if contents:
        tensor.contents.fp32_contents.append(1.0)
    return bytes(made.SerializeToString())


def with_input(**kwargs: Any) -> bytes:
    made = request()
    made.inputs.add(name="x", **kwargs)
    return bytes(made.SerializeToString())


def with_many(part: str) -> bytes:
    made = request()
    for at in range(100):
        if part == "parameters":
            made.parameters[str(at)].bool_param = True
        else:
            getattr(made, part).add(name=str(at))
    return bytes(made.SerializeToString())


def wrong_contents() -> bytes:
    made = request()
    tensor = made.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.contents.int_contents.append(1)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        pytest.param(b"\xff", MalformedBody, "ModelInferRequest", id="no message"),
        pytest.param(with_raw(2), MalformedBody, "raw_input_contents: expected 1 entries", id="two for one"),
        pytest.param(with_raw(1, contents=True), MalformedBody, "raw_input_contents or contents", id="both"),
        pytest.param(with_input(datatype="FP32", shape=[-1]), InvalidValue, r"inputs\[0\]: shape", id="-1"),
        pytest.param(with_input(datatype="FP32", shape=[1] * 99), InvalidValue, "shape", id="rank"),
        pytest.param(with_input(datatype="FP32"), InvalidValue, "shape", id="no shape"),
        pytest.param(wrong_contents(), InvalidValue, "fp32_contents for FP32, got int_contents", id="field"),
        pytest.param(with_many("inputs"), InvalidValue, "inputs: expected at most 16", id="inputs"),
        pytest.param(with_many("outputs"), InvalidValue, "outputs: expected at most 16", id="outputs"),
        pytest.param(with_many("parameters"), InvalidValue, "at most 64", id="parameters"),
        pytest.param(
            request(id="a" * 5000).SerializeToString(), InvalidValue, "id: expected at most", id="id"
        ),
    ],
)
def test_faulty_message_is_refused_with_its_place(data: bytes, kind: type[CodecError], told: str) -> None:
    with pytest.raises(kind, match=told):
        remembered_requests.read_request(data)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_an_error_of_the_request(data: bytes) -> None:
    try:
        remembered_requests.read_request(data)
    except CodecError:
        return


#: A tensor `x` that is in shared memory.
IN_SHARED_MEMORY = b'\n\x01x\x1a\x01\x01"\x1a\n\x14shared_memory_region\x12\x02\x10\x01'
#: A field of a message: its number, and what a client may send in it.
FIELDS = st.one_of(
    st.tuples(st.just(1), st.sampled_from([b"mnist", b"mnist-encoder", b"\xff"])),
    st.tuples(st.just(2), st.sampled_from([b"", b"3"])),
    st.tuples(st.just(3), st.sampled_from([b"", b"seven", b"\xc3\x28", b"a" * 1025, "n\u00fcmero".encode()])),
    st.tuples(
        st.just(5),
        st.sampled_from(
            [
                b"\n\x01x\x12\x04FP32\x1a\x02\x02\x04",
                b"\n\x01z\x12\x04FP32\x1a\x02\x02\x05\x2a\x06\x32\x04" + bytes(4),
                IN_SHARED_MEMORY,
            ]
        ),
    ),
    st.tuples(st.just(6), st.just(b"\n\x02mu")),
    st.tuples(st.just(7), st.sampled_from([b"", X.tobytes()])),
    st.tuples(st.just(9), st.just(b"later")),
)


def whole_request(data: bytes) -> InferenceRequest:
    """The request, without what is remembered."""
    return conversions.request_of(conversions.request_message(data))


def outcome(read: Callable[[bytes], InferenceRequest], data: bytes) -> object:
    """Everything that a request or its refusal says."""
    try:
        found = read(data)
    except CodecError as error:
        return str(error)
    inputs = [
        (each.name, each.datatype, each.shape, None if each.raw is None else bytes(each.raw),
         None if each.values is None else list(each.values), dict(each.parameters))
        for each in found.inputs
    ]  # fmt: skip
    outputs = [(each.name, dict(each.parameters)) for each in found.outputs]
    return found.model, found.version, found.id, dict(found.parameters), inputs, outputs


@given(st.lists(FIELDS, max_size=8), st.booleans(), st.integers(0, 3))
def test_remembered_request_says_what_the_whole_message_says(
    fields: list[tuple[int, bytes]], is_in_order: bool, cut: int
) -> None:
    """In any order, twice or cut off; and the second of two messages, whose beginning is remembered."""
    chosen = sorted(fields, key=lambda each: each[0]) if is_in_order else fields
    data = b"".join(bytes([number << 3 | 2]) + varint(len(each)) + each for number, each in chosen)
    data = data[: len(data) - cut]
    expected = outcome(whole_request, data)
    for _ in range(2):
        assert outcome(remembered_requests.read_request, data) == expected


def test_shared_memory_of_the_property_is_a_tensor() -> None:
    """Otherwise the property would compare refusals alone."""
    (tensor,) = whole_request(b"\x2a" + varint(len(IN_SHARED_MEMORY)) + IN_SHARED_MEMORY).inputs
    assert dict(tensor.parameters) == {"shared_memory_region": 1}


def test_length_that_protobuf_refuses_is_refused() -> None:
    data = request(raw_input_contents=[b"1234"])
    data.inputs.add(name="x", datatype="FP32", shape=[1])
    whole = data.SerializeToString()
    assert whole.endswith(b"\x3a\x041234")
    for length in (b"\x84\x80\x80\x80\x00", b"\x84\x80\x80\x80\x80\x00"):
        found = outcome(remembered_requests.read_request, whole[:-6] + b"\x3a" + length + b"1234")
        assert found == outcome(whole_request, whole[:-6] + b"\x3a" + length + b"1234")


def test_clients_that_repeat_themselves_share_their_plans() -> None:
    first, second = (raw_request() for _ in range(2))
    second.id = "eight"
    second.raw_input_contents[0] = bytes(X.nbytes)
    found = [remembered_requests.read_request(each.SerializeToString()) for each in (first, second)]
    assert [each.id for each in found] == ["seven", "eight"]
    assert [bytes(each.inputs[0].raw or b"") for each in found] == [X.tobytes(), bytes(X.nbytes)]
    assert found[0].plans is not None
    assert found[0].plans is found[1].plans


def test_requests_of_another_form_have_no_shared_plans() -> None:
    typed = request()
    typed.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.0)
    assert remembered_requests.read_request(typed.SerializeToString()).plans is None


def response() -> InferenceResponse:
    return InferenceResponse(
        model="mnist",
        version="3",
        id="seven",
        outputs=[
            OutputTensor("mu", "FP32", X),
            OutputTensor("large", "FP32", np.zeros((70_000,), np.float32), {"binary_data": True}),
        ],
        parameters={"temperature": 0.5, "drawn": True, "rows": 2, "prior": "standard"},
    )


def checked(found: Any) -> None:
    assert (found.model_name, found.model_version, found.id) == ("mnist", "3", "seven")
    assert [(each.name, each.datatype, list(each.shape)) for each in found.outputs] == [
        ("mu", "FP32", [2, 4]),
        ("large", "FP32", [70_000]),
    ]
    assert found.outputs[1].parameters["binary_data"].bool_param is True
    assert [bytes(raw) for raw in found.raw_output_contents] == [X.tobytes(), bytes(280_000)]
    assert found.parameters["temperature"].double_param == 0.5
    assert found.parameters["drawn"].bool_param is True
    assert found.parameters["rows"].int64_param == 2
    assert found.parameters["prior"].string_param == "standard"


def test_response_is_the_message_that_protobuf_reads() -> None:
    checked(message("inference.ModelInferResponse").FromString(conversions.write_response(response())))


def test_response_without_parameters_is_remembered_but_for_its_id_and_its_values() -> None:
    for array, request_id in ((X, "seven"), (-X, ""), (X[:1], "n\u00fcmero")):
        made = InferenceResponse("mnist", "3", [OutputTensor("mu", "FP32", array)], request_id)
        found: Any = message("inference.ModelInferResponse").FromString(conversions.write_response(made))
        assert (found.id, list(found.outputs[0].shape)) == (request_id, list(array.shape))
        assert list(found.raw_output_contents) == [array.tobytes()]


def test_response_in_a_stream_is_marked_as_the_last_of_its_request() -> None:
    kind: Any = message("inference.ModelStreamInferResponse")
    found = kind.FromString(conversions.write_streamed(response()))
    assert found.error_message == ""
    checked(found.infer_response)
    assert found.infer_response.parameters["triton_final_response"].bool_param is True


def test_error_in_a_stream_names_its_request() -> None:
    kind: Any = message("inference.ModelStreamInferResponse")
    data = conversions.write_streamed_error("no", code="invalid-value", request_id="seven")
    found = kind.FromString(data)
    assert found.error_message == "no"
    assert found.infer_response.id == "seven"
    assert found.infer_response.parameters["problem"].string_param == "invalid-value"


def test_reader_of_these_tests_refuses_garbage() -> None:
    with pytest.raises(DecodeError):
        message("inference.ModelInferResponse").FromString(b"\xff")

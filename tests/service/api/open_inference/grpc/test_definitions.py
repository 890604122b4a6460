"""The messages live in a pool of their own: a client of the same names may be imported before or after."""

from __future__ import annotations

import subprocess
import sys

import pytest
from patience import PATIENCE_S

from service.api.open_inference.grpc.definitions import INFERENCE, POOL, message, service_of

#: What the generated modules of tritonclient, kserve and MLServer do when they are imported.
CLIENT = """
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name={name!r}, package="inference", syntax="proto3")
message = file.message_type.add(name="ModelInferRequest")
message.field.add(name="other", number=1, label=1, type=9)
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""
OURS = """
from service.api.open_inference.grpc.definitions import inference
request = inference("ModelInferRequest", model_name="mnist")
assert request.SerializeToString() == b"\\x0a\\x05mnist"
"""


@pytest.mark.parametrize(
    "name", ["grpc_service.proto", "grpc_predict_v2.proto", "service/open_inference.proto"]
)
@pytest.mark.parametrize("first", ["client", "server"])
def test_client_with_the_same_names_is_imported_in_the_same_process(name: str, first: str) -> None:
    parts = [CLIENT.format(name=name), OURS]
    code = "".join(parts if first == "client" else reversed(parts))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_stand_in_for_a_client_does_clash_in_one_pool() -> None:
    """A probe that cannot fail proves nothing."""
    code = CLIENT.format(name="a.proto") + CLIENT.format(name="b.proto")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode != 0
    assert "duplicate" in done.stderr


def test_every_method_has_its_messages() -> None:
    methods = service_of(INFERENCE).methods_by_name
    assert len(methods) == 20
    for name, method in methods.items():
        assert method.input_type.name == ("ModelInferRequest" if "Infer" in name else f"{name}Request")
        assert method.output_type.name == f"{name}Response"


def test_unknown_message_is_an_error() -> None:
    with pytest.raises(KeyError):
        message("inference.Nothing")


def test_pool_is_not_the_one_of_the_process() -> None:
    from google.protobuf.descriptor_pool import Default

    assert POOL is not Default()

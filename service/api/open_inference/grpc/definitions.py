"""The messages of every gRPC service of this server, in a pool of their own.

Knows the definitions in `proto/`. Knows nothing of servers. The pool is private: a program may import a
client with the same message names before or after this module.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.api.open_inference.grpc.proto_text import parse_proto

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
#: Older tools know only the second.
REFLECTIONS: Final = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


def _filled() -> DescriptorPool:
    pool = DescriptorPool()
    texts = {
        "service/open_inference.proto": _text("open_inference"),
        "service/health.proto": _text("health"),
        "service/status.proto": _text("status"),
        **{
            f"service/reflection_{version}.proto": _text("reflection").replace("VERSION", version)
            for version in ("v1", "v1alpha")
        },
    }
    for name, text in texts.items():
        pool.AddSerializedFile(parse_proto(text, name=name).SerializeToString())
    return pool


def _text(name: str) -> str:
    return (resources.files(__package__) / "proto" / f"{name}.proto").read_text("utf-8")


POOL: Final = _filled()


def message(name: str) -> type[Message]:
    """The class of a message, such as `inference.ModelInferRequest`.

    Its fields are known to the pool alone, so type checkers see `Any`; the tests set and read each of them.
    """
    found: type[Message] = GetMessageClass(POOL.FindMessageTypeByName(name))
    return found


def service_of(name: str) -> ServiceDescriptor:
    """The description of a service: its methods and their messages."""
    return POOL.FindServiceByName(name)


def inference(name: str, /, **fields: Any) -> Any:
    """A new message of the package `inference`."""
    return _INFERENCE[name](**fields)


_INFERENCE: Final = {
    each: message(f"inference.{each}")
    for each in POOL.FindFileByName("service/open_inference.proto").message_types_by_name
}

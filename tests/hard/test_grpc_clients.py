"""The unchanged clients of Triton and KServe over gRPC, each in an environment and a process of its own.

`make inference-clients` installs them, and `make test-hard` does so first.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from server_process import Running, free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore

pytestmark = pytest.mark.hard

pytest.importorskip("grpc", reason="the extra grpc is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "tests/inference_clients"
#: Fields of a model's configuration that describe nothing of this server; a client reads them as absent.
LEFT_OUT = re.compile(r"\.inference\.Model(Config|Input|Output|DynamicBatching)$")


def printed(client: str, *arguments: str) -> Any:
    """What a program prints last in the environment of a client, as JSON."""
    python = REPOSITORY / ".venv-inference" / client / "bin/python"
    if not python.exists():
        pytest.skip("the client is not installed: make inference-clients")
    done = subprocess.run(
        [str(python), "-W", "ignore", *arguments],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    home, port = tmp_path_factory.mktemp("clients"), free_port()
    store = ModelStore(home / "models")
    publish_tiny(store, name="mnist", latent_size=8, seed=1)
    publish_tiny(store, name="plain", kind="ae", latent_size=8, seed=3)
    with serving(store.root, home / "log", "--grpc-port", str(port), "--admin", "true") as running:
        yield running, port


def ours() -> dict[str, Any]:
    import sys

    sys.path.insert(0, str(SCRIPTS))
    try:
        from descriptors import described  # type: ignore[import-not-found]
        from google.protobuf.descriptor_pb2 import FileDescriptorProto

        from service.api.open_inference.grpc.definitions import POOL

        file = FileDescriptorProto()
        POOL.FindFileByName("service/open_inference.proto").CopyToProto(file)
        return described(file)
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize(
    ("client", "modules", "other"),
    [
        ("triton", ("tritonclient.grpc.model_config_pb2", "tritonclient.grpc.service_pb2"), set()),
        (
            "kserve",
            ("kserve.protocol.grpc.grpc_predict_v2_pb2",),
            {f".inference.RepositoryModel{verb}Request" for verb in ("Load", "Unload")},
        ),
    ],
)
def test_definition_is_that_of_the_client_field_by_field(
    client: str, modules: tuple[str, ...], other: set[str]
) -> None:
    """Number, type, label and oneof of every field; streaming and messages of every method."""
    theirs = printed(client, str(SCRIPTS / "descriptors.py"), *modules)
    own = ours()
    for name, fields in theirs["fields"].items():
        if (
            name in other
        ):  # field 1 is the model's name with one family of clients, and field 2 with the other
            assert fields["model_name"][0] == 1
            continue
        if name not in own["fields"]:
            assert client == "triton", name  # only parts of its configuration are missing
            assert not any(name in str(method) for method in theirs["methods"].values()), name
            continue
        mine = own["fields"][name]
        part = LEFT_OUT.search(name) is not None
        wanted = {field: fields[field] for field in mine if field in fields} if part else fields
        assert {field: mine[field] for field in wanted} == wanted, name
    for name, values in theirs["enums"].items():
        if name in own["enums"]:
            assert own["enums"][name] == values
    assert {name: own["methods"][name] for name in theirs["methods"]} == theirs["methods"]
    if client == "triton":
        assert own["methods"] == theirs["methods"]
        known = {name for name in own["fields"] if name in theirs["fields"]}
        assert set(own["fields"]) == known


@pytest.mark.parametrize(("client", "module"), [("triton", "tritonclient.grpc"), ("kserve", "kserve")])
@pytest.mark.parametrize("first", ["client", "server"])
def test_definition_and_client_live_in_one_process(client: str, module: str, first: str) -> None:
    imports = [f"import {module}", "from service.api.open_inference.grpc import definitions"]
    code = "\n".join([*(imports if first == "client" else reversed(imports)), "print('true')"])
    assert printed(client, "-c", code) is True


def test_protoc_reads_the_definitions_as_we_do() -> None:
    code = """
import json, pathlib, sys, tempfile
from grpc_tools import protoc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from service.api.open_inference.grpc.proto_text import parse_proto
source = pathlib.Path(sys.argv[1])
found = {}
for path in sorted(source.glob("*.proto")):
    out = pathlib.Path(tempfile.mkdtemp())
    text = path.read_text().replace("VERSION", "v1")
    (out / path.name).write_text(text)
    assert protoc.main(["", f"-I{out}", f"--descriptor_set_out={out}/set", str(out / path.name)]) == 0
    (file,) = FileDescriptorSet.FromString((out / "set").read_bytes()).file
    def plain(made):
        for message in made.message_type:
            strip(message)
        return made.SerializeToString(deterministic=True)
    def strip(message):
        for field in message.field:
            field.ClearField("json_name")
        for nested in message.nested_type:
            strip(nested)
    found[path.name] = plain(file) == plain(parse_proto(text, name=path.name))
print(json.dumps(found))
"""
    source = REPOSITORY / "service/api/open_inference/grpc/proto"
    found = printed("kserve", "-c", code, str(source))
    names = ("health.proto", "open_inference.proto", "reflection.proto", "status.proto")
    assert found == dict.fromkeys(names, True)


@pytest.mark.hazard_row("grpc-clients")
def test_triton_client_passes_every_call(served: tuple[Running, int], hazard: Any) -> None:
    running, port = served
    found = printed("triton", str(SCRIPTS / "triton/grpc_calls.py"), str(port))
    sync, aio = found["sync"], found["aio"]
    refused = "StatusCode.UNIMPLEMENTED"
    assert sync == {
        "live": True,
        "ready": True,
        "model_ready": [True, False],
        "server": "vae-service",
        "metadata": "mnist",
        "config": 256,
        "statistics": ["1"],
        "all_statistics": 7,
        "index": ["mnist", "mnist-decoder"],
        "infer_None": [[2, 8], "r7"],
        "infer_gzip": [[2, 8], "r7"],
        "infer_deflate": [[2, 8], "r7"],
        "all_outputs": ["mu", "logvar", "x_hat"],
        "sampled": [2, 1, 28, 28],
        "async_infer": [2, 8],
        "stream": ["0", "1", "2", "error", "4"],
        "unloaded": False,
        "loaded": True,
        **dict.fromkeys(("shared_memory", "register", "cuda", "trace", "log"), refused),
        "unknown": "StatusCode.NOT_FOUND",
        "wrong": "StatusCode.INVALID_ARGUMENT",
        "late": "StatusCode.DEADLINE_EXCEEDED",
    }
    assert aio == {
        "live": True,
        "metadata": "mnist",
        "infer_None": [2, 8],
        "infer_gzip": [2, 8],
        "infer_deflate": [2, 8],
        "stream": ["0", "1", "2", "3"],
    }
    assert "Traceback" not in running.log
    hazard("grpc-clients", figure=f"{len(sync) + len(aio)} calls of Triton's", bar="all", met=True)


def test_kserve_client_passes_every_call(served: tuple[Running, int]) -> None:
    _, port = served
    found = printed("kserve", str(SCRIPTS / "kserve/grpc_calls.py"), str(port))
    answer = ["mnist-encoder", "r7", ["mu", "logvar"], [2, 8]]
    assert found == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "infer_True": answer,
        "infer_False": answer,
        "unknown": "NOT_FOUND",
        "unloaded": ["plain", True],
        "loaded": ["plain", True],
        "metadata": ["x"],
        "server": "vae-service",
    }


def test_code_in_the_documents_runs(served: tuple[Running, int]) -> None:
    _, port = served
    page = (REPOSITORY / "docs/how-to/grpc.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    code = "\n".join(blocks).replace("localhost:8001", f"127.0.0.1:{port}")
    code += "\nprint(list(answer.as_numpy('mu').shape))"
    assert printed("triton", "-c", code) == [2, 8]

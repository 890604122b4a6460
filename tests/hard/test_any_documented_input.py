"""Schemathesis against a running server: every documented operation, any input, every check it has.

One check is left out of the first run: `positive_data_acceptance` wants everything that fits the document to
be accepted. JSON schema cannot say that the sizes of arrays follow from the model that a query names, that
`scale` and `n` together bound a picture's pixels, `steps` and `dims` the images, that slerp bounds a length,
that `seed` comes in the query or in the body, which labels there are, that `k` is at most the number of
latents, that z has no variance, that 7.0 is no integer, that `flag` needs a model with thresholds, or how
many bytes a tensor has. The second run keeps that check, over the same document with these things settled for
one model: only made narrower, never wider.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hazard_plugin import Hazard
from openapi_checks import content_of, resolve
from server_process import Running, serving
from tiny_models import publish_tiny
from tiny_priors import fitted_prior

from model_store import ModelStore

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("documented")]

#: (C, H, W) and latent of the model; small, so that whole bodies are found by chance.
SHAPE, LATENT = (1, 3, 2), 2
#: For each operation, beside the several dozen of its coverage phase: more than 1,000 in all.
EXAMPLES = 30
#: The paths of the Open Inference Protocol.
PROTOCOL = "^/v2(/|$)"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("schemathesis")
    store = ModelStore(home / "models")
    with_prior: dict[str, Any] = {"fitted": fitted_prior(LATENT), "aliases": ("stable",)}
    publish_tiny(store, name="mnist", image_shape=SHAPE, latent_size=LATENT, **with_prior)
    publish_tiny(store, name="plain", kind="ae", image_shape=SHAPE, latent_size=LATENT)
    with serving(home / "models", home / "log") as running:
        yield running


def schemathesis(directory: Path, location: str, *arguments: str) -> tuple[int, int, str]:
    """Examples tried, failures, and what it said."""
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    command = [
        str(program), "run", location, "--max-examples", str(EXAMPLES), "--seed", "20", "--no-color",
        "--generation-database", "none", "--suppress-health-check", "all", *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *command], cwd=directory, capture_output=True, text=True, timeout=500, check=False
    )
    generated = re.search(r"^  (\d+) generated", done.stdout, re.MULTILINE)
    assert generated, done.stdout[-3000:] + done.stderr[-3000:]
    failed = re.search(r"found (\d+) unique failures?", done.stdout)
    failures = int(failed[1]) if failed else 0
    assert (done.returncode == 0) == (failures == 0), done.stdout[-3000:]
    return int(generated[1]), failures, done.stdout


def test_every_answer_to_any_input_is_documented(server: Running, tmp_path: Path, hazard: Hazard) -> None:
    tried, failures, said = schemathesis(
        tmp_path,
        f"http://127.0.0.1:{server.port}/openapi.json",
        "--checks", "all",
        "--exclude-checks", "positive_data_acceptance",
        "--exclude-path-regex", PROTOCOL,
    )  # fmt: skip
    assert failures == 0, said[-6000:]
    assert "Traceback" not in server.log
    told = f"{tried:,} examples, every check but one: {failures} failures"
    hazard("documented", figure=told, bar="1,000: 0 failures", met=tried >= 1_000 and failures == 0)


def test_every_answer_of_the_open_inference_protocol_is_documented(
    server: Running, tmp_path: Path, hazard: Hazard
) -> None:
    """No schema says which names, types and shapes a model has: most of what is generated is refused."""
    tried, failures, said = schemathesis(
        tmp_path,
        f"http://127.0.0.1:{server.port}/openapi.json",
        "--checks", "all",
        "--exclude-checks", "positive_data_acceptance",
        "--include-path-regex", PROTOCOL,
        "--max-examples", "40",
    )  # fmt: skip
    assert failures == 0, said[-6000:]
    assert "Traceback" not in server.log
    told = f"/v2: {tried:,} examples, every check but one: {failures} failures"
    hazard("documented", figure=told, bar="900: 0 failures", met=tried >= 900 and failures == 0)


def test_everything_that_fits_the_document_of_one_model_is_accepted(
    server: Running, tmp_path: Path, hazard: Hazard
) -> None:
    document = narrowed(json.loads(server.get("/openapi.json")[2]))
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    tried, failures, said = schemathesis(
        tmp_path,
        str(file),
        "--url",
        f"http://127.0.0.1:{server.port}",
        "--mode",
        "positive",
        "--checks",
        "all",
    )
    assert failures == 0, said[-6000:]
    told = f"{tried:,} examples that fit, every check: {failures} failures"
    hazard("documented", figure=told, bar="1,000: all accepted", met=tried >= 1_000 and failures == 0)


def narrowed(document: Document) -> Document:
    """The document for `mnist` alone: its sizes, small pictures, and scalars in one place."""
    document["paths"] = {
        path: item for path, item in document["paths"].items() if not re.match(PROTOCOL, path)
    }
    schemas = document["components"]["schemas"]
    for name, sizes in (("ImagesIn", SHAPE), ("LatentsIn", (LATENT,)), ("NearestLatents", (LATENT,))):
        array = schemas[name]
        array["maxItems"] = 4
        for size in sizes:
            array = array["items"]
            array["minItems"] = array["maxItems"] = size
    # slerp bounds the length of its ends, which two numbers at the bound would exceed.
    number = schemas["LatentsIn"]["items"]["items"]
    number["minimum"], number["maximum"] = 0.7 * number["minimum"], 0.7 * number["maximum"]
    for name, schema in schemas.items():
        if name.endswith("Request"):
            settle(schema.get("properties", {}))
    for body in document["components"]["requestBodies"].values():
        # "binary" is all that the schema can say of a file.
        body["content"] = {"application/json": body["content"]["application/json"]}
    # One at a time: parameters of different paths may have the same name.
    for one in document["components"]["parameters"].values():
        settle({one["name"]: one["schema"]})
    narrow_remote(document)
    for path in document["paths"].values():
        for operation in path.values():
            in_body = keys_of(document, operation["requestBody"]) if "requestBody" in operation else set()
            operation["parameters"] = [
                one for one in operation["parameters"] if resolve(document, one)["name"] not in in_body
            ]
    return document


def keys_of(document: Document, body: Document) -> set[str]:
    """The keys that a JSON body may have; none of a body that is never JSON, such as that of /remote."""
    content = content_of(document, body)
    if "application/json" not in content:
        return set()
    whole = resolve(document, content["application/json"]["schema"])
    ways = [resolve(document, way) for way in whole.get("oneOf", [whole])]
    return {name for way in ways for name in way["properties"]}


def narrow_remote(document: Document) -> None:
    """Tensors of one shape and two bytes for each number, which the body of /remote then fits.

    JSON schema cannot say that the length of a body follows from `shape` and `dtype`, nor that its bytes are
    numbers. The characters from `0` to `;` are bytes of small, finite numbers in float16 and in bfloat16, and
    pixels within [-1, 1]. Pictures for /remote/encode are left out, because a string of JSON cannot hold one.
    """
    parameters = document["components"]["parameters"]
    for path, parameter, shape in (
        ("/remote/decode", "remote_decode_shape", (1, LATENT)),
        ("/remote/encode", "remote_shape", (1, *SHAPE)),
    ):
        parameters[parameter]["required"] = True
        parameters[parameter]["schema"]["enum"] = [list(shape)]
        content = document["paths"][path]["post"]["requestBody"]["content"]
        tensor = {"type": "string", "pattern": f"^[0-;]{{{2 * math.prod(shape)}}}$"}
        content["application/octet-stream"]["schema"] = tensor
    # Required, because the default, float32, has four bytes.
    parameters["remote_dtype"]["required"] = True
    for name, values in {
        "dtype": ["float16", "bfloat16"],
        # The model has no factors of its own.
        "do_scaling": [False],
        # Only a model of several sizes has tiles.
        "tile": ["auto", "off"],
    }.items():
        parameters[f"remote_{name}"]["schema"]["enum"] = values
    # Together they bound z, latents / scaling_factor + shift_factor, to 10,000 on either side.
    parameters["remote_scaling_factor"]["schema"]["minimum"] = 0.001
    shift = parameters["remote_shift_factor"]["schema"]
    shift["minimum"], shift["maximum"] = -9_000, 9_000


def settle(schemas: dict[str, Document]) -> None:
    """64 images of 3 × 2 pixels, 16 times as large, are within the bound on a picture's pixels."""
    values: dict[str, list[object]] = {
        "model": ["mnist", "mnist@1", "mnist@stable", "mnist@latest"],
        "n": list(range(1, 65)),
        "steps": list(range(2, 9)),
        "dims": [[0], [1], [0, 1], [1, 0]],
        "importance_samples": [1, 2, 16],
        "binarise": ["dynamic"],
        "scale": list(range(1, 17)),
        "seed": [0, 1, 7, 2**32, 2**53 - 1],
        "prior": ["fitted"],
        "label": ["0", "1", "7"],
        "k": [1],
        "distance": ["euclidean"],
        # The model has no thresholds.
        "flag": [False],
    }
    for name, schema in schemas.items():
        if name in values:
            schema["enum"] = values[name]

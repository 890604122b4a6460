"""Clients from generators: each is generated without a warning, compiled strictly, and used by a program.

The generators and linters are in `.venv-clients`, which `make client-tools` makes. The programs and the
configurations are in `tests/clients`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hazard_plugin import Hazard
from server_process import Running, serving

from model_store import default_store_root

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("generated-clients")]

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv-clients"
SOURCES = ROOT / "tests/clients"
#: A compiler of TypeScript takes 40 s on a busy machine.
LIMIT_S = 500
BAR = "generated without a warning, compiled strictly; every step of the program right"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The bundled model, so that the programs see what a reader of the documents sees."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(default_store_root(), log) as running:
        yield running


@pytest.fixture(scope="module")
def address(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def document(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(server.get("/openapi.json")[2])
    return file


def tool(name: str) -> Path:
    """A generator or linter."""
    for place in (TOOLS / "bin" / name, TOOLS / "node_modules/.bin" / name):
        if place.exists():
            return place
    pytest.skip(f"{name} is not in .venv-clients: run `make client-tools`")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def jar() -> Path:
    """The generator for Java, whose libraries the generated client uses as well."""
    tool("openapi-generator-cli")
    (found,) = TOOLS.glob("lib/python3*/site-packages/openapi_generator_cli/openapi-generator.jar")
    return found


def attempt(*command: str | Path, cwd: Path) -> tuple[int, str]:
    """The exit code of a command, and what it printed on both streams."""
    path = f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}"
    quiet = {"NO_COLOR": "1", "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **quiet, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout


def run(*command: str | Path, cwd: Path) -> str:
    """What a command printed; it must succeed."""
    code, printed = attempt(*command, cwd=cwd)
    assert code == 0, f"{command[0]}: exit code {code}\n{printed[-6000:]}"
    return printed


def test_client_of_openapi_python_client(
    document: Path, address: str, tmp_path: Path, hazard: Hazard
) -> None:
    generator, python = tool("openapi-python-client"), tool("python")
    config = SOURCES / "openapi-python-client.yaml"
    options = ("--path", document, "--config", config, "--meta", "none", "--output-path", "vae_api")
    printed = run(generator, "generate", *options, "--fail-on-warning", cwd=tmp_path)
    assert "arning" not in printed, printed
    shutil.copy(SOURCES / "use.py", tmp_path)
    run(python, "-m", "mypy", "--config-file", SOURCES / "mypy.ini", "use.py", "vae_api", cwd=tmp_path)
    used = run(python, "use.py", address, cwd=tmp_path)
    hazard("generated-clients", figure="openapi-python-client: " + used.strip(), bar=BAR, met="ok " in used)


def test_client_of_openapi_typescript(document: Path, address: str, tmp_path: Path, hazard: Hazard) -> None:
    generator, compiler, node = tool("openapi-typescript"), tool("tsc"), program("node")
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    for name in ("use.ts", "tsconfig.json", "package.json"):
        shutil.copy(SOURCES / name, tmp_path)
    printed = run(generator, document, "-o", "schema.d.ts", cwd=tmp_path)
    assert "warn" not in printed.lower(), printed
    assert run(compiler, "-p", ".", cwd=tmp_path) == ""
    used = run(node, "use.js", address, cwd=tmp_path)
    hazard("generated-clients", figure="openapi-typescript: " + used.strip(), bar=BAR, met="ok " in used)


def test_client_of_clients_typescript(document: Path, address: str, tmp_path: Path, hazard: Hazard) -> None:
    """It is written by hand, over generated types, in at most 200 lines."""
    generator, compiler, node = tool("openapi-typescript"), tool("tsc"), program("node")
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    for file in (ROOT / "clients/typescript").iterdir():
        shutil.copy(file, tmp_path)
    assert len((tmp_path / "client.ts").read_text().splitlines()) <= 200
    run(generator, document, "-o", "schema.d.ts", cwd=tmp_path)
    assert run(compiler, "-p", ".", cwd=tmp_path) == ""
    used = run(node, "use.js", address, cwd=tmp_path)
    hazard("generated-clients", figure="clients/typescript: " + used.strip(), bar=BAR, met="ok " in used)


def test_client_of_openapi_generator_for_java(
    document: Path, address: str, tmp_path: Path, hazard: Hazard
) -> None:
    """Its warnings are about 3.1 itself and about examples, which it leaves out.

    It imports the classes of forms in every file, and writes them only if it is told to.
    """
    libraries, java, javac = jar(), program("java"), program("javac")
    packages = ("--invoker-package", "vae", "--api-package", "vae.api", "--model-package", "vae.model")
    forms = ("--global-property", "skipFormModel=false")
    options = ("--library", "native", "--additional-properties", "openApiNullable=false", *forms, *packages)
    generate = ("generate", "-i", document, "-g", "java", "-o", "client", *options)
    printed = run(java, "-jar", libraries, *generate, cwd=tmp_path)
    assert " ERROR " not in printed, printed
    sources = sorted(tmp_path.glob("client/src/main/java/**/*.java"))
    assert len(sources) > 60
    plain = ("-proc:none", "-nowarn", "-d", "classes", "-cp", libraries)
    run(javac, *plain, SOURCES / "Generated.java", *sources, cwd=tmp_path)
    classes = f"{libraries}{os.pathsep}classes"
    strict = ("-proc:none", "-Xlint:all", "-Werror", "-d", "classes", "-cp", classes)
    run(javac, *strict, SOURCES / "Use.java", cwd=tmp_path)
    used = run(java, "-cp", classes, "Use", address, cwd=tmp_path)
    hazard("generated-clients", figure="openapi-generator: " + used.strip(), bar=BAR, met="ok " in used)


def lint(name: str, document: Path) -> tuple[int, str]:
    """A linter by name, with the rules of this project."""
    if name == "openapi-spec-validator":
        return attempt(tool(name), document, cwd=document.parent)
    if name == "spectral":
        options = ("--ruleset", SOURCES / "spectral.yaml", "--fail-severity", "hint")
        return attempt(tool(name), "lint", *options, document, cwd=document.parent)
    return attempt(tool(name), "lint", "--config", SOURCES / "redocly.yaml", document, cwd=document.parent)


def without_a_description(document: Any) -> None:
    del document["paths"]["/sample"]["get"]["description"]


def with_one_name_twice(document: Any) -> None:
    document["paths"]["/sample"]["get"]["operationId"] = "encode"


def with_a_wrong_example(document: Any) -> None:
    document["components"]["responses"]["encode"]["content"]["application/json"]["example"]["mu"] = "x"


def with_an_unknown_reference(document: Any) -> None:
    document["components"]["schemas"]["SampleResponse"]["properties"]["z"] = {
        "$ref": "#/components/schemas/Z"
    }


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("openapi-spec-validator", [with_one_name_twice, with_an_unknown_reference]),
        ("spectral", [without_a_description, with_one_name_twice, with_a_wrong_example]),
        ("redocly", [with_one_name_twice, with_a_wrong_example, with_an_unknown_reference]),
    ],
)
def test_linter_finds_nothing(name: str, faults: list[Any], document: Path, hazard: Hazard) -> None:
    """And it finds something in a document with a fault."""
    code, printed = lint(name, document)
    assert code == 0, printed[-6000:]
    for fault in faults:
        faulty = json.loads(document.read_bytes())
        fault(faulty)
        file = document.with_name(f"{fault.__name__}.json")
        file.write_text(json.dumps(faulty))
        assert lint(name, file)[0] != 0, fault.__name__
    bar = "0 findings, and one for each fault that is put in"
    hazard("generated-clients", figure=f"{name}: 0 findings", bar=bar, met=code == 0)

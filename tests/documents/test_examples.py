"""Files that pages show and nothing runs: what they name is there."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable

import yaml
from documents.markdown import REPOSITORY, fences, name_of, pages

from service.settings import describe_settings

VARIABLES = {setting.variable for setting in describe_settings()}
PAGES = {name_of(page): page.read_text() for page in pages()}
#: Variables of the commands of this project that are no settings of the server.
OTHERS = {"VAE_BENCH_API_KEY"}


def shown(page: str, language: str) -> list[str]:
    return [fence.text for fence in fences(PAGES[page]) if fence.language == language]


def test_every_file_that_is_shown_can_be_read() -> None:
    readers: dict[str, Callable[[str], object]] = {
        "yaml": lambda text: list(yaml.safe_load_all(text)),
        "json": json.loads,
        "toml": tomllib.loads,
    }
    for text in PAGES.values():
        for fence in fences(text):
            if fence.language in readers:
                assert readers[fence.language](fence.text)


def test_every_variable_of_ours_is_a_setting() -> None:
    """`VAE_PORT=tcp://…` is what Kubernetes adds; the names of one page's table are of other programs."""
    for name, text in PAGES.items():
        if name != "CHANGELOG.md":
            named = set(re.findall(r"\bVAE_[A-Z_]*[A-Z]\b", text))
            assert named - VARIABLES - OTHERS - {"VAE_SERVICE_HOST", "VAE_SERVICE_PORT"} == set(), name


def test_compose_passes_every_setting_that_the_container_does_not_fix() -> None:
    """A setting in the shell or in `.env` that compose does not pass would leave a default without notice.

    Address and directories belong to the image: a name without a value would even remove the image's own.
    """
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    image = (REPOSITORY / "Dockerfile").read_text()
    fixed = set(re.findall(r"\bVAE_[A-Z_]+(?==)", image)) | {"VAE_STORE_CACHE"}
    passed = [name for name in services["server"]["environment"] if name.startswith("VAE_")]
    assert passed == [each.variable for each in describe_settings() if each.variable not in fixed]


def test_compose_override_sets_what_the_server_of_compose_takes() -> None:
    (text,) = shown("docs/how-to/api-keys.md", "yaml")
    override = yaml.safe_load(text)
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    assert set(override["services"]) <= set(services)
    for service in override["services"].values():
        assert set(service["environment"]) <= VARIABLES
        assert set(service["secrets"]) == set(override["secrets"])


def test_every_container_of_compose_has_a_log_that_ends() -> None:
    """Docker's own default grows until the disk is full."""
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    options = {"max-size": "10m", "max-file": "5"}
    for name, service in services.items():
        assert service["logging"] == {"driver": "json-file", "options": options}, name
    page = PAGES["docs/how-to/deploy.md"]
    assert "--log-opt max-size=10m --log-opt max-file=5" in page


def test_nginx_sends_the_headers_that_the_server_reads() -> None:
    source = "".join(path.read_text() for path in (REPOSITORY / "service").rglob("*.py"))
    for text in shown("docs/how-to/proxy.md", "nginx"):
        sent = set(re.findall(r"proxy_set_header (\S+) ", text))
        assert sent == {"Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Prefix"}
        assert text.count("{") == text.count("}") == 1
        assert all(f'b"{header.lower()}"' in source for header in sent)


def test_every_python_example_is_one_that_a_test_runs() -> None:
    """tests/hard/test_inference_clients.py runs one, tests/clients_python those of two pages.

    tests/hard/test_diffusers_client.py runs that of the remote VAE.
    """
    file = REPOSITORY / "tests/inference_clients/triton/example.py"
    _, _, example = file.read_text().partition('"""\n\n')
    run_elsewhere = {
        *("clients/python/README.md", "docs/how-to/python-client.md"),
        "docs/reference/remote-vae.md",
    }
    assert run_elsewhere <= PAGES.keys()
    found = [text for page in PAGES.keys() - run_elsewhere for text in shown(page, "python")]
    of_grpc = shown("docs/how-to/grpc.md", "python")  # tests/hard/test_grpc_clients.py runs these
    assert of_grpc
    assert sorted(found) == sorted([example, *of_grpc])
